"""What a graphics card does with the loops: milliseconds of a step in float32, TF32 and bf16, all classes at once against one after the
other, and whether a loop gives the same bytes twice. `python benchmarks/card.py [cuda|cpu [part of a name]]`
takes about two minutes on an H100."""
import contextlib
import sys
import time
from functools import partial

import torch
from dc_nb.core import checksum, flatten, stream
from dc_nb.data import ImageSet
from dc_nb.evaluation import Protocol
from dc_nb.gradient_matching import Matching, start_images
from dc_nb.matched_images import Images
from dc_nb.models import create
from dc_nb.observers import Pass, Statistics, observe
from dc_nb.provenance import machine
from dc_nb.recipes import named
from dc_nb.soft_labels import Labelling
from dc_nb.synthesis import Synthesis
from dc_nb.train import Fit, Training
from dc_nb.trajectory_matching import Trajectories, TrajectoryRecipe, first_images, packed

where = torch.device(sys.argv[1] if len(sys.argv) > 1 else 'cuda')
card = where.type == 'cuda'
g = stream(0, 'card')
data = ImageSet(torch.randint(256, (5000, 3, 32, 32), generator=g).byte(), torch.arange(5000) % 10, [str(c) for c in range(10)],
    (.49, .48, .45), (.2, .2, .2)).to(where)
few = data.subset(torch.arange(100, device=where))

def net(name): return create(name, 10, 32, 3, data.mean, data.std, seed=0).to(where)
def observers(): return [observe(net(o), few, Statistics(), 0) for o in ('resnet18', 'mobilenet_v2')]

def matching(method, batched):
    r = named[method].matching
    members = dict(set=Images(r, start_images(r, data, 10, 0), data))
    return Matching(r.but(extra=None), data, members, 0, batched)

def walking(memory):
    r = TrajectoryRecipe(memory=memory)
    w = packed(net(r.network))
    return Trajectories(r, data, first_images(r, data, 10, 0), [[w*(1+t/100) for t in range(r.horizon+1)]], 0)

LOOPS = {'observer, ResNet-18':lambda: Fit(net('resnet18'), data, Training(), 0),
    'student, ResNet-18':lambda: Fit(net('resnet18'), few, Protocol().training, 0),
    'statistics, ResNet-18':lambda: Pass(net('resnet18'), data, Statistics(), 0),
    'labels, ResNet-18':lambda: Labelling(few, [net('resnet18').eval()], Protocol().training, 0),
    'synthesis, EDC, 2 observers':lambda: Synthesis(named['edc'].synthesis.but(batch=None), data, observers(), 10, 0)}
LOOPS |= {f'matching, {k}, {"all classes at once" if b else "class by class"}':partial(matching, k, b) for k in ('idc', 'dsa') for b in (True, False)}
LOOPS |= {f'trajectories, {m}':partial(walking, m) for m in ('step', 'all')}

def settled():
    if card: torch.cuda.synchronize()
    return time.perf_counter()

def milliseconds(loop, steps=6, most=4.):
    for _ in range(2): loop.advance()
    begun = last = settled()
    for done in range(1, steps+1):
        loop.advance()
        last = settled()
        if last-begun > most: break
    return 1000*(last-begun)/done

def content(make):
    "What a loop holds after three steps"
    loop = make()
    for _ in range(3): loop.advance()
    state = {k:v for k,v in flatten(loop.state()).items() if isinstance(v, torch.Tensor)}
    return checksum(state | ({'table':torch.from_numpy(loop.table)} if isinstance(loop, Labelling) else {}))

@contextlib.contextmanager
def precision(name):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == 'tf32'
    with torch.autocast(where.type, torch.bfloat16, enabled=name == 'bf16', cache_enabled=False): yield

def attempt(f):
    try: return f()
    except Exception as e: return f'{type(e).__name__}: {str(e).splitlines()[0][:60]}'

kinds = ('fp32', 'tf32', 'bf16') if card else ('fp32', 'bf16')
print(f'{machine(where)}, torch {torch.__version__}; milliseconds of a step')
torch.backends.cudnn.deterministic = True
for name,make in LOOPS.items():
    if sys.argv[2:] and sys.argv[2] not in name: continue
    found = {}
    for kind in kinds:
        with precision(kind): found[kind] = attempt(lambda: round(milliseconds(make()), 1))
    with precision('fp32'): twice = attempt(lambda: content(make) == content(make))
    print(f'{name:38}', *[f'{k} {v}' for k,v in found.items()], 'twice the same:', twice, sep='  ', flush=True)
if card: print(f'{torch.cuda.max_memory_allocated()/2**30:.1f} GiB at most')
