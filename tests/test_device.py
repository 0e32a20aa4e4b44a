"""On a second device (emulated, see device.py) everything gives the numbers of the CPU, bit for bit, and no step of a loop makes the host wait.

What a GPU adds, other rounding, only a GPU can show."""
import json

import matplotlib
import numpy as np
import pytest
import torch

import device
from conftest import ALL, ROOT, TINY, TINY_ABLATION, TINY_MDC, TINY_MTT
from dc_nb.augment import draw, views
from dc_nb.core import drive, flatten, stream
from dc_nb.data import CondensedSet, toy
from dc_nb.door import condense
from dc_nb.experiments import ParameterError, check
from dc_nb.edc_runs import Edc
from loops import LOOPS, WAITS, labelling

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

def differences(a, b, far=0.):
    "Names of what differs: of tensors by more than `far` of their norm"
    a,b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    def same(a, b):
        if not isinstance(a, torch.Tensor): return a == b
        a,b = a.cpu(), b.cpu()
        return a.equal(b) if not far or not a.is_floating_point() else bool((a-b).norm() <= far*a.norm())
    return [k for k in a if not same(a[k], b[k])]

WALKS = [k for k in LOOPS if k.startswith('trajectories')]
# the gradient of the step size is a sum over two walks, whose order is the device's
FAR = {'trajectories and MDC':1e-6}

RULES = ', class-wise', ', late'                                     # the same loop; other choices of MDC's rule

@pytest.mark.parametrize('name', [pytest.param(k, marks=[pytest.mark.slow]*k.endswith(RULES)) for k in LOOPS])
def test_a_loop_gives_the_numbers_of_the_cpu_and_its_step_does_not_wait(name):
    ours,theirs = LOOPS[name]('cpu'), LOOPS[name](OTHER)
    theirs.advance()
    with device.watched() as waits: theirs.advance()
    assert dict(waits) == WAITS.get(name, {})
    ours.advance(), ours.advance()
    for _ in range(7 if name.startswith('matching, A') else 1): ours.advance(), theirs.advance()             # to the choices of MDC
    assert not differences(ours.state(), theirs.state(), FAR.get(name, 0.))

@pytest.mark.parametrize('name', [k for k in WALKS if 'MDC' not in k])
def test_trajectories_give_the_numbers_of_the_cpu(name):
    ours,theirs = LOOPS[name]('cpu'), LOOPS[name](OTHER)
    assert not differences(drive(ours).state(), drive(theirs).state())

def test_an_addition_holds_the_first_image():
    loop = LOOPS['matching, an addition of its own'](OTHER)
    for _ in range(3): loop.advance()
    first = loop.members['set'].x[:,0].clone()
    drive(loop)
    assert first.cpu().equal(loop.members['set'].x[:,0].cpu()), 'held images stay'

@pytest.mark.parametrize('name', views)
def test_a_view_does_not_wait(name):
    "RandAugment works on the host"
    x,y = torch.rand(6, 3, 32, 32, generator=stream(0, 'x')), torch.arange(6) % 3
    def seen(where):
        view = draw((views[name],), 6, stream(1, name))
        return view(x.to(where)), view.labels(y.to(where), 3)
    ours = seen('cpu')
    with device.watched() as waits: theirs = seen(OTHER)
    waits = {k:v for k,v in waits.items() if k[1] != 'elsewhere'}               # the two lines above
    assert all(a.equal(b.cpu()) for a,b in zip(ours, theirs))
    assert not waits or name == 'randaugment' and set(waits) == {('copy to the host', 'augment.randaugment.apply')}


class Enough(Exception): "The process ends here"

def cut(loop, path, at):
    "Drive a loop to this step, with a checkpoint after each"
    def tick(value):
        if loop.at >= at: raise Enough
    with pytest.raises(Enough): drive(loop, path, 0., tick)

ONES = ['student, stored labels', 'statistics', 'synthesis, edc', 'matching, A, B, C and MDC, common']
MORE = ['student, averaged buffers', 'matching, dsa, class by class', 'matching, an addition of its own', 'trajectories and MDC', 'expert of a trajectory']

@pytest.mark.parametrize('name', ONES + [pytest.param(o, marks=pytest.mark.slow) for o in MORE])      # of each kind of state one
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

RUNS = [('edc', {**TINY, 'equal_bytes':True} | ({} if ALL else dict(seeds=1, observers='convnet_d1')))]
if ALL:                                                             # half a minute each; their loops are above
    RUNS += [('mdc', TINY_MDC), ('mtt', TINY_MTT), ('edc', dict(TINY, regime='fixed', method='gvbsm')), ('mdc', dict(TINY_MDC, method='dsa', compare='MDC', rounds=2)),
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

@pytest.mark.slow                                                   # test_resume kills every stage without the device
def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    "Interrupted in every stage, continued from the files"
    from dc_nb.edc_runs import EdcRun, edc_results
    from dc_nb import stages
    monkeypatch.setenv('TQDM_DISABLE', '1')
    def run(where, out): return edc_results(EdcRun(check(dict(TINY, device=where, out=str(tmp_path/out)), Edc)))
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
