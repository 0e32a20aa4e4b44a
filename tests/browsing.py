"Debian's Chromium for the tests of pages, and what a page is asked there"
import shutil
from contextlib import contextmanager

import pytest

SIZES = '''() => {
  const w = document.documentElement.clientWidth, wide = [];
  const style = getComputedStyle, count = s => document.querySelectorAll(s).length;
  const held = e => {                                                   // it scrolls inside a box that fits
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
      if (/auto|scroll|hidden|clip/.test(style(p).overflowX) && p.getBoundingClientRect().right <= w + 1) return true };
  for (const e of document.body.querySelectorAll('*')) {
    const r = e.getBoundingClientRect(), seen = r.width && r.height && style(e).visibility !== 'hidden';
    if (seen && (r.right > w + 1 || r.left < -1) && !held(e)) wide.push(`${e.tagName} ${e.className}`);
  }
  return {page: document.documentElement.scrollWidth - w, wide, math: count('.math'), set: count('mjx-container'),
    wrong: count('mjx-merror'), theme: document.documentElement.dataset.theme} }'''

@contextmanager
def chromium():
    "A headless browser; the test is skipped where there is none. Its event loop ends with the block"
    playwright = pytest.importorskip('playwright.sync_api')
    found = [p for n in ('chromium', 'chromium-browser', 'google-chrome') if (p := shutil.which(n))]
    if not found: pytest.skip('no chromium: apt-get install chromium')
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=found[0], args=['--no-sandbox'])
        yield b
        b.close()

def opened(browser, width, scheme):
    "A page of this width and a list that collects what goes wrong on it"
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
    page,wrong = context.new_page(), []
    page.on('console', lambda m: m.type in ('error', 'warning') and wrong.append(f'{m.type}: {m.text}'))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('request', lambda r: r.url.startswith(('http://127.0.0.1', 'file:', 'data:')) or wrong.append(f'asks {r.url}'))
    return page,wrong
