"Measurements of the applications in parts: a process that is killed loses no finished part, and the row is the same"
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import pytest

from conftest import ROOT
from dc_nb.core import load_state
from dc_nb.data import toy
from test_applications import hurry,tiny

RUN = 'import sys; from test_parts import measured; measured(sys.argv[1], sys.argv[2])'

def measured(name, out=None, negative=False):
    "The row of a tiny measurement"
    data,test = [replace(o, name='digits') for o in (toy(classes=4, n=6), toy(classes=4, n=2, split='test'))]
    if negative: data = replace(data, x=255-data.x)
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        return tiny[name](data, test, out=out)

def finished(out): return {f:f.stat().st_mtime_ns for f in out.glob('cache/*.safetensors')}

SLOW = pytest.mark.slow                                             # one keeper serves all three

@pytest.mark.parametrize('name,parts', [('slimming', 3), pytest.param('continual', 4, marks=SLOW), pytest.param('robustness', 3, marks=SLOW)])
def test_a_killed_measurement_goes_on(name, parts, tmp_path):
    out = tmp_path/'out'
    env = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT/"tests"}', OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    p = subprocess.Popen([sys.executable, '-c', RUN, name, str(out)], env=env, stderr=subprocess.PIPE, text=True)
    while len(finished(out)) < parts and p.poll() is None: time.sleep(.01)
    p.send_signal(signal.SIGKILL)
    assert p.wait() in (-signal.SIGKILL, 0), p.stderr.read()
    before = finished(out)
    assert len(before) >= parts
    row = measured(name, out)
    assert before.items() <= finished(out).items()              # what was there has not been made again
    assert row['scores'] == measured(name)['scores']            # and the numbers are those of one process

def test_other_data_share_no_part(tmp_path):
    measured('continual', tmp_path)
    n = len(finished(tmp_path))
    measured('continual', tmp_path, negative=True)
    assert len(finished(tmp_path)) == 2*n

def test_measurements_share_a_folder(tmp_path):
    "Observers and sets of one are those of another, and nothing is made again"
    measured('continual', tmp_path/'alone')
    with warnings.catch_warnings(action='error'):
        measured('robustness', tmp_path/'both')
        before = finished(tmp_path/'both')
        measured('continual', tmp_path/'both')
    after = finished(tmp_path/'both')
    assert before.items() <= after.items() and len(after) < len(before) + len(finished(tmp_path/'alone'))
    for f in (tmp_path/'both').glob('cache/set-*.safetensors'):
        assert any(k.endswith('train.fit') for k in load_state(f)[1]['made']['code']), 'a set depends on how its observers are trained'
