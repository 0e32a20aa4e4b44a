"The documentation site: what becomes of notebooks, names and figures; then the built site in a browser"
import ast
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from browsing import SIZES, chromium, opened
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT/'docs'))
import api
import checks
import commands
import dc_nb
import house
import stage
from dc_nb.data import CondensedSet
from stage import Links, Names, Notebook, PageError, defined, directives, doors, label, notebooks, only_imports
from stage import outside_code, staged

# --- notebooks

def md(s): return dict(cell_type='markdown', id='a', metadata={}, source=s.splitlines(True))
def code(s, outputs=(), tags=()):
    about = dict(cell_type='code', id='b', metadata=dict(tags=list(tags)) if tags else {}, execution_count=3)
    return dict(about, source=s.splitlines(True), outputs=list(outputs))
def book(path, *cells): return Notebook(Path(path), list(cells))

OPENING = '# The shape of a cloud\n\n> Mean and variance.\n\nMore, with `pool`.'
MOMENTS = book('concepts/1_moments.ipynb', code('#| default_exp moments'), md(OPENING))
RUNS = book('20a_runs.ipynb', md('# Runs\n\nSee [moments](06_moments.ipynb#pooling).'))

def test_a_notebook_says_its_name():
    assert (MOMENTS.slug, MOMENTS.folder, MOMENTS.module) == ('moments', 'concepts', 'moments')
    assert (MOMENTS.title, MOMENTS.summary) == ('The shape of a cloud', 'Mean and variance.')
    assert (RUNS.slug, RUNS.folder, RUNS.docname, RUNS.module) == ('runs', '.', 'nbs/20a_runs', None)
    assert book('3_x.ipynb', md('text')).title == '3_x'

def test_directives_and_definitions():
    assert directives('#| export\n#| eval: false\nx = 1\n#| no') == ({'export':None, 'eval':'false'}, 'x = 1\n#| no')
    assert only_imports('import a\nfrom b import c')
    assert not only_imports('import a\na.b()') and not only_imports('%time x')
    assert only_imports("import a\n_all_ = ['b']") and not only_imports("import a\n__all__ = a.b()")
    assert defined('x = 1\n%magic') == []
    source = 'class A(B):\n  def f(self): pass\n@patch(as_prop=True)\ndef g(self:A): pass\nh,i = 1,2\nj:int = 3'
    assert defined(source) == ['A', 'A.f', 'A.g', 'h', 'i', 'j']
    assert label('core', 'recipe') != label('core', 'Recipe') and label('a', 'B.c_d') == 'source-a-b-class-c-d'

def page(*cells, exported=None, books=()):
    b = book('1_toy.ipynb', *cells)
    out = staged(b, Links([b, *books], 'https://git'), Names(exported or {}))
    return out['cells'], '\n'.join(''.join(c['source']) for c in out['cells'])

def test_what_a_page_shows():
    said = dict(output_type='stream', name='stdout', text=['1'])
    cells,text = page(code('#| default_exp toy'), md('# Toy\n\n> Plays.\n\nMore.'), code('#| export\nimport os'),
        code('#| export\ndef f(x): return x'), code('#| hide\nsecret'), code('f(1)', [said], ['remove_input']))
    assert 'secret' not in text and 'default_exp' not in text and '#|' not in text
    assert '(source-toy-f)=' in text and text.index('(source-toy-f)=') < text.index('def f')
    assert text.index('> Plays.') < text.index('{.where}') < text.index('More.') and '#module-toy' in text
    tags = {''.join(c['source']):c['metadata'].get('tags') for c in cells}
    assert tags['import os'] == ['exported', 'hide-input'] and tags['f(1)'] == ['remove-input']
    assert all(c.get('execution_count') is None for c in cells) and all(c['id'] for c in cells)

def test_a_folded_cell_says_what_it_is():
    "Imports are folded under that word, helpers under another"
    cells,_ = page(code('#| default_exp toy'), md('# Toy'), code('#| export\nimport os'), code('def f(): pass', tags=['hide-input']))
    said = {''.join(c['source']):c['metadata'].get('mystnb', {}).get('code_prompt_show') for c in cells}
    assert said['import os'] is None and said['def f(): pass'] == 'Code'

