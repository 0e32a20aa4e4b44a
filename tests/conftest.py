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
SCRIPT = """
import json, sys
from dc_nb.experiments import check
from dc_nb.runs import EdcRun, everything
e = everything(EdcRun(check(json.loads(sys.argv[1]))))
e['condensed'].save(sys.argv[2])
json.dump({k: v['accuracies'] for k, v in e['row']['scores'].items()}, open(sys.argv[2]+'.json', 'w'))
"""

@pytest.fixture
def start_run(tmp_path):
    "start_run(name, **parameters): a process that runs all stages; its caches are in tmp_path/name, its set in tmp_path/name.set"
    import json
    def start(name, **kw):
        p = dict(TINY, out=str(tmp_path/name), results=str(tmp_path/name), figures=str(tmp_path/name), **kw)
        env = dict(os.environ, OMP_NUM_THREADS='1')
        return subprocess.Popen([sys.executable, '-c', SCRIPT, json.dumps(p), str(tmp_path/f'{name}.set')], cwd=tmp_path, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return start
