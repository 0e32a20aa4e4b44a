"A search stops and goes on, shares its trials, gives up what lags, and refuses what is no recipe"
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from click.testing import CliRunner

from conftest import ROOT
from dc_nb import trials
from dc_nb.cli import main
from dc_nb.data import toy
from dc_nb.experiments import ParameterError, check
from dc_nb.recipes import sized_study
from dc_nb.search import Search, SearchRun, Walk, answers_of, budget_of, next_trial, opened_search, searched, spaces, study_at, trials_so_far

FEW = dict(ipc=2, observers='convnet_d1', observer_epochs=2, iterations=3, epochs=4, student='convnet_d1', every=0.)
IDEAS = '''
from dc_nb.recipes import named

def pair(trial, s): return s.but(protocol__training__batch=trial.suggest_int('batch', 2, 9))
def alone(trial): return named['edc'].but(synthesis__beta=trial.suggest_float('beta', .9, .99))
def slip(trial, s): return s.but(protocol__training__bach=trial.suggest_int('batch', 2, 9))
def idle(trial, s): return s.but(synthesis__beta=.9*trial.suggest_int('beta', 0, 1) + 0*trial.suggest_int('luck', 0, 9))
def rich(trial, s): return s.but(protocol__training__epochs=10*trial.suggest_int('tens', 1, 9))
nothing = 3
'''
RUN = 'import sys; from test_search import go_on; go_on(sys.argv[1])'


def toy_search(out, **kw):
    return SearchRun(check(dict(FEW, space='students', trials=5, seed=3, out=str(out), **kw), Search), (toy(n=16), None))

def go_on(out): searched(toy_search(out))

def trials_of(study):
    "What was asked, seen and found, of all trials but the interrupted ones"
    done = [t for t in study.get_trials() if t.state.name in ('COMPLETE', 'PRUNED')]
    return [(t.state.name, t.params, t.intermediate_values, t.value) for t in done]

@pytest.fixture
def ideas(tmp_path, monkeypatch):
    (tmp_path/'my_ideas.py').write_text(IDEAS)
    monkeypatch.chdir(tmp_path)
    return tmp_path

def asked(*words): return CliRunner().invoke(main, ['search', *map(str, words)])


# --- spaces

@pytest.mark.parametrize('name', spaces)
@pytest.mark.parametrize('data,ipc,preset', [('digits', 10, 'small'), ('cifar10', 1, 'cpu'), ('imagenet10', 10, 'paper')])
def test_a_space_begins_at_the_method_and_keeps_its_budget(name, data, ipc, preset):
    s = sized_study(data, ipc, 'edc', preset)
    assert study_at(spaces[name], Walk({}), s) == s
    assert all(budget_of(t) == budget_of(s) for by in answers_of(spaces[name], s).values() for t in by.values())

@pytest.mark.parametrize('name,said', [('slip', "did you mean 'batch'"), ('idle', "'luck' of the space 'my_ideas:idle' is no choice of the recipe"),
    ('rich', 'leaves the budget: protocol.training.epochs is 10'), ('nothing', 'nothing is a int'), ('gone', 'my_ideas')])
def test_a_space_that_is_no_recipe_is_refused(ideas, name, said):
    found = asked(f'my_ideas:{name}', '-p', 'trials', 2, '--out', 'out')
    assert found.exit_code == 1 and said in found.output and 'Traceback' not in found.output
    assert not list(ideas.rglob('search.db'))

@pytest.mark.parametrize('words,said', [('edcc', "did you mean 'edc'"), ('edc -p trails 3', "did you mean 'trials'"), ('edc -p trials 0', 'trials'),
    ('edc -p held_back 1', 'held_back'), ('edc -p held_back 0', 'held_back'), ('edc -p engine ray', 'engine'), ('edc -p method mdc', 'another family')])
def test_impossible_parameters_are_refused(words, said):
    found = asked(*words.split())
    assert found.exit_code and said in found.output and 'Traceback' not in found.output

