"Pages for sets: whatever a set is called and holds, its page has the same elements, loads nothing, works in a browser"
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from browsing import SIZES, chromium, opened
from hypothesis import assume, given, settings, strategies as st

from dc_nb.data import CondensedSet
from dc_nb.evaluation import Score
from dc_nb.charts import svg_losses
from dc_nb.page_parts import strip, strips
from dc_nb.pages import page, save_page
from dc_nb.watch_pages import watch_page, watching

G = torch.Generator().manual_seed(0)
META = dict(data='pets', classes=['cat', 'cow'], mean=[.5]*3, std=[.2]*3, method='mdc')
CS = CondensedSet(torch.randint(256, (2, 4, 3, 8, 8), generator=G).byte(), torch.randn(2, 4, 2, generator=G), meta=META)
START = torch.rand(2, 4, 3, 8, 8, generator=G)
SCORES = dict(mdc={1:Score((.5, .6)), 2:Score((.7, .72)), 4:Score((.8, .81))},
    random={1:Score((.4, .42)), 4:Score((.6, .7))})

class Elements(HTMLParser):
    "Tags with the names of their attributes, in order; and what a browser would load"
    def __init__(self, text):
        super().__init__()
        self.tags,self.loads = [], []
        self.feed(text)
        self.loads += re.findall(r'url\((.*?)\)|@import', text)
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, *(k for k,_ in attrs)))
        self.loads += [v for k,v in attrs if k in ('src', 'href', 'srcset', 'data', 'action', 'poster')]

def elements(text): return Elements(text).tags

EVIL = ('</script><script>alert(1)</script>', '<img src=x onerror=alert(1)>', '"><b>', "' onclick='x", '</title>',
    '<!--', ']]>', '&lt;', '\\u003c')
names = st.text(st.characters(exclude_categories=['Cs']), min_size=1, max_size=30) | st.sampled_from(EVIL)

def set_page(a, b, c):
    "A page with these texts wherever a text can be"
    names = dict(classes=[a, b+'.'], label_classes=[b, c+'.'])
    meta = dict(META, **names, data=c, method=a, licence=b, parameters={a:b})
    return page(replace(CS, meta=meta), START, {a:{1:Score((.5,)), 2:Score((.6,))}}, title=b)

def run_page(a, b, c): return watch_page(a, b, 3., {c:[1., 2.]}, CS.x, START, [a, b])

@given(names, names, names)
@settings(max_examples=60, deadline=None)
def test_no_text_becomes_an_element(a, b, c):
    assume(a != b+'.' and b != c+'.')                       # classes have names of their own
    for made in (set_page, run_page): assert elements(made(a, b, c)) == elements(made('x', 'y', 'z'))

@pytest.mark.parametrize('text', [page(CS, START, SCORES), page(CS), watch_page('t', 's', 3., [1., 2.], CS.x)])
def test_a_page_loads_nothing(text):
    loads = Elements(text).loads
    assert loads and all(u.startswith('data:') for u in loads)
    assert "default-src 'none'" in text and 'http://' not in text and 'https://' not in text and 'fetch(' not in text

@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_kind_of_set_has_a_page(classes, ipc, channels, factor, as_bytes, soft):
    x = torch.rand(classes, ipc, channels, 2*factor, 4*factor, generator=G)
    cs = CondensedSet(x.mul(255).byte() if as_bytes else x, torch.randn(classes, ipc, 3) if soft else None, factor, {})
    text = page(cs, start=cs)
    assert text.count('<button') == classes*ipc and text.count('class="row"') == classes
    assert f'"factor":{factor}' in text and ('"labels":[]' in text) == (not soft)

def test_strips_are_exact_and_a_prefix_is_their_left_part():
    pixels = torch.frombuffer(bytearray(strip(CS.x[0]).tobytes()), dtype=torch.uint8)
    assert pixels.view(8, 4, 8, 3).permute(1, 3, 0, 2).equal(CS.x[0])
    assert strip(CS.x[1]).crop((0, 0, 16, 8)).tobytes() == strip(CS.first(2).x[1]).tobytes()

def test_large_sets_stay_small(tmp_path):
    many = CondensedSet(torch.randint(256, (100, 20, 3, 48, 48), generator=G).byte())
    file = save_page(many, tmp_path/'deep'/'page.html')
    assert file.stat().st_size < 3_000_000 and 'reduced to' in file.read_text(encoding='utf-8')
    made,said = strips(dict(a=torch.rand(1, 3000, 1, 16, 16)))          # wider than a browser would draw
    assert said

