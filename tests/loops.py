"Every loop of the library on a small task, for any device: test_device.py and test_cuda.py compare devices"
from functools import lru_cache, partial

import torch

from dc_nb.augment import crop, cutmix, cutmix_labels, flip
from dc_nb.core import recipe
from dc_nb.data import toy
from dc_nb.gradient_matching import Matching, start_images
from dc_nb.matched_images import Extra, Images, Plan
from dc_nb.models import create
from dc_nb.multisize import Multisize, riders
from dc_nb.observers import Pass, Statistics, observe
from dc_nb.recipes import MatchingStudy, matching_sizes, named
from dc_nb.soft_labels import Labelling, mse_gt, regimes
from dc_nb.synthesis import Synthesis
from dc_nb.train import Fit, Training
from dc_nb.trajectory_matching import Expert, Trajectories, TrajectoryRecipe, first_images, packed

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
    members = riders(recipe, data, 3, 0, extra=Multisize(period=1, **extra)) if extra else dict(set=Images(recipe, start_images(recipe, data, 2, 0), data))
    return Matching(recipe, data, members, 0, batched)

class FirstThenAll(Plan):
    "The first image of each class has a distance of its own; after a round it is held"
    done = 0
    def size(self, c): return 1
    def held(self, c): return min(self.done, 1)
    def close(self, round, m): self.done = round+1
    def state(self): return dict(done=self.done)
    def restore(self, state, device): self.done = state['done']

@recipe
class OneFirst(Extra):
    "An addition as somebody else would write it"
    def begin(self, classes, ipc): return FirstThenAll()

def added(where):
    data,_ = bench(where)
    r = matching_sizes['small'](named['idc'], 3).matching.but(factor=1, steps=3, rounds=3, learn=64, extra=OneFirst())
    return Matching(r.but(extra=None), data, dict(set=Images(r, start_images(r, data, 2, 0), data)), 0, True)

def trajectory(where, **kw):
    "A recipe of loop 3 and what its experts left"
    r = TrajectoryRecipe(network='convnet_d1', experts=2, latest=2, span=1, steps=3, batch=4, iterations=9, round=1)
    r = r.but(expert__epochs=2, expert__batch=10, **kw)
    w = packed(network('cpu'))
    return r, [[(w*(1+t/20+i/50)).to(where) for t in range(r.horizon+1)] for i in range(2)]

def expert(where): return Expert(trajectory(where)[0], bench(where)[0], 0)

def trajectories(where, **kw):
    data,(r,experts) = bench(where)[0], trajectory(where, **kw)
    return Trajectories(r, data, first_images(r, data, 3, 0), experts, 0)

LOOPS = {f'student, {r} labels':partial(fitting, regime=r) for r in regimes} | {'student, mixed labels':partial(fitting, training=PLAIN),
    'student, averaged buffers':partial(fitting, training=TRAINING.but(buffers='averaged'), name='wrn_16_2'), 'statistics':passing, 'label table':labelling}
LOOPS |= {f'synthesis, {k}':partial(synthesis, method=k) for k,s in named.items() if hasattr(s, 'synthesis') and s.synthesis.steps and 'config' not in k}
LOOPS |= {f'matching, {k}, {"all classes at once" if b else "class by class"}':partial(matching, method=k, batched=b) for k,s in named.items() if isinstance(s, MatchingStudy) for b in (True, False)}
LOOPS |= {f'matching, A, B, C and MDC{k}':partial(matching, policy='paper', **v) for k,v in {'':{}, ', class-wise':dict(class_wise=True), ', common':dict(common=True), ', late':dict(at_once=False)}.items()}

LOOPS |= {'matching, an addition of its own':added, 'expert of a trajectory':expert} | {f'trajectories{k}':partial(trajectories, **v) for k,v in {'':{}, ', whole graph':dict(memory='all'), ' and MDC':dict(extra=Multisize(period=1), round=3)}.items()}

# waits of one step: a table is written on the host, eigenvalues wait for their check, and a plan is noted at the end of a round
eigen = {('index of a mask', 'synthesis.densification'):3, ('_linalg_eigh', 'synthesis.densification'):3, ('index_put of a mask', 'elsewhere'):3}
WAITS = {'label table':{('copy to the host', 'soft_labels.label_views'):1}, 'synthesis, gvbsm':eigen,
    'synthesis, edc_multisize':{('copy to the host', 'multisize.Schedule.note'):1}}
