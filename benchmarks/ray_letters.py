"""The letters A to G on digits (7 variants, 2 seeds): one process of one thread against two one-thread workers of Ray, on two idle cores.
`python benchmarks/ray_letters.py [runs ...]` measures jobs of that many whole runs of every letter (default: 1 and 5); the sets must be equal.
The aim is 1.6 times. Ray has to start, and its workers have to import PyTorch; a job of half a minute hardly gets that back. So two ratios are said of
every job: with that start, as a user waits for it, and from the moment the first stage is at work, as the stages are shared between the workers.
On a busy machine one process waits for others too: its processor seconds are what it would take alone, and are compared with the workers' time."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

AIM = 1.6
RUN = '''
import sys,threading,time
from pathlib import Path
import torch; torch.set_num_threads(1)
from dc_nb.ablation_runs import Ablation,AblationRun
from dc_nb.engines import engines
from dc_nb.experiments import check
engine,folder,runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
run = AblationRun(check(dict(ablation='letters', runs=runs, seeds=2, engine=engine, out=folder), Ablation))
begun,used,first = time.monotonic(), time.process_time(), []
def look():
    while not any((Path(folder)/'cache').iterdir()): time.sleep(.02)
    first.append(time.monotonic()-begun)
if engine == 'ray':
    threading.Thread(target=look, daemon=True).start()
    engines['ray'](run, workers=2, threads=1)
else: engines['here'](run)
print(time.monotonic()-begun, time.process_time()-used, *(first or [0]))
'''

def seconds(engine:str, folder:str, runs:int)->tuple:
    """(seconds, processor seconds of the first process, seconds until the first stage was at work) of all stages of the ablation,
    without the imports of the first process"""
    env = dict(os.environ, OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    r = subprocess.run([sys.executable, '-c', RUN, engine, folder, str(runs)], env=env, capture_output=True, text=True)
    if r.returncode: raise SystemExit(r.stderr)
    return tuple(map(float, r.stdout.split()[-3:]))

def tensors(folder)->dict:
    from dc_nb.core import checksum,flatten,load_state
    def one(f): return checksum({k:v for k,v in flatten(load_state(f)[0]).items() if hasattr(v, 'dtype')})
    return {f.name:one(f) for f in sorted((Path(folder)/'cache').glob('*.safetensors'))}

found = []
for runs in map(int, sys.argv[1:] or (1, 5)):
    load = os.getloadavg()[0]
    if load > .5: print(f'this machine is busy (load {load:.1f}): the numbers say little')
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        (here_s,alone,_),(ray_s,_,start) = seconds('here', here, runs), seconds('ray', there, runs)
        assert tensors(here) == tensors(there), 'not the same files'
    one = dict(runs=runs, load=round(load, 1), here=round(here_s, 1), processor=round(alone, 1), ray=round(ray_s, 1), start=round(start, 1),
        whole=round(alone/ray_s, 2), stages=round(alone/(ray_s-start), 2))
    found.append(one)
    print('{runs} run(s): here {here:.0f} s ({processor:.0f} s of a processor), two workers {ray:.0f} s, {start:.0f} s of them until the first stage: '
        '{whole:.2f} times as fast, {stages:.2f} once they work'.format(**one), flush=True)
print(json.dumps(dict(jobs=found, aim=AIM, met=[o['runs'] for o in found if o['whole'] >= AIM])))