def test_a_page_keeps_no_state_of_widgets():
    "It would make Sphinx load scripts from another host"
    b = book('1_toy.ipynb', md('# Toy'))
    b.metadata = dict(kernelspec=dict(name='python3'), widgets=dict(a=1))
    assert staged(b, Links([b], 'https://git'), Names({}))['metadata'] == dict(kernelspec=dict(name='python3'))

# --- links

LINKS = Links([MOMENTS, RUNS], 'https://git', ('letters-cifar10-ipc10',), ROOT)

def test_links_find_notebooks_wherever_they_lie():
    far = '[w](https://x.org/a.ipynb)'
    assert LINKS.rewrite(RUNS, f'[m](06_moments.ipynb#pooling) {far}') == f'[m](concepts/1_moments.ipynb#pooling) {far}'
    assert LINKS.rewrite(MOMENTS, '[a](#Theorem-3.2) [b](20a_runs.ipynb#At-once)') == '[a](#theorem-32) [b](../20a_runs.ipynb#at-once)'
    stays = '[`r`](../20a_runs.ipynb "runs") [here](#top)'
    assert LINKS.rewrite(MOMENTS, stays) == stays
    with pytest.raises(PageError, match='1_moment.ipynb, which is not in nbs/; did you mean 1_moments.ipynb'):
        LINKS.rewrite(RUNS, '[m](1_moment.ipynb)')

def test_links_to_figures_and_files():
    assert LINKS.rewrite(RUNS, '[f](../figures/letters-cifar10-ipc10.png)') == '[f](#figure-letters-cifar10-ipc10)'
    moved = '![f](../figures/letters-cifar10-ipc10.png)'                # down a folder, the link as it was
    assert LINKS.rewrite(MOMENTS, moved) == '![f](../../figures/letters-cifar10-ipc10.png)'
    assert LINKS.rewrite(RUNS, '[c](../CONTRIBUTING.md)') == '[c](https://git/CONTRIBUTING.md)'
    with pytest.raises(PageError, match='nothing.md, which does not exist'): LINKS.rewrite(RUNS, '[c](nothing.md)')
    with pytest.raises(PageError, match='is not in figures'): LINKS.rewrite(RUNS, '![c](../CONTRIBUTING.md)')

def test_code_is_no_link():
    for text in ('`a[i](x.md)`', '```\n[a](no.ipynb)\n```', 'Text:\n\n    m[a](no.ipynb)\n'):
        assert LINKS.rewrite(RUNS, text) == text
    assert outside_code('a `b` c', str.upper) == 'A `b` C'
    with pytest.raises(PageError): LINKS.rewrite(RUNS, '- item\n    goes on [a](no.ipynb)')

def test_names_become_links_to_their_entries():
    core = {'table', 'stream', 'Recipe', 'Recipe.but'}
    names = Names({'core':core, 'moments':{'pool', 'rate'}, 'mls':{'rate', 'most_learnable'}})
    linked = lambda s, m=None: names.link(s, m)
    assert linked('`most_learnable`') == '{py:obj}`most_learnable <dc_nb.mls.most_learnable>`'
    assert linked('`core.stream()` and `Recipe.but`').count('{py:obj}') == 2
    stay = ['`table` of a `rate`', '# `Recipe`', '[`Recipe`](x)', '```\n`Recipe`\n```', '$`Recipe`$', '`a Recipe`']
    for text in stay: assert linked(text) == text
    assert linked('`pool`', 'moments') == '{py:obj}`pool <dc_nb.moments.pool>`'
    assert linked('`Recipe` is a `Recipe`').count('{py:obj}') == 1                      # once a cell is enough

def test_a_function_of_a_page_is_not_taken_for_a_module_of_its_name():
    "`students` is an ablation on its page, and a module elsewhere"
    cells = [md('# Toy'), code('#| exporti\n@ablations\ndef students(s): pass'), md('The ablation `students` of `runs`')]
    linked = staged(book('1_toy.ipynb', *cells), LINKS, Names(dict(students=set(), runs=set())))['cells'][-1]['source']
    assert ''.join(linked) == 'The ablation `students` of {py:obj}`runs <dc_nb.runs>`'

# --- doors

def test_every_notebook_lies_behind_one_door():
    books = notebooks(ROOT/'nbs')
    house_of = doors(books)
    assert list(house_of) == ['read', 'run', 'use']
    shown = [b.path for groups in house_of.values() for g in groups.values() for b in g]
    assert sorted(shown) == sorted(b.path for b in books)

