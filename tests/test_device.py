"""On a second device (emulated, see device.py) everything gives the numbers of the CPU, bit for bit, and no step of a loop makes the host wait.

What a GPU adds, other rounding, only a GPU can show."""
import json
import os
from functools import lru_cache, partial

import matplotlib
import numpy as np
import pytest
import torch

import device
from conftest import ROOT, TINY, TINY_ABLATION, TINY_MDC, TINY_MTT
from dc_nb.augment import crop, cutmix, cutmix_labels, draw, flip, views
from dc_nb.core import drive, flatten, stream
from dc_nb.data import CondensedSet, toy
from dc_nb.door import condense
from dc_nb.experiments import ParameterError, check
from dc_nb.edc_runs import Edc
from dc_nb.gradient_matching import Images, Matching, begin
from dc_nb.models import create
from dc_nb.multisize import Multisize, riders
from dc_nb.observers import Pass, Statistics, observe
from dc_nb.recipes import MatchingStudy, matching_sizes, named
from dc_nb.soft_labels import Labelling, mse_gt, regimes
from dc_nb.synthesis import Synthesis
from dc_nb.train import Fit, Training
from dc_nb.trajectory_matching import Expert, Trajectories, TrajectoryRecipe, begin as start_of, packed

device.available()
OTHER = device.NAME


# --- the device is one

def test_it_behaves_as_cuda_does():
    a,b = torch.arange(3.).to(OTHER), torch.arange(3.)
    for mix in (lambda: a+b, lambda: torch.stack([a, b]), lambda: b.add_(a), lambda: torch.where(a > 1, b, a), lambda: b[a.long()]):
        with pytest.raises(RuntimeError, match='same device'): mix()
    with pytest.raises((TypeError, RuntimeError)): a.numpy()
    with pytest.raises(RuntimeError, match='generator'): torch.rand(3, device=OTHER, generator=stream(0, 'x'))
    assert (a + torch.tensor(2.)).tolist() == [2, 3, 4] and a[torch.tensor([2, 0])].tolist() == [2, 0]
    assert (a.new_zeros(2).device.type, torch.tensor(1, device=OTHER).device.type, (a*2).device.type) == (OTHER,)*3

@pytest.mark.parametrize('what,wait', [
    ('_local_scalar_dense', lambda x: x.sum().item()), ('_local_scalar_dense', lambda x: bool(x.sum() > 0)), ('copy to the host', lambda x: x.tolist()), ('copy to the host', lambda x: x.cpu()),
    ('copy to the device', lambda x: torch.ones(3).to(x.device)), ('copy to the device', lambda x: torch.tensor([1.], device=x.device)), ('nonzero', lambda x: x.nonzero()),
    ('index of a mask', lambda x: x[x > 0]), ('index from the host', lambda x: x[torch.tensor([1])]), ('bincount', lambda x: x.long().bincount())])
def test_waiting_is_noticed(what, wait):
    x = torch.arange(3.).to(OTHER)
    with device.watched() as waits: wait(x)
    assert [k for k,_ in waits] == [what]

def test_copies_that_do_not_wait_are_not_counted():
    with device.watched() as waits: x = torch.ones(3).to(OTHER, non_blocking=True)
    assert not waits
    with pytest.raises(RuntimeError, match='nobody waits'): x.to('cpu', non_blocking=True)


# --- the loops

@lru_cache
def bench(where):
    "Data and two observers on a device"
    data = toy().to(where)
    return data, tuple(observe(network(where, 'wrn_16_2', s), data, Statistics(views=(flip,))) for s in (0, 1))

def network(where, name='convnet_d1', seed=0):
    data = toy()
    return create(name, 3, 8, 1, data.mean, data.std, seed=seed).to(where)

TRAINING = Training(epochs=3, batch=10, views=(partial(crop, scale=(.5, 1.)), flip, cutmix), ema=.9, optimiser=partial(torch.optim.AdamW, lr=1e-3), decay_all=False)
PLAIN = TRAINING.but(views=(cutmix_labels,), ema=None, optimiser=partial(torch.optim.SGD, lr=.1, momentum=.9))

def fitting(where, training=TRAINING, regime=None, name='convnet_d1'):
    data,observers = bench(where)
    more = [regimes[regime](mse_gt, data, [o.net for o in observers], training, 0)] if regime else []
    return Fit(network(where, name), data, training, 0, *more)

def labelling(where, path=None): return Labelling(bench(where)[0], [o.net for o in bench(where)[1]], TRAINING, 0, path, together=20)
def passing(where): return Pass(network(where, 'wrn_16_2'), bench(where)[0], Statistics(views=(flip,), batch=10), 0)
def synthesis(where, method='edc'): return Synthesis(named[method].synthesis.but(steps=6), *bench(where), 2, 0)

