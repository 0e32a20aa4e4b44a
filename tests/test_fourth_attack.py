"What a fourth reading found: commands that judge, search and export otherwise than they say, and two runs under one name"
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from dc_nb import evaluate_command,search,set_commands,trials                                # noqa: F401  the commands register themselves
from dc_nb.cli import main
from dc_nb.condensed import CondensedSet
from dc_nb.data import load,toy
from dc_nb.door import condense
from dc_nb.edc_parameters import Edc,Search
from dc_nb.edc_runs import EdcRun,edc_results,synthesis
from dc_nb.evaluate_command import judging
from dc_nb.experiments import ParameterError,check
from dc_nb.folders import from_stream
from dc_nb.formats import export
from dc_nb.models import create
from dc_nb.observers import Statistics,load_observer,observe,save_observer
from dc_nb.run_base import write_weights
from dc_nb.runs import keep,point,signed
from dc_nb.search import SearchRun,searched
from dc_nb.sources import DataError
from dc_nb.unequal import mixed_as

QUICK = dict(ipc=2, observers='convnet_d1', observer_epochs=1, iterations=2, student='convnet_d1', epochs=2, seeds=1, ceiling=False)
DATA = toy(n=16), toy(n=8, split='test')

def asked(*words):
    return CliRunner().invoke(main, [str(o) for o in words], prog_name='dc_nb')

def saved(folder, data=None, **parameters):
    "A set as its run signs it, in a file"
    run = EdcRun(check(dict(QUICK, out=str(folder/'made')) | parameters, Edc), data=data)
    did = edc_results(run)
    cs = signed(did['condensed'], run, did['row'], 'scores')
    cs.save(folder/'set.safetensors')
    return run,cs


# --- a set is judged as its run judged it

def test_the_teachers_of_the_run_label_again(tmp_path):
    run,cs = saved(tmp_path, labellers='convnet_d2')
    judge = judging(cs, out=str(tmp_path/'b'))
    assert [t.name for t in judge.teachers] == [t.name for t in run.teachers] == ['convnet_d2']

def test_observers_from_files_are_asked_for(tmp_path):
    write_weights(create('convnet_d1', 10, 8, 1, seed=3), 'convnet_d1', tmp_path/'w')
    run,cs = saved(tmp_path, weights=str(tmp_path/'w'))
    words = 'evaluate', tmp_path/'set.safetensors', '--out', tmp_path/'b', '--seeds', 1
    refused = asked(*words)
    assert refused.exit_code == 1 and 'give their folder with --weights' in refused.output
    assert asked(*words, '--weights', tmp_path/'w').exit_code == 0
    none = asked('export', tmp_path/'set.safetensors', '--observers', tmp_path/'o')
    assert 'the observers of this set came from files' in none.output

def test_how_images_were_read_is_known_for_arrays_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import numpy as np
    g = np.random.default_rng(0)
    wide = lambda n: g.integers(0, 99, (n, 12, 24, 1), dtype=np.uint8) + (99*(np.arange(n) % 2)).astype(np.uint8)[:, None, None, None]
    y = lambda n: np.arange(n) % 2
    np.savez('wide.npz', train_images=wide(40), train_labels=y(40), test_images=wide(20), test_labels=y(20))
    saved(tmp_path, dataset='wide.npz', size=8, fit='squash', regime='hard', observer_epochs=8)
    for words in (('verify', 'set.safetensors', '--dataset', 'wide.npz'),
        ('evaluate', 'set.safetensors', '--dataset', 'wide.npz', '--seeds', 1, '--out', 'b')):
        found = asked(*words)
        assert found.exit_code == 0, found.output

def test_some_classes_of_named_data_have_a_name(tmp_path):
    saved(tmp_path, dataset='digits[0:5]', regime='hard')
    found = asked('evaluate', tmp_path/'set.safetensors', '--seeds', 1, '--out', tmp_path/'b')
    assert found.exit_code == 0, found.output

@pytest.mark.parametrize('to', ['npz', 'torch', 'png'])
def test_our_own_exports_need_no_training_images(tmp_path, to):
    import numpy as np
    _,cs = saved(tmp_path, regime='hard')
    there = export(cs, to, tmp_path/f'out.{dict(torch="pt").get(to, to)}')
    test = load('digits', split='test')
    np.savez(tmp_path/'digits.npz', test_images=test.x.permute(0, 2, 3, 1).numpy(), test_labels=test.y.numpy())
    found = asked('evaluate', there, '--dataset', tmp_path/'digits.npz', '--seeds', 1, '--out', tmp_path/'b')
    assert found.exit_code == 0 and 'convnet_d1 on' in found.output, found.output