def test_every_name_of_a_door_is_a_notebook():
    slugs = {b.slug for b in notebooks(ROOT/'nbs')}
    assert {n for g in stage.read_table()['group'] for n in g.get('notebooks', ())} <= slugs

def test_a_new_notebook_goes_where_its_folder_goes():
    want = dict(concepts='read', library='use', experiments='run', guides='use', elsewhere='read')
    new = [book(f'{f}/1_new_{f}.ipynb') for f in want] + [book('new.ipynb')]
    where = {b.path.parts[0]:d for d,groups in doors(new).items() for g in groups.values() for b in g}
    assert where == want | {'new.ipynb':'read'}

def test_two_notebooks_of_one_name(tmp_path):
    for d in ('a', 'b'):
        (tmp_path/d).mkdir()
        (tmp_path/d/'1_x.ipynb').write_text('{"cells": [], "metadata": {}}')
    with pytest.raises(PageError, match='1_x.ipynb'): notebooks(tmp_path)

def test_all_links_hold_when_notebooks_move(tmp_path):
    "Every notebook in another folder under another number: the pages still find each other"
    for i,f in enumerate(sorted((ROOT/'nbs').rglob('*.ipynb'))):
        slug = Notebook(f.relative_to(ROOT/'nbs'), []).slug
        name = 'index.ipynb' if slug == 'index' else f'{i+1}_{slug}.ipynb'
        to = tmp_path/'nbs'/('concepts', 'library/deep')[i%2]/name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f, to)
    for d in ('figures', 'docs', 'results', 'tests', 'benchmarks'): (tmp_path/d).symlink_to(ROOT/d)
    for f in ROOT.glob('*.*'): (tmp_path/f.name).symlink_to(f)
    books = notebooks(tmp_path/'nbs')
    links = Links(books, 'https://git', tuple(f.stem for f in (ROOT/'figures').glob('*.png')), tmp_path)
    for b in books: staged(b, links, Names({}))

# --- API

SAMPLE = '''"A module to show"
from dataclasses import dataclass
from functools import partial
from torch import Tensor
__all__ = ['half', 'Box', 'kinds', 'Empty', 'Shelf', 'Rack']

class Empty(ValueError): "Nothing is in it"

def _look(x):
    if not len(x): raise Empty(f"{x!r} is empty: give one or more")

def half(
    x:Tensor, # N x C, floats
    by:float=2., # at least 1
    f=partial(max, 3)
)->Tensor: # N x C
    "`x` by two"
    _look(x)
    if by < 1: raise ValueError(f"by {by} is too small")
    return x/by

@dataclass
class Box:
    "A box"
    side: int = 3 # in pixels
    make: object = half
    def open(self, key:str)->list: "With a `key`"; return []
    @property
    def area(self)->int: return self.side**2

class Shelf:
    "Boxes"
    def __init__(self,
        room:int=9 # boxes that fit
    ): self.room = room

class Rack(Shelf): "Shelves"

kinds = dict(a=1, b=2)
'''

