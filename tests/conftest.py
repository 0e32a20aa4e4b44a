"Shared by the tests: one thread (two workers share two cores), runs that take seconds, and a process that runs them"
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
# an emulated device and a real one do not live in one process; where there is a GPU, test_cuda.py has the same loops
collect_ignore = ['test_device.py'] if torch.cuda.is_available() else []
ROOT = Path(__file__).resolve().parents[1]
TINY = dict(ipc=2, observers='convnet_d1,convnet_w32', observer_epochs=2, iterations=4, batch=10, student='convnet_d1', epochs=3, seeds=2, every=0.)
TINY_MDC = dict(ipc=3, rounds=3, steps=2, period=1, learn=64, epochs=2, seeds=2, curve=1, every=0.)
TINY_MTT = dict(ipc=2, network='convnet_d1', student='convnet_d1', experts=2, latest=1, span=1, steps=2, iterations=4, epochs=2, seeds=1, every=0.)
TINY_ABLATION = dict(ablation='alpha', ipc=2, observers='convnet_d1', observer_epochs=2, iterations=2, batch=10, student='convnet_d1', epochs=2, seeds=1, every=0.)

@pytest.fixture(scope='session')
def server():
    "The process of forks.py: imports once, then every run is a fork"
    env = dict(os.environ, OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    p = subprocess.Popen([sys.executable, str(ROOT/'tests'/'forks.py')], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    yield p
    p.stdin.close()
    p.wait(timeout=30)

def asking(server, base):
    "runs(name, kind, **changes): all stages with caches in base/name; `pattern`, `delay`: killed; `copies`: at once; `largest`: file it may write; `signal`, `after`: signalled"
    def ask(name, kind='edc', pattern=None, delay=.1, copies=1, largest=None, signal=None, after=0., **kw):
        more = dict(pattern=pattern, delay=delay) if pattern else dict(signal=signal, after=after) if signal else dict(copies=copies, largest=largest)
        c = dict(kind=kind, parameters={**dict(edc=TINY, mdc=TINY_MDC, mtt=TINY_MTT, ablation=TINY_ABLATION)[kind], **kw}, folder=str(base/name), **more)
        print(json.dumps(c), file=server.stdin, flush=True)
        return json.loads(server.stdout.readline())
    return ask

@pytest.fixture
def runs(server, tmp_path):
    "Runs with caches in this test's folder"
    return asking(server, tmp_path)

@pytest.fixture(scope='session')
def undisturbed(server, tmp_path_factory):
    "undisturbed(kind): where a whole run of this kind left its files, FOLDER and FOLDER.set; made once, only to be read"
    base,made = tmp_path_factory.mktemp('undisturbed'), set()
    def of(kind='edc'):
        if kind not in made:
            for r in asking(server, base)(kind, kind): assert r['code'] == 0, r['log']
            made.add(kind)
        return base/kind
    return of

ALL = os.environ.get('DC_NB_ALL', '0') not in ('', '0')            # tests whose marker is `slow`, and tables of cases in full

def pytest_collection_modifyitems(items):
    "What is marked `slow` has a cheaper test of the same behaviour beside it, and waits for DC_NB_ALL=1"
    for item in items:
        if not ALL and item.get_closest_marker('slow'): item.add_marker(pytest.mark.skip(reason='slow: DC_NB_ALL=1 runs it'))
