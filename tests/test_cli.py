"The wheel, installed elsewhere, does what the README's command lines say; the constraints name what the package needs"
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from configparser import ConfigParser

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conftest import ALL,ROOT
from dc_nb.arguments import remember
from dc_nb.cli import main
from dc_nb.edc_runs import Edc,EdcRun
from dc_nb.experiments import check

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
    places = dict(PYTHONPATH=str(d/'site'), PATH=f"{d/'site'/'bin'}:{os.environ['PATH']}", XDG_CACHE_HOME=str(d/'cache'))
    return d/'empty', dict(os.environ, OMP_NUM_THREADS='1', **places)

def begun(wheel, line, **kw):
    "The process of a line"
    return subprocess.Popen(f'exec {line}', shell=True, cwd=wheel[0], env=wheel[1], stdout=subprocess.PIPE, text=True, **kw)

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
    folder = re.search(r'^folder +(out/edc-digits-ipc10-live-\w{6})$', said['run'], re.M)[1]
    assert f'notebook {folder}/run_edc.ipynb\n' in said['run'] and (wheel[0]/folder/'run_edc.ipynb').exists()
    assert 'same recipe' in said['run'] and 'next: dc_nb show' in said['run']
    score = re.search(r'^edc +([0-9.]+ ± [0-9.]+) ', said['run'], re.M)[1]
    assert f'{score} %' in said['evaluate'], (score, said['evaluate'])
    assert 'ok  recipe' in said['verify']
    assert not (wheel[0]/'results').exists(), 'a run writes into its own folder alone'
    assert 'students trained' in (wheel[0]/folder/'progress.log').read_text(), 'what it said lies there, too'

def heard():
    "Ctrl-C, which a job in the background of a shell ignores"
    signal.signal(signal.SIGINT, signal.SIG_DFL)

def test_an_interrupted_run_says_one_sentence(wheel):
    "Two seconds after Ctrl-C it is over: while it imports, and while a student trains"
    for work in ('out', 'out/cache/student-*.seconds'):
        p = begun(wheel, 'dc_nb run edc --ipc 9 --regime hard'+QUICK+' --epochs 1000000', stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=heard)
        until = time.monotonic() + 120
        while not list(wheel[0].glob(work)) and p.poll() is None and time.monotonic() < until: time.sleep(.1)
        time.sleep(1)
        os.killpg(p.pid, signal.SIGINT)
        start = time.monotonic()
        try: out,_ = p.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError): os.killpg(p.pid, signal.SIGKILL)         # what went on computes for days
        assert time.monotonic()-start < 2, 'it took too long to end'
        if 'student' in work: assert list(wheel[0].glob('out/edc-digits-ipc9-hard-*/run_edc.ipynb')), 'its notebook is in its own folder'
        assert p.returncode == 130 and 'interrupted; the same command goes on from here' in out and 'Traceback' not in out, out

def test_what_is_said_and_when(wheel):
    """Slips are told before PyTorch is imported; a run says at once what it will do, then how long, and at the end what
    to do next. The second run of the same line says the same, and costs an import"""
    def timed(line):
        start = time.monotonic()
        r = shell(wheel, line)
        return r, time.monotonic()-start
    slips = {'--ipc ten':"ipc = 'ten' is not right", '-p icp 3':"did you mean 'ipc'", '--plan=perhaps':"plan = 'perhaps'"}
    for line,says in slips.items():
        r,seconds = timed(f'dc_nb run edc {line}')
        assert r.returncode == 1 and says in r.stderr and seconds < 2, (line, seconds, r.stderr)
    r,seconds = timed('dc_nb --help')
    assert 'evaluate' in r.stdout and 'run ' in r.stdout and seconds < 1, seconds
    p = begun(wheel, 'dc_nb run edc --ipc 1'+QUICK, stderr=subprocess.PIPE)
    start = time.monotonic()
    first = p.stderr.readline(), p.stderr.readline()
    assert time.monotonic()-start < 2 and first[0].startswith('edc on digits: 1 image a class, preset small') and 'students judge' in first[1], first
    out,err = p.communicate(timeout=300)
    assert p.returncode == 0 and 'to do:' in err and 'students trained' in err and 'in all about' in err, err
    last = out.splitlines()
    assert last[-2].startswith('this file alone: '), last
    assert re.fullmatch(r'next: dc_nb show out/(edc-digits-ipc1-live-\w{6})/\1.safetensors', last[-1]), last
    # eight seconds on an idle machine. Other machines are not idle, so the processors are asked, not the clock
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = spent()
    again = shell(wheel, 'dc_nb run edc --ipc 1'+QUICK)
    assert 'everything is made already' in again.stderr and again.stdout.splitlines()[-2:] == last[-2:]
    assert spent()-before < 14, 'it was 15 when two processes imported PyTorch, and 9.5 since one does'