@pytest.fixture
def sample(tmp_path, monkeypatch):
    (tmp_path/'dc_nb_sample.py').write_text(SAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(api, 'PACKAGE', 'dc_nb_sample')
    import dc_nb_sample
    yield dc_nb_sample
    del sys.modules['dc_nb_sample']

def test_an_entry_has_signature_shapes_errors_and_source(sample):
    text = api.entry('half', sample.half, sample, {label('dc_nb_sample', 'half')}, 'https://git')
    parts = ['(x: Tensor, by: float = 2.0, f=max(3)) -> Tensor', ':param x: N x C, floats', ':param by: at least 1',
        ':returns: N x C', '“by {by} is too small”', ':raises Empty: “{x} is empty: give one or more”',
        '#source-dc-nb-sample-half', '/dc_nb_sample.py#L12-L20']
    assert [p for p in parts if p not in text] == [], text

def test_an_entry_of_a_class_has_its_fields_and_methods(sample):
    text = api.entry('Box', sample.Box, sample, set(), 'https://git')
    parts = ['class} dc_nb_sample.Box(side: int = 3', ':param side: in pixels', 'property} dc_nb_sample.Box.area',
        ':type: int', 'Box.open(key: str) -> list']
    assert [p for p in parts if p not in text] == [], text
    assert 'Box.make(' not in text                                      # a field that holds a function is no method
    assert '`a`, `b`' in api.entry('kinds', sample.kinds, sample, set(), '')
    assert list(api.exported(sample)) == ['Empty', 'half', 'Box', 'Shelf', 'Rack', 'kinds']

def test_a_class_says_what_it_extends_and_how_it_is_made(sample):
    text = api.entry('Rack', sample.Rack, sample, set(), 'https://git')
    parts = ['class} dc_nb_sample.Rack(room: int = 9)', 'Extends `Shelf`', ':param room: boxes that fit']
    assert [p for p in parts if p not in text] == [], text

def test_every_exported_name_has_an_entry():
    found = api.modules()
    assert {'core', 'moments', 'synthesis', 'sets'} <= set(found)
    for k,m in found.items():
        text = api.page(k, m, k, '', None, set(), 'https://git')
        assert text.count(':::') % 2 == 0 and f'(module-{k})=' in text
        for name in api.exported(m): assert f'}} dc_nb.{k}.{name}' in text, f'{k}.{name}'
    names = api.all_names(found)
    assert 'Recipe.but' in names['core'] and 'CondensedSet.first' in set().union(*names.values())

def test_signatures_are_python():
    for m in api.modules().values():
        for k,o in api.exported(m).items():
            s = api.class_signature(o) if isinstance(o, type) else api.signature(o) if callable(o) else ''
            if s: ast.parse(f'def f{s}: pass')

# --- figures and commands

def test_every_figure_has_a_command_that_can_run():
    from dc_nb.ablation_runs import Ablation
    from dc_nb.edc_runs import Edc
    from dc_nb.experiments import check
    from dc_nb.matching_runs import Mdc
    from dc_nb.sizes import Sizes
    books = notebooks(ROOT/'nbs')
    say,known = commands.sayer(books), commands.stems(ROOT/'results')
    figures = [commands.figure(f, known, say, ROOT/'results') for f in sorted((ROOT/'figures').glob('*.png'))]
    assert figures
    for f in figures:
        said = f['ran'] or f['drawn']
        if said.startswith('make'): continue
        if said.startswith('python '):                                              # a script of its own
            assert (ROOT/said.split()[1]).exists(), said
            continue
        what,*pairs = said.removeprefix('dc_nb run ').split(' -p ')
        p = check(dict(o.split(' ', 1) for o in pairs), dict(edc=Edc, mdc=Mdc, ablation=Ablation, sizes=Sizes)[what])
        assert (p.dataset, p.ipc) == (f['row']['dataset'], f['row']['ipc']), said
        assert commands.heading(f) and commands.told(f)

def test_a_figure_that_nothing_explains(tmp_path):
    (tmp_path/'mystery.png').touch()
    with pytest.raises(PageError, match='mystery.png.*DRAWN'): commands.figure(tmp_path/'mystery.png', {}, lambda r: '')
    for e in ('svg', 'csv'): (tmp_path/f'mystery.{e}').touch()
    assert commands.figure(tmp_path/'mystery.png', {}, lambda r: '')['drawn'] == 'make figures'

def test_command_of_a_row():
    lines = ['ipc: int = 10   # images | class', "dataset: str = 'digits'", 'seeds: int = 5', 'student: str = None  # network']
    run = book('run_edc.ipynb', code('\n'.join(lines), tags=['parameters']))
    given = commands.parameters(run)
    assert given['ipc'] == ('int', 10, 'images | class') and given['dataset'][2] == ''
    assert '| `ipc` | `10` | images \\| class |' in commands.parameter_table(run)
    row = dict(run='edc', ipc=1, dataset='digits', student='resnet18', scores=dict(edc=dict(accuracies=[.1, .2])))
    said = 'dc_nb run edc -p ipc 1 -p seeds 2'
    assert commands.command(row, given) == said
    assert commands.command(row, given, lambda chosen: dict(student='convnet')) == f'{said} -p student resnet18'
    assert commands.command(row, given, lambda chosen: dict(student='resnet18')) == said
    assert commands.planned('edc', dict(method='gone')) == {}       # a row of a time when other names could be given

def test_every_command_of_the_terminal_is_on_its_page():
    from dc_nb.cli import main
    text = commands.terminal(main)
    for k,c in main.commands.items():
        assert f'## dc_nb {k}\n' in text
        for p in c.params:
            if p.param_type_name == 'option': assert p.opts[0] in text
    assert commands.escape('for --weights FOLDER: eval "$(a b)"') == 'for `--weights` FOLDER: `eval "$(a b)"`'
    assert commands.escape('`--json` a_b') == r'`--json` a\_b'

def test_sets_of_the_zoo_have_pages(tmp_path, monkeypatch):
    cs = CondensedSet(torch.rand(2, 2, 1, 4, 4))
    zoo = types.SimpleNamespace(list=lambda: ['toy-ipc2'], load=lambda name: cs)
    monkeypatch.setattr(dc_nb, 'zoo', zoo, raising=False)
    assert '<a href="sets/toy-ipc2.html">toy-ipc2</a>: 2 images a class' in house.set_pages(tmp_path)
    assert 'toy-ipc2' in (tmp_path/'extra'/'sets'/'toy-ipc2.html').read_text()

def test_the_clock():
    said = [commands.clock(s).replace('\N{NO-BREAK SPACE}', ' ') for s in (48.2, 720, 12_000)]
    assert said == ['48 s', '12 min', '3.3 h']

# --- what a site must hold

FAULTS = {
    'links to b.html, which is not there':'<a href="b.html">b</a>',
    'has no #end':'<a href="#end">e</a>',
    'outside the site':'<a href="../x.html">x</a>',
    'a file link':'<a href="file:///etc">x</a>',
    'loads https://x.org/a.js from another host':'<script src="https://x.org/a.js"></script>',
    'loads //x.org/a.css from another host':'<link rel="stylesheet" href="//x.org/a.css">',
    'loads https://x.org/a.woff from another host':'<style>@font-face{src:url("https://x.org/a.woff")}</style>',
    'loads a.png, which is not there':'<img src="a.png">',
    'as it was typed':'<p>For all $x < 1$, <code>$y</code></p>',
    "the formula '\\\\frac":'<p>with \\frac12</p>',
    'at most 3,000,000':'x'*3_000_001}

@pytest.mark.parametrize('says', FAULTS)
def test_a_fault_is_found(says, tmp_path):
    (tmp_path/'index.html').write_text(FAULTS[says])
    assert any(says in p for p in checks.problems(tmp_path)), checks.problems(tmp_path)

def test_a_good_site_has_no_fault(tmp_path):
    assert checks.problems(tmp_path) == ['there is no index.html']
    (tmp_path/'a').mkdir()
    (tmp_path/'a'/'index.html').write_text('<p id="x"><a href="../index.html#y">up</a><a href="https://x.org">out</a>')
    quiet = '<img src="data:image/png;base64,AA"><link rel="canonical" href="https://x.org">'
    code = '<code>$HOME</code><span class="math">\\(\\frac12\\)</span><br><pre>\\alpha</pre>'
    (tmp_path/'index.html').write_text(f'<p id="y"><a href="a/#x">down</a>{quiet}{code}')
    assert checks.problems(tmp_path) == []

# --- the built site

@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "The folder of the built site, the seconds it took, what was printed; built once for all workers"
    for m in ('sphinx', 'myst_nb', 'pydata_sphinx_theme'): pytest.importorskip(m)
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base)/'docs'
    with FileLock(f'{out}.lock'):
        if not (out/'log.json').exists():
            begun = time.monotonic()
            command = [sys.executable, str(ROOT/'docs'/'house.py'), '--out', str(out)]
            r = subprocess.run(command, capture_output=True, text=True)
            (out/'log.json').write_text(json.dumps([r.returncode, time.monotonic()-begun, r.stdout + r.stderr]))
    code,seconds,said = json.loads((out/'log.json').read_text())
    assert code == 0, said
    return out/'site',seconds,said

