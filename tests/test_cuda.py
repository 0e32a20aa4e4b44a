"""On a CUDA device: every loop of loops.py gives the numbers of the CPU up to rounding, does not wait for the device, and resumes."""
import pytest
import torch

from conftest import TINY, TINY_MDC, TINY_MTT
from dc_nb.core import drive, flatten
from dc_nb.data import CondensedSet, toy
from dc_nb.door import condense
from dc_nb.edc_runs import Edc, EdcRun
from dc_nb.matching_runs import Mdc, MdcRun
from dc_nb.trajectory_runs import Mtt, MttRun
from loops import LOOPS, WAITS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')

@pytest.fixture(autouse=True)
def exact():
    "Convolutions in single precision, as on a CPU: by default a GPU rounds their factors to ten bits (TF32)"
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32,torch.backends.cudnn.deterministic = False, True
    yield
    torch.backends.cudnn.allow_tf32,torch.backends.cudnn.deterministic = before

def far(ours, theirs, least=1e-3):
    "{name: relative distance} of the tensors of two states that differ by more than `least`"
    out,(ours,theirs) = {}, map(flatten, (ours, theirs))
    assert ours.keys() == theirs.keys()
    for k,v in ours.items():
        if not isinstance(v, torch.Tensor) or not v.is_floating_point(): continue
        a,b = v.double(), theirs[k].cpu().double()
        d = float((a-b).norm()/a.norm().clamp(min=1e-6))
        if not d <= least: out[k] = d
    return out

# with MDC the gradient of MTT's step size is a sum over two walks, small beside its parts
@pytest.mark.parametrize('name', [k for k in LOOPS if k != 'trajectories and MDC'])
def test_two_steps_give_the_numbers_of_the_cpu(name):
    ours,theirs = LOOPS[name]('cpu'), LOOPS[name]('cuda')
    for _ in range(2): ours.advance(), theirs.advance()
    assert not far(ours.state(), theirs.state(), 1e-2)

@pytest.mark.parametrize('name', [k for k in LOOPS if k not in WAITS])
def test_a_step_does_not_wait(name):
    loop = LOOPS[name]('cuda')
    loop.advance()
    torch.cuda.set_sync_debug_mode('error')
    try: loop.advance()
    finally: torch.cuda.set_sync_debug_mode('default')

@pytest.mark.parametrize('name', ['student, live labels', 'statistics', 'label table', 'synthesis, edc', 'matching, A, B, C and MDC'])
def test_a_loop_resumes(name, tmp_path):
    class Enough(Exception): "The process ends here"
    def run(tick=None): return drive(LOOPS[name]('cuda'), tmp_path/'part' if tick else None, 0., tick)
    steps = []
    def tick(value):
        steps.append(value)
        if len(steps) == 2: raise Enough
    with pytest.raises(Enough): run(tick)
    assert not far(flatten_cpu(run()), flatten_cpu(run(lambda value: None)))

def flatten_cpu(loop): return {k:v.cpu() if isinstance(v, torch.Tensor) else v for k,v in flatten(loop.state()).items()}

@pytest.mark.parametrize('kind,parameters,tiny', [(EdcRun, Edc, TINY), (MdcRun, Mdc, TINY_MDC), (MttRun, Mtt, TINY_MTT)])
def test_a_run_ends_as_on_the_cpu(kind, parameters, tiny, tmp_path):
    def row(where): return kind(parameters(**tiny, device=where, out=str(tmp_path/where))).results()['row']
    ours,theirs = row('cpu'), row('cuda')
    assert ours.keys() == theirs.keys() and 'NVIDIA' in theirs['machine']
    again = row('cuda')
    assert again['scores'] == theirs['scores']

@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'bf16'])
def test_the_door(precision, tmp_path):
    made = condense((toy(), toy(split='test')), 2, preset='small', observers='convnet_d1', iterations=2, epochs=2, device='cuda', precision=precision, out=tmp_path)
    made.first(1).save(tmp_path/'one.safetensors')
    assert CondensedSet.load(tmp_path/'one.safetensors').ipc == 1 and 0 <= made.evaluate(seeds=1).set.mean <= 1
