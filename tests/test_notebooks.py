"""What every notebook owes its reader: a title, an opening, short cells that are shown at once, pictures, outputs.

Reads JSON only, nothing is executed. `python tests/test_notebooks.py [PART OF A PATH]` prints the worst offenders.
"""
import ast
import io
import json
import re
import sys
import tokenize
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES,COLUMNS,PICTURES,BYTES = 20, 120, 2, 3_000_000
SHORT,SHOWN = .9, .8
LITTER = re.compile(r"\[?Text\(|\[?<matplotlib|\[<|Sequential\(\n|<contextlib|<generator")
# to be mended by whoever edits them next: may only get shorter
WAITING = set()

class Cell:
    "A cell: its place, its directives, and the lines without them"
    def __init__(self, at:int, cell:dict):
        self.at,self.kind,self.outputs = at, cell['cell_type'], cell.get('outputs', [])
        self.lines = ''.join(cell['source']).splitlines()
        self.directives = [l[2:].strip() for l in self.lines if l.startswith('#|')] if self.kind == 'code' else []
        self.body = [l for l in self.lines if not (self.kind == 'code' and l.startswith('#|'))]

    def has(self, word:str)->bool: return any(o.split(':')[0].split(' ')[0].startswith(word) for o in self.directives)
    @property
    def exported(self)->bool: return self.has('export')
    @property
    def size(self)->int: return sum(bool(l.strip()) for l in self.body)
    @property
    def python(self)->str: return '\n'.join('' if l.lstrip()[:1] in ('%', '!') else l for l in self.body)
    @cached_property
    def tree(self)->ast.Module: return ast.parse(self.python)

    @property
    def only_imports(self)->bool: return all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in self.tree.body)

    @property
    def pictures(self)->int: return sum('image/png' in o.get('data', {}) for o in self.outputs)

    @property
    def separators(self)->int:
        "Semicolons that stand between two statements"
        found = [t for t in tokenize.generate_tokens(io.StringIO(self.python+'\n').readline)
            if t.type not in (tokenize.COMMENT, tokenize.NL)]
        return sum(a.string == ';' and b.type not in (tokenize.NEWLINE, tokenize.ENDMARKER)
            for a,b in zip(found, found[1:]) if a.type == tokenize.OP)

    @property
    def shows(self)->bool:
        "Whether an execution must leave something: a `print` or a new figure that is surely reached"
        def reached(statements):
            for o in statements:
                if isinstance(o, ast.With): yield from reached(o.body)
                if isinstance(o, (ast.Expr, ast.Assign)): yield o
        calls = [ast.unparse(o.value.func) for o in reached(self.tree.body) if isinstance(o.value, ast.Call)]
        kept = 'plt.close' not in self.python
        return any(o in ('print', 'display') or kept and o in ('plt.subplots', 'plt.figure') for o in calls)

class Book:
    "A notebook as its reader sees it"
    def __init__(self, path:Path):
        self.path,self.name = path, path.relative_to(ROOT/'nbs').as_posix()
        self.cells = [Cell(i, c) for i,c in enumerate(json.loads(path.read_text())['cells'])]
        self.code = [c for c in self.cells if c.kind == 'code']

    @cached_property
    def exported(self)->list:
        "(cell, the code cell after it) of the exported cells; those that only import are left out"
        pairs = zip(self.code, [*self.code[1:], None])
        return [(a, b) for a,b in pairs if a.exported and not a.only_imports]

    @property
    def long(self)->list: return [a for a,_ in self.exported if a.size > LINES]
    @property
    def unseen(self)->list:
        "Exported cells without a cell after them that a reader can see"
        return [a for a,b in self.exported if b is None or b.exported or b.has('hide')]
    @property
    def wide(self)->list: return [c for c in self.code if any(len(l) > COLUMNS for l in c.lines)]
    @property
    def separated(self)->list: return [c for c in self.code if c.separators]
    @property
    def silent(self)->list:
        "Cells whose outputs are missing: the notebook was not executed, or an error stopped it"
        broken = [c for c in self.code if any(o['output_type'] == 'error' for o in c.outputs)]
        return broken + [c for c in self.code if c.shows and not c.outputs and not c.has('eval') and not c.has('hide')]

    @property
    def littered(self)->list:
        "Cells whose last expression was not meant to be shown: a text object of a plot, a whole network"
        def said(c): return [''.join(o.get('data', {}).get('text/plain', '')) for o in c.outputs if 'data' in o]
        return [c for c in self.code if any(LITTER.match(o) for o in said(c))]

    @property
    def pictures(self)->int: return sum(c.pictures for c in self.cells)
    @property
    def text(self)->str: return '\n'.join('\n'.join(c.lines) for c in self.cells if c.kind == 'markdown')
    @property
    def formulas(self)->list: return re.findall(r'\$[^$]+\$', self.text)
    @property
    def opening(self)->str:
        return next(('\n'.join(c.lines) for c in self.cells if c.kind == 'markdown'), '')
    @property
    def title(self)->str: return next((l[2:].strip() for l in self.opening.splitlines() if l.startswith('# ')), '')
    @property
    def names(self)->set:
        "What a title must not be: the names of the module and of the file"
        module = [o.split()[1] for c in self.code for o in c.directives if o.startswith('default_exp')]
        names = {*module, re.sub(r'^\d+_', '', self.path.stem)}
        return names | {o.replace('_', ' ') for o in names}

