"Notebooks become pages: hidden cells go, links find their target wherever it lies, exported cells get a name."
import ast
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Container
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]

class PageError(ValueError):
    "Something that a page of the site cannot have; the message names the notebook and what would be right"

@dataclass
class Notebook:
    "One notebook of nbs/ and where its page goes"
    path: Path                                          # below nbs/
    cells: list
    metadata: dict = field(default_factory=dict)

    @property
    def slug(self)->str: return re.sub(r'^\d+[a-z]?_', '', self.path.stem)      # the name without its number
    @property
    def folder(self)->str: return self.path.parts[0] if len(self.path.parts) > 1 else '.'
    @property
    def docname(self)->str: return f"nbs/{self.path.with_suffix('').as_posix()}"
    def first(self, kind, pattern)->str|None:
        "What the group of `pattern` finds in the first cell of a kind that has it"
        found = (re.search(pattern, text(c), re.M) for c in self.cells if c['cell_type'] == kind)
        return next((m[1] for m in found if m), None)
    @property
    def title(self)->str: return (self.first('markdown', r'^#\s+(.+)$') or self.path.stem).strip()
    @property
    def summary(self)->str:
        "The block quote under the title, or nothing"
        quote = self.first('markdown', r'^#\s+.+\n+((?:>.*\n?)+)') or ''
        return unlinked(' '.join(re.sub(r'^>\s?', '', quote, flags=re.M).split()))
    @property
    def module(self)->str|None: return self.first('code', r'^#\|\s*default_exp\s+(\S+)')

def unlinked(markdown)->str: return re.sub(r'(?<!!)\[([^\[\]]+)\]\([^()]*\)', r'\1', markdown)

def text(cell)->str: return ''.join(cell['source'])

def notebooks(nbs=ROOT/'nbs')->list:
    "Every notebook below `nbs`, in the order of their paths"
    found = sorted(f for f in Path(nbs).rglob('*.ipynb') if not any(p[0] in '._' for p in f.relative_to(nbs).parts))
    raw = {f.relative_to(nbs): json.loads(f.read_text(encoding='utf-8')) for f in found}
    books = [Notebook(f, nb['cells'], nb['metadata']) for f,nb in raw.items()]
    twice = {b.path.name for b in books if sum(o.path.name == b.path.name for o in books) > 1}
    if twice: raise PageError(f"notebooks of one name cannot be told apart by a link: {', '.join(sorted(twice))}")
    return books

# --- doors

def read_table(table=ROOT/'docs'/'doors.toml')->dict: return tomllib.loads(Path(table).read_text(encoding='utf-8'))

def doors(books, table=ROOT/'docs'/'doors.toml')->dict:
    "{door: {group: [Notebook]}} by the table; a notebook that no list names goes where its folder goes"
    groups = read_table(table)['group']
    named = {n:i for i,g in reversed(list(enumerate(groups))) for n in g.get('notebooks', ())}
    folders = {f:i for i,g in reversed(list(enumerate(groups))) for f in g.get('folders', ())}
    where = {b.path: named.get(b.slug, folders.get(b.folder, folders.get('.'))) for b in books}
    out = {}
    for i,g in enumerate(groups):
        order = {n:k for k,n in enumerate(g.get('notebooks', ()))}
        mine = sorted((b for b in books if where[b.path] == i), key=lambda b: (order.get(b.slug, len(order)), b.path))
        out.setdefault(g['door'], {})
        if mine: out[g['door']].setdefault(g['title'], []).extend(mine)
    return out

# --- links

LINK = re.compile(r'(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+(?:\([^()\s]*\))?)(\s+"[^"]*")?\)')

