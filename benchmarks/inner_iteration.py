"""Seconds of one step of loop 2 (10 classes, 10 stored images of 4 tiles, ConvNet-W128, 32 x 32 pixels, 64 real images
a class, 32 network steps): the plain fp32 loop over classes against the library's, and the cosine between their
pixel gradients. `python benchmarks/inner_iteration.py [prefix] [steps]`; prefix 0 is IDC, more is MDC with that most
learnable subset."""
import multiprocessing,sys,time

import torch
import torch.nn.functional as F
from dc_nb.augment import draw
from dc_nb.core import stream
from dc_nb.data import ImageSet
from dc_nb.provenance import keep_memory,machine
from dc_nb.formation import enlarge
from dc_nb.gradient_matching import Matching,advance,start_images
from dc_nb.matched_images import Images
from dc_nb.recipes import named
from torch import nn,optim

def setting(prefix):
    "Random images, the paper's recipe"
    g = stream(0, 'benchmark')
    data = ImageSet(torch.randint(256, (2000, 3, 32, 32), generator=g).byte(), torch.arange(2000) % 10,
        [str(c) for c in range(10)], (.49, .48, .45), (.2, .2, .2))
    recipe = named['mdc' if prefix else 'idc'].matching
    m = Images(recipe, start_images(recipe, data, 10, 0), data)
    if prefix: m.plan.sizes = [[prefix]]
    return data, recipe, m

def plain(prefix, steps, out):
    "One class after the other, every subset passed again, gradients to everything, a step of torch's SGD after each class"
    data,recipe,m = setting(prefix)
    run = Matching(recipe.but(extra=None), data, dict(m=m), 0)
    body,mean,std = run.net.body, run.net.normalise.mean, run.net.normalise.std
    for i,layer in enumerate(body.features):
        if hasattr(layer, 'eps'): body.features[i] = nn.GroupNorm(128, 128)
        if isinstance(layer, nn.AvgPool2d): body.features[i] = nn.AvgPool2d(2)
    body.to(memory_format=torch.contiguous_format)
    x = nn.Parameter(m.x.clone())
    opt = optim.SGD([x], lr=recipe.rate, momentum=recipe.momentum)
    def gradient(images, c, graph):
        loss = F.cross_entropy(body(images), torch.full((len(images),), c))
        return [g for g in torch.autograd.grad(loss, list(body.parameters()), create_graph=graph) if g.ndim == 4]
    def once(step):
        first = []
        for c in range(10):
            real,tiles = run.real(c), enlarge(x[c], 2, (32, 32))
            both = draw(recipe.views, 1, stream(0, 'matching', 0, step, c))((torch.cat([real, tiles])-mean)/std)
            real,tiles = both[:len(real)], both[len(real):]
            aim = [g.detach() for g in gradient(real, c, False)]
            loss = sum(((a-b)**2).sum() for n in [10]+[prefix]*bool(prefix) for a,b in zip(gradient(tiles[:4*n], c, True), aim))
            opt.zero_grad()
            loss.backward()
            first.append(x.grad[c].clone())
            opt.step()
        learn = optim.SGD(body.parameters(), lr=.01, momentum=.9, weight_decay=5e-4)
        for i in range(32):
            images,y = data.take(torch.randint(2000, (64,)))
            view = draw(recipe.training.views, 64, stream(0, i))
            learn.zero_grad()
            F.cross_entropy(body(view((images-mean)/std)), view.labels(y, 10)).backward()
            learn.step()
        return torch.stack(first)
    out.put((once(0).numpy(), timed(once, steps)))

def ours(prefix, steps, out, bf16=False):
    keep_memory()
    data,recipe,m = setting(prefix)
    run = Matching(recipe.but(extra=None), data, dict(m=m), 0)
    got = {}
    move = m.move
    m.move = lambda grad: (got.setdefault('grad', grad.clone()), move(grad))
    with torch.autocast('cpu', torch.bfloat16, enabled=bf16, cache_enabled=False):
        advance(run)
        out.put((got['grad'].numpy(), timed(lambda step: advance(run), steps)))

def timed(f, steps):
    start = time.perf_counter()
    for i in range(steps): f(i+1)
    return (time.perf_counter()-start)/steps

def alone(f, *args):
    "In a process of its own, so that neither inherits the other's memory or settings"
    context = multiprocessing.get_context('spawn')
    out = context.Queue()
    p = context.Process(target=f, args=(*args, out))
    p.start()
    grad,seconds = out.get()
    p.join()
    return torch.from_numpy(grad), seconds

def main(prefix=0, steps=2):
    a,slow = alone(plain, prefix, steps)
    b,fast = alone(ours, prefix, steps)
    # the first class alone: after it the plain loop's momentum and the joint step part by design
    cosine = F.cosine_similarity(a[0].flatten(), b[0].flatten(), 0).item()
    print(f"{machine('cpu')}: plain {slow:.1f} s a step, ours {fast:.1f} s, {slow/fast:.2f} times faster; "
        f"cosine of the pixel gradients {cosine:.6f} (prefix {prefix})")

if __name__ == '__main__': main(*map(int, sys.argv[1:]))