BOOKS = [Book(p) for p in sorted((ROOT/'nbs').rglob('*.ipynb')) if '.ipynb_checkpoints' not in p.parts]
CONCEPTS = [b for b in BOOKS if b.name.startswith('concepts/')]
each = pytest.mark.parametrize('book', BOOKS, ids=lambda b: b.name)
each_concept = pytest.mark.parametrize('book', CONCEPTS, ids=lambda b: b.name)

def places(cells:list, of=None)->str: return ', '.join(f'cell {c.at}' + (f' ({of(c)})' if of else '') for c in cells)
def widest(c:Cell)->str: return f'{max(map(len, c.lines))} columns'
def lines_of(c:Cell)->str: return f'{c.size} lines'

def offenders(books:list)->str:
    "The long and the unseen exported cells of each notebook, the worst notebook first"
    def one(b):
        parts = [f'{len(b.long)} long: {places(b.long, lines_of)}' if b.long else '',
            f'{len(b.unseen)} not shown: {places(b.unseen)}' if b.unseen else '']
        return f'{b.name}, {len(b.exported)} exported; ' + '; '.join(o for o in parts if o)
    worst = sorted((b for b in books if b.long or b.unseen), key=lambda b: -len(b.long)-len(b.unseen))
    return '\n'.join(map(one, worst))

def shares(books:list)->tuple[float,float]:
    "Shares of the exported cells that are short, and that are shown"
    n = sum(len(b.exported) for b in books) or 1
    return 1-sum(len(b.long) for b in books)/n, 1-sum(len(b.unseen) for b in books)/n

# --- every notebook

@each
def test_a_title_is_for_people(book):
    assert book.title and book.title not in book.names, f'{book.title!r} is the name of the module or file'
    assert book.title[0].isupper() or book.name == 'index.ipynb', f'{book.title!r} begins small'

@each
def test_code_fits_the_page(book): assert not book.wide, places(book.wide, widest)

@each
def test_one_statement_a_line(book): assert not book.separated, places(book.separated)

@each
def test_a_notebook_is_small(book): assert book.path.stat().st_size < BYTES

@each
def test_no_bar_is_kept(book):
    "The state of a progress bar is hundreds of lines that nobody sees: execute with TQDM_DISABLE=1"
    assert 'jupyter.widget' not in book.path.read_text(), 'a bar is in the outputs or in the metadata'

PLACE = re.compile(r'(?<![\w.*])/(?:work|home|root|Users|tmp|opt|usr)/[\w/.-]+|Warning: ')

@each
def test_no_place_of_a_machine_and_no_warning_is_kept(book):
    "An older cache says why it is not used; execute once more, and the outputs are what a reader gets"
    def text(o): return ''.join(o.get('text', '')) + ''.join(''.join(v) for k,v in o.get('data', {}).items() if k.startswith('text/'))
    kept = [c for c in book.code if any(PLACE.search(text(o)) for o in c.outputs)]
    assert not kept, places(kept)

@each
def test_committed_notebooks_are_executed(book): assert not book.silent, places(book.silent)

