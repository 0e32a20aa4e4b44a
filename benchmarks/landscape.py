"""EDC's Fig. 2 (b), (c) with one network as observer and student: four panels and their numbers, as a small run.

    python benchmarks/landscape.py [--network resnet18] [--dataset digits] [--root DATA] [--ipc 5] [--out figures]

(b) the test loss around students of the cosine and of the smoothing schedule; (c, top) the norm of the Hessian of the
synthesis loss with respect to the images, with the flatness term and without; (c, bottom) the cosine between the gradient of
a batch and that of all original images, and as a control that of the batch's own set. The concept notebook 06_landscape
explains them. Picture and numbers lie in `--out` as landscape-DATASET-NETWORK.png, .svg and .csv.
"""
import argparse
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F

from dc_nb.core import stream
from dc_nb.coresets import random
from dc_nb.data import load
from dc_nb.evaluation import train_student, training_set
from dc_nb.flatness import hessian_frobenius
from dc_nb.landscape import filter_direction, loss_slice
from dc_nb.ledger import keep_figure
from dc_nb.looks import Running, Step, look
from dc_nb.models import create
from dc_nb.observers import observe
from dc_nb.recipes import sized_study, with_flatness
from dc_nb.report import style
from dc_nb.synthesis import Synthesis, finish, label, soft_category
from dc_nb.train import accuracy, fit, smoothing

asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name,kind,default,what in (('network', str, 'resnet18', 'observer and student'), ('dataset', str, 'digits', ''),
    ('root', str, None, 'folder of the data'), ('ipc', int, 5, 'images a class'), ('steps', int, 30, 'of the synthesis'),
    ('observer_epochs', int, 4, ''), ('epochs', int, 25, 'of a student'), ('seeds', int, 2, 'students, syntheses, networks'),
    ('tested', int, 100, 'test images of the slices'), ('repeats', int, 10, 'batches of each size'), ('out', str, 'figures', '')):
    asked.add_argument(f'--{name}', type=kind, default=default, help=what)
o = asked.parse_args()

images,test = load(o.dataset, o.root), load(o.dataset, o.root, split='test')
side,classes = images.shape[-1], len(images.classes)
study = sized_study(o.dataset, o.ipc, 'edc', 'small', side).but(synthesis__steps=o.steps, protocol__student=o.network,
    protocol__training__epochs=o.epochs)
found = []

def blank(seed): return create(o.network, classes, side, images.shape[0], images.mean, images.std, seed=seed)

def note(panel, line, seed, x, y): found.append(dict(panel=panel, line=line, seed=seed, x=float(x), y=float(y)))

def sharpness(observer, weight, seed):
    "The norm at both ends of one synthesis; the set"
    y = torch.arange(classes).repeat_interleave(o.ipc)
    def loss(x):
        logits,seen = look(observer, x, y, y.unique(), study.synthesis.side, Running(0, 'first'), '')
        step = Step(observer, logits, y, y.unique(), seen, None, x, None)
        return label(step) + .01*soft_category(step)
    run = Synthesis(with_flatness(study, weight).synthesis.but(batch=None), images, [observer], o.ipc, seed)
    for at in (0, o.steps):
        while run.at < at: run.advance()
        x = run.x if run.done else run.now.x.detach()
        note('Hessian', f'weight {weight:g}', seed, at, hessian_frobenius(loss, x, 2, stream(7)))
    print(f'weight {weight:g}, seed {seed}: synthesized', flush=True)
    return finish(run)

