"The few rules of pyproject.toml hold, and notebooks read as books: cells are short, shown at once, and fit the page"
import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# the notebooks that are held to it; the list may only get longer
BOOKS = [f'nbs/library/{o}.ipynb' for o in ('01_core', '02_digests', '03_provenance', '05_sets', '06_formats',
    '07_tables', '08_condensed', '09_layouts', '12_augment', '13_models', '14_train', '15_evaluation')]
BOOKS += [f'nbs/guides/{o}.ipynb' for o in ('05_add_a_method', '06_a_table_again')]

def test_ruff_has_nothing_to_say():
    folders = [o for o in ('dc_nb', 'tests', 'benchmarks', 'docs') if (ROOT/o).is_dir()]
    r = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'concise', *folders],
        cwd=ROOT, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout+r.stderr

def cells(book): return [c | dict(source=''.join(c['source'])) for c in json.loads((ROOT/book).read_text())['cells']]
def exported(cell): return cell['cell_type'] == 'code' and '#| export' in cell['source'].splitlines()[:3]
def lines(cell): return [o for o in cell['source'].splitlines() if o.strip() and not o.startswith('#|')]
def only_imports(cell):
    return all(isinstance(s, (ast.Import, ast.ImportFrom)) for s in ast.parse('\n'.join(lines(cell))).body)

def definitions(book):
    "(lines of an exported cell, whether the next code cell shows it), imports left out"
    code = [c for c in cells(book) if c['cell_type'] == 'code']
    return [(len(lines(a)), not exported(b)) for a,b in zip(code, [*code[1:], code[0]])
        if exported(a) and not only_imports(a)]

def test_cells_are_short_and_shown():
    "Nine of ten exported cells have at most 20 lines; four of five are followed by a cell that shows or breaks them"
    found = [o for book in BOOKS for o in definitions(book)]
    assert sum(n <= 20 for n,_ in found) >= .9*len(found)
    assert sum(shown for _,shown in found) >= .8*len(found)

def test_lines_fit_the_page():
    long = [(book, o) for book in BOOKS for c in cells(book) if c['cell_type'] == 'code'
        for o in c['source'].splitlines() if len(o) > 120]
    assert not long, long

def test_titles_are_for_people():
    "A title that is the module's name says nothing to somebody who does not know the module"
    heads = {book:next(c['source'] for c in cells(book) if c['cell_type'] == 'markdown').splitlines()[0] for book in BOOKS}
    assert not {b:h for b,h in heads.items() if h.removeprefix('# ') == Path(b).stem.partition('_')[2]}
