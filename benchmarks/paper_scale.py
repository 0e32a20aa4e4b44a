"""The CIFAR-10 runs of EDC at the paper's scale as one graph of stages, made by many processes that share one GPU.

    python benchmarks/paper_scale.py --root DATA --out out --device cuda --precision tf32 --processes 14 --seconds 3600

A student of small images is bound by the host that starts its kernels, so a card has room for as many processes as there are
cores; `nvidia-cuda-mps-control -d` before lets their kernels overlap. A stage starts as soon as what it needs is there, and the
rows of a run are made when its last stage is. What is in `out/cache` is not made again. After --seconds no stage begins; runs
with fewer seeds or variants than asked for get a row of those that are there. `dc_nb publish out/ID/row.json` takes it over.
"""
import argparse
import gc
import sys
import time
import traceback
from multiprocessing import get_context
from pathlib import Path

import torch

from dc_nb import run_base, runs
from dc_nb.ablation_runs import Ablation, AblationRun
from dc_nb.edc_runs import Edc, EdcRun
from dc_nb.run_base import network
from dc_nb.stages import Store, chain

asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name,kind,default,what in (('root', str, None, 'folder of cifar10.npz or of its batches'), ('out', str, 'out', 'caches and runs'),
    ('device', str, 'cuda', ''), ('precision', str, 'tf32', 'fp32, tf32 or bf16'), ('processes', int, 14, ''), ('seconds', float, 3600., ''),
    ('only', str, None, 'names of runs, with commas'), ('preset', str, 'paper', 'another one for a try'), ('dataset', str, 'cifar10', '')):
    asked.add_argument(f'--{name}', type=kind, default=default, help=what)
asked.add_argument('--brief', action='store_true', help='two epochs, one observer: a try on a CPU')
a = asked.parse_args()
BRIEF = dict(observers='convnet_d1', observer_epochs=10, epochs=2, student='convnet_d1', iterations=2)
COMMON = dict(dataset=a.dataset, root=a.root, preset=a.preset, ceiling=False, out=a.out, device=a.device, precision=a.precision, every=1e9)

def edc(**choices): return lambda: EdcRun(Edc(**(COMMON | choices | (BRIEF if a.brief else {}))))

def ablation(name, keep=None, **choices):
    "A run of some variants of an ablation (None: all)"
    def build():
        run = AblationRun(Ablation(**(COMMON | choices | (BRIEF if a.brief else {})), ablation=name, seeds=1))
        run.variants = {k:v for k,v in run.variants.items() if keep is None or k in keep or k == run.p.method}
        return run
    return build

R,M = 'resnet18','mobilenet_v2'
FAST = tuple(f'batch {k}' for k in ('50', '25', '50, decay 0.999', '50, decay 0.9999')) + ('zeta 3', 'multistep, by 0.25')
RUNS = {                                             # name: (order of worth, how it is built)
    'edc10 m': (0, edc(ipc=10, student=M, seeds=3)), 'edc10 r': (0, edc(ipc=10, student=R, seeds=3)),
    'edc1 m': (1, edc(ipc=1, student=M, seeds=3)), 'edc1 r': (1, edc(ipc=1, student=R, seeds=3)),
    'epochs r': (2, ablation('observer_epochs', ipc=10, student=R)), 'released r': (2, edc(method='edc_released', ipc=10, student=R, seeds=1)),
    'edc10 r50': (3, edc(ipc=10, student='resnet50', seeds=1)), 'epochs m': (4, ablation('observer_epochs', ipc=10, student=M)),
    'crops r': (4, ablation('released', ('D18 crops from 8 %',), ipc=10, student=R)),
    'start r': (4, ablation('start', ('surest_crops', 'noise'), ipc=10, student=R)),
    'tables r': (5, ablation('tables20_21', ipc=10, student=R)), 'tables m': (6, ablation('tables20_21', FAST, ipc=10, student=M)),
    'edc50 r': (7, edc(ipc=50, student=R, seeds=1)), 'rivals r': (8, ablation('rivals', ipc=10, student=R)),
    'released all': (9, ablation('released', ipc=10, student=R))}
if a.only: RUNS = {k:v for k,v in RUNS.items() if k in a.only.split(',')}
EARLY = 'network', 'observer', 'set', 'start', 'batch', 'labels', 'subset'        # what many stages wait for goes first

def ends(run)->list:
    "[(last stage, whether another's training brings it along)]"
    if not isinstance(run, AblationRun): return [(s, False) for s in run.stages()]
    return [(s, ', decay ' in k) for k,trials in run.trials().items() for t in trials
        for s in (*t.mine(), *(t.random() if k == run.p.method else ()))]

def remembering(read):
    "Reads the images once for all runs of a process"
    memo = {}
    def again(p, device):
        if device not in memo: memo[device] = read(p, device)
        return memo[device]
    return again