def slices(made, observer, zeta, seed):
    "The test loss along two directions around one student"
    protocol = study.protocol.but(training__schedule=partial(smoothing, zeta=zeta))
    net,_ = train_student(training_set(made, test), protocol, seed, [observer])
    some = test.subset(torch.arange(0, len(test), -(-len(test)//o.tested)))
    x,y = some.take(torch.arange(len(some)))
    at = torch.linspace(-1, 1, 9)
    lines = [loss_slice(net.eval(), filter_direction(net, stream(k, 'line')), at, x, y) for k in range(2)]
    for a,v in zip(at, torch.stack(lines).mean(0)): note('slice', f'zeta {zeta:g}', seed, a, v)
    print(f'zeta {zeta:g}, seed {seed}: {100*accuracy(net, test):.1f} % right', flush=True)

def gradient(net, data, idx, most=200):
    "Mean gradient of some images, in parts that fit in memory"
    total = 0
    for part in idx.split(most):
        x,y = data.take(part)
        g = torch.autograd.grad(F.cross_entropy(net(x), y, reduction='sum'), list(net.parameters()))
        total = total + torch.cat([v.flatten() for v in g])
    return total/len(idx)

def agreement(made, seed):
    "Cosines of batches with all images and with their own set, in a fresh network; BatchNorm has seen the real images"
    net = blank(seed+1)
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.momentum = None          # the mean of what it sees
    with torch.no_grad(): net.train()(images.take(torch.arange(0, len(images), -(-len(images)//500)))[0])
    net.eval()
    sets = {'original':images, 'condensed':training_set(made, test),
        'random subset':training_set(random(images, o.ipc, seed), test)}
    everything = gradient(net, images, torch.arange(len(images)))
    for name,data in sets.items():
        own = gradient(net, data, torch.arange(len(data)))
        for size in (8, 16, 32):
            pick = [torch.randperm(len(data), generator=stream(seed, size, i))[:size] for i in range(o.repeats)]
            batches = torch.stack([gradient(net, data, idx) for idx in pick])
            for panel,whole in (('cosine all', everything), ('cosine own set', own)):
                note(panel, name, seed, size, F.cosine_similarity(batches, whole[None]).mean())

net,_ = fit(blank(0), images, study.squeeze.but(epochs=o.observer_epochs), seed=0)
print(f'observer: {100*accuracy(net, test):.1f} % right', flush=True)
observer = observe(net, images, study.statistics, name=o.network)
for seed in range(o.seeds):
    made = [sharpness(observer, weight, seed) for weight in (0., .25)][-1]
    for zeta in (1., 2.): slices(made, observer, zeta, seed)
    agreement(made, seed)

style()
frame = pd.DataFrame(found)
panels = dict(slice=('1. test loss (Fig. 2b)', 'position, in norms of the filters'),
    Hessian=('2. norm of the Hessian (Fig. 2c, top)', 'step of the synthesis'),
    **{'cosine all':('3. cosine, batch and all originals (Fig. 2c)', 'images in a batch'),
        'cosine own set':('4. cosine, batch and its own set', 'images in a batch')})
fig,axs = plt.subplots(2, 2, figsize=(8, 5.2), layout='constrained')
for ax,(panel,(title,below)) in zip(axs.flat, panels.items()):
    for (line,g),mark in zip(frame[frame.panel == panel].groupby('line', sort=False), ('-', '--', ':')):
        by = g.groupby('x').y
        ax.plot(by.mean().index, by.mean(), mark, marker='o', ms=3, label=line)
        ax.fill_between(by.min().index, by.min(), by.max(), alpha=.15)
    ax.set_title(title, fontsize=9)
    ax.set_xlabel(below)
    if panel == 'slice': ax.set_yscale('log')
    elif panel == 'Hessian': ax.set(ylim=(0, None), xticks=(0, o.steps))
    else:
        ax.set(ylim=(0, 1), xscale='log')
        ax.set_xticks((8, 16, 32), labels=(8, 16, 32))
        ax.minorticks_off()
    ax.legend(fontsize=7)
fig.suptitle(f'small run: {o.dataset}, {o.network}, {o.ipc} images a class, {o.seeds} seeds', fontsize=9)
stem = f"landscape-{o.dataset}-{o.network.split('/')[-1]}"
for f in keep_figure(fig, frame.round(5), Path(o.out)/stem): print(f)
