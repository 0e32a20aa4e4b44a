"MDC's plan in EDC's synthesis: one field, the plain form's gradients, held images, kill and resume; labels that nest"
import pytest
import torch

from dc_nb.core import stream
from dc_nb.data import toy
from dc_nb.initialization import real
from dc_nb.looks import Step,look
from dc_nb.models import create
from dc_nb.moments import Moments,channel_moments,patch_moments
from dc_nb.multisize import Multisize,features
from dc_nb.observers import Observer,Statistics,observe
from dc_nb.prefixes import Glance,first_step,prefix_moments,statistics
from dc_nb.recipes import named
from dc_nb.soft_labels import Ranked,first_ranks,nested_table,rank_views
from dc_nb.soft_matching import gap
from dc_nb.synthesis import Synthesis,SynthesisRecipe,as_float,soft_category,synthesize
from dc_nb.train import Training,fit

plan = Multisize(period=2, signal=statistics)
plain = SynthesisRecipe(steps=12, side=2, views=(), store=as_float)

@pytest.fixture(scope='module')
def data(): return toy()

@pytest.fixture(scope='module')
def observers(data):
    def one(name):
        net = create(name, 3, 8, 1, data.mean, data.std, seed=0)
        return observe(fit(net, data, Training(epochs=3, batch=16), seed=0)[0], data, Statistics(side=2), name=name)
    return [one(o) for o in ('convnet_d1', 'wrn_16_2')]

def as_it_is(name, m): return m

def test_one_field():
    assert list(named['edc'].diff(named['edc_multisize'])) == ['synthesis.extra']
    assert type(named['edc_multisize'].synthesis.extra) is type(named['mdc'].matching.extra)

def test_distances_by_hand():
    "The first image is 5 and 1 away in the means, the first two together are not away at all; a weight of 10 for the first layer"
    each = Moments(torch.tensor([[3., 4., 1.], [-3., -4., -1.], [9., 9., 9.]]), torch.zeros(3, 3))
    target = Moments(torch.zeros(3), torch.tensor([9., 16., 1.]))
    glance = Glance(0, torch.zeros(3, 1), each, target, torch.tensor([0, 0, 1]), torch.tensor([10., 1.]), None)
    spread = (9.**2+16.**2)**.5                                 # a single image without variance misses all of the target's
    torch.testing.assert_close(statistics(glance, glance.x), torch.tensor([10*(5+spread)+1+1, 0.]))

def test_prefixes_are_pooled(data, observers):
    "Running sums give the distances that one look at each prefix alone gives"
    x,y = real(data, 4, stream(0))[1], torch.full((4,), 1)
    for o in observers:
        each = {}
        look(o, x, y, y.unique(), 2, as_it_is, '', each)
        lead = next(iter(each)).split('/')[0]
        for n in (1, 2, 3):
            _,seen = look(o, x[:n], y[:n], y.unique(), 2, as_it_is, '')
            for k,m in each.items():
                mine = Moments(*(v[n-1] for v in prefix_moments(m)))
                torch.testing.assert_close(mine, Moments(*(v[0] for v in seen[k][1])), atol=1e-4, rtol=1e-4)
                assert gap(mine, Moments(*(t[1] for t in o.by_class[k]))) >= 0
        assert lead in next(iter(each))

def double_moments(layer, x, side):
    "`layer_moments` without its single precision"
    assert x.dtype == torch.float64
    patch = dict(patch=patch_moments(x, x*x, side)) if isinstance(layer, torch.nn.Conv2d) else {}
    return dict(channel=channel_moments(x, x*x)) | patch

