"""The commands and the five lines of the README, taken from it, run in a new folder at a small budget.
DC_NB_ALL=1 runs all of them as they stand, and twice"""
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from conftest import ALL,ROOT

README = (ROOT/'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```', README, re.M|re.S)
MAKE = dict(re.findall(r'^(\w+): install.*\n\t\$\(BIN\)/(dc_nb .*?) \$\(ARGS\)', (ROOT/'Makefile').read_text(), re.M))
APART = ('git clone', 'pip install', 'make docs', 'make test')          # they need the network, or are tests themselves

def commands():
    "Lines of the shell's blocks, then those between ticks; `make edc` is what the Makefile says"
    lines = [l for kind,text in BLOCKS if kind == 'bash' for l in text.splitlines()]
    lines += re.findall(r'`((?:make|dc_nb|papermill|git|pip) [^`]+)`', README)
    lines = [MAKE.get(l.split()[1], l) if l.startswith('make ') else l for l in lines if not l.startswith(APART)]
    return list(dict.fromkeys(lines))

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A new folder with the notebooks, and a little data under a name that the README mentions"
    d = tmp_path_factory.mktemp('readme')
    (d/'nbs').symlink_to(ROOT/'nbs')
    (d/'data').mkdir()
    g = np.random.default_rng(0)
    x,y = g.integers(0, 256, (600, 32, 32, 3)).astype(np.uint8), np.arange(600)%10
    np.savez(d/'data'/'cifar10.npz', train_images=x, train_labels=y, test_images=x[:50], test_labels=y[:50])
    return d

# long commands have these words behind them, unless DC_NB_ALL=1: nbs/run_edc.ipynb runs as it stands in every `make test`
BRIEF = ' -p observers convnet_d1 -p observer_epochs 1 -p iterations 2 -p epochs 1 -p seeds 1'
FEW = {'dc_nb run mdc':' -p compare MDC -p rounds 2 -p steps 1 -p period 1 -p learn 16 -p epochs 1 -p seeds 1',
    'papermill':BRIEF, 'dc_nb run edc':BRIEF}

def hurried(line):
    "The line at a small budget"
    return line if ALL else line + next((few for start,few in FEW.items() if line.startswith(start)), '')

def ran(folder, line, times, **kw):
    "What the last run of the same line prints"
    env = dict(os.environ, PYTHONPATH=str(ROOT), PATH=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}", OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    for _ in range(times):
        r = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=900, **kw)
        assert r.returncode == 0, f'{line}\n{r.stdout}\n{r.stderr}'
    return r.stdout

def test_the_commands_are_there():
    assert 'dc_nb run edc' in commands() and 'dc_nb run mdc' in commands() and any(c.startswith('papermill ') for c in commands())
    assert len(README.splitlines()) <= 120
    before = re.sub(r'[#*`\[\]()]', ' ', README.split('```')[0]).split()
    assert len(before) <= 60, 'words before the first command'

# test_cli runs `--student`, too
@pytest.mark.parametrize('line', [pytest.param(c, marks=[pytest.mark.slow]*('--student' in c)) for c in commands()])
def test_a_command(folder, line):
    out = ran(folder, hurried(line), times=2 if ALL else 1, shell=True)
    if line == 'dc_nb run edc': assert 'edc minus random' in out and 'next: dc_nb show' in out
    if '--plan' in line: assert 'in all' in out
    if line.startswith('papermill'): assert (folder/line.split()[2]).exists(), 'the notebook goes where papermill was told to put it'

@pytest.mark.slow                                                   # nbs/index.ipynb runs them, too
def test_the_five_lines(folder):
    block, = [text for kind,text in BLOCKS if kind == 'python']
    out = ran(folder, [sys.executable, '-c', block], times=2 if ALL else 1)
    assert 'difference:' in out and 'CondensedSet(10 x 1' in out
    assert len(block.strip().splitlines()) <= 5
