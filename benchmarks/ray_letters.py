"""The letters A to G on digits (7 variants, 2 seeds): one process of one thread against two one-thread workers of Ray, on two idle cores.
`python benchmarks/ray_letters.py [repeats]` says seconds of each and how often they fit; the aim is 1.6 times, and the sets must be equal."""
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
begun = time.monotonic()
engines['ray'](run, workers=2, threads=1) if sys.argv[1] == 'ray' else engines['here'](run)
print(time.monotonic()-begun)
'''

def seconds(engine:str, folder:str)->float:
    "All stages of the ablation, without the imports of the first process"
    env = dict(os.environ, OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    r = subprocess.run([sys.executable, '-c', RUN, engine, folder], env=env, capture_output=True, text=True, check=True)
    return float(r.stdout.split()[-1])

def tensors(folder)->dict:
    from dc_nb.core import checksum,flatten,load_state
    def one(f): return checksum({k:v for k,v in flatten(load_state(f)[0]).items() if hasattr(v, 'dtype')})
    return {f.name:one(f) for f in sorted((Path(folder)/'cache').glob('*.safetensors'))}

found = []
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
    if os.getloadavg()[0] > .5: print(f'this machine is busy (load {os.getloadavg()[0]:.1f}): the numbers say little')
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        times = dict(here=seconds('here', here), ray=seconds('ray', there))
        assert tensors(here) == tensors(there), 'not the same files'
    found.append(times['here']/times['ray'])
    print(f"here {times['here']:.0f} s, two workers {times['ray']:.0f} s: {found[-1]:.2f} times as fast")
    time.sleep(1)
print(json.dumps(dict(times=[round(o, 2) for o in found], aim=1.6, met=min(found) >= 1.6)))