# --- results alone on stdout

def one_of_two_has_learned(folder):
    "Weights of a network at chance, and of one that was trained on the toy set"
    run = EdcRun(check(dict(QUICK, observers='convnet_d2', observer_epochs=4, out=str(folder/'t')), Edc), data=DATA)
    write_weights(run.get(run.network('convnet_d2'))[0], 'convnet_d2', folder/'w')
    silent = create('convnet_d1', 3, 8, 1, seed=3)
    with torch.no_grad(): [w.zero_() for w in silent.body.parameters()]
    write_weights(silent, 'convnet_d1', folder/'w')
    return dict(observers='convnet_d1,convnet_d2', weights=str(folder/'w'))

def test_json_is_json_whatever_is_said_on_the_way(tmp_path, monkeypatch):
    saved(tmp_path, regime='hard')
    real = evaluate_command.judged
    def loud(*args):
        print('waiting for another run')
        return real(*args)
    monkeypatch.setattr(evaluate_command, 'judged', loud)
    found = asked('evaluate', tmp_path/'set.safetensors', '--out', tmp_path/'b', '--seeds', 1, '--json')
    assert found.exit_code == 0, found.output
    assert 'waiting for another run' in found.stderr and set(json.loads(found.stdout)) == {'set', 'random'}


# --- searches

def toy_search(out, **more):
    p = dict(QUICK, space='students', trials=2, out=str(out)) | more
    return SearchRun(check({k:v for k,v in p.items() if k != 'ceiling'}, Search), (toy(n=16), None))

def test_trials_of_another_network_are_asked_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = 'from dc_nb.models import create\ndef net(classes, channels, size): return create({}, classes, size, channels).body\n'
    (tmp_path/'nets4.py').write_text(text.format("'convnet_d1'"))
    run = toy_search(tmp_path/'out', student='nets4:net')
    first = searched(run, lambda line: None)
    assert trials.renewed(run, first, None) is first
    monkeypatch.setattr(trials, 'stands_on', lambda run, study: 'other code')
    again = trials.opened_search(toy_search(tmp_path/'out', student='nets4:net'))
    assert again.study_name == f'{first.study_name}-2' and [t.state.name for t in again.get_trials()] == ['WAITING']*2
    monkeypatch.undo()

def test_a_trial_has_the_teachers_of_every_other_run(tmp_path, capsys):
    own = dict(one_of_two_has_learned(tmp_path), regime='fixed')
    run,plain = [toy_search(tmp_path/k, **own) for k in ('a', 'b')]
    stage = run.mine()[0]
    assert run.get(search.told_student(stage, lambda *o: None)) == plain.get(plain.mine()[0])
    assert 'left out' in capsys.readouterr().out

def impossible(trial, s):
    k = trial.suggest_categorical('start', [1, 3])
    if k == 3: raise ValueError('factor 3 does not divide the side')
    return s.but(synthesis__beta=.9)

def test_a_recipe_that_cannot_be_made_is_over(tmp_path, monkeypatch):
    monkeypatch.setitem(search.spaces, 'impossible4', lambda trial, s: s)
    run = toy_search(tmp_path)
    run.space = impossible
    o = trials.optuna_here()
    study = o.create_study(direction='maximize')
    study.enqueue_trial(dict(start=3))
    said = search.made_trial(run, study, study.ask())
    assert 'given up: factor 3 does not divide' in said and study.trials[0].state.name == 'PRUNED'

def test_a_seed_that_leaves_no_room_for_finals(tmp_path):
    with pytest.raises(ParameterError, match='must be below'): check(dict(finals=1, seed=2**31-1), Search)

def test_a_missing_package_is_told_in_one_line(tmp_path, monkeypatch):
    from dc_nb import search_command
    monkeypatch.setattr(search_command, 'find_spec', lambda name: None)
    found = asked('search', 'students', '--out', tmp_path)
    assert found.exit_code == 1 and 'needs the package Optuna' in found.output and 'Traceback' not in found.output


# --- one name, one run

def test_another_set_to_start_from_is_another_run(tmp_path):
    file,ids = tmp_path/'start.safetensors', []
    for seed in (0, 1):
        made = EdcRun(check(dict(QUICK, seed=seed, out=str(tmp_path/'s')), Edc), data=DATA)
        made.get(synthesis(made)).save(file)
        ids.append(EdcRun(check(dict(QUICK, start=str(file), out=str(tmp_path/'o')), Edc), data=DATA).id)
    assert len(set(ids)) == 2

