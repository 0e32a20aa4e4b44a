"""The letters A to G on digits (7 variants, 2 seeds): one process of one thread against two one-thread workers of Ray, on two idle cores.
`python benchmarks/ray_letters.py [repeats]` says seconds of each and how often they fit; the aim is 1.6 times, and the sets must be equal.
On a busy machine one process waits for others too: its processor seconds are what it would take alone, and are compared with the workers' time."""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = '''
import sys,time
import torch; torch.set_num_threads(1)
from dc_nb.ablation_runs import Ablation,AblationRun
from dc_nb.engines import engines
from dc_nb.experiments import check
run = AblationRun(check(dict(ablation='letters', runs=1, seeds=2, engine=sys.argv[1], out=sys.argv[2]), Ablation))
begun,used = time.monotonic(),time.process_time()
engines['ray'](run, workers=2, threads=1) if sys.argv[1] == 'ray' else engines['here'](run)
print(time.monotonic()-begun, time.process_time()-used)
'''

def seconds(engine:str, folder:str)->tuple:
    "(seconds, processor seconds of the first process) of all stages of the ablation, without the imports of that process"
    env = dict(os.environ, OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    r = subprocess.run([sys.executable, '-c', RUN, engine, folder], env=env, capture_output=True, text=True, check=True)
    return tuple(map(float, r.stdout.split()[-2:]))

def tensors(folder)->dict:
    from dc_nb.core import checksum,flatten,load_state
    def one(f): return checksum({k:v for k,v in flatten(load_state(f)[0]).items() if hasattr(v, 'dtype')})
    return {f.name:one(f) for f in sorted((Path(folder)/'cache').glob('*.safetensors'))}

found = []
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
    if os.getloadavg()[0] > .5: print(f'this machine is busy (load {os.getloadavg()[0]:.1f}): the numbers say little')
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        (here_s,alone),(ray_s,_) = seconds('here', here), seconds('ray', there)
        assert tensors(here) == tensors(there), 'not the same files'
    found.append(alone/ray_s)
    print(f'here {here_s:.0f} s ({alone:.0f} s of a processor), two workers {ray_s:.0f} s: {found[-1]:.2f} times as fast', flush=True)
    time.sleep(1)
print(json.dumps(dict(times=[round(o, 2) for o in found], aim=1.6, met=min(found) >= 1.6)))