def matching(where, method='idc', batched=True, **extra):
    "One set; with choices in `extra` the four methods of a comparison"
    data,_ = bench(where)
    m = matching_sizes['small'](named[method], 3).matching
    recipe = m.but(factor=1, steps=3, rounds=3, learn=min(m.learn, 64), extra=None)
    members = riders(recipe, data, 3, 0, extra=Multisize(period=1, **extra)) if extra else dict(set=Images(recipe, begin(recipe, data, 2, 0), data))
    return Matching(recipe, data, members, 0, batched)

def trajectory(where, **kw):
    "A recipe of loop 3 and what its experts left"
    r = TrajectoryRecipe(network='convnet_d1', experts=2, latest=2, span=1, steps=3, batch=4, iterations=9, round=1)
    r = r.but(expert__epochs=2, expert__batch=10, **kw)
    w = packed(network('cpu'))
    return r, [[(w*(1+t/20+i/50)).to(where) for t in range(r.horizon+1)] for i in range(2)]

def expert(where): return Expert(trajectory(where)[0], bench(where)[0], 0)

def trajectories(where, **kw):
    data,(r,experts) = bench(where)[0], trajectory(where, **kw)
    return Trajectories(r, data, start_of(r, data, 3, 0), experts, 0)

LOOPS = {f'student, {r} labels':partial(fitting, regime=r) for r in regimes} | {'student, mixed labels':partial(fitting, training=PLAIN),
    'student, averaged buffers':partial(fitting, training=TRAINING.but(buffers='averaged'), name='wrn_16_2'), 'statistics':passing, 'label table':labelling}
LOOPS |= {f'synthesis, {k}':partial(synthesis, method=k) for k,s in named.items() if hasattr(s, 'synthesis') and s.synthesis.steps and 'config' not in k}
LOOPS |= {f'matching, {k}, {"all classes at once" if b else "class by class"}':partial(matching, method=k, batched=b) for k,s in named.items() if isinstance(s, MatchingStudy) for b in (True, False)}
LOOPS |= {f'matching, A, B, C and MDC{k}':partial(matching, policy='paper', **v) for k,v in {'':{}, ', class-wise':dict(class_wise=True), ', common':dict(common=True), ', late':dict(at_once=False)}.items()}

LOOPS |= {'expert of a trajectory':expert} | {f'trajectories{k}':partial(trajectories, **v) for k,v in {'':{}, ', whole graph':dict(memory='all'), ' and MDC':dict(extra=Multisize(period=1))}.items()}

# waits of one step: a table is written on the host, eigenvalues wait for their check, and a plan is noted at the end of a round
eigen = {('index of a mask', 'synthesis.densification'):3, ('_linalg_eigh', 'synthesis.densification'):3, ('index_put of a mask', 'elsewhere'):3}
WAITS = {'label table':{('copy to the host', 'soft_labels.label_views'):1}, 'synthesis, gvbsm':eigen,
    'synthesis, edc_multisize':{('copy to the host', 'multisize.Schedule.note'):1}}