def test_the_shortcut_is_the_plain_form(monkeypatch, data, observers):
    "In float64: pooling the prefix from the one look gives the pixel gradients of a second look at the prefix alone"
    monkeypatch.setattr('dc_nb.looks.layer_moments', double_moments)
    for o in observers:
        wide = [{k:Moments(*(v.double() for v in m)) for k,m in t.items()} for t in (o.whole, o.by_class)]
        net = create(o.name, 3, 8, 1, data.mean, data.std, seed=0)
        net.load_state_dict(o.net.state_dict())
        o = Observer(net.double().eval().requires_grad_(False), *wide, o.name)
        y,idx = torch.arange(3).repeat_interleave(4), torch.tensor([0, 1, 4, 5, 8, 9])
        def step_of(x, y, each=None):
            logits,seen = look(o, x, y, y.unique(), 2, as_it_is, '', each)
            return Step(o, logits, y, y.unique(), seen, None, x, None)
        def shortcut(x):
            each = {}
            step = step_of(x, y, each)
            return soft_category(step) + soft_category(first_step(step, each, idx, as_it_is, ''))
        def twice(x): return soft_category(step_of(x, y)) + soft_category(step_of(x[idx], y[idx]))
        x = real(data, 4, stream(0)).flatten(0, 1).double()
        a,b = [torch.autograd.grad(f(v := x.clone().requires_grad_()), v)[0] for f in (shortcut, twice)]
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)
        assert a.abs().max() > 1e-6

def run_to(recipe, data, observers, steps, ipc=4):
    run = Synthesis(recipe, data, observers, ipc, 0)
    for _ in range(steps): run.advance()
    return run

def test_held_images_do_not_move(data, observers):
    for drift in (False, True):
        run = run_to(plain.but(extra=Multisize(period=100, signal=statistics, drift=drift)), data, observers, 4)
        run.now.subset.plan.sizes = [[2, 3]]
        before = run.now.z.detach().clone().view(3, 4, -1)
        run.advance()
        moved = (run.now.z.detach().view(3, 4, -1)-before).abs().amax((0, 2))
        assert (moved[:2] > 0).all() == drift and (moved[2:] > 0).all()

def test_rounds_are_turns_of_the_observers(data, observers):
    run = Synthesis(plain.but(extra=plan), data, observers, 4, 0)
    subset = run.now.subset
    while not run.done: run.advance()
    assert len(subset.plan.trace) == 6 and [o['round'] for o in subset.plan.seen] == [1, 2, 4, 6]
    assert all(1 <= n <= 3 for n in subset.plan.sizes[0])

@pytest.mark.parametrize('extra', [plan, plan.but(common=True), plan.but(class_wise=True), plan.but(at_once=False)])
@pytest.mark.parametrize('batch', [None, 8])
def test_killed_and_resumed(tmp_path, data, observers, extra, batch):
    class Killed(Exception): pass
    recipe = plain.but(extra=extra, batch=batch)
    left = iter(range(9))
    def dies(terms):
        if next(left, None) is None: raise Killed()
    kept = tmp_path/'x.safetensors'
    with pytest.raises(Killed): synthesize(recipe, data, observers, 4, 0, checkpoint=kept, every=0, tick=dies)
    assert synthesize(recipe, data, observers, 4, 0, checkpoint=kept) == synthesize(recipe, data, observers, 4, 0)

def test_what_is_refused(data, observers):
    mine = plain.but(extra=plan)
    for bad,says in ((mine.but(batch=6), 'cuts a class of 4 images'), (mine.but(terms=mine.terms[:1]), 'needs a soft_category term'),
        (mine.but(extra=Multisize(period=2, signal=features)), 'use `prefixes.statistics`')):
        with pytest.raises(ValueError, match=says): synthesize(bad, data, observers, 4, 0)
    with pytest.raises(ValueError, match='no smaller subset'): synthesize(mine, data, observers, 1, 0)

# --- labels that nest

views = (named['edc'].protocol.training.views[1], named['edc'].protocol.training.views[3])

@pytest.mark.parametrize('n', [1, 2, 5])
def test_views_by_rank_do_not_know_the_size(data, n):
    x = real(data, 6, stream(0))
    assert rank_views(x[:,:n], views, 3, 7).equal(rank_views(x, views, 3, 7)[:,:n])

def test_a_table_serves_its_prefixes(data, observers):
    x,nets = real(data, 4, stream(0)), [o.net for o in observers]
    def ranked(n): return Ranked(type(data)(x[:,:n].flatten(0, 1), torch.arange(3).repeat_interleave(n), data.classes, data.mean, data.std), views, 0, 3)
    whole = nested_table(ranked(4), nets)
    for n in (1, 3): torch.testing.assert_close(first_ranks(whole, 3, n), nested_table(ranked(n), nets), atol=2e-2, rtol=2e-3)
    again = ranked(4)
    again.open(4)
    then = again.now.clone()
    again.open(1)
    assert then.equal(again.now)                                # longer than its table, a student meets the same views again