@dataclass
class Links:
    "Where a link of a notebook leads on the site"
    books: list
    git: str = ''                                       # https://github.com/USER/REPO/blob/BRANCH
    figures: tuple = ()                                 # stems that the gallery shows
    root: Path = ROOT

    def __call__(self, book:Notebook, target:str, image=False)->str:
        "The link as the page needs it; raises `PageError` for one that leads nowhere"
        if re.match(r'[a-z][a-z0-9+.-]*:|//', target): return target
        path,_,anchor = target.partition('#')
        anchor = f'#{heading_id(anchor)}' if anchor else ''
        if not path: return anchor
        if path.endswith('.ipynb'):
            return self.relative(book, f'{self.notebook(book, unquote(path)).docname}.ipynb') + anchor
        file = self.file(book, unquote(path))
        inside = file.relative_to(self.root)
        if inside.parts[0] == 'figures':
            if not image and file.suffix != '.csv' and file.stem in self.figures: return f'#figure-{file.stem}'
            return self.relative(book, inside.as_posix())
        if image: raise PageError(f"{book.path}: the picture {target} is not in figures/")
        return f"{self.git}/{inside.as_posix()}{anchor}"

    def relative(self, book, target): return Path(os.path.relpath(target, Path(book.docname).parent)).as_posix()

    def notebook(self, book, path)->Notebook:
        name = Path(path).name
        slug = Notebook(Path(name), []).slug
        found = [b for b in self.books if b.path.name == name] or [b for b in self.books if b.slug == slug]
        if found: return found[0]
        near = get_close_matches(name, [b.path.name for b in self.books], 1, .5)
        guess = f'; did you mean {near[0]}?' if near else ''
        raise PageError(f'{book.path} links to {path}, which is not in nbs/{guess}')

    def file(self, book, path)->Path:
        "A file of the repository: as the notebook says it, or below the root, where a notebook was moved"
        here = (self.root/'nbs'/book.path).parent
        for f in (here/path, self.root/re.sub(r'^(\.\./)+', '', path)):
            f = Path(os.path.normpath(f))
            if f.is_relative_to(self.root) and f.exists(): return f
        raise PageError(f"{book.path} links to {path}, which does not exist")

    def rewrite(self, book, markdown:str)->str:
        "All links of a Markdown text, code left alone"
        def one(m):
            image,words = m[1], m[2] if m[1] else self.rewrite(book, m[2])
            return f"{image}[{words}]({self(book, m[3], bool(image))}{m[4] or ''})"
        return outside_code(markdown, lambda part: LINK.sub(one, part))

def heading_id(anchor:str)->str:
    "Jupyter's anchors keep capitals and points, those of the site (as GitHub's) do not"
    return re.sub(r'[^\w\- ]', '', unquote(anchor).lower()).replace(' ', '-')

FENCE = re.compile(r'(^(?P<f>```+|~~~+).*?^(?P=f)[ \t]*$|^(?: {4}|\t).*$)', re.S|re.M)
CODE = re.compile(r'(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)', re.S)

def outside_code(markdown:str, change)->str:
    "`change` applied to what is neither a code block nor code in a line"
    def outside_spans(part):
        out,at = [],0
        for m in CODE.finditer(part):
            out += [change(part[at:m.start()]), m[0]]
            at = m.end()
        return ''.join(out) + change(part[at:])
    return outside_fences(markdown, outside_spans)

def outside_fences(markdown:str, change)->str:
    "`change` applied to what stands in no fenced or indented code block"
    out,at = [],0
    for m in FENCE.finditer(markdown):
        if m[0][0] in ' \t' and not after_blank(markdown, m.start()): continue      # a list or a paragraph that goes on
        out += [change(markdown[at:m.start()]), m[0]]
        at = m.end()
    return ''.join(out) + change(markdown[at:])

def after_blank(markdown, start)->bool:
    "Whether indented text at `start` is code: it follows a blank line or other indented lines that do"
    before = markdown[:start].splitlines()
    while before and re.match(r' {4}|\t', before[-1]) and before[-1].strip(): before.pop()
    return not before or not before[-1].strip()

# --- names that have a page in the API