def test_json_everywhere(wheel):
    run,zoo = f'run edc --ipc 1{QUICK}', 'zoo:edc-digits-ipc10'
    holds = {f'{run} --seed 7 --plan':'stage', 'list zoo':'edc-digits-ipc10', f'show {zoo}':'checksum', f'verify {zoo}':'right',
        f'export {zoo} --to npz --out z.npz':'written', run:'scores', 'publish out/latest --results r':'table'}
    for line,key in holds.items():
        if line.startswith(('run', 'show')):
            r = shell(wheel, f'dc_nb {line} --json')
            said = r.stdout
            assert 'To exit' not in r.stdout + r.stderr, 'a plan ends without advice on how to leave IPython'
        else:                                                      # no kernel: this process knows how to, too
            with contextlib.chdir(wheel[0]): said = CliRunner().invoke(main, [*line.split(), '--json']).stdout
        found = json.loads(said)
        assert key in (found[0] if isinstance(found, list) else found), (line, said)
        if line == run: assert found['commit'].startswith('installed, record '), found['commit']

def test_completion(wheel):
    def asked(*words):
        env = dict(wheel[1], COMP_WORDS=' '.join(words), COMP_CWORD=str(len(words)-1), _DC_NB_COMPLETE='bash_complete')
        r = subprocess.run(['dc_nb'], cwd=wheel[0], env=env, capture_output=True, text=True, timeout=120)
        return [l.split(',', 1)[1] for l in r.stdout.splitlines()]
    assert asked('dc_nb', 'ev') == ['evaluate'] and asked('dc_nb', 'run', 'md') == ['mdc']
    assert asked('dc_nb', 'run', 'edc', '--test') == ['--test-share'] and 'ipc' in asked('dc_nb', 'run', 'edc', '-p', 'ip')
    assert asked('dc_nb', 'run', 'edc', '--method', 'edc_r') == ['edc_released']
    assert 'convnet_d1' in asked('dc_nb', 'run', 'edc', '--ipc', '3', '--student', 'convnet')
    assert asked('dc_nb', 'show', 'zoo:edc-d') == ['zoo:edc-digits-ipc10']
    start = time.monotonic()
    asked('dc_nb', 'run', 'edc', '--dataset', 'ci')
    assert time.monotonic()-start < 1.5, 'the shell does not wait for PyTorch'
    assert '_DC_NB_COMPLETE' in shell(wheel, 'dc_nb completion zsh').stdout

@pytest.mark.slow                                                  # test_run_edc watches a run in this process
def test_watching(wheel):
    "The page follows the run and stops at its end, with the images"
    r = shell(wheel, 'dc_nb run edc --watch True --ipc 2 --out seen'+QUICK)
    page, = (wheel[0]/'seen').glob('edc-*/watch.html')
    text = page.read_text()
    assert r.returncode == 0 and 'watch it in a browser' in r.stderr
    assert 'refresh' not in text and '<h2>Images' in text and 'all stages are made' in text

