"Recipes of published rows keep their keys: a field that comes later is left out of the spelling at its default"
import json
from importlib import import_module

import pytest

from conftest import ROOT
from dc_nb import recipes
from dc_nb.core import spell
from dc_nb.matching_runs import Mdc,matching_study_of
from dc_nb.recipes import matching_sizes,matching_study,named,sized_study,trajectory_sizes,trajectory_study,with_regime

def edc(dataset, ipc, preset, **kw): return sized_study(dataset, ipc, 'edc', preset, 8 if dataset == 'digits' else 32).but(**kw)
def mdc(dataset, ipc, preset, **kw): return matching_sizes[preset](matching_study(dataset, ipc), ipc).but(**kw)

def with_mdc(method, ipc=10): return matching_study_of(Mdc(method=method, ipc=ipc), 8)

def mtt(dataset, ipc, preset, **kw): return trajectory_sizes[preset](trajectory_study(dataset, ipc), ipc).but(**kw)

published = {
    '0ed6323bbc24': edc('digits', 10, 'small'),
    '36f0f3622648': edc('digits', 1, 'small'),
    '715e65e0d4f3': with_regime(edc('digits', 10, 'small'), 'hard'),
    '7ce81dc1a450': with_regime(edc('digits', 1, 'small'), 'hard'),
    '52305fd2c14e': edc('cifar10', 10, 'cpu'),
    '0f03fe6a4f6f': edc('cifar10', 10, 'paper', protocol__student='mobilenet_v2'),
    '13669be5307b': edc('cifar10', 10, 'paper'),
    '293e22667f74': sized_study('cifar10', 10, 'edc_released', 'paper', 32),
    'f66e78154bde': sized_study('cifar10', 10, 'edc_released', 'paper', 32).but(protocol__student='mobilenet_v2'),
    '76ec2275cac8': edc('cifar10', 1, 'paper'),
    '5ddb37c600f2': edc('cifar10', 1, 'paper', protocol__student='mobilenet_v2'),
    '62de2d8daf0a': edc('cifar10', 1, 'paper', protocol__student='resnet50'),
    '15b36bde2e72': edc('cifar10', 1, 'paper', protocol__student='resnet101'),
    '02ac8834f942': edc('cifar10', 10, 'cpu', protocol__student='convnet_w128'),
    'd5cd7efe09ee': mtt('digits', 2, 'small', matching__experts=2, matching__iterations=40),
    '07b754a52a4d': mtt('digits', 5, 'small'),
    '4f911af995bb': with_mdc('dm'),
    '3077e64af20e': with_mdc('dream'),
    '66cdd114ea3c': with_mdc('dsa'),
    '6da519bc4c58': with_mdc('dc'),
    '84a236cce105': mdc('digits', 3, 'small', matching__rounds=8),
    'ecb5fbf21d17': mdc('digits', 10, 'small', matching__rounds=24, matching__extra__period=2),
    'abc3eaa3236b': matching_study_of(Mdc(dataset='cifar10', ipc=10, preset='paper', rounds=5, steps=100, period=1, rate=.06,
        epochs=300), 32)}
older = {'2f1694e8ddef', 'b409ca594ff8'}       # two rows of MDC from before `Multisize.judge`, which has its place in the spelling

def test_the_named_recipes_make_the_rows_of_results():
    rows = [json.loads(l) for f in sorted((ROOT/'results').glob('*.jsonl')) if f.stem != 'applications' for l in f.read_text().splitlines()]
    assert {r['recipe'] for r in rows} <= set(published) | older, 'a row of another recipe: add how it is made'
    assert {k:v.key for k,v in published.items()} == {k:k for k in published}

pinned = dict(
    edc='13669be5307b', edc_released='293e22667f74', edc_multisize='d101322dce80', edc_tuned='13ce9f90fda2', sre2l='7442568ad077', cda='5cf4aea19fb7', gvbsm='b7a923ad4574',
    rded='f4772ffb3f93', config_a='e1bd656405f9', config_b='f586d0812b48', config_c='d40e786beec0', config_d='e1aeccb89c9e',
    config_e='8499cbea4ba3', config_f='34bc4d701ea3', config_g='25f685386e20', dc='c583533e4e37', dsa='57a52d202f3e',
    dm='79d616ad342c', idc='6951fb0b8758', dream='155b68cd3ca9', mdc='ef3dd3ab344e', mdc_released='0a2ac7d7ddbd',
    mtt='44fc9c21361e')

def test_every_recipe_is_pinned(): assert set(pinned) == set(named)

@pytest.mark.parametrize('name,key', pinned.items())
def test_the_paper_recipes_have_not_moved(name, key): assert named[name].key == key

@pytest.mark.parametrize('name,changes', [
    ('edc', dict(normalisation=named['dc'].normalisation)),
    ('mdc', dict(normalisation=named['dc'].normalisation)),
    ('mdc', dict(matching__compare=named['dm'].matching.compare)),
    ('mdc', dict(matching__clamp=False)),
    ('mdc', dict(matching__whole=False)),
    ('mdc', dict(matching__extra__late=True)),
    ('edc', dict(synthesis__extra=named['mdc'].matching.extra))])
def test_what_came_later_is_spelled_when_chosen(name, changes):
    field = next(iter(changes)).split('__')[-1]
    assert f'{field}=' not in spell(named[name])
    assert f'{field}=' in spell(named[name].but(**changes)) and named[name].but(**changes) != named[name]

families = dict(studies='Study named own_constants cifar_constants imagenet_constants prepared',
    earlier_recipes='adamw before_edc bn_statistics earlier fkd fkd_cutmix gram_densification one_box rded_batch sgd200 smaller',
    matching_recipes='MatchingStudy in_loops judged match_cifar10 match_cifar100 match_cpu match_digits match_imagenet10 match_paper match_small '
        'match_svhn matching_cells matching_sizes matching_study moved one_op siamese',
    trajectory_recipes='TrajectoryStudy as_others judged_by_mtt moved_once mtt_cell mtt_values on_digits trajectory_cpu trajectory_paper trajectory_sizes '
        'trajectory_small trajectory_study')

@pytest.mark.parametrize('module', families)
def test_recipes_hand_on_what_stands_elsewhere(module):
    own = import_module(f'dc_nb.{module}')
    assert set(families[module].split()) == set(own.__all__)
    for name in own.__all__:
        assert getattr(recipes, name) is getattr(own, name)
        assert name in recipes.__all__

@pytest.mark.parametrize('module', ['recipes', *families])
def test_a_module_of_recipes_is_one_idea(module):
    text = (ROOT/'dc_nb'/f'{module}.py').read_text()
    assert len(text.splitlines()) <= 300
    if module != 'recipes': assert 'from .recipes' not in text                     # no circle
