"""Class statistics of all watched layers against a plain forward pass: the ratio should stay below 1.5.

    python benchmarks/class_statistics.py [NETWORK] [IMAGES]
"""
import sys,time

import torch
from dc_nb.data import ImageSet
from dc_nb.models import create
from dc_nb.observers import Statistics,observe

name,n = (sys.argv[1:] + ['resnet18', '1000'][len(sys.argv)-1:])[:2]
n = int(n)
device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
g = torch.Generator().manual_seed(0)
x = torch.randint(0, 256, (n, 3, 32, 32), generator=g, dtype=torch.uint8)     # the images do not matter for the time
data = ImageSet(x, torch.arange(n)%10, tuple(map(str, range(10))), (.5,)*3, (.25,)*3, 'random').to(device)
net = create(name, 10, 32, 3, data.mean, data.std, seed=0).to(device).eval()
recipe = Statistics()

def seconds(f, repeats=3):
    "Best of `repeats`, after one warm-up"
    times = []
    for _ in range(repeats+1):
        t = time.perf_counter()
        f()
        if device.type == 'cuda': torch.cuda.synchronize()
        times.append(time.perf_counter()-t)
    return min(times[1:])

@torch.no_grad()
def forward():
    for idx in torch.arange(n).split(recipe.batch): net(data.take(idx)[0].contiguous(memory_format=torch.channels_last))

plain,full = seconds(forward), seconds(lambda: observe(net, data, recipe))
print(f'{name}, {n} images of 32 x 32 on {device}: forward {plain:.2f} s, with statistics {full:.2f} s, ratio {full/plain:.2f}')
