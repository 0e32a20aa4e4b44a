"What a built site must hold: every link leads somewhere, nothing comes from another host, no page is too large."
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGEST = 3_000_000         # bytes of a page
LOADS = dict.fromkeys(('script', 'img', 'iframe', 'source', 'video', 'audio', 'embed'), 'src')
LOADS |= dict(object='data', image='href', use='href')
EMPTY = {'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'source', 'track', 'wbr'}
CODE = {'code', 'pre', 'script', 'style', 'kbd', 'title', 'textarea'}
RAW = re.compile(r'\$.{,40}|\\[a-zA-Z]{2,}.{,40}')     # a formula that a reader would see as TeX
POINTS = {'canonical', 'alternate', 'search', 'index', 'next', 'prev', 'author', 'help'}    # a <link> that loads nothing

class Page(HTMLParser):
    "Anchors of a page, its links, and what a browser loads to show it"
    def __init__(self, text):
        super().__init__()
        self.ids,self.links,self.loads,self.styles,self.raw,self.quiet = set(), [], [], [], [], []
        self.feed(text)
        self.styles += re.findall(r'<style[^>]*>(.*?)</style>', text, re.S)
    def handle_starttag(self, tag, attrs):
        a = {k:v or '' for k,v in attrs}
        if tag not in EMPTY: self.quiet.append(tag in CODE or 'math' in a.get('class', '').split())
        self.ids.update(v for k,v in a.items() if k == 'id' or k == 'name' and tag == 'a')
        if tag == 'a' and 'href' in a: self.links.append(a['href'])
        if tag == 'link' and not POINTS & set(a.get('rel', '').split()): self.loads.append(a.get('href', ''))
        if a.get(LOADS.get(tag)): self.loads.append(a[LOADS[tag]])
        if tag == 'img' and 'srcset' in a: self.loads += [o.split()[0] for o in a['srcset'].split(',')]
        if 'style' in a: self.styles.append(a['style'])
    def handle_endtag(self, tag):
        if tag not in EMPTY and self.quiet: self.quiet.pop()
    def handle_data(self, data):
        if not any(self.quiet): self.raw += RAW.findall(data)

def outside(url)->bool: return url.startswith('//') or urlsplit(url).scheme in ('http', 'https', 'ftp')

def problems(site)->list:
    "One line for everything that is wrong with the site in this folder"
    site = Path(site).resolve()
    pages = {f:Page(f.read_text(encoding='utf-8')) for f in sorted(site.rglob('*.html'))}
    out = [] if (site/'index.html') in pages else ['there is no index.html']
    for f,p in pages.items():
        name = f.relative_to(site)
        if f.stat().st_size > LARGEST: out.append(f"{name}: {f.stat().st_size:,} bytes, a page has at most {LARGEST:,}")
        for url in p.loads + [u for s in p.styles for u in css_urls(s)]:
            if outside(url): out.append(f"{name}: loads {url} from another host")
            elif fault := broken(url, f, site, pages): out.append(f"{name}: loads {url}, {fault}")
        for tex in p.raw[:3]: out.append(f"{name}: shows the formula {tex!r} as it was typed")
        for url in p.links:
            fault = '' if outside(url) else broken(url, f, site, pages)
            if fault: out.append(f"{name}: links to {url}, {fault}")
    for f in site.rglob('*.css'):
        urls = css_urls(f.read_text(encoding='utf-8', errors='replace'))
        out += [f"{f.relative_to(site)}: loads {u} from another host" for u in urls if outside(u)]
    return out

def css_urls(css)->list:
    "What a style sheet loads"
    found = re.findall(r'url\(([^)]+)\)|@import\s+["\']([^"\']+)', css)
    return [u.strip(' \'"') for pair in found for u in pair if u]

def broken(url, page, site, pages)->str:
    "Why a link of `page` leads nowhere, '' if it leads somewhere"
    parts = urlsplit(url)
    if parts.scheme in ('data', 'mailto', 'javascript', 'blob'): return ''
    if parts.scheme: return f'a {parts.scheme} link'
    target = page if not parts.path else (page.parent/unquote(parts.path)).resolve()
    if target.is_dir(): target = target/'index.html'
    if not target.is_relative_to(site): return 'which is outside the site'
    if not target.exists(): return 'which is not there'
    lost = parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids
    return f'which has no #{parts.fragment}' if lost else ''

if __name__ == '__main__':
    found = problems(sys.argv[1])
    print('\n'.join(found) or f'{sys.argv[1]}: every link leads somewhere, nothing comes from another host')
    sys.exit(bool(found))
