"""`make docs`: stage the pages in _docs/pages, let Sphinx write _docs/site, check what came out.

Nothing is executed or fetched: notebooks are shown with the outputs that they were committed with.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from configparser import ConfigParser
from pathlib import Path

from stage import ROOT             # first: the library of this checkout is the one whose pages are made

sys.path.insert(0, str(ROOT))
import api
import checks
import commands
from stage import Links, Names, directives, doors, label, notebooks, public, read_table, staged, text, unlinked

HERE = Path(__file__).resolve().parent

def git_url(root=ROOT)->str:
    "Where the files of the repository can be read"
    c = ConfigParser(delimiters=['='])
    c.read(root/'settings.ini', encoding='utf-8')
    return f"{c['DEFAULT']['git_url']}/blob/{c['DEFAULT']['branch']}"

def write(path, content:str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding='utf-8')

def toctree(entries, caption='', hidden=True, depth=1)->str:
    "A table of contents for Sphinx"
    options = [f':maxdepth: {depth}', *([f':caption: {caption}'] if caption else []), *([':hidden:'] if hidden else [])]
    return '\n'.join(['```{toctree}', *options, '', *entries, '```'])

def short_title(book)->str: return read_table().get('titles', {}).get(book.slug, book.title)

def listed(books)->str:
    "Notebooks as a list: title, what it is about"
    def about(b): return f': {lower(b.summary)}' if b.summary else ''
    return '\n'.join(f'- [{short_title(b)}](/{b.docname}.ipynb){about(b)}' for b in books)

def lower(s)->str: return s[0].lower()+s[1:] if s[:1].isupper() and not s[1:2].isupper() else s

def grouped(groups)->str:
    "The groups of a door, each a heading, a list, and its part of the side bar"
    def one(title, books):
        rooms = toctree([f'{short_title(b)} </{b.docname}>' for b in books], title)
        return f'## {title}\n\n{listed(books)}\n\n{rooms}'
    return '\n\n'.join(one(*o) for o in groups.items())

def filled(name, **values)->str:
    "pages/NAME with its {{ values }}"
    page = (HERE/'pages'/name).read_text(encoding='utf-8')
    return re.sub(r'\{\{ (\w+) \}\}', lambda m: values[m[1]], page)

def labels_of(books)->set:
    "Labels of every exported definition of the notebooks"
    out = set()
    for b in books:
        for c in b.cells:
            if not b.module or c['cell_type'] != 'code': continue
            found,source = directives(text(c))
            if any(d.startswith('export') for d in found): out |= {label(b.module, n) for n in public(source)}
    return out

def stage_all(pages, root=ROOT):
    "Every page of the site, as Sphinx reads it"
    books,git = notebooks(root/'nbs'), git_url(root)
    figures = sorted((root/'figures').glob('*.png'))
    links,modules = Links(books, git, tuple(f.stem for f in figures), root), api.modules()
    names,house = Names(api.all_names(modules)), doors(books, HERE/'doors.toml')
    for b in books: write(pages/f'{b.docname}.ipynb', json.dumps(staged(b, links, names), ensure_ascii=False))
    if figures: shutil.copytree(root/'figures', pages/'figures')
    api_pages(pages, books, modules, git)
    run_pages(pages, books, figures, root)
    door_pages(pages, books, house, modules, root)

def api_pages(pages, books, modules, git):
    by_module,labels = {b.module:b for b in books if b.module}, labels_of(books)
    for k,m in modules.items():
        about = (b.title, b.summary, b.docname) if (b := by_module.get(k)) else (k, '', None)
        write(pages/'api'/f'{k}.md', api.page(k, m, *about, labels, git))

def run_pages(pages, books, figures, root):
    from dc_nb.ablations import ablations, mdc_ablations
    from dc_nb.cli import main
    said = {k:(f.__doc__ or '') for r in (mdc_ablations, ablations) for k,f in r.items()}
    say,known = commands.sayer(books), commands.stems(root/'results')
    shown = [commands.figure(f, known, say, root/'results') for f in figures]
    write(pages/'gallery.md', commands.gallery(shown, said))
    write(pages/'commands.md', commands.terminal(main))

def door_pages(pages, books, house, modules, root):
    index = next((b for b in books if b.slug == 'index'), books[0])
    tour = next((b for b in books if b.slug == 'tour'), None)
    rooms = toctree(['Read <read>', 'Run <run>', 'Use <use>', 'Gallery <gallery>'])
    start = f"**New here?** Begin with [{lower(tour.title)}](/{tour.docname}.ipynb)." if tour else ''
    write(pages/'index.md', filled('index.md', start=start, results=f'/{index.docname}.ipynb', toctree=rooms))
    write(pages/'read.md', filled('read.md', start=start, groups=grouped(house['read'])))
    takes = [b for g in house['run'].values() for b in g if commands.parameters(b)]
    tables = '\n\n'.join(f"### [{b.title}](/{b.docname}.ipynb)\n\n{commands.parameter_table(b)}" for b in takes)
    hours = commands.hours(root/'results', commands.sayer(books))
    terminal = toctree(['commands'], 'Commands')
    values = dict(hours=hours, commands=terminal, parameters=tables, groups=grouped(house['run']))
    write(pages/'run.md', filled('run.md', **values))
    listing = '\n'.join(f"- [`dc_nb.{k}`](api/{k}.md): {lower(first_line(m))}" for k,m in modules.items())
    entries = toctree([f'{k} <api/{k}>' for k in modules], 'API')
    modules = f'{listing}\n\n{entries}'
    write(pages/'use.md', filled('use.md', groups=grouped(house['use']), sets=set_pages(pages), modules=modules))

def first_line(module)->str: return unlinked((module.__doc__ or 'exported names').strip().splitlines()[0])

def set_pages(pages)->str:
    "A page for every set of the zoo, where there is one"
    try: from dc_nb import zoo
    except ImportError: return ''
    from dc_nb.pages import save_page
    names = sorted(zoo.list())
    sets = {n:zoo.load(n) for n in names}
    for n,cs in sets.items(): save_page(cs, pages/'extra'/'sets'/f'{n}.html', title=n)
    return '## Sets to look at\n\n' + '\n'.join(f'- <a href="sets/{n}.html">{n}</a>: {told(cs)}' for n,cs in sets.items())

def told(cs)->str:
    "What a set is, in a line; its page says the rest"
    made = f" of {cs.meta['data']}" if 'data' in cs.meta else ''
    student = f", judged by {cs.meta['student']}" if 'student' in cs.meta else ''
    return f"{cs.ipc} image{'s'*(cs.ipc > 1)} a class{made}{student}"

def sphinx(pages, site, jobs)->int:
    "Warnings are errors"
    options = ['-W', '--keep-going', '-q', '-j', jobs, '-d', site.parent/'doctrees', '-c', HERE]
    return subprocess.run([sys.executable, '-m', 'sphinx', '-b', 'html', *map(str, [*options, pages, site])]).returncode

def build(out=ROOT/'_docs', jobs=1)->int:
    "Stage, build, check; the exit status"
    begun,pages,site = time.monotonic(), out/'pages', out/'site'
    for d in (pages, site): shutil.rmtree(d, ignore_errors=True)
    stage_all(pages)
    if failed := sphinx(pages, site, jobs): return failed
    if (pages/'extra').exists(): shutil.copytree(pages/'extra', site, dirs_exist_ok=True)
    (site/'.nojekyll').touch()                                  # else GitHub Pages leaves out folders that begin with _
    found = checks.problems(site)
    n,seconds = len(list(site.rglob('*.html'))), time.monotonic()-begun
    good = f'{n} pages in {seconds:.0f} s: no warning, no broken link, nothing from another host'
    print('\n'.join(found) or f"{good}\n{site/'index.html'}")
    return bool(found)

if __name__ == '__main__':
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument('--out', type=Path, default=ROOT/'_docs', help='folder of pages and site')
    a.add_argument('--jobs', type=int, default=1, help='processes')
    a = a.parse_args()
    sys.exit(build(a.out.resolve(), a.jobs))