@pytest.mark.slow
def test_the_site_is_built_without_a_warning_in_three_minutes(site):
    where,seconds,said = site
    assert seconds < 180 and 'WARNING' not in said and 'no warning' in said
    pages = {f.relative_to(where).as_posix() for f in where.rglob('*.html')}
    books = notebooks(ROOT/'nbs')
    assert {f'{p}.html' for p in ('index', 'read', 'run', 'use', 'gallery', 'commands', 'search')} <= pages
    assert {f'{b.docname}.html' for b in books} | {f'api/{k}.html' for k in api.modules()} <= pages
    assert not any('nbdev_export' in (where/p).read_text() for p in pages if p.startswith('nbs/'))
    assert 'nbs/tour.html' in (where/'index.html').read_text()                           # the first page leads to the tour
    gallery = (where/'gallery.html').read_text()
    assert all(f.name in gallery for f in (ROOT/'figures').glob('*.png'))

@pytest.fixture(scope='module')
def browser():
    with chromium() as b: yield b

@pytest.fixture(scope='module')
def address(site):
    "The site as a server shows it"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(site[0])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()

PLACES = '() => [...document.querySelectorAll("img, body > div > div:last-child")].map(e => e.getBoundingClientRect().bottom)'

@pytest.mark.parametrize('width,beside', [(1280, True), (390, False)])
def test_a_set_in_a_notebook_fits_a_phone(browser, width, beside):
    "Its words stand beside the images where there is room, else below; the images slide where they are too wide"
    tab,wrong = opened(browser, width, 'light')
    cs = CondensedSet(torch.rand(10, 12, 1, 8, 8), meta=dict(licence='CC BY 4.0, with thanks to all who drew it '*5))
    tab.set_content(f'<!doctype html><meta name="viewport" content="width=device-width"><body>{cs._repr_html_()}')
    seen = tab.evaluate(SIZES)
    assert not wrong and not seen['wide'] and seen['page'] <= 0, seen
    image,words = tab.evaluate(PLACES)
    assert (words <= image) == beside

