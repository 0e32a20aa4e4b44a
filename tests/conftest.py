"Shared by the tests: one thread (two workers share two cores) and a run that takes a second"
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]
TINY = dict(ipc=2, observers='convnet_d1,wrn_16_2', observer_epochs=3, iterations=4, batch=10, student='convnet_d1', epochs=4, seeds=2, every=0.)
TINY_MDC = dict(ipc=3, rounds=3, steps=2, period=1, learn=64, epochs=3, seeds=2, curve=1, every=0.)
SCRIPT = """
import json, sys
from dc_nb.experiments import Edc, Mdc, check
from dc_nb import matching_runs, runs
kind, parameters, out = sys.argv[1:]
if kind == 'edc':
    e = runs.everything(runs.EdcRun(check(json.loads(parameters), Edc)))
    e['condensed'].save(out)
else:
    e = matching_runs.everything(matching_runs.MdcRun(check(json.loads(parameters), Mdc)))
    e['sets']['MDC'][3].save(out)
json.dump(e['row']['scores'], open(out+'.json', 'w'))
"""

@pytest.fixture
def start_run(tmp_path):
    "start_run(name, kind, **parameters): a process that runs all stages; its caches are in tmp_path/name, its set in tmp_path/name.set"
    import json
    def start(name, kind='edc', **kw):
        p = dict(TINY if kind == 'edc' else TINY_MDC, out=str(tmp_path/name), results=str(tmp_path/name), figures=str(tmp_path/name), **kw)
        env = dict(os.environ, OMP_NUM_THREADS='1')
        return subprocess.Popen([sys.executable, '-c', SCRIPT, kind, json.dumps(p), str(tmp_path/f'{name}.set')], cwd=tmp_path, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return start