@pytest.mark.slow                                                  # test_opening has its plan and its rehearsal
def test_every_size(wheel):
    "Prefixes beside dedicated sets, with their costs; of several sets none is kept, so nothing is said of a file"
    few = '--ipc 2 --observers convnet_d1 --observer-epochs 2 --iterations 2 --epochs 2 --student convnet_d1'
    r = shell(wheel, f'dc_nb run sizes {few} --rivals prefix,herding')
    assert r.returncode == 0 and 'minus dedicated' in r.stdout and 'of one EDC' in r.stdout, r.stderr
    assert 'next:' not in r.stdout and re.search(r'^set +none$', r.stdout, re.M), r.stdout

def pictures(d, sizes):
    g = np.random.default_rng(0)
    for i in range(20):
        h,w = sizes[i%len(sizes)]
        file = d/('dark', 'light')[i%2]/f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((g.integers(0, 100, (h, w, 3)) + 150*(i%2)).astype(np.uint8)).save(file)

def test_a_folder_of_photographs(wheel):
    "Mixed sizes are told before a kernel starts, in words of the command line, with what can be done; then it is done"
    pictures(wheel[0]/'mixed', [(12, 8), (12, 8), (9, 9), (9, 9)])
    cache = wheel[0].parent/'cache'
    shutil.rmtree(cache, ignore_errors=True)
    r = shell(wheel, 'dc_nb run edc --dataset mixed --ipc 2'+QUICK)
    assert list(cache.glob('dc_nb/names-*.json')), 'the names are there now, so the next slip costs no import'
    assert r.returncode == 1 and all(o in r.stderr for o in ('9 x 9', 'pass --size PIXELS', '--fit squash')), r.stderr
    assert 'notebook' not in r.stderr, 'no kernel has started'
    ways = ('', ' --fit squash', ' --test-share .4')
    for more in ways if ALL else ways[1:2]:
        r = shell(wheel, f'dc_nb run edc --dataset mixed --size 8 --ipc 2{more} --observer-epochs 8'+QUICK.replace('--observer-epochs 2', ''))
        assert r.returncode == 0, r.stderr
        r = shell(wheel, 'dc_nb evaluate out/latest/*.safetensors --dataset mixed --seeds 2')
        assert r.returncode == 0 and 'on random images' in r.stdout, r.stderr
    row = json.loads((wheel[0]/'out'/'latest'/'row.json').read_text())
    with contextlib.chdir(wheel[0]):
        runs = [EdcRun(check(dict(dataset='mixed', size=8, ipc=2, **more), Edc)) for more in ({}, dict(fit='squash'), dict(test_share=.4))]
    assert len({o.id for o in runs}) == len({o.source for o in runs}) == 3, 'three ways to read a folder are three data sets'
    assert row['data'] in {o.source for o in runs}

@pytest.mark.parametrize('line,says', [
    ('run edc -p icp 10', "did you mean 'ipc'"), ('run edc -p ipc ten', "ipc = 'ten' is not right"), ('run mdc -p ipc 1', 'ipc'), ('run ablation -p ablation zetta', "did you mean 'zeta'"),
    ('run edc -p student resnet81', "did you mean 'resnet18'"), ('run edc -p', '-p needs a name and a value'), ('run edc --out /proc/x', 'cannot write into /proc/x'), ('run edc 10', "'10' is not expected here"), ('run edc --ipc', 'ipc needs a value'), ('run ecd', "'ecd' is not one of"),
    ('list recipe', "'recipe' is not one of"), ('show none.npz', 'none.npz does not exist'), ('show README.md', 'README.md is none of'), ('verify nbs', 'give the data set that was condensed'), ('run edc -p _x 1', "unknown parameter '_x'"), ('run edc -p zeta inf', 'zeta'), ('run edc -p observers ,', 'observers'), ('run edc -p dataset nowhere', 'nowhere'),
    ('list models resnet81', "did you mean 'resnet18'"), ('export nbs --to npz --first 0', '0 is not in the range'), ('show nbs --factor 0', 'not in the range'),
    ('show nbs --dataset cifra10', "did you mean 'cifar10'"), ('show nbs --dataset ~nouser/x', '~nouser/x'), ('evaluate none --seeds 0', '0 is not in the range'), ('export none --to png', 'none does not exist'), ('export none --to jpg', "'jpg' is not one of the formats"),
    ('runn', "No such command 'runn'"),
])
def test_mistakes(line, says, monkeypatch):
    """One line that names the culprit, before a kernel starts. This process has imported the runs, so it tells the slip
    itself; test_a_folder_of_photographs has one that the second process tells"""
    monkeypatch.chdir(ROOT)
    r = CliRunner().invoke(main, line.split(), prog_name='dc_nb')
    assert isinstance(r.exception, SystemExit) and r.exit_code in (1, 2) and says in r.output, r.output

