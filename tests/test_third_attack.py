"What a third reading of the code found: two things under one name, and input that was taken without a word"
import functools
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dc_nb import initialization,sizes,zoo
from dc_nb.condensed import CondensedSet
from dc_nb.data import toy
from dc_nb.edc_runs import EdcRun
from dc_nb.evaluation import Watched
from dc_nb.experiments import check
from dc_nb.edc_parameters import Edc,Sizes
from dc_nb.folders import from_stream
from dc_nb.formats import export,read
from dc_nb.gradients import distances
from dc_nb.keeper import Keeper,observed
from dc_nb.matched_images import Sight
from dc_nb.models import create
from dc_nb.multisize import gradients
from dc_nb.observers import Statistics,observe
from dc_nb.progress import Steps
from dc_nb.run_base import with_study
from dc_nb.in_memory import from_arrays
from dc_nb.sources import DataError
from dc_nb.stage_code import code_of
from dc_nb.studies import cifar_constants,imagenet_constants
from dc_nb.synthesis import Synthesis,SynthesisRecipe
from dc_nb.core import drive
from dc_nb.door import condense,protocol_of
from dc_nb.matching_parameters import Mdc
from dc_nb.matching_report import added_to
from dc_nb.matching_runs import MdcRun
from dc_nb.recipes import matching_study,sized_study,study,trajectory_study
from dc_nb.rehearsal import rehearse,small_run
from dc_nb.first_loop import teachers
from dc_nb.soft_labels import Labelling
from dc_nb.train import Training,cosine
from dc_nb.trajectory_matching import Expert,TrajectoryRecipe
from dc_nb.unequal import mixed_as,some_real,synthesize_unequal

x4 = torch.rand(4, 1, 8, 8)

def test_labels_that_are_names():
    "A name is the class of that name, whatever the order of the classes, also in the part for tests"
    own = from_arrays(x4, ['cat', 'dog', 'cat', 'dog'], classes=['dog', 'cat'])
    assert [own.classes[c] for c in own.y] == ['cat', 'dog', 'cat', 'dog']
    train = from_arrays(x4, ['ant', 'cat', 'dog', 'cat'])
    test = from_arrays(x4[:2], ['cat', 'dog'], like=train)
    assert [test.classes[c] for c in test.y] == ['cat', 'dog']
    with pytest.raises(DataError, match="label .'cow'. is none of the classes ant, cat, dog"): from_arrays(x4[:1], ['cow'], like=train)
    with pytest.raises(DataError, match="several classes are called .'crane'."):
        from_arrays(x4[:2], ['crane', 'ox'], classes=['crane', 'ox', 'crane'])

def test_every_root_of_a_stage_names_something():
    with pytest.raises(LookupError, match='dc_nb.evaluation has no student'): code_of(['dc_nb.evaluation.student'])
    data = toy(n=6, channels=3),toy(n=4, channels=3, split='test')
    p = check(dict(ipc=2, observers='convnet_d1', student='convnet_d1', out='out/none'), Sizes)
    run = sizes.SizesRun(p, data=data)
    herded, = [s for by in [sizes.rivals_by_size(run)['herding']] for s in by[1][:1]]
    assert {'coresets.herding', 'sizes.first_sorted'} <= code_of(herded.roots).keys()
    table = [s for s in herded.needs if s.kind == 'labels']
    assert all('coresets.herding' in code_of(s.roots) for s in table) and table

def test_code_of_a_notebook(monkeypatch):
    "tested in nbs/library/39_own_code.ipynb; here: an array, and a function of a user's module"
    from dc_nb.own_code import _value
    a = [_value(v, {}) for v in (torch.ones(2), torch.zeros(2), np.ones(2), functools.partial(max, 1), functools.partial(max, 2), {1, 2}, {1})]
    assert all(u != v for i,u in enumerate(a) for v in a[:i]) and _value(object(), {}) == []

