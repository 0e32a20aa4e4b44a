"The wheel, installed elsewhere, does what the README's command lines say; the constraints name what the package needs"
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser

import pytest
from click.testing import CliRunner

from conftest import ROOT
from dc_nb.cli import main

QUICK = ' -p observers convnet_d1 -p observer_epochs 1 -p iterations 2 -p student convnet_d1 -p epochs 2 -p seeds 2 -p ceiling False'

def lines():
    "The lines of the README that start with dc_nb"
    return [l.split('#')[0].strip() for l in (ROOT/'README.md').read_text().splitlines() if l.startswith('    dc_nb ')]

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

def test_command_lines_of_the_readme(wheel):
    found = lines()
    assert {l.split()[1] for l in found} == {'run', 'list', 'show', 'export', 'evaluate', 'verify'}
    for line in found:
        extra = QUICK if ' run ' in line else ' --epochs 2 --seeds 2' if ' evaluate ' in line else ''
        r = shell(wheel, line+extra)
        assert r.returncode == 0, f'{line}{extra}\n{r.stdout}\n{r.stderr}'
        if ' run ' in line: assert 'condensed set  out/edc-digits-ipc10' in r.stdout and 'notebook' in r.stdout and 'same recipe' in r.stdout
    assert 'ok  recipe' in shell(wheel, 'dc_nb verify out/edc-*.safetensors').stdout
    assert len(list((wheel[0]/'results').glob('edc.jsonl'))) == 1

@pytest.mark.parametrize('line,says', [
    ('run edc -p icp 10', "did you mean 'ipc'"), ('run edc -p ipc ten', "ipc = 'ten' is not right"), ('run mdc -p ipc 1', 'ipc'), ('run ablation -p ablation zetta', "did you mean 'zeta'"),
    ('run edc -p student resnet81', "did you mean 'resnet18'"), ('run edc -p', 'requires 2 arguments'), ('run edc --out /proc/x', 'cannot write into /proc/x'), ('run ecd', "'ecd' is not one of"),
    ('list recipe', "'recipe' is not one of"), ('show none.npz', 'none.npz does not exist'), ('show README.md', 'README.md is none of'), ('verify nbs', 'none of card.json'), ('run edc -p _x 1', "unknown parameter '_x'"), ('run edc -p zeta inf', 'zeta'), ('run edc -p observers ,', 'observers'), ('run edc -p dataset nowhere', 'nowhere'),
    ('list models resnet81', "did you mean 'resnet18'"), ('export nbs --to npz --first 0', '0 is not in the range'), ('show nbs --factor 0', 'not in the range'),
    ('show nbs --dataset cifra10', "did you mean 'cifar10'"), ('show nbs --dataset ~nouser/x', '~nouser/x'), ('evaluate none --seeds 0', '0 is not in the range'), ('export none --to png', 'none does not exist'), ('export none --to jpg', "'jpg' is not one of the formats"),
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
    config = ConfigParser(delimiters=['=']); config.read(ROOT/'settings.ini')
    for kind in ('requirements', 'run_requirements', 'dev_requirements'):
        for r in map(Requirement, config['DEFAULT'][kind].split()):
            name = re.sub(r'[-_.]+', '-', r.name).lower()
            assert name in pinned and r.specifier.contains(pinned[name]), f'{r} and constraints.txt: {pinned.get(name)}'
    other = {k:(v, version(k)) for k,v in pinned.items() if k in ('torch', 'torchvision', 'timm', 'numpy', 'scikit-learn', 'pydantic') and version(k).split('+')[0] != v}
    if other: pytest.skip(f'this environment is another one: {other}')