CUT = '''() => [...document.querySelectorAll('div.cell_output pre')].filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent.slice(0, 60))'''

@pytest.mark.slow
@pytest.mark.parametrize('width', [1280, 390])
def test_every_page_fits_the_screen(site, browser, address, width):
    "Each page in light at one width and in dark at the other"
    pages = sorted(f.relative_to(site[0]).as_posix() for f in site[0].rglob('*.html'))
    tabs = {s:opened(browser, width, s) for s in ('light', 'dark')}
    faults = {}
    for i,name in enumerate(pages):
        scheme = ('light', 'dark')[(i + (width == 390)) % 2]
        tab,wrong = tabs[scheme]
        tab.goto(f'{address}/{name}', wait_until='load')
        tab.evaluate('window.MathJax?.startup?.promise')
        seen = tab.evaluate(SIZES)
        bad = [*wrong, *(f'wider than the page: {w}' for w in seen['wide'][:3])]
        if seen['page'] > 0: bad.append(f"the page scrolls sideways by {seen['page']}")
        formulas = f"{seen['math']} formulas, {seen['set']} set, {seen['wrong']} wrong"
        if seen['wrong'] or seen['set'] < seen['math']: bad.append(formulas)
        if name.startswith(('nbs/', 'api/')) and seen['theme'] != scheme: bad.append(f'not {scheme}')
        if width == 1280: bad += [f'an output is cut: {o}' for o in tab.evaluate(CUT)]
        if bad: faults[name] = bad
        wrong.clear()
    assert not faults, json.dumps(faults, indent=1)

COLUMNS = '''() => { const pre = document.querySelector('div.cell_input pre'), s = getComputedStyle(pre);
  const probe = Object.assign(document.createElement('span'), {textContent: '0'.repeat(120)});
  pre.append(probe);
  const need = probe.getBoundingClientRect().width;
  probe.remove();
  return [need, pre.clientWidth - parseFloat(s.paddingLeft) - parseFloat(s.paddingRight)] }'''

@pytest.mark.slow
def test_a_line_of_code_is_seen_whole(browser, address):
    tab,_ = opened(browser, 1280, 'light')
    tab.goto(f'{address}/nbs/tour.html')
    need,room = tab.evaluate(COLUMNS)
    assert need <= room, f'120 columns take {need:.0f} pixels, there are {room:.0f}'

@pytest.mark.slow
@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_through_the_doors(browser, address, width, scheme):
    tab,wrong = opened(browser, width, scheme)
    for door in ('Read', 'Run', 'Use'):
        tab.goto(f'{address}/index.html')
        tab.locator('.door a', has_text=door).click()
        tab.wait_for_url(f'**/{door.lower()}.html')
        assert tab.locator('h1').first.inner_text().startswith(door)
        tab.locator('article li a').first.click()
        tab.wait_for_load_state('load')
        assert '/nbs/' in tab.url and tab.locator('h1').count()
    tab.goto(f'{address}/search.html?q=pool')
    tab.wait_for_selector('#search-results li')
    assert tab.locator('#search-results a', has_text='pool').count()
    assert not wrong, wrong