def test_without_optuna_it_says_what_to_install(tmp_path, monkeypatch):
    def gone(name): raise ImportError(name)
    monkeypatch.setattr(trials, 'import_module', gone)
    with pytest.raises(ImportError, match=r'dc_nb\[search\]'): searched(toy_search(tmp_path))


# --- somebody's own space, from a terminal

@pytest.mark.parametrize('name', [pytest.param('pair', marks=pytest.mark.slow), 'alone'])
def test_a_space_of_somebodys_own(ideas, name):
    small = [o for k,v in FEW.items() for o in ('-p', k, v)]
    found = asked(f'my_ideas:{name}', '-p', 'trials', 2, *small, '--out', ideas/'out')
    assert found.exit_code == 0, found.output
    assert 'trial 2 of 2' in found.output and 'best' in found.output
    again = asked(f'my_ideas:{name}', '-p', 'trials', 3, '-p', 'finals', 1, *small, '--out', ideas/'out', '--json')
    row = json.loads(again.stdout)
    assert row['finals']['scores']['edc']['n'] == 5 and len(row['finals']['gains']) == 2        # random images, and the best trial
    assert [t['state'] for t in row['trials']] == ['complete']*3 and 'so far, of 2 trials' in again.output
    assert row['best']['value'] == max(t['value'] for t in row['trials'])
    assert set(row['best']['changes']) <= {dict(pair='protocol.training.batch', alone='synthesis.beta')[name]}


# --- it goes on

def test_killed_in_mid_trial_the_same_search_goes_on(tmp_path):
    out = tmp_path/'killed'
    env = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT/"tests"}', OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    p = subprocess.Popen([sys.executable, '-c', RUN, str(out)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # the third trial has begun
    while not list(out.glob('search-*/trial-2.lock')) and p.poll() is None: time.sleep(.002)
    p.send_signal(signal.SIGKILL)
    assert p.wait() == -signal.SIGKILL, p.stderr.read()
    lines = []
    killed = searched(toy_search(out), lines.append)
    assert [t.state.name for t in killed.get_trials()].count('FAIL') == 1
    assert lines[0].startswith('so far') and lines[-1].startswith('trial 5 of 5')
    assert trials_of(killed) == trials_of(searched(toy_search(tmp_path/'whole')))

def test_two_processes_share_the_trials(tmp_path):
    run,other = toy_search(tmp_path), toy_search(tmp_path)
    one,lock = next_trial(run, opened_search(run))
    two,other_lock = next_trial(other, opened_search(other))
    assert (one.number, two.number) == (0, 1)                       # the first is at work and stays
    lock.release()
    assert next_trial(other, study := opened_search(other))[0].number == 2 and trials_so_far(study) == 2
    other_lock.release()

def lame(trial, s):
    rate,k = trial.suggest_categorical('rate', [.01, 0.]), trial.suggest_int('beta', 0, 9)
    return s.but(protocol__training__optimiser=partial(s.protocol.training.optimiser, lr=rate), synthesis__beta=.9+.001*k)

def test_what_lags_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setitem(spaces, 'lame', lame)
    study = searched(SearchRun(check(dict(FEW, space='lame', trials=16, epochs=8, out=str(tmp_path)), Search), (toy(n=16), None)))
    ended = [(t.state.name, bool(t.params['rate'])) for t in study.get_trials()]
    assert ('PRUNED', False) in ended and ('PRUNED', True) not in ended[:9]
    # only a student that was given up is gone; nothing else is left half done
    assert not list(tmp_path.glob('cache/student-*.part')) and not list(tmp_path.glob('cache/*.seconds'))

def test_the_test_images_are_never_read(tmp_path):
    run = toy_search(tmp_path)
    assert len(run.train) + len(run.test) == 48 and not {run.train.checksum, run.test.checksum} & {toy(n=16, split='test').checksum}
    with pytest.raises(ParameterError): SearchRun(check(dict(FEW, ipc=13, out=str(tmp_path)), Search), (toy(n=16), None))
