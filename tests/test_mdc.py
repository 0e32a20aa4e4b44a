"MDC: what its pieces must satisfy, and its run notebook through papermill"
import json

import papermill
import pytest
import torch
from hypothesis import given,settings,strategies as st

from conftest import ROOT
from dc_nb.data import CondensedSet,toy
from dc_nb.experiments import check
from dc_nb.formation import enlarge,image_major,shrink,tile,tile_major,untile
from dc_nb.freezing import frozen_size
from dc_nb.gradient_matching import Matching,advance,start_images,match_gradients,ride
from dc_nb.matched_images import Images,MatchingRecipe
from dc_nb.gradients import momentum_step
from dc_nb.matching_report import mdc_published
from dc_nb.matching_runs import Mdc,MdcRun
from dc_nb.mls import feature_distances,most_learnable,rate
from dc_nb.multisize import Multisize,riders,together
from dc_nb.recipes import named
from dc_nb.synthesis import as_float
from test_run_edc import own_data,places

NOTEBOOK = str(ROOT/'nbs'/'run_mdc.ipynb')
seeds = st.integers(0, 2**31)
def gen(seed): return torch.Generator().manual_seed(seed)

@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), seeds)
def test_tiles_and_prefixes(n, factor, seed):
    "untile inverts tile, prefixes are prefixes bit for bit, and both filing systems hold the same tiles"
    x = torch.rand(n, 3, 6*factor, 6*factor, generator=gen(seed))
    assert torch.equal(tile(untile(x, factor), factor), x)
    assert torch.equal(tile_major(image_major(x, factor), factor), x)
    slots = untile(x, factor).transpose(0, 1).flatten(0, 1)                    # the released decode: tile-major
    assert torch.equal(untile(image_major(x, factor), factor).flatten(0, 1), slots)
    for k in range(1, n+1): assert torch.equal(enlarge(x[:k], factor, (12, 12)), enlarge(x, factor, (12, 12))[:k*factor**2])
    many = torch.rand(2, n*factor**2, 1, 8, 8, generator=gen(seed))
    assert torch.equal(shrink(many[:,:factor**2], factor), shrink(many, factor)[:,:1])

@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(1, 6), seeds)
def test_feature_distances(n, dim, seed):
    "The cumulative form is the direct form; moving all features alike changes nothing"
    syn,real = [torch.randn(k, dim, generator=gen(seed+i), dtype=torch.float64) for i,k in enumerate((n, 7))]
    f = feature_distances(syn, real)
    direct = torch.stack([((syn[:k].mean(0)-real.mean(0))**2).sum() for k in range(1, n)])
    assert torch.allclose(f, direct, rtol=1e-10, atol=1e-12)
    assert torch.allclose(feature_distances(syn+3, real+3), f, rtol=1e-8, atol=1e-8)

@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=9), st.lists(st.floats(0, 100), min_size=9, max_size=9), st.floats(.1, 1000))
def test_most_learnable(now, before, dt):
    "The prefix with the largest rate, whatever the time between; the direction of the change does not matter"
    a,b = torch.tensor(now), torch.tensor(before[:len(now)])
    n = most_learnable(a, b)
    assert 1 <= n <= len(now) and rate(a, b, dt)[n-1] == rate(a, b, dt).max() and n == most_learnable(b, a)

@given(st.lists(st.integers(1, 9), min_size=2, max_size=12))
def test_frozen_size(sizes):
    "Equation 10, step by step, as a machine that remembers only its state"
    k = 0
    for i in range(1, len(sizes)):
        k = sizes[i-1] if sizes[i] > sizes[i-1] else 0 if sizes[i] < sizes[i-1] else k
        assert frozen_size(sizes[i], sizes[i-1], sizes[:i-1]) == k

@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.floats(0, .9), st.integers(1, 4), seeds)
def test_joint_step_is_the_class_loop(classes, momentum, rounds, seed):
    "torch's SGD after each class and the closed form are at the same place whenever a class has its turn"
    g,x = gen(seed), torch.randn(classes, 3, generator=gen(seed), dtype=torch.float64)
    slow = torch.nn.Parameter(x.clone())
    opt = torch.optim.SGD([slow], lr=.1, momentum=momentum)
    fast,v = x.clone(), torch.zeros_like(x)
    for _ in range(rounds):
        grad = torch.randn(classes, 3, generator=g, dtype=torch.float64)
        for c in range(classes):
            assert torch.allclose(slow[c].detach(), fast[c], atol=1e-10)
            slow.grad = torch.zeros_like(slow)
            slow.grad[c] = grad[c]
            opt.step()
        momentum_step(fast, v, grad, .1, momentum, classes)

TINY = MatchingRecipe(network='convnet_d1', factor=2, rounds=2, steps=2, batch=8, learn=16, training=MatchingRecipe().training.but(batch=8), store=as_float)