def test_scores_of_the_card_and_of_the_caller():
    known = dict(mdc=dict(mean=.8, sd=.01, n=3), random=dict(mean=.7, sd=None, n=1))
    carded = replace(CS, meta={**META, 'ipc':4, 'scores':known})
    assert '"mdc":{"4":{"mean":80.0' in page(carded) and '"half":null' in page(carded)
    assert '"scores":{}' in page(carded.first(2))
    assert '<svg' not in page(carded) and '<svg' in page(carded, scores=SCORES)
    with pytest.raises(ValueError, match='a size is a whole number'): page(CS, scores={'mdc':{'all':Score((.5,))}})
    with pytest.raises(ValueError, match='a score has mean, sd and n'): page(CS, scores={'mdc':{1:.5}})
    with pytest.raises(ValueError, match=r'this set needs 2 x 4 x C x H x W'): page(CS, START[:1])

@given(st.dictionaries(st.text(max_size=5), st.lists(st.floats(), max_size=30), max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_losses_can_be_drawn(losses):
    drawn = svg_losses(losses)
    assert 'nan' not in drawn.lower().replace('name', '') or any('nan' in k.lower() for k in losses)
    assert drawn.count('<polyline') == sum(any(abs(v) < 1e30 for v in vs) for vs in losses.values())

def test_watching_writes_now_and_then(tmp_path):
    now,asked = [0.], []
    tell = watching(tmp_path/'w.html', 'a run', ['cat', 'cow'], every=10, clock=lambda: now[0])
    def images():
        asked.append(now[0])
        return CS.x
    assert tell(stage='one', images=images)
    for now[0] in (1., 5., 9.9): assert not tell(losses=[1.], left=3.)
    now[0] = 10.
    assert tell(losses=[1., .5], left=2.) and asked == [0., 10.]
    now[0] = 11.
    text = (tmp_path/'w.html').read_text
    assert tell(stage='two') and 'two' in text() and 'about 2 seconds left' in text()
    assert tell(done=True) and 'refresh' not in text()
    assert [f.name for f in tmp_path.iterdir()] == ['w.html']

# --- in a browser

@pytest.fixture(scope='module')
def browser():
    with chromium() as b: yield b

def fits(tab, wrong):
    seen = tab.evaluate(SIZES)
    assert not wrong and not seen['wide'] and seen['page'] <= 0, (wrong, seen)

@pytest.mark.slow
@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_slider_views_and_labels(browser, tmp_path, width, scheme):
    file = save_page(replace(CS, factor=2), tmp_path/'p.html', start=START, scores=SCORES)
    tab,wrong = opened(browser, width, scheme)
    tab.goto(file.as_uri())
    shown = lambda: tab.locator('.row').first.locator('button:visible').count()
    assert shown() == 4 and tab.locator('output').inner_text() == '4'
    for _ in range(2): tab.locator('#n').press('ArrowLeft')
    assert shown() == 2 and '71.0 ± 12.7 %' in tab.locator('.says').inner_text()
    tab.locator('#n').press('ArrowRight')
    assert shown() == 3 and 'no score is known at this size' in tab.locator('.says').inner_text()
    start,result = tab.locator('.row .px.start').first, tab.locator('.row .px.result').first
    assert result.is_visible() and not start.is_visible()
    tab.locator('[value=both]').check()
    assert result.is_visible() and start.is_visible()
    fits(tab, wrong)
    tab.locator('.ims button').nth(1).click()
    dialog = tab.locator('dialog')
    assert 'cat, image 2' in dialog.inner_text() and 'It holds 4 training images' in dialog.inner_text()
    assert dialog.locator('.lab i').count() == 2
    fits(tab, wrong)
    tab.keyboard.press('Escape')
    assert not dialog.is_visible()
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == 'rgb(255, 255, 255)') == (scheme == 'light')

@pytest.mark.slow
def test_a_watched_page_follows_the_run(browser, tmp_path):        
    file = tmp_path/'w.html'
    tell = watching(file, 'a run', ['cat', 'cow'], every=1)
    tell(stage='one', losses=[3., 2.], images=CS.x, start=START, left=100.)
    tab,wrong = opened(browser, 390, 'light')
    tab.goto(file.as_uri())
    fits(tab, wrong)
    tell(stage='two', losses=[3., 2., 1.])
    tab.get_by_text('two', exact=True).wait_for(timeout=10_000)
    tell(done=True)
    tab.get_by_text('done', exact=True).wait_for(timeout=10_000)