def test_other_weights_are_another_run(tmp_path):
    ids = []
    for seed in (0, 1):
        write_weights(create('convnet_d1', 3, 8, 1, seed=seed), 'convnet_d1', tmp_path/'w')
        ids.append(EdcRun(check(dict(QUICK, weights=str(tmp_path/'w'), out=str(tmp_path/'o')), Edc), data=DATA).id)
    assert len(set(ids)) == 2

def test_two_equal_runs_keep_at_the_same_time(tmp_path):
    run = EdcRun(check(dict(QUICK, out=str(tmp_path)), Edc), data=DATA)
    cs = CondensedSet(torch.zeros(3, 2, 1, 8, 8, dtype=torch.uint8), meta=dict(classes=list(toy().classes)))
    with ThreadPoolExecutor(2) as pool:
        for o in [pool.submit(keep, run, cs, dict(run='edc', memory=0)) for _ in range(12)]: o.result()
    assert (tmp_path/'latest').resolve() == run.folder.resolve() and not list(run.folder.glob('.*'))

def test_a_link_is_made_by_several_processes(tmp_path):
    (tmp_path/'run').mkdir()
    for _ in range(20):
        children = []
        for _ in range(2):
            if not (pid := os.fork()):
                try: point(tmp_path/'run')
                except BaseException: os._exit(1)
                os._exit(0)
            children.append(pid)
        assert [os.waitpid(p, 0)[1] for p in children] == [0, 0]


# --- what is read again is what was written

def test_an_observer_from_a_file_knows_how_it_was_measured(tmp_path):
    train = toy(n=8)
    obs = observe(create('convnet_d1', 3, 8, 1, train.mean, train.std, seed=0), train, Statistics(variance='within'), 0)
    with pytest.raises(ValueError): mixed_as(obs, [3, 2, 1], train.counts)
    save_observer(obs, tmp_path/'o')
    with pytest.raises(ValueError): mixed_as(load_observer(tmp_path/'o', create('convnet_d1', 3, 8, 1, train.mean, train.std)), [3, 2, 1], train.counts)

def test_a_stream_goes_on_only_as_it_began(tmp_path):
    def pictures(n, stop=None):
        for i in range(n):
            if i == stop: raise ConnectionError
            yield dict(image=Image.new('RGB', (20, 20), (i, 0, 0)), label=i % 2)
    with pytest.raises(ConnectionError): from_stream(pictures(4, 2), tmp_path/'a', size=8)
    with pytest.raises(DataError, match='begun with size = 8, now 16'): from_stream(pictures(4), tmp_path/'a', size=16)
    with pytest.raises(DataError, match='classes = None, now'): from_stream(pictures(4), tmp_path/'a', size=8, classes=['cat', 'dog'])
    from_stream(pictures(4), tmp_path/'a', size=8)
    assert sorted(o.name for o in (tmp_path/'a/train').iterdir()) == ['0', '1']


# --- nothing is overwritten, nothing is ignored

def test_a_page_does_not_replace_a_set(tmp_path):
    saved(tmp_path, regime='hard')
    before = (tmp_path/'set.safetensors').read_bytes()
    found = asked('show', tmp_path/'set.safetensors', '--html', tmp_path/'set.safetensors')
    assert found.exit_code == 2 and 'is no page' in found.output and (tmp_path/'set.safetensors').read_bytes() == before

def test_weights_of_another_run_stay(tmp_path):
    for seed in (0, 1):
        run,cs = saved(tmp_path, regime='hard', seed=seed)
        keep(run, cs, dict(run='edc', memory=0))
        found = asked('export', run.folder/f'{run.folder.name}.safetensors', '--observers', tmp_path/'w')
        assert (found.exit_code, 'with other weights' in found.output) == (seed, bool(seed)), found.output
    assert asked('export', tmp_path/'set.safetensors', '--observers', tmp_path/'v', '--to', 'npz').exit_code == 2

@pytest.mark.parametrize('one', [dict(engine='ray'), dict(address='nowhere:1'), dict(plan=True), dict(film='1')])
def test_condense_refuses_what_it_does_not_do(one):
    with pytest.raises(ParameterError, match='is of a whole run'): condense('digits', 1, **one)

def test_a_row_says_what_it_began_with(tmp_path):
    made = EdcRun(check(dict(QUICK, out=str(tmp_path/'s')), Edc), data=DATA)
    made.get(synthesis(made)).save(tmp_path/'start.safetensors')
    run = EdcRun(check(dict(QUICK, regime='hard', start=str(tmp_path/'start.safetensors'), out=str(tmp_path/'o')), Edc), data=DATA)
    row = edc_results(run)['row']
    assert (row['start'], row['side'], row['images'], 'weights' in row) == ('start.safetensors', 8, 48, False)


# --- the numerical core