@pytest.mark.parametrize('name', ['resnet10', 'convnet_w32'])
def test_gradients_of_prefixes(name):
    "Also where BatchNorm lets the images of a batch see each other"
    net = create(name, 3, 16, 3, [.5]*3, [.25]*3, seed=0).train()
    weights = dict(net.body.named_parameters())
    def gradient(x):
        loss = torch.nn.functional.cross_entropy(net.body(x), torch.ones(len(x), dtype=torch.long))
        return torch.autograd.grad(loss, list(weights.values()))
    real,x = torch.rand(5, 3, 16, 16), torch.rand(4, 3, 16, 16)
    aim = gradient(net.normalise(real))
    sight = Sight(net, weights, 1, lambda o: o, real, aim, lambda o: o)
    by_hand = [distances['squared'](gradient(net.normalise(x[:n])), aim).item() for n in (1, 2, 3)]
    assert gradients(sight, x).tolist() == pytest.approx(by_hand, rel=1e-3)

def test_constants_are_those_of_one_study(tmp_path):
    "Of a run with another study, too"
    data = toy(n=6, channels=3),toy(n=4, channels=3, split='test')
    run = EdcRun(check(dict(ipc=1, observers='convnet_d1', student='convnet_d1', out=str(tmp_path)), Edc), data=data)
    other = with_study(run, run.study.but(normalisation=imagenet_constants))
    back = with_study(other, run.study)
    assert other.train.mean[0] == .485 and back.train.mean == run.train.mean == data[0].mean and back.source == run.source

def test_a_checkpoint_is_of_one_normalisation():
    data = toy(n=6, channels=3)
    net = create('convnet_d1', 3, 8, 3, data.mean, data.std, seed=0)
    made = [Synthesis(SynthesisRecipe(steps=2), o, [observe(net, data)], 1, 0) for o in (data, replace(data, mean=(.1,)*3))]
    assert made[0].key != made[1].key

def test_kept_observers_know_how_they_were_measured(tmp_path):
    data = toy(n=6, channels=3)
    net,as_released = create('convnet_d1', 3, 8, 3, data.mean, data.std, seed=0), Statistics(variance='within', swap=True)
    kept = observed(Keeper(str(tmp_path), 'cpu', ()), net, data, as_released, 0, 'convnet_d1')
    with pytest.raises(ValueError, match='cannot be pooled again'): mixed_as(kept, [1, 2, 3], data.counts)

def test_a_warm_start_with_classes_of_one_name():
    data = replace(toy(n=4, channels=3), classes=['crane', 'crane', 'ox'])
    start = CondensedSet(torch.tensor([.1, .5, .9]).view(3, 1, 1, 1, 1).expand(3, 1, 3, 8, 8), meta=dict(classes=data.classes))
    rest = torch.zeros(3, 1, 3, 8, 8)
    assert initialization.warmed(start, rest, data).mean((1, 2, 3, 4)).tolist() == pytest.approx([.1, .5, .9], abs=.01)
    turned = CondensedSet(start.x, meta=dict(classes=['ox', 'crane', 'crane']))
    with pytest.raises(DataError, match="2 classes called 'crane'"): initialization.warmed(turned, rest, data)

def test_a_class_called_train(tmp_path):
    cs = CondensedSet(torch.rand(2, 1, 3, 8, 8), meta=dict(classes=['bus', 'train']))
    for to in ('png', 'hf'): assert read(export(cs, to, tmp_path/to)).names == ['bus', 'train']

def test_soft_labels_of_other_columns():
    a,b = [CondensedSet(torch.rand(2, 1, 3, 8, 8), labels=torch.rand(2, 1, 2), meta=dict(classes=c)) for c in (['a', 'b'], ['c', 'd'])]
    with pytest.raises(DataError, match='different kinds of labels'): CondensedSet.concat(a, b)
    four = CondensedSet(torch.rand(4, 1, 3, 8, 8), labels=torch.rand(4, 1, 4), meta=dict(classes=list('abcd')))
    again = CondensedSet.concat(four.by_class('a', 'b'), four.by_class('c', 'd'))
    assert torch.equal(again.labels, four.labels) and again.meta['label_classes'] == list('abcd')