NAMED = re.compile(r'''^\#.*?$                                  # a heading, link, formula or code, which stay
    | !?\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)]*\) | \$\$.+?\$\$ | \$[^$\n]+\$ | (?<!`)``+(?!`).+?``+
    | (?<![`}])`(?P<code>[A-Za-z_][\w.]*(?:\(\))?)`(?!`)       # and a name''', re.S|re.M|re.X)

@dataclass
class Names:
    "Code in the text that names something of the library becomes a link to its page"
    exported: dict                                      # {module: {name or Class.method}}

    def target(self, word:str, module:str|None, own:Container[str]=())->str|None:
        "`module.name` of a word, None where it is nothing of ours, could be several things or is the page's `own`"
        word = word.removesuffix('()').removeprefix('dc_nb.')
        for m,names in self.exported.items():
            if word == m and word not in own: return m
            if word.startswith(m+'.') and word[len(m)+1:] in names: return word
        if module and word in self.exported.get(module, ()): return f'{module}.{word}'
        if not re.search(r'[A-Z_.]', word): return None                             # `rate` may be many things
        owners = [m for m,names in self.exported.items() if word in names]
        return f'{owners[0]}.{word}' if len(owners) == 1 else None

    def link(self, markdown:str, module:str|None, own:Container[str]=())->str:
        "Each name once a cell; headings, links and code blocks stay as they are"
        seen = set()
        def one(m):
            target = m['code'] and self.target(m['code'], module, own)
            if not target or target in seen: return m[0]
            seen.add(target)
            return f"{{py:obj}}`{m['code']} <dc_nb.{target}>`"
        return outside_fences(markdown, lambda part: NAMED.sub(one, part))

# --- cells

DIRECTIVE = re.compile(r'^#\|\s*(\S+?):?(?:\s+(.*?))?\s*$')
HIDDEN = {'hide', 'default_exp', 'hide_cell'}
TAGS = dict(hide_input='remove-input', hide_output='remove-output', echo='remove-input')

def directives(source:str)->tuple[dict,str]:
    "({directive: its argument}, the source without them)"
    lines = source.splitlines(keepends=True)
    n = next((i for i,l in enumerate(lines) if l.strip() and not DIRECTIVE.match(l.strip())), len(lines))
    found = [DIRECTIVE.match(l.strip()) for l in lines[:n] if l.strip()]
    return {m[1]:m[2] for m in found}, ''.join(lines[n:])

def parsed(source:str):
    "The syntax tree of a cell, None where it is not Python alone (magics)"
    try: return ast.parse(source)
    except SyntaxError: return None

def only_imports(source:str)->bool:
    "Whether a cell imports names, or hands them on (`_all_`), and does nothing else"
    def one(o): return isinstance(o, (ast.Import, ast.ImportFrom)) or ast.unparse(o).startswith('_all_ = ')
    tree = parsed(source)
    return bool(tree and tree.body) and all(map(one, tree.body))