@each
def test_nothing_lies_about(book): assert not book.littered or book.name in WAITING, places(book.littered)

@each
def test_a_formula_has_single_backslashes(book):
    "Two of them end a line, and the name behind them is shown as letters"
    doubled = [o for o in book.formulas if re.search(r'\\\\[a-zA-Z]{2}', o) and r'\begin' not in o]
    assert not doubled or book.name in WAITING, doubled

# --- cells that go into the library

def test_ideas_are_short_and_shown():
    short,shown = shares(BOOKS)
    said = f'{short:.1%} short (wanted {SHORT:.0%}), {shown:.1%} shown (wanted {SHOWN:.0%})\n{offenders(BOOKS)}'
    assert short >= SHORT and shown >= SHOWN, said

# --- concepts

@each_concept
def test_a_concept_says_where_it_stands(book):
    words = ('Paper', 'Symbols', 'Needs', 'Used by')
    found = {w:re.search(rf'^[*-] +[*_]+{w}[*:_]+ *(.+)$', book.opening, re.M) for w in words}
    assert all(found.values()), f"not in the opening: {', '.join(w for w,m in found.items() if not m)}"
    assert 'https://' in found['Paper'][1], 'the paper has no link'

@each_concept
def test_a_concept_ends_with_something_to_change(book):
    at = [c.at for c in book.cells if c.kind == 'markdown' and re.search(r'^## Change it$', '\n'.join(c.lines), re.M)]
    assert len(at) == 1 and at[0] >= len(book.cells)-4, f'## Change it in {at} of {len(book.cells)} cells'
    lines = sum(c.size for c in book.code if c.at > at[0] and not c.has('hide'))
    assert lines or book.name in WAITING, 'no lines that can be changed'

@each_concept
def test_a_concept_has_pictures(book): assert book.pictures >= PICTURES

# --- the tools above

def made(*cells):
    "A notebook of (kind, source) pairs"
    out = Book.__new__(Book)
    out.path,out.name = ROOT/'nbs'/'none.ipynb', 'none.ipynb'
    out.cells = [Cell(i, dict(cell_type=k, source=s.splitlines(True))) for i,(k,s) in enumerate(cells)]
    out.code = [c for c in out.cells if c.kind == 'code']
    return out

def test_what_is_counted():
    long = '#| export\ndef f():\n' + '\n\n'.join(['    1']*20)
    b = made(('code', '#| default_exp a_b'), ('markdown', '# a b'), ('code', '#| export\nimport os'),
        ('code', long), ('markdown', 'words'), ('code', 'f()'), ('code', '#| exporti\nx = 1'), ('code', '#| hide\nx'))
    assert [a.at for a,_ in b.exported] == [3, 6]
    assert [(c.at, c.size) for c in b.long] == [(3, 21)] and [c.at for c in b.unseen] == [6]
    assert b.title == 'a b' and b.title in b.names and {'a_b', 'none'} < b.names

def test_what_separates_and_what_shows():
    def cell(s): return Cell(0, dict(cell_type='code', source=s.splitlines(True)))
    assert cell('a = 1; b = 2').separators == 1
    assert not any(cell(s).separators for s in ("'a; b'", 'f(1);', 'f(1);  # x', '%time x; y'))
    shown = ('print(1)', 'fig,ax = plt.subplots()', 'with x():\n    print(1)')
    assert all(cell(s).shows for s in shown)
    assert not any(cell(s).shows for s in ('def f(): print(1)', 'if x: print(1)', 'x = f(print)'))

if __name__ == '__main__':
    chosen = [b for b in BOOKS if all(o in b.name for o in sys.argv[1:])]
    print(offenders(chosen))
    for b in chosen:
        said = [f'wide: {places(b.wide, widest)}' if b.wide else '',
            f'`;`: {places(b.separated)}' if b.separated else '',
            f'not executed: {places(b.silent)}' if b.silent else '']
        if any(said): print(f'{b.name}; ' + '; '.join(o for o in said if o))
    short,shown = shares(chosen)
    n = sum(len(b.exported) for b in chosen)
    print(f'{n} exported cells: {short:.1%} short (wanted {SHORT:.0%}), {shown:.1%} shown (wanted {SHOWN:.0%})')