def differences(a, b):
    a,b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    return [k for k in a if not (a[k].cpu().equal(b[k].cpu()) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]

WALKS = [k for k in LOOPS if k.startswith('trajectories')]
walking = pytest.mark.xfail(strict=True, reason='trajectory_matching: `unroll` and `walked` choose images by indices and masks that the host holds or waits for')

@pytest.mark.parametrize('name', [pytest.param(k, marks=walking) if k in WALKS else k for k in LOOPS])
def test_a_loop_gives_the_numbers_of_the_cpu_and_its_step_does_not_wait(name):
    ours,theirs = LOOPS[name]('cpu'), LOOPS[name](OTHER)
    theirs.advance()
    with device.watched() as waits: theirs.advance()
    assert dict(waits) == WAITS.get(name, {})
    ours.advance(), ours.advance()
    for _ in range(7 if name.startswith('matching, A') else 1): ours.advance(), theirs.advance()             # to the choices of MDC
    assert not differences(ours.state(), theirs.state())

# with MDC the gradient of the step size is a sum over two walks, whose order is the device's
@pytest.mark.parametrize('name', [k for k in WALKS if 'MDC' not in k])
def test_trajectories_give_the_numbers_of_the_cpu(name):
    ours,theirs = LOOPS[name]('cpu'), LOOPS[name](OTHER)
    assert not differences(drive(ours).state(), drive(theirs).state())

@pytest.mark.parametrize('name', views)
def test_a_view_does_not_wait(name):
    "torchvision's RandAugment makes its own matrices and masks, on the host"
    x,y = torch.rand(6, 3, 32, 32, generator=stream(0, 'x')), torch.arange(6) % 3
    def seen(where):
        view = draw((views[name],), 6, stream(1, name))
        return view(x.to(where)), view.labels(y.to(where), 3)
    ours = seen('cpu')
    with device.watched() as waits: theirs = seen(OTHER)
    waits = {k:v for k,v in waits.items() if k[1] != 'elsewhere'}               # the two lines above
    assert all(a.equal(b.cpu()) for a,b in zip(ours, theirs))
    assert not waits or name == 'randaugment' and set(waits) == {('copy to the device', 'augment.randaugment.apply')}


class Enough(Exception): "The process ends here"

def cut(loop, path, at):
    "Drive a loop to this step, with a checkpoint after each"
    def tick(value):
        if loop.at >= at: raise Enough
    with pytest.raises(Enough): drive(loop, path, 0., tick)

@pytest.mark.parametrize('name', ['student, stored labels', 'student, averaged buffers', 'statistics', 'synthesis, edc', 'matching, dsa, class by class', 'matching, A, B, C and MDC, common', 'trajectories and MDC', 'expert of a trajectory'])
def test_a_loop_goes_on_from_its_checkpoint(tmp_path, name):
    expected = drive(LOOPS[name](OTHER if name == 'trajectories and MDC' else 'cpu')).state()
    for at in (2, 3): cut(LOOPS[name](OTHER), tmp_path/'part', at)
    end = drive(LOOPS[name](OTHER), tmp_path/'part')
    assert not differences(expected, end.state())

def test_a_label_table_goes_on(tmp_path):
    expected = drive(labelling('cpu')).table
    cut(labelling(OTHER, tmp_path/'table.npy'), tmp_path/'part', 2)
    assert np.array_equal(drive(labelling(OTHER, tmp_path/'table.npy'), tmp_path/'part').table, expected)


# --- whole runs, as the notebooks make them

def executed(kind, folder, **parameters):
    "Execute the code cells of a run notebook here; (row without what only says where and when, condensed set or None)"
    cells = json.loads((ROOT/'nbs'/f'run_{kind}.ipynb').read_text())['cells']
    scope = dict(parameters)
    with matplotlib.rc_context({'backend':'agg'}):
        for c in cells:
            if c['cell_type'] == 'code' and 'parameters' not in c['metadata'].get('tags', ()): exec(compile(''.join(c['source']), f'run_{kind}', 'exec'), scope)
    place = folder/'latest'
    row = json.loads((place/'row.json').read_text())
    file, = list(place.glob('*.safetensors')) or [None]
    return {k:row[k] for k in ('scores', 'recipe', 'data', 'changes')}, file and CondensedSet.load(file)

RUNS = [('edc', dict(TINY, equal_bytes=True)), ('mdc', TINY_MDC),
    pytest.param('mtt', TINY_MTT, marks=pytest.mark.xfail(strict=True, reason='trajectory_runs.Kept asks safetensors for a device that it may not know'))]
if 'DC_NB_ALL' in os.environ:                                       # half a minute each
    RUNS += [('edc', dict(TINY, regime='fixed', method='gvbsm')), ('mdc', dict(TINY_MDC, method='dsa', compare='MDC', rounds=2)),
        ('edc', dict(TINY, regime='stored', method='rded', observers='wrn_16_2', iterations=None)), ('ablation', TINY_ABLATION)]

@pytest.mark.parametrize('kind,parameters', RUNS)
def test_a_run_notebook(tmp_path, monkeypatch, kind, parameters):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TQDM_DISABLE', '1')
    (here,made),(there,found) = [executed(kind, tmp_path/d, **parameters, device=d, out=str(tmp_path/d)) for d in ('cpu', OTHER)]
    assert here == there
    if made is None: return
    assert made.x.equal(found.x)
    for a,b in ((made.labels, found.labels), (made.table, found.table)): assert a is b is None or torch.as_tensor(a[:]).equal(torch.as_tensor(b[:]))

def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    "Interrupted in every stage, continued from the files"
    from dc_nb.edc_runs import EdcRun, results
    from dc_nb import stages
    monkeypatch.setenv('TQDM_DISABLE', '1')
    def run(where, out): return results(EdcRun(check(dict(TINY, device=where, out=str(tmp_path/out)), Edc)))
    expected = run('cpu', 'whole')
    class Mortal(stages.Progress):
        "Ends the process in the second step of every stage, once"
        steps = 0
        def __call__(self, value=None):
            super().__call__(value)
            self.steps += 1
            if self.steps == 2 and self.title not in hit:
                hit.add(self.title)
                raise Enough
    hit = set()
    monkeypatch.setattr(stages, 'Progress', Mortal)
    for _ in range(40):
        try: found = run(OTHER, 'killed')
        except Enough: continue
        break
    assert len(hit) >= 9 and found['row']['scores'] == expected['row']['scores'] and found['condensed'].x.cpu().equal(expected['condensed'].x)

def test_the_door(tmp_path):
    def made(where): return condense((toy(), toy(split='test')), 2, preset='small', observers='convnet_d1', iterations=2, epochs=2, device=where, out=tmp_path/where)
    ours,theirs = made('cpu'), made(OTHER)
    assert ours.x.equal(theirs.x.cpu()) and ours.evaluate(seeds=1).set == theirs.evaluate(seeds=1).set

def test_a_device_that_is_not_there():
    for bad in ('gpu', 'meta', 'cuda:99', 'emulated:1', 'cuda' if not torch.cuda.is_available() else 'cuda:99'):
        with pytest.raises(ParameterError, match='device = '): check(dict(device=bad), Edc)