@settings(max_examples=5, deadline=None)
@given(st.sampled_from(['A', 'B', 'C', 'MDC']), st.sampled_from([1, 2]), st.booleans(), seeds)
def test_together_is_alone(method, factor, class_wise, seed):
    "Over one trajectory each method ends with the bytes of its own run, and its prefixes are prefixes"
    data,recipe,extra = toy(), TINY.but(factor=factor), Multisize(period=1, class_wise=class_wise)
    both = together(recipe, data, 3, seed, extra=extra)
    alone = together(recipe, data, 3, seed, (method,), extra=extra)[method]
    assert all(torch.equal(alone[n].x, both[method][n].x) for n in (1, 2, 3))
    if method != 'A': assert all(torch.equal(alone[n].x, alone[3].x[:,:n]) for n in (1, 2))

def ridden(recipe, keep=(), seed=0, **kw):
    "A run of C, MDC and MDC by class, that chooses every second round"
    data = toy()
    by_class = dict(each=Multisize(period=2, class_wise=True))
    members = riders(recipe, data, 3, seed, ('C', 'MDC'), extra=Multisize(period=2), variants=by_class)
    return ride(Matching(recipe, data, members, seed, keep=keep), **kw)

def same_record(a, b):
    assert len(a) == len(b) > 0
    for o,p in zip(a, b):
        assert (o['round'], o['sizes']) == (p['round'], p['sizes']) and torch.equal(o['distances'], p['distances'])
        assert o['rates'] is p['rates'] is None or torch.equal(o['rates'], p['rates'])

def test_what_was_kept_on_the_way_is_a_shorter_run():
    "Images after t rounds, and the record until then, are those of a run of t rounds"
    long = ridden(TINY.but(rounds=5), keep=(1, 2, 4))
    for t in (1, 2, 4):
        short = ridden(TINY.but(rounds=t))
        for k,m in short.members.items():
            assert torch.equal(long.history[str(t)][k], m.x.clamp(0, 1))
            if m.plan: same_record(long.members[k].plan.seen[:len(m.plan.seen)], m.plan.seen)

def test_the_record_of_a_schedule():
    "Rounds, shapes (one line, or one a class), rates and choices of a run"
    run = ridden(TINY.but(rounds=4))
    for k,lines in dict(MDC=1, each=3).items():
        seen = run.members[k].plan.seen
        assert [o['round'] for o in seen] == [1, 2, 4] and all(o['distances'].shape == (lines, 2) for o in seen)
        for before,o in zip(seen, seen[1:]):
            assert torch.allclose(o['rates'], (o['distances']-before['distances']).abs()/(o['round']-before['round']))
            assert o['sizes'] == [int(r.argmax())+1 for r in o['rates']]
    whole,each = (run.members[k].plan.seen[0]['distances'] for k in ('MDC', 'each'))
    assert torch.allclose(whole, each.mean(0, keepdim=True))              # before anything was chosen

@pytest.mark.parametrize('stop', [1, 3, 5, 6])
def test_a_kill_loses_nothing_of_the_record(tmp_path, stop):
    class Killed(Exception): pass
    left = iter(range(stop))
    def dies(loss):
        if next(left, None) is None: raise Killed()
    recipe,file = TINY.but(rounds=4), tmp_path/'run'
    with pytest.raises(Killed): ridden(recipe, (2, 3), checkpoint=file, every=0, tick=dies)
    again,whole = ridden(recipe, (2, 3), checkpoint=file), ridden(recipe, (2, 3))
    for k in ('MDC', 'each'):
        a,b = again.members[k].plan, whole.members[k].plan
        same_record(a.seen, b.seen)
        assert a.trace == b.trace and a.sizes == b.sizes
    for t in ('2', '3'): assert all(torch.equal(again.history[t][k], x) for k,x in whole.history[t].items())

@pytest.mark.parametrize('stop', [1, 3, 5])
@pytest.mark.parametrize('extra', [None, Multisize(period=2)])
def test_dm_is_killed_and_goes_on(tmp_path, stop, extra):
    "Distribution matching, one step in each network, ends with the same bytes and distances; MDC on it too"
    class Killed(Exception): pass
    left = iter(range(stop))
    def dies(loss):
        if next(left, None) is None: raise Killed()
    recipe = named['dm'].matching.but(network='convnet_d1', rounds=6, batch=8, extra=extra)
    kw,traces = dict(checkpoint=tmp_path/'dm', every=0), ([], [])
    with pytest.raises(Killed): match_gradients(recipe, toy(), 3, 0, tick=dies, **kw)
    again = match_gradients(recipe, toy(), 3, 0, trace=traces[0], **kw)
    assert again == match_gradients(recipe, toy(), 3, 0, trace=traces[1])
    assert traces[0] == traces[1] and len(traces[0]) == 6

def test_dm_and_its_multisize_ride_together():
    "With DM as everywhere: on one trajectory or alone, the same bytes"
    recipe = named['dm'].matching.but(network='convnet_d1', rounds=4, batch=8)
    both = together(recipe, toy(), 3, 0, ('C', 'MDC'), extra=Multisize(period=2))
    assert both['C'][3].x.equal(match_gradients(recipe, toy(), 3, 0).x)
    assert both['MDC'][3].x.equal(match_gradients(recipe.but(extra=Multisize(period=2)), toy(), 3, 0).x)