def test_scores_are_those_of_all_classes():
    whole = zoo.load('edc-digits-ipc10')
    with pytest.warns(UserWarning, match='label table'): part = whole.by_class(0, 1)
    assert 'scores' in whole.meta and 'scores' not in part.meta

def test_short_steps_have_a_time_left(tmp_path):
    steps = Steps(1000, tmp_path/'clock')
    for _ in range(3): steps.count(resumed=True)
    assert steps.left() is None
    for _ in range(5):
        time.sleep(.002)
        steps.count()
    assert 0 < steps.left() < 60

def test_an_unequal_start_is_class_by_class():
    data = toy(n=6, channels=3)
    net = create('convnet_d1', 3, 8, 3, data.mean, data.std, seed=0)
    start = some_real(data, [1, 2, 3], 0)
    wrong = start.subset(torch.arange(len(start)).flip(0))
    with pytest.raises(ValueError, match='not class by class'):
        synthesize_unequal(SynthesisRecipe(steps=1), data, [observe(net, data)], [1, 2, 3], 0, wrong)

def test_labels_of_a_stream(tmp_path):
    def rows(*labels): return [dict(image=dict(bytes=b'x', path='a.png'), label=o) for o in labels]
    cases = {'row 1 has the label -1; labels must be whole numbers from 0':((0, -1), ['x', 'y']), 'label 7 is none':((7,), ['x', 'y']),
        "label 'z' is none":(('z',), ['x', 'y']), "'C..' and 'C!.' would both be the folder":(('C??', 'C!?'), None)}
    for i,(says,(labels,names)) in enumerate(cases.items()):
        with pytest.raises(DataError, match=says): from_stream(rows(*labels), tmp_path/str(i), classes=names)
    from_stream(rows('y', 0), tmp_path/'named', classes=['x', 'y'])
    assert {f.parent.name for f in (tmp_path/'named').rglob('*.png')} == {'x', 'y'}


# what a fourth reading found

def test_a_rehearsal_takes_a_few_images(tmp_path):
    run = EdcRun(check(dict(ipc=1, observers='convnet_d1', student='convnet_d1', out=str(tmp_path/'a')), Edc),
        data=(toy(5, 60, channels=3), toy(5, 40, channels=3, split='test')))
    mini = small_run(run, tmp_path/'b')
    assert len(mini.train) <= 24 and len(mini.test) <= 6 and len(run.train) == 300
    assert len(with_study(mini, mini.study).train) == len(mini.train)

def test_the_released_mdc_where_tiles_do_not_fit(tmp_path):
    run = MdcRun(check(dict(method='mdc_released', factor=3, ipc=2, rounds=1, steps=1, learn=8, epochs=1, seeds=1, network='convnet_d1',
        student='convnet_d1', out=str(tmp_path)), Mdc), data=(toy(n=24), toy(n=4, split='test')))
    rehearse(run)

def test_a_set_from_a_file_is_judged_with_labels_that_fit(tmp_path):
    "Hard labels cannot follow CutMix; a table is of one student seed"
    cs = CondensedSet(torch.rand(3, 1, 1, 8, 8), meta=dict(method='edc', data='own', classes=list('abc')))
    protocol,_,note = protocol_of(cs, toy(n=2, split='test'))
    assert protocol.regime == 'hard' and 'hard ones' in note and not any('cutmix' in str(v) for v in protocol.training.views)
    made = condense(toy(n=8), 1, 'edc', regime='stored', seed=3, observers='convnet_d1', observer_epochs=6, iterations=1, epochs=1, student='convnet_d1')
    made.save(tmp_path/'a.safetensors')
    assert CondensedSet.load(tmp_path/'a.safetensors').evaluate(toy(n=4, split='test')).set.n == 1