def test_what_decides_is_not_rounded_by_autocast():
    from dc_nb import augment,soft_matching,views
    from dc_nb.moments import Moments
    g = torch.Generator().manual_seed(0)
    w = torch.rand(10, generator=g)
    target = Moments(torch.randn(10, 64, generator=g), torch.rand(10, 64, generator=g))
    whole = Moments(*((w/w.sum()) @ t for t in target))
    x = torch.rand(4, 3, 32, 32, generator=g)
    def all_of():
        yield soft_matching.batch_mixture(None, whole, target, w/w.sum())
        for view in (augment.stretch, augment.turn, views.crop):
            yield view(4, torch.Generator().manual_seed(1))(x)
    plain = list(all_of())
    with torch.autocast('cpu', torch.bfloat16): rounded = list(all_of())
    for a,b in zip(plain, rounded): assert a.equal(b)

def test_distances_of_prefixes_are_not_rounded():
    from dc_nb.prefixes import Glance,statistics
    from dc_nb.moments import Moments
    g = torch.Generator().manual_seed(0)
    k = 12
    x = 10*torch.rand(6, 1, 4, 4, generator=g)
    each = Moments(x.flatten(1)[:, :k], x.flatten(1)[:, :k]**2)
    glance = Glance(0, x, each, Moments(torch.randn(k, generator=g), torch.rand(k, generator=g)), torch.zeros(k, dtype=torch.long),
        torch.tensor([3.7]), None)
    plain = statistics(glance, x)
    with torch.autocast('cpu', torch.bfloat16): assert statistics(glance, x).equal(plain)

@pytest.mark.parametrize('network', ['resnet10', 'convnet_w32'])
def test_held_images_have_no_gradient(network):
    from dc_nb.gradients import class_means,prefix_gradients
    net = create(network, 3, 32, 3, seed=0)
    weights = dict(net.body.named_parameters())
    y = torch.zeros(4, dtype=torch.long)
    for signal in (lambda x: prefix_gradients(net, weights, x, y, (2, 4), 2), lambda x: class_means(net, weights, x[None], y[None], (2, 4), 2)):
        x = torch.rand(4, 3, 32, 32).requires_grad_()
        sum(t.square().sum() for cut in signal(x) for t in cut if t.requires_grad).backward()
        assert not x.grad[:2].any() and x.grad[2:].any()

def test_runs_of_other_seeds_share_no_student(tmp_path):
    from dc_nb.matching_parameters import Mdc
    from dc_nb.matching_runs import MdcRun
    seeds = [MdcRun(check(dict(seed=s, ipc=2, seeds=3, out=str(tmp_path)), Mdc), data=DATA).seeds for s in range(3)]
    assert len(set().union(*seeds)) == 9 and list(seeds[0]) == [0, 1, 2]

def test_only_scores_of_one_budget_make_a_mean():
    from dc_nb.ledger import alike
    small = [dict(scale='small run', row=k) for k in ('mdc 1', 'mdc 2')]
    assert not alike(small) and alike(small[:1]*2) and alike([dict(o, scale='paper') for o in small])

def test_a_variant_is_filed_under_its_own_labels():
    from dc_nb.ledger import score_of
    from dc_nb.recipes import study
    r = dict(dataset='cifar10', ipc=10, scale='small run', student='resnet18', regime='live', machine='m', commit='c', recipe='k')
    score = dict(mean=.5, sd=None, n=1)
    assert score_of(r, 'gvbsm', '', study('cifar10', 10, 'gvbsm'), score)['regime'] == 'stored'

def test_statistics_that_cannot_be_measured_are_refused():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv,self.norm,self.out = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 3)
            self.again = torch.nn.Conv2d(4, 4, 3, padding=1)
        def forward(self, x):
            x = self.norm(self.conv(x))
            return self.out(self.norm(self.again(x)).mean((2, 3)))
    train = toy(n=4)
    with pytest.raises(ValueError, match='is used twice'): observe(Twice(), train, Statistics(), 0)
    few = train.subset((train.y != 1).nonzero()[:, 0])
    with pytest.raises(ValueError, match='has no image of the class'): observe(create('convnet_d1', 3, 8, 1, seed=0), few, Statistics(), 0)

def test_what_others_span_is_no_direction_of_its_own():
    from dc_nb.slimmable import left_out
    x = torch.rand(5, 30, generator=torch.Generator().manual_seed(0))
    x[1] = x[0]
    assert left_out(x, 2) == pytest.approx(left_out(x, 1), abs=1e-12)
    x[1] = 0
    assert left_out(x, 2) == pytest.approx(left_out(x, 1), abs=1e-12)