def test_refiling_does_not_change_the_run():
    "The released tile order is a relabelling: decoded slots and their moves are the same, wherever a slot is stored"
    data,r = toy(), TINY.but(rate=.05)
    def end(start, decode):
        m = Images(r, start, data)
        m.decode = decode
        run = Matching(r, data, dict(m=m), 0)
        while not run.done: advance(run)
        return m.x
    start = start_images(r, data, 3, 0)
    ours = end(start, lambda x: enlarge(x, 2, (8, 8)))
    theirs = end(torch.stack([tile_major(c, 2) for c in start]), lambda x: enlarge(image_major(x, 2), 2, (8, 8)))
    assert torch.equal(torch.stack([image_major(c, 2) for c in theirs]), ours)

def test_networks_that_learn_from_synthetic_images_ride_alone():
    with pytest.raises(ValueError, match='one set a run'): together(TINY.but(feed='synthetic', learn=1), toy(), 3, 0)

def test_published():
    for ipc in (10, 50): assert mdc_published('cifar10', ipc)['MDC']['avg'] > mdc_published('cifar10', ipc)['C']['avg']

def execute(tmp_path, **kw):
    return papermill.execute_notebook(NOTEBOOK, str(tmp_path/'run.ipynb'), dict(places(tmp_path), **kw), progress_bar=False, cwd=str(tmp_path))

def test_end_to_end(tmp_path):
    data = own_data(tmp_path/'own.npz', n=40)
    nb = execute(tmp_path, dataset=data, ipc=3, factor=2, network='convnet_d2', student='convnet_w32', rounds=4,
        steps=2, learn=32, rate=.01, period=2, policy='released',
        class_wise=True, common=True, compare='C,MDC', sizes='1,3', epochs=4, curve=1, seed=5, seeds=2, precision='bf16')
    folder = tmp_path/'out'/'latest'
    row = json.loads((folder/'row.json').read_text())
    assert (row['ipc'], row['factor'], row['network'], row['student'], row['rounds'], row['steps'], row['epochs'],
        row['seed'], row['precision']) == (3, 2, 'convnet_d2', 'convnet_w32', 4, 2, 4, 5, 'bf16')
    assert list(row['scores']) == ['C', 'MDC', 'random'] and row['sizes'] == [1, 3] and row['scores']['MDC']['3']['n'] == 2 and row['scale'] == 'small run'
    assert {k.split('.')[-1] for k in row['changes']} >= {'policy', 'class_wise', 'common', 'rate', 'learn', 'period', 'epochs'}
    assert len(row['chosen']) == 4 and len(row['curve']['MDC']) == 3
    assert [o['round'] for o in row['seen']] == [1, 2, 4] and all(len(o['distances']) == 2 for o in row['seen'])
    assert [r for r,_ in row['by_round']['MDC']] == [0, 2, 4] and set(row['by_round']['C'][1][1]) == {'1', '3'}
    file, = folder.glob('mdc-*.safetensors')
    cs = CondensedSet.load(file)
    assert (cs.classes, cs.ipc, cs.factor, cs.meta['method']) == (2, 3, 2, 'mdc') and cs.first(1).images.shape == (8, 3, 8, 8)
    assert {f.name for f in folder.glob('*.png')} == {'images.png', 'sizes.png', 'record.png'}
    assert '|█' not in json.dumps(nb)

def test_typed_parameters():
    found = papermill.inspect_notebook(NOTEBOOK)
    assert set(found) == set(Mdc.model_fields)
    assert all(v['help'] for v in found.values())
    assert all(eval(v['default']) == Mdc.model_fields[k].default for k,v in found.items())

@pytest.mark.parametrize('bad,says', [
    (dict(ipc=1), 'ipc = 1'), (dict(icp=3), "did you mean 'ipc'"), (dict(period=100), 'a run of 6 rounds'),
    (dict(period=0), 'period = 0'), (dict(factor=5), 'factor = 5'), (dict(factor=0), 'factor = 0'),
    (dict(ipc=1000), 'smallest class'), (dict(ipc=40, factor=2), 'with 4 tiles an image'),
    (dict(sizes='0,2'), 'sizes 1..5'), (dict(sizes='two'), 'whole numbers'),
    (dict(compare='MCD'), 'some of A, B, C, MDC'),
    (dict(policy='papre'), "policy = 'papre'"), (dict(network='resnet81'), "did you mean 'resnet18'"),
    (dict(method='edc'), 'of another family'), (dict(rate=0), 'rate = 0'),
    (dict(student='torchvision/vgg16'), 'does not take 8 x 8'),
])
def test_bad_input(tmp_path, bad, says):
    "All of these stop before anything is trained"
    with pytest.raises(ValueError) as e: MdcRun(check({**places(tmp_path), **bad}, Mdc))
    assert says in str(e.value), repr(e.value)