def test_some_classes_have_the_recipe_of_their_data():
    assert trajectory_study('digits[0:5]', 1) == trajectory_study('digits', 1)
    assert matching_study('digits[0:5]', 2) == matching_study('digits', 2)
    assert study('cifar10[0:5]', 10) == study('cifar10', 10)
    assert cifar_constants(replace(toy(channels=3), name='cifar10[0:2]'))[0][0] == .4914

def test_parts_of_a_measurement_know_the_normalisation(tmp_path):
    data,s = toy(n=8),sized_study('digits', 1, 'edc', 'small', 8).but(observers=('convnet_d1',), squeeze__epochs=1)
    keep = Keeper(str(tmp_path), 'cpu', ())
    means = [teachers(s, o, 0, keep)[0].net.normalise.mean.flatten()[0].item() for o in (data, replace(data, mean=(.1,), std=(1.,)))]
    assert means[1] == pytest.approx(.1) and means[0] == pytest.approx(data.mean[0])

def test_the_rate_of_an_expert_is_that_of_its_whole_training():
    r = TrajectoryRecipe(network='convnet_d1', expert=Training(epochs=10, batch=16, schedule=cosine), latest=1, span=2)
    def rates(r):
        loop,found = Expert(r, toy(n=8), 0), []
        while not loop.done:
            if loop.i == 0: found.append(loop.opt.param_groups[0]['lr'])
            loop.advance()
        return found, len(loop.path)
    (short,n),(long,m) = rates(r), rates(r.but(latest=5))
    assert short == long[:len(short)] and (n, m) == (r.horizon+1, r.but(latest=5).horizon+1)

def test_the_batches_of_a_union_have_the_observers_of_the_run(tmp_path):
    p = check(dict(ipc=2, batch=2, observers='convnet_d1', student='convnet_d1', out=str(tmp_path)), Sizes)
    one = sizes.single(sizes.SizesRun(p, data=(toy(4, 8), toy(4, 2, split='test'))), 0)
    ids = {s.id for part in one.parts for s in part.needs if s.kind == 'observer'}
    assert ids == {s.id for s in one.needs}

def test_a_table_in_memory_is_in_its_checkpoint(tmp_path):
    data = toy(n=8)
    nets = [create('convnet_d1', 3, 8, 1, data.mean, data.std, seed=0).eval()]
    def loop(): return Labelling(data, nets, Training(epochs=2, batch=6), 0, together=6)
    def dies(_):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
    calls,part = [], tmp_path/'part'
    with pytest.raises(KeyboardInterrupt): drive(loop(), part, every=0, tick=dies)
    assert np.array_equal(drive(loop(), part).table, drive(loop()).table)

def test_condensations_of_two_recipes_stay_apart():
    score = dict(mean=.5, sd=None, n=1, accuracies=[.5])
    def row(recipe, seed): return dict(method='mdc', dataset='digits', ipc=5, recipe=recipe, seed=seed, averages=dict(C=score, MDC=score))
    groups = added_to([row(*o) for o in (('a', 0), ('a', 1), ('b', 0), ('b', 1))])
    assert [len(v) for v in groups.values()] == [2, 2]

def test_values_of_a_notebook_that_hold_themselves_or_no_bytes():
    from dc_nb.own_code import _value
    own = dict(a=1)
    own['own'] = own
    assert 'again' in _value(own, {}) and _value(pd.Series([1]), {}) == []
    assert [_value(m, {}) for m in (np, torch, pd)] == [['numpy'], ['torch'], ['pandas']], 'what most functions use'

def test_a_watched_student_knows_its_labels():
    data = toy(n=4)
    def key(told): return Watched(create('convnet_d1', 3, 8, 1, data.mean, data.std, seed=0), data, Training(epochs=1), 0, told=told).key
    assert key('a') != key('b')