NAMELESS = {                                                       # of these no list of names is needed
    'run edc --icp 3':"did you mean 'ipc'", 'run edc --ipc ten':"ipc = 'ten' is not right", 'run edc --ipc 0':"ipc = '0' is not right", 'run mdc --ipc 1':"ipc = '1' is not right",
    'run edc --seeds 0':"seeds = '0'", 'run edc --seed -1':"seed = '-1'", 'run edc --test-share 2':'test_share', 'run edc --preset tiny':"should be 'small', 'cpu' or 'paper'",
    'run edc --precision fp8':'precision', 'run ablation --runs 0':"runs = '0'", 'run sizes --ceiling True':'ceiling', 'run mtt --iterations -3':"iterations = '-3'",
    'run edc --out file':'file: File exists', 'run edc --start none.safetensors':'none.safetensors does not exist', 'run edc --weights nowhere':'nowhere does not exist',
    'show none.npz':'none.npz does not exist', 'evaluate none.npz':'none.npz does not exist', 'verify none.npz':'none.npz does not exist', 'publish none':'none does not exist',
    'export none.npz':'give --to FORMAT', 'list edc zzz':"nothing in edc fits 'zzz'"}
NAMES = {
    'run edc --dataset digts':"did you mean 'digits'", 'run edc --dataset no/folder':"'no/folder' is neither a folder", 'run edc --method ecd':"did you mean 'edc'",
    'run edc --method mdc':"method 'mdc' is of another family: here edc,", 'run ablation --ablation zetta':"'zetta' is not one of the ablations: did you mean 'zeta'",
    'run mdc --ablation zeta':"'zeta' is not one of the ablations of MDC", 'export none.npz --to jpg':"'jpg' is not one of the formats", 'export none.npz --to png':'none.npz does not exist'}
LIGHTLY = """
import json,sys
from click.testing import CliRunner
from dc_nb import run_commands
from dc_nb.arguments import remember
from dc_nb.cli import main
def second(*_): raise SystemExit('a second process')
run_commands.second = second
for line in json.load(sys.stdin):
    r = CliRunner().invoke(main, line.split(), prog_name='dc_nb')
    print(json.dumps([r.exit_code, r.output + str(r.exception), 'torch' in sys.modules]))
"""

@pytest.mark.parametrize('lines', [NAMELESS, NAMES], ids=['without names', 'with names'])
def test_a_slip_costs_no_import(lines, tmp_path, monkeypatch):
    "What needs no PyTorch is refused before PyTorch is imported: in the first second, however busy the machine is"
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    if lines is NAMES: remember()
    (tmp_path/'file').touch()
    r = subprocess.run([sys.executable, '-c', LIGHTLY], input=json.dumps(list(lines)), cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    found = dict(zip(lines, map(json.loads, r.stdout.splitlines()), strict=True))
    for line,(code,said,heavy) in found.items(): assert code in (1, 2) and lines[line] in said and not heavy, (line, code, said, heavy)

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
    other = {k:(v, version(k)) for k,v in pinned.items() if k in ('torch', 'torchvision', 'timm', 'numpy', 'scikit-learn', 'pydantic') and version(k).split('+')[0] != v}
    if other: pytest.skip(f'this environment is another one: {other}')
