"""Seconds of one step of a student with its labels (EDC on CIFAR-10, ten images a class, batch 25, eight teachers): the plain loop, which asks the
teachers about every batch, against the library's, which writes a table first and shares it. `python benchmarks/labelled_step.py [steps]`"""
import sys
import time

import torch
from dc_nb.augment import for_images
from dc_nb.core import stream
from dc_nb.data import ImageSet
from dc_nb.models import create
from dc_nb.provenance import keep_memory, provenance
from dc_nb.recipes import sized_study
from dc_nb.soft_labels import Labelling, ensemble, from_table, live
from dc_nb.train import Fit

keep_memory()
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 8
study = sized_study('cifar10', 10, 'edc', 'paper')
data = ImageSet(torch.randint(256, (100, 3, 32, 32), generator=stream(0, 'benchmark')).byte(), torch.arange(10).repeat_interleave(10),
    [str(c) for c in range(10)], (.49, .48, .45), (.2, .2, .2))
training = study.protocol.training.but(views=for_images(study.protocol.training.views, data), epochs=100)

def network(name, seed=0): return create(name, 10, 32, 3, data.mean, data.std, seed=seed)

def taught(name):
    "A network whose BatchNorm has seen images, in eval mode"
    net = network(name)
    with torch.no_grad(): net(data.take(torch.arange(100))[0])
    return net.eval().requires_grad_(False)

def seconds(loop, n):
    "Of one step, after a first one"
    loop.advance()
    start = time.perf_counter()
    for _ in range(n): loop.advance()
    return (time.perf_counter()-start)/n

def costs(teachers, bf16=False):
    "({student: seconds of the plain step}, {student: of ours}, seconds of a batch of labels, largest difference of the logits)"
    table = Labelling(data, teachers, training, 0)
    x = data.take(torch.arange(100))[0]
    with torch.no_grad(): wanted = ensemble(teachers, x)
    plain,fast = {}, {}
    with torch.autocast('cpu', torch.bfloat16, enabled=bf16, cache_enabled=False):
        per_batch = seconds(table, max(1, steps//4))/len(table.groups[0])   # a step of the table is several batches
        with torch.no_grad(): apart = (ensemble(table.nets, x).float() - wanted).abs().max().item()
        for name in ('resnet18', 'mobilenet_v2'):
            taught_live = live(study.protocol.loss, data, teachers, training, 0)
            plain[name] = seconds(Fit(network(name), data, training, 0, taught_live), steps)
            written = from_table(study.protocol.loss, torch.zeros(training.epochs, 100, 10).half())
            fast[name] = seconds(Fit(network(name), data, training, 0, written), steps)
    return plain, fast, per_batch, apart

teachers = [taught(o) for o in study.observers]
print(f"{provenance('cpu')['machine']}, torch {torch.__version__}")
slow = None
for precision in ('fp32', 'bf16'):
    plain,fast,per_batch,apart = costs(teachers, precision == 'bf16')
    slow = slow or plain                                                   # both are compared with the plain loop in fp32
    one = (fast['resnet18'] + per_batch)/slow['resnet18']
    two = (sum(fast.values()) + per_batch)/sum(slow.values())
    print(f"{precision}, plain: ResNet-18 {plain['resnet18']:.3f} s a step, MobileNet-V2 {plain['mobilenet_v2']:.3f} s")
    print(f"{precision}, ours:  ResNet-18 {fast['resnet18']:.3f} s, MobileNet-V2 {fast['mobilenet_v2']:.3f} s, labels {per_batch:.3f} s a batch")
    print(f"  of the plain loop in fp32: ResNet-18 with its labels {one:.2f}; both students, which share a table, {two:.2f}")
    print(f"  largest difference of the teachers' mean logits: {apart:.1e}")