def defined(source:str)->list:
    "Names that a cell defines: functions, classes, values, and Class.method for patched methods"
    out,tree = [], parsed(source)
    for o in tree.body if tree else []:
        if isinstance(o, ast.ClassDef):
            out += [o.name, *(f'{o.name}.{f.name}' for f in o.body if isinstance(f, ast.FunctionDef))]
        if isinstance(o, ast.FunctionDef):
            patched = any('patch' in ast.unparse(d) for d in o.decorator_list) and o.args.args[0].annotation
            out.append(f'{ast.unparse(patched)}.{o.name}' if patched else o.name)
        if isinstance(o, ast.Assign):
            names = [n for t in o.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            out += [n.id for n in names if isinstance(n.ctx, ast.Store)]
        if isinstance(o, ast.AnnAssign) and isinstance(o.target, ast.Name): out.append(o.target.id)
    return out

def public(source:str)->list: return [n for n in defined(source) if n.split('.')[-1][0] != '_']

def label(module:str, name:str)->str:
    "What a link to a definition is called; Sphinx ignores case, so classes are marked"
    parts = [f'{p}-class' if p[:1].isupper() else p for p in name.split('.')]
    return '-'.join(['source', module, *parts]).replace('_', '-').lower()

def own_names(book)->set:
    "What the exported cells of a page define, with or without an entry among the API pages"
    found = [directives(text(c)) for c in book.cells if c['cell_type'] == 'code']
    return {n for d,source in found if any(k.startswith('export') for k in d) for n in defined(source)}

def staged_cell(cell, book, links, names, seen)->list:
    "What a page shows of a cell: nothing, itself, or itself with labels before it"
    source,tags = text(cell), {t.replace('_', '-') for t in cell['metadata'].get('tags', ())}
    if cell['cell_type'] == 'markdown':
        return [markdown(names.link(links.rewrite(book, source), book.module, own_names(book)), cell, tags)]
    if cell['cell_type'] != 'code': return []
    found,source = directives(source)
    if HIDDEN & set(found) or not source.strip() and not cell['outputs']: return []
    tags |= {t for d,t in TAGS.items() if d in found and not (d == 'echo' and found[d] != 'false')}
    exported = any(d.startswith('export') for d in found)
    if exported and only_imports(source): tags.add('hide-input')
    if exported: tags.add('exported')
    outputs = [relinked(o, book, links) for o in cell['outputs']]
    folded = dict(mystnb=dict(code_prompt_show='Code', code_prompt_hide='Code'))         # else it is called Imports
    more = folded if 'hide-input' in tags and not only_imports(source) else {}
    code = dict(cell, source=source.splitlines(keepends=True), outputs=outputs, execution_count=None,
        metadata=dict(cell['metadata'], tags=sorted(tags), **more))
    labels = [label(book.module, n) for n in public(source)] if exported and book.module else []
    new = [f'({l})=' for l in dict.fromkeys(labels) if l not in seen]
    seen.update(labels)
    return [markdown('\n'.join(new)), code] if new else [code]

def relinked(output, book, links):
    "A Markdown output with its links"
    data = output.get('data', {})
    if 'text/markdown' not in data: return output
    shown = {k:v for k,v in data.items() if k != 'text/plain'}
    return dict(output, data={**shown, 'text/markdown':links.rewrite(book, ''.join(data['text/markdown']))})

def markdown(source, like=None, tags=()):
    "A Markdown cell; a new one is called by what it holds"
    id = (like or {}).get('id') or hashlib.sha256(source.encode()).hexdigest()[:8]
    tagged = dict(tags=sorted(tags)) if tags else {}
    return dict(cell_type='markdown', id=id, metadata=tagged, source=source.splitlines(keepends=True))

def under_title(book, git)->str:
    "A line under the title: the module's page and the notebook itself"
    api = [f'[`dc_nb.{book.module}`](#module-{book.module})'] if book.module else []
    return '{.where}\n' + ' · '.join([*api, f'[this notebook]({git}/nbs/{book.path.as_posix()})'])

def staged(book:Notebook, links:Links, names:Names)->dict:
    "The notebook as its page needs it"
    cells,seen,titled = [],set(),False
    for c in book.cells:
        new = staged_cell(c, book, links, names, seen)
        if not titled and c['cell_type'] == 'markdown' and re.search(r'^# ', text(c), re.M):
            new = [markdown(o) for o in split_title(text(new[0]), under_title(book, links.git))]
            titled = True
        cells += new
    if not titled: cells.insert(0, markdown(f'# {book.title}\n\n{under_title(book, links.git)}'))
    about = {k:v for k,v in book.metadata.items() if k != 'widgets'}         # they would load scripts from another host
    return dict(cells=cells, metadata=about, nbformat=4, nbformat_minor=5)

def split_title(source, line)->list:
    "The title cell with `line` after the title and its block quote"
    m = re.search(r'^# .*\n*(?:(?:>.*\n?)+)?', source, re.M)
    rest = source[m.end():]
    return [f'{source[:m.end()].strip()}\n\n{line}', *([rest] if rest.strip() else [])]
