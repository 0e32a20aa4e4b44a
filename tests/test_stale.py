"Caches that see code: in a copy of the package, an edited term remakes the synthesis and what follows; text remakes nothing"
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import given,settings,strategies as st

from conftest import ROOT,TINY
from dc_nb.recipes import named,with_alpha,with_flatness
from dc_nb.train import smoothing

RUN = '''
import json,sys,warnings
import torch; torch.set_num_threads(1)
if len(sys.argv) > 3:                                     # another version of torch, as far as the files know
    from dc_nb import stage_code
    stage_code.versions = lambda: dict(torch=sys.argv[3], torchvision='0')
from dc_nb.edc_runs import Edc,EdcRun,edc_results
from dc_nb.experiments import check
run = EdcRun(check(dict(json.loads(sys.argv[1]), out=sys.argv[2]), Edc))
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter('always')
    edc_results(run)
print(json.dumps([[str(w.message) for w in said], run.store.kept]))
'''

@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    "A function that edits a copy of the package and runs it: (kinds of stages that were made, what was said, what was kept)"
    d = tmp_path_factory.mktemp('copy')
    shutil.copytree(ROOT/'dc_nb', d/'dc_nb', ignore=shutil.ignore_patterns('__pycache__'))
    cache = d/'out'/'cache'
    def edit(module, old, new):
        f = d/'dc_nb'/f'{module}.py'
        assert old in f.read_text(), f'{old!r} is not in {module}.py'
        f.write_text(f.read_text().replace(old, new, 1))
    def run(module=None, old='', new='', *version, **kw):
        if module: edit(module, old, new)
        before = {f:f.stat().st_mtime_ns for f in cache.glob('*.safetensors')}
        p = dict(TINY, observers='convnet_d1', seeds=1, **kw)
        env = dict(os.environ, PYTHONPATH=str(d), OMP_NUM_THREADS='1', TQDM_DISABLE='1')
        r = subprocess.run([sys.executable, '-c', RUN, json.dumps(p), str(d/'out'), *version], cwd=d, env=env, capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        made = {f.name.split('-')[0] for f in cache.glob('*.safetensors') if f.stat().st_mtime_ns != before.get(f)}
        return made, *json.loads(r.stdout.splitlines()[-1])
    run.edit,run.package = edit, d/'dc_nb'
    assert run()[0] == {'network', 'observer', 'set', 'labels', 'student', 'subset'}
    return run

@pytest.mark.slow                                                  # the next test says it of an edited copy
def test_nothing_is_made_twice(copy): assert copy()[0] == set()

def test_a_docstring_and_an_unrelated_module_remake_nothing(copy):
    copy.edit('report', 'def style():', 'def nothing(): pass\n\ndef style():')
    assert copy('synthesis', 'Cross-entropy of the observer with the class', 'How clear the class is')[0] == set()

def test_an_edited_term(copy):
    """The synthesis is made again, and what follows from other images; networks, statistics and random students stay.
    Asked for, the old files are used, and the row names them (one test: processes of pytest-xdist share no copy)"""
    term = 'F.cross_entropy(step.logits.float(), step.y)'
    made,said,kept = copy('synthesis', f'return {term}', f'return 2*{term}')
    assert made == {'set', 'labels', 'student'} and not kept
    assert 'synthesis: made by other code (synthesis.label); this stage runs again' in said[0]
    made,said,kept = copy('synthesis', f'return 2*{term}', f'return 3*{term}', stale='keep')
    assert made == set() and not said and 'synthesis.label' in kept['synthesis']

@pytest.mark.slow                                                  # a cell of 22_stage_code moves names between modules
def test_a_term_that_moved_to_another_module_remakes_nothing(copy):
    copy()
    text = (copy.package/'synthesis.py').read_text()
    term = re.search(r'def label\(.*?\n(?=\ndef )', text, re.S)[0]
    (copy.package/'clearness.py').write_text(f'import torch.nn.functional as F\nfrom torch import Tensor\nfrom dc_nb.looks import Step\n\n{term}')
    copy.edit('synthesis', term, 'from dc_nb.clearness import label\n')
    assert copy() == (set(), [], {})

def test_how_accuracy_is_measured(copy):
    "A number of a network or a student is made again when the measure is another"
    right,same = 'return int(right)/len(data)', 'return (int(right)+0)/len(data)'
    made,said,_ = copy('train', right, same)
    assert {'network', 'student'} <= made and any('train.accuracy' in s for s in said), (made, said)
    copy.edit('train', same, right)

def test_another_torch_remakes_everything(copy):
    made,said,_ = copy(None, '', '', '9.9')
    assert made >= {'network', 'observer', 'set', 'labels', 'student', 'subset'} and any('torch was' in s and 'is 9.9' in s for s in said)

@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1).filter(lambda a: a != .5), st.floats(.01, 5).filter(lambda w: w != .25), st.floats(.5, 4).filter(lambda z: z != 2.))
def test_choices_are_in_the_key(alpha, weight, zeta):
    "Studies that differ in a number, a function or the arguments of one have different keys"
    edc = named['edc']
    others = [with_alpha(edc, alpha), with_flatness(edc, weight), edc.but(protocol__training__schedule=partial(smoothing, zeta=zeta)), edc]
    assert len({s.key for s in others}) == len(others)

def test_own_functions_of_one_name(tmp_path, monkeypatch):
    "Two files, one name, other code: other keys; an edited own function is another choice"
    monkeypatch.syspath_prepend(str(tmp_path))
    def key(text, module):
        (tmp_path/f'{module}.py').write_text(text)
        scope = {}
        sys.modules.pop(module, None)
        exec(f'from {module} import smoothing', scope)
        return named['edc'].but(protocol__training__schedule=scope['smoothing']).key
    one,two = 'def smoothing(t): return 1-t\n', 'def smoothing(t): return 1-t*t\n'
    keys = [key(one, 'mine_a'), key(two, 'mine_b'), key(two, 'mine_a'), named['edc'].but(protocol__training__schedule=smoothing).key]
    assert len(set(keys)) == 4
    assert key('# a comment\n'+two, 'mine_a') == keys[2]
