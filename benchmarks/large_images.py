"""A whole chain on a made-up folder of ImageNet-1k's shape: time an image by stage, and memory, which must stay below 2 GiB.

    python benchmarks/large_images.py [--loop 1] [--classes 1000] [--images N] [--side 64] [--observers A,B] [--json]

Loop 1 is EDC, as the recipe for ImageNet-1k has it, loop 2 is MDC, loop 3 is MTT. Networks learn for an epoch or not at all,
so the accuracies mean nothing. The paths are those of a run: a folder of JPEGs that stay files, some of its classes, a stream,
then the stages of the loop, in batches, and students. The networks are narrow ones: a step takes the maps of its batch,
1.5 GiB for 100 images in a ShuffleNet. What the targets of the paper's five networks take is counted from two images.
"""
import argparse,json,os,resource,sys,tempfile,time
from functools import partial
from pathlib import Path

os.environ.setdefault('TQDM_DISABLE', '1')
import torch
from PIL import Image
from dc_nb.data import load,toy
from dc_nb.edc_runs import Edc,EdcRun,observer,synthesis,untrained
from dc_nb.experiments import check
from dc_nb.folders import from_stream
from dc_nb.matching_runs import Mdc,MdcRun
from dc_nb.models import create
from dc_nb.observers import Statistics,observe
from dc_nb.stages import chain
from dc_nb.trajectory_runs import Mtt,MttRun,expert

narrow = 'dc_nb.rehearsal:tiny_norm,convnet_w32'
papers = ('resnet18', 'mobilenet_v2', 'efficientnet_b0', 'shufflenet_v2_x0_5', 'alexnet')
options = argparse.ArgumentParser()
options.add_argument('--loop', type=int, choices=(1, 2, 3), default=1)
options.add_argument('--classes', type=int, default=1000)
options.add_argument('--images', type=int, help='of each class (4); loop 2 makes an image of four (8)')
options.add_argument('--side', type=int, default=64)
options.add_argument('--observers', default=narrow)
options.add_argument('--labellers', default='convnet_w32')
options.add_argument('--batch', type=int, default=20, help='synthetic images at once')
options.add_argument('--student', default='dc_nb.rehearsal:tiny_norm')
options.add_argument('--json', action='store_true')
o = options.parse_args()
o.images = o.images or (8 if o.loop == 2 else 4)
found = []

def picture(c, i):
    "A coarse pattern of the class, with noise of its own"
    g = torch.Generator().manual_seed(c)
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=g), size=(o.side, o.side), mode='bilinear')[0]
    x = .8*x + .2*torch.rand(3, o.side, o.side, generator=torch.Generator().manual_seed(1000*c+i))
    return Image.fromarray(x.mul(255).byte().permute(1, 2, 0).numpy())

def said(what, seconds, images):
    "Note the time an image and the largest memory until now"
    row = dict(stage=what, images=images, ms_an_image=round(1000*seconds/images, 3),
        peak_GiB=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20, 2))
    found.append(row)
    if not o.json: print(f"{what:<44} {images:>7} images {row['ms_an_image']:>9.3f} ms each, {row['peak_GiB']:.2f} GiB", flush=True)

def timed(what, f, images):
    "Call `f` and note it; its value"
    t = time.perf_counter()
    value = f()
    said(what, time.perf_counter()-t, images(value) if callable(images) else images)
    return value

def make(root):
    for part,n in dict(train=o.images, val=1).items():
        for c in range(o.classes):
            (root/part/f'n{c:08}').mkdir(parents=True)
            for i in range(n): picture(c, i+1000*(part == 'val')).save(root/part/f'n{c:08}'/f'{i}.JPEG')

def chain_of(root, out):
    "The stages of a run of the recipe for ImageNet-1k, one after the other"
    few = dict(ipc=1, iterations=2, epochs=1, seeds=1, ceiling=False, student=o.student, batch=o.batch)
    run = EdcRun(check(dict(few, dataset='imagenet1k', root=str(root), size=o.side, preset='paper',
        observers=o.observers, labellers=o.labellers, out=str(out)), Edc))
    run.network = partial(untrained, run)
    images,n = len(run.train), o.classes
    for name in run.study.observers: timed(f'statistics, {name}', lambda: run.get(observer(run, name)), images)
    timed('synthesis, 2 steps', lambda: run.get(synthesis(run)), n)
    last = run.mine()[0]
    table = next(s for s in chain(last) if s.kind == 'labels')
    timed(f'stored labels, {len(run.teachers)} networks, 1 epoch', lambda: run.get(table), n)
    timed('student, 1 epoch and its test', lambda: run.get(last), n)

def matched(root, out):
    "MDC in two rounds of one step"
    ipc = o.images//4
    few = dict(ipc=ipc, rounds=2, steps=1, period=1, learn=20, epochs=1, seeds=1, student=o.student, network='convnet_w32')
    run = MdcRun(check(dict(few, dataset='imagenet1k', root=str(root), size=o.side, compare='MDC',
        out=str(out)), Mdc))
    timed('matching, 2 steps of all classes', lambda: [run.get(s) for s in run.matched], o.classes*ipc)
    timed('students on every size, 1 epoch', run.results, o.classes*ipc)

def followed(root, out):
    "MTT: an expert of one epoch, two iterations of two steps"
    few = dict(ipc=1, experts=1, latest=1, span=1, steps=2, iterations=2, epochs=1, seeds=1, student=o.student,
        network='convnet_w32', batch=o.batch)
    run = MttRun(check(dict(few, dataset='imagenet1k', root=str(root), size=o.side, out=str(out)), Mtt))
    timed('an expert, 1 epoch', lambda: run.get(expert(run, 0)), len(run.train))
    timed('trajectories, 2 iterations of 2 steps', lambda: [run.get(s) for s in run.matched], 4*o.batch)
    timed('student, 1 epoch and its test', run.results, o.classes)

def tables(name, side=224):
    "GB of the targets of a network for a thousand classes, from what it sees of two images"
    data = toy(classes=2, n=1, side=side, channels=3)
    seen = observe(create(f'torchvision/{name}', 1000, side, 3, seed=0), data, Statistics(side=16)).by_class.values()
    return 1000*sum(m.mean.shape[1]+m.var.shape[1] for m in seen)*4/1e9

with tempfile.TemporaryDirectory() as d:
    root = Path(d)/'images'
    timed('made', lambda: make(root), o.classes*(o.images+1))
    ds = timed('listed', lambda: load('imagenet1k', root, size=o.side), len)
    timed('some classes, in memory', lambda: load(f'imagenet1k[:{min(100, o.classes)}]', root, size=o.side), len)
    rows = (dict(image=picture(c, 0), label=c) for c in range(min(200, o.classes)))
    timed('a stream into a folder', lambda: from_stream(rows, Path(d)/'stream', size=o.side//2), min(200, o.classes))
    timed('digests, first reading', lambda: ds.checksum, len(ds))
    timed('digests, known', lambda: load('imagenet1k', root, size=o.side).checksum, len(ds))
    timed('decoded', lambda: sum(len(ds.take(i)[1]) for i in torch.arange(len(ds)).split(64)), len(ds))
    {1:chain_of, 2:matched, 3:followed}[o.loop](root, Path(d)/'out')
if o.json: print(json.dumps(found))
elif o.loop == 1: print('targets at 224 pixels, 1000 classes:', ', '.join(f'{k} {tables(k):.2f} GB' for k in papers))
if found[-1]['peak_GiB'] > 2: sys.exit('more than 2 GiB')
