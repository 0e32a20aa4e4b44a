"The few rules of pyproject.toml hold: nothing unused or undefined, one statement a line, lines that fit; public arguments are typed"
import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TYPED = 0.94                         # share of the public functions whose arguments all have a type; may only rise
# modules that still have public functions with arguments without a type: the list may only get shorter
OPEN = dict(arguments=3, digests=1, edc_stages=1, help_text=1, kernel=4, run_base=1, run_commands=1, sizes=1, students=1)

def test_ruff_has_nothing_to_say():
    folders = [o for o in ('dc_nb', 'tests', 'benchmarks', 'docs') if (ROOT/o).is_dir()]
    r = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'concise', *folders],
        cwd=ROOT, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout+r.stderr

# --- types

def named(d): return ast.unparse(d.func if isinstance(d, ast.Call) else d)

def without_types(f, method=False)->list:
    "The arguments of a function that have no type; the first of a method needs none"
    a = f.args
    every = [*a.posonlyargs, *a.args, *a.kwonlyargs]
    if method and 'staticmethod' not in map(named, f.decorator_list): every = every[1:]
    return [o.arg for o in every if o.annotation is None], len(every)

def public(source:str):
    "(name, arguments without a type) of the public functions and methods of a module that take arguments"
    def one(f, owner=''):
        found,n = without_types(f, bool(owner))
        if n: yield f'{owner}{f.name}', found
    for o in ast.parse(source).body:
        if isinstance(o, ast.FunctionDef) and o.name[0] != '_': yield from one(o)
        if not isinstance(o, ast.ClassDef) or o.name[0] == '_': continue
        for m in o.body:
            if isinstance(m, ast.FunctionDef) and (m.name[0] != '_' or m.name in ('__init__', '__call__')):
                yield from one(m, f'{o.name}.')

MODULES = {f.stem:f for f in sorted((ROOT/'dc_nb').glob('*.py')) if f.stem[0] != '_'}
FOUND = {k:dict(public(f.read_text())) for k,f in MODULES.items()}

def test_what_has_no_type():
    source = 'def f(x, y:int): pass\ndef _g(x): pass\nclass A:\n    def __init__(self, k): pass\n    def m(self): pass\n'
    source += '    @staticmethod\n    def s(x): pass\n@patch\ndef p(self:A, z): pass'
    assert dict(public(source)) == {'f':['x'], 'A.__init__':['k'], 'A.s':['x'], 'p':['z']}

def open_names(module)->list: return [f'{k}({", ".join(v)})' for k,v in FOUND[module].items() if v]

@pytest.mark.parametrize('module', MODULES)
def test_public_arguments_are_typed(module):
    assert len(open_names(module)) <= OPEN.get(module, 0), open_names(module)

def test_the_list_of_open_modules_is_true():
    assert {k:n for k in MODULES if (n := len(open_names(k)))} == OPEN

def test_most_public_functions_are_typed():
    every = [v for found in FOUND.values() for v in found.values()]
    share = sum(not v for v in every)/len(every)
    assert share >= TYPED, f'{share:.1%} of {len(every)}'
