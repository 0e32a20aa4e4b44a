"The wheel, installed elsewhere, does what the README's command lines say; the constraints name what the package needs"
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from configparser import ConfigParser

import pytest
from click.testing import CliRunner

from conftest import ROOT
from dc_nb.cli import main

QUICK = ' -p observers convnet_d1 --observer-epochs 2 -p iterations=2 -p student convnet_d1 -p epochs 2 -p seeds 2 -p ceiling False'

LINES = """
dc_nb run edc --ipc 10
dc_nb list edc
dc_nb show out/edc-*/edc-*.safetensors
dc_nb export out/edc-*/edc-*.safetensors --to png
dc_nb evaluate out/edc-*/edc-*.safetensors
dc_nb verify out/edc-*/edc-*.safetensors
""".strip().splitlines()

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "Environment of a folder into which the wheel, and nothing but the wheel, was installed"
    d = tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT, d/'source', ignore=shutil.ignore_patterns('.git', '.venv', 'out', 'data', 'figures', 'tests', '*.egg-info', 'build', '__pycache__'))
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    subprocess.run([*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', d/'w', d/'source'], check=True, capture_output=True)
    subprocess.run([*pip, 'install', '--no-deps', '--target', d/'site', *(d/'w').glob('*.whl')], check=True, capture_output=True)
    (d/'empty').mkdir()
    return d/'empty', dict(os.environ, PYTHONPATH=str(d/'site'), PATH=f"{d/'site'/'bin'}:{os.environ['PATH']}", OMP_NUM_THREADS='1')

def shell(wheel, line):
    return subprocess.run(line, shell=True, cwd=wheel[0], env=wheel[1], capture_output=True, text=True, timeout=300)

def test_it_is_the_wheel(wheel):
    out = shell(wheel, sys.executable + ' -c "import dc_nb, dc_nb.cli; print(dc_nb.__file__, dc_nb.cli.notebook(\'run_edc\'))"').stdout
    assert out.count(wheel[1]['PYTHONPATH']) == 2, out

def test_command_lines(wheel):
    "From an empty folder to a set that is shown, exported, evaluated and verified; `evaluate` says what `run` said"
    said = {}
    for line in LINES:
        extra = QUICK if ' run ' in line else ' --seeds 2' if ' evaluate ' in line else ''
        r = shell(wheel, line+extra)
        assert r.returncode == 0, f'{line}{extra}\n{r.stdout}\n{r.stderr}'
        said[line.split()[1]] = r.stdout
    words = 'folder   out/edc-digits-ipc10-live-', 'notebook', 'same recipe', 'next: dc_nb show'
    assert all(o in said['run'] for o in words)
    score = re.search(r'edc \| ([0-9.]+ ± [0-9.]+) ', said['run'])[1]
    assert f'{score} %' in said['evaluate'], (score, said['evaluate'])
    assert 'ok  recipe' in said['verify']
    assert not (wheel[0]/'results').exists(), 'a run writes into its own folder alone'
    again = shell(wheel, LINES[0]+QUICK+' --json')
    assert again.returncode == 0 and '"scores"' in again.stdout

def test_an_interrupted_run_says_one_sentence(wheel):
    p = subprocess.Popen('exec dc_nb run edc --ipc 9'+QUICK+' --epochs 1000000', shell=True, cwd=wheel[0],
        env=wheel[1], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    time.sleep(12)
    os.killpg(p.pid, signal.SIGINT)
    out,_ = p.communicate(timeout=60)
    assert p.returncode == 130 and 'interrupted; the same command goes on from here' in out and 'Traceback' not in out, out

@pytest.mark.parametrize('line,says', [
    ('run edc -p icp 10', "did you mean 'ipc'"), ('run edc -p ipc ten', "ipc = 'ten' is not right"),
    ('run mdc -p ipc 1', 'ipc'), ('run ablation -p ablation zetta', "did you mean 'zeta'"),
    ('run edc -p student resnet81', "did you mean 'resnet18'"), ('run edc -p', '-p needs a name and a value'),
    ('run edc --out /proc/x', 'cannot write into /proc/x'), ('run edc 10', "'10' is not expected here"),
    ('run edc --ipc', 'ipc needs a value'), ('run ecd', "'ecd' is not one of"),
    ('list recipe', "'recipe' is not one of"), ('show none.npz', 'none.npz does not exist'),
    ('show README.md', 'README.md is none of'), ('verify nbs', 'give the data set that was condensed'),
    ('run edc -p _x 1', "unknown parameter '_x'"), ('run edc -p zeta inf', 'zeta'),
    ('run edc -p observers ,', 'observers'), ('run edc -p dataset nowhere', 'nowhere'),
    ('list models resnet81', "did you mean 'resnet18'"), ('export nbs --to npz --first 0', '0 is not in the range'),
    ('show nbs --factor 0', 'not in the range'),
    ('show nbs --dataset cifra10', "did you mean 'cifar10'"), ('show nbs --dataset ~nouser/x', '~nouser/x'),
    ('evaluate none --seeds 0', '0 is not in the range'), ('export none --to png', 'none does not exist'),
    ('export none --to jpg', "'jpg' is not one of the formats"),
    ('runn', "No such command 'runn'"),
])
def test_mistakes(line, says, monkeypatch):
    "One line that names the culprit, before a kernel starts"
    monkeypatch.chdir(ROOT)
    r = CliRunner().invoke(main, line.split(), prog_name='dc_nb')
    assert isinstance(r.exception, SystemExit) and r.exit_code in (1, 2) and says in r.output, r.output

def test_constraints():
    "Every requirement is pinned, within its range, and this environment is the one that is pinned"
    from importlib.metadata import version
    from packaging.requirements import Requirement
    pinned = dict(l.split('==') for l in (ROOT/'constraints.txt').read_text().splitlines() if l and l[0] != '#')
    config = ConfigParser(delimiters=['='])
    config.read(ROOT/'settings.ini')
    for kind in ('requirements', 'run_requirements', 'dev_requirements'):
        for r in map(Requirement, config['DEFAULT'][kind].split()):
            name = re.sub(r'[-_.]+', '-', r.name).lower()
            assert name in pinned and r.specifier.contains(pinned[name]), f'{r} and constraints.txt: {pinned.get(name)}'
    other = {k:(v, version(k)) for k,v in pinned.items() if k in ('torch', 'torchvision', 'timm', 'numpy',
        'scikit-learn', 'pydantic') and version(k).split('+')[0] != v}
    if other: pytest.skip(f'this environment is another one: {other}')