def graph()->tuple:
    "({id: (run, stage)}, {id: facts}, {run: ids of its last stages}, store) of all runs, which share a store"
    store,stages,facts,last = Store(Path(a.out)/'cache', a.device, every=1e9), {}, {}, {}
    for name,(order,build) in RUNS.items():
        run = build()
        store.amp,run.store = run.amp,store
        kept = {network(run, o, run.study.squeeze.but(epochs=e)).id for o in run.study.observers for e in run_base.early}
        found = ends(run)
        last[name] = [s.id for s,_ in found]
        for s,rides in found:
            for c in chain(s, parts=True):
                f = facts.setdefault(c.id, dict(name=c.name, kind=c.kind, needs=[n.id for n in (*c.needs, *c.parts)], order=99, work=c.work, made=True))
                f['order'] = min(f['order'], order)
                if c.id in kept or rides and c.id == s.id: f['made'] = False          # another stage leaves its file
                stages.setdefault(c.id, (run, c))
    return stages,facts,last,store

def row(name, whole=True)->str|None:
    "Make and keep the row of a run; with `whole=False` of the seeds or variants that are there"
    run = RUNS[name][1]()
    there = lambda found: all(run.store.file(s).exists() for s,_ in found)
    if not whole and isinstance(run, AblationRun):
        every = run.variants
        def has(k):
            run.variants = {k:every[k]}
            return there(ends(run))
        run.variants = {k:v for k,v in every.items() if has(k)}
        if run.p.method not in run.variants or len(run.variants) < 2: return None
    elif not whole:
        for n in range(run.p.seeds-1, 0, -1):
            run.p = run.p.model_copy(update=dict(seeds=n))
            if there(ends(run)): break
        else: return None
    found = run.results()
    made = None if isinstance(run, AblationRun) else runs.signed(run.main_set(), run, found['row'], *run.signs)
    runs.keep(run, made, found['row'])
    return f"{name}: { {k:round(100*v['mean'], 1) for k,v in found['row']['scores'].items()} } in {run.folder}"

def work(pipe, log):
    "A process: build the graph, then make what it is told to"
    sys.stderr = open(log, 'w')
    torch.set_num_threads(1)
    run_base.data_of = remembering(run_base.data_of)
    stages,facts,last,store = graph()
    gc.collect(), gc.freeze()
    pipe.send((facts, last))
    while True:
        what,which = pipe.recv()
        start = time.monotonic()
        try:
            if what == 'row': said = row(*which)
            else:
                run,s = stages[which]
                run.get(s)
                said = f"{time.monotonic()-start:.0f} s  {s.name} {store.cards[which].get('accuracy', '')}"
            pipe.send((True, said))
        except Exception: pipe.send((False, traceback.format_exc()[-1500:]))

def main():
    begun,out = time.monotonic(), Path(a.out)
    (out/'cache').mkdir(parents=True, exist_ok=True)
    context,workers = get_context('spawn'), []
    for i in range(a.processes+1):                                         # the last one makes rows
        mine,theirs = context.Pipe()
        p = context.Process(target=work, args=(theirs, out/f'errors-{i}.txt'), daemon=True)
        p.start()
        workers.append(dict(pipe=mine, process=p, job=None))
    for w in workers: facts,last = w['pipe'].recv()
    file = lambda id: out/'cache'/f'{id}.safetensors'
    busy = lambda: {w['job'][1] for w in workers if w['job']}
    made = lambda id: file(id).exists() and id not in busy()
    started,rows,failures,late = set(), set(), 0, None
    say = lambda *what: print(f'{time.monotonic()-begun:7.0f} s', *what, flush=True)
    say(f'{len(facts)} stages, {sum(map(made, facts))} of them made')
    def give(w, *job):
        w['pipe'].send(job)
        w['job'] = job
    while True:
        for w in workers:
            if w['job'] and w['pipe'].poll():
                fine,said = w['pipe'].recv()
                if said: say(said if fine else f"{w['job'][1]} FAILED\n{said}")
                w['job'],failures = None, failures + (not fine)
        if failures > 5: return say('too many failures')                   # most likely one cause
        over = time.monotonic()-begun > a.seconds
        todo = [] if over else sorted((f['order'] - 3*(f['kind'] in EARLY), -f['work'], id) for id,f in facts.items()
            if f['made'] and id not in started and not made(id) and all(map(made, f['needs'])))
        for (_,_,id),w in zip(todo, [w for w in workers[:-1] if not w['job']]):
            started.add(id)
            give(w, 'stage', id)
        ready = [k for k,ids in last.items() if k not in rows and all(map(made, ids))]
        idle = not any(w['job'] for w in workers[:-1])
        if not ready and not todo and (over or idle):
            late = [k for k in last if k not in rows] if late is None else late
            if late and not workers[-1]['job']: give(workers[-1], 'row', (late.pop(0), False))
            elif not late and not workers[-1]['job']: break
        elif ready and not workers[-1]['job']:
            rows.add(ready[0])
            give(workers[-1], 'row', (ready[0],))
        time.sleep(.1)
    say('end')

if __name__ == '__main__': main()
