"What CONTRIBUTING.md shows works as it stands, in this process and from the command line in a new folder"
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from conftest import ROOT
from dc_nb.ablations import ablations,mdc_ablations
from dc_nb.data import datasets
from dc_nb.models import models
from dc_nb.recipes import named,small,study

TEXT = (Path(__file__).resolve().parents[1]/'CONTRIBUTING.md').read_text()
def blocks(kind, text=TEXT): return re.findall(rf'```{kind}\n(.*?)```', text, re.S)

def test_every_block_runs():
    registries = named, ablations, mdc_ablations, datasets, models
    scope,before = {}, {id(r):set(r) for r in registries}
    try:
        for block in blocks('python'): exec(compile(block, 'CONTRIBUTING.md', 'exec'), scope)
        assert len(ablations['tv'](small(study('digits', 1), 1))) == 3
        assert list(mdc_ablations['slower'](named['mdc'].matching.extra)) == ['period 200', 'period 400']
    finally:
        for r in registries:
            for k in set(r)-before[id(r)]: del r[k]

SMALL = dict(
    edc='--ipc 2 --observers convnet_d1 --observer_epochs 1 --iterations 1 --epochs 1 --seeds 1 --ceiling False'.split(),
    mdc='--ipc 2 --compare MDC --rounds 2 --steps 1 --period 1 --learn 16 --epochs 1 --seeds 1 --curve 0'.split())
SMALL['ablation'] = [o for o in SMALL['edc'] if o not in ('--ceiling', 'False')]

@pytest.fixture
def folder(tmp_path):
    "A folder with the file that CONTRIBUTING.md describes; the file says when somebody imports it"
    witness = "from pathlib import Path as _Path\n(_Path(__file__).parent/'imported').touch()\n"
    (tmp_path/'my_ideas.py').write_text(witness + '\n'.join(blocks('python', TEXT.split('## A family of methods')[0])))
    return tmp_path

@pytest.fixture
def typed(server, folder):
    "typed(*words): what a person types in `folder`, in a fork of a process that has imported dc_nb; dc_nb is not in the folder"
    def ask(*words, fails=False):
        print(json.dumps(dict(words=words, folder=str(folder))), file=server.stdin, flush=True)
        r, = json.loads(server.stdout.readline())
        assert bool(r['code']) == fails, r['log']
        return r['log']
    return ask

def of_own(command):
    "The command, small; what it says itself comes last"
    _,_,kind,*words = command.split()
    few = ['--observer_epochs', '40'] if '--dataset' in words else []             # of 32 images: one step each
    return kind,['run', kind, *SMALL[kind], *words, *few]

def as_asked(folder, kind, words):
    "The row of the last run says what was asked for"
    row = json.loads((folder/'out'/'latest'/'row.json').read_text())
    assert row['run'] == kind
    if 'ablation' in words:
        assert set(row['scores']) >= ({'weight 0.01', 'weight 0.1', 'weight 1'} if kind == 'ablation'
            else {'period 200', 'period 400'})
    if '--method' in words:
        assert row['method'] == 'my_ideas:edc_smooth' and 'my_ideas:edc_smooth' in row['scores'] and row['steps'] == 1
    if '--dataset' in words: assert row['dataset'] == 'stripes'
    if '--student' in words:
        assert row['student'] == 'my_ideas:two_layers' and list(row['observers']) == ['my_ideas:two_layers',
            'convnet_d1']

# an own ablation of EDC and an own network in an observer's place (test_attack) are like these
LONG = 'dc_nb run mdc', 'dc_nb run edc --student'

@pytest.mark.parametrize('command', [pytest.param(c, marks=[pytest.mark.slow]*c.startswith(LONG)) for c in map(str.strip, blocks('sh'))])
def test_every_command_runs_from_a_new_folder(folder, typed, command):
    kind,words = of_own(command)
    typed(*words)
    as_asked(folder, kind, words)

@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    "The folder of programs of a new environment with the wheel; its other packages are those of this Python"
    d = tmp_path_factory.mktemp('installed')
    unwanted = '.git', '.venv', 'out', 'data', 'figures', 'tests', '*.egg-info', 'build', '_docs', '__pycache__'
    shutil.copytree(ROOT, d/'source', ignore=shutil.ignore_patterns(*unwanted))
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    subprocess.run([*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', d, d/'source'], check=True,
        capture_output=True)
    venv.create(d/'env', symlinks=os.name != 'nt')
    programs,place = [Path(sysconfig.get_path(k, 'venv', vars=dict(base=str(d/'env')))) for k in ('scripts', 'purelib')]
    # a line of a .pth file: what stands there comes after the packages of the new environment
    (place/'others.pth').write_text(sysconfig.get_path('purelib')+'\n')
    subprocess.run([*pip, '--python', programs/'python', 'install', '--no-deps', '--no-index', *d.glob('*.whl')],
        check=True, capture_output=True)
    shutil.rmtree(d/'source')
    return programs

def program(programs, folder, *words):
    "What `words` print in `folder`, in the new environment"
    env = {k:v for k,v in os.environ.items() if k not in ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV')}
    env |= dict(PATH=f"{programs}{os.pathsep}{env['PATH']}", OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    r = subprocess.run([shutil.which(words[0], path=programs), *words[1:]], cwd=folder, env=env, capture_output=True,
        text=True)
    assert not r.returncode, r.stdout+r.stderr
    return r.stdout

@pytest.mark.slow
def test_an_installed_wheel_reaches_what_a_person_wrote(installed, folder):
    "Methods, data sets, terms, ablations and networks as MODULE:FUNCTION, each in a process of its own"
    where = program(installed, folder, 'python', '-c', 'import dc_nb; print(dc_nb.__file__)')
    assert Path(where.strip()).is_relative_to(installed.parent)
    for command in blocks('sh'):
        kind,words = of_own(command)
        program(installed, folder, 'dc_nb', *words)
        as_asked(folder, kind, words)

def test_a_file_imports_nothing(folder, typed):
    """A set of somebody's own method: it can be looked at, and is evaluated by its own protocol only where the person
    names that method"""
    typed('run', 'edc', *SMALL['edc'], '--method', 'my_ideas:edc_smooth', '--regime', 'hard')
    file, = (folder/'out'/'latest').resolve().glob('*.safetensors')
    (folder/'imported').unlink()
    typed('show', str(file))
    typed('verify', str(file))
    judge = 'evaluate', str(file), '--seeds', '1', '--epochs', '1'
    assert 'the file names the method my_ideas:edc_smooth' in typed(*judge, fails=True)
    assert not (folder/'imported').exists()
    typed(*judge, '--network', 'my_ideas:edc_smooth', '--regime', 'hard')
    assert (folder/'imported').exists()

@pytest.mark.parametrize('words,says', [(('edc', '--method', 'my_ideas:nothing'), "no attribute 'nothing'"),
    (('edc', '--method', 'my_ideas:tv'), 'tv is a function'),
    (('edc', '--dataset', 'no_ideas:x'), "No module named 'no_ideas'"),
    (('mdc', '-p', 'ablation', 'my_ideas:smooth'), 'smooth is a SynthesisRecipe'),
    (('mdc', '--method', 'my_ideas:edc_smooth'), 'of another family')])
def test_what_cannot_be_used_is_said(typed, words, says):
    assert says in typed('run', *words, fails=True)
