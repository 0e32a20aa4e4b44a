"Recipes of published rows keep their keys: a field that comes later is left out of the spelling at its default"
import json

import pytest

from conftest import ROOT
from dc_nb.core import spell
from dc_nb.recipes import matching_sizes,matching_study,named,sized_study,with_regime

def edc(dataset, ipc, preset, **kw): return sized_study(dataset, ipc, 'edc', preset).but(**kw)
def mdc(dataset, ipc, preset, **kw): return matching_sizes[preset](matching_study(dataset, ipc), ipc).but(**kw)

published = {
    '0ed6323bbc24': edc('digits', 10, 'small'),
    '36f0f3622648': edc('digits', 1, 'small'),
    '715e65e0d4f3': with_regime(edc('digits', 10, 'small'), 'hard'),
    '7ce81dc1a450': with_regime(edc('digits', 1, 'small'), 'hard'),
    '52305fd2c14e': edc('cifar10', 10, 'cpu'),
    '02ac8834f942': edc('cifar10', 10, 'cpu', protocol__student='convnet_w128'),
    'ecb5fbf21d17': mdc('digits', 10, 'small', matching__rounds=24, matching__extra__period=2)}
older = {'2f1694e8ddef', 'b409ca594ff8'}       # two rows of MDC from before `Multisize.judge`, which has its place in the spelling

def test_the_named_recipes_make_the_rows_of_results():
    rows = [json.loads(l) for f in sorted((ROOT/'results').glob('*.jsonl')) if f.stem != 'applications' for l in f.read_text().splitlines()]
    assert {r['recipe'] for r in rows} <= set(published) | older, 'a row of another recipe: add how it is made'
    assert {k:v.key for k,v in published.items()} == {k:k for k in published}

@pytest.mark.parametrize('name,key', dict(edc='13669be5307b', idc='6951fb0b8758', dream='155b68cd3ca9', mdc='ef3dd3ab344e').items())
def test_the_paper_recipes_have_not_moved(name, key): assert named[name].key == key

@pytest.mark.parametrize('name,changes', [
    ('edc', dict(normalisation=named['dc'].normalisation)),
    ('mdc', dict(normalisation=named['dc'].normalisation)),
    ('mdc', dict(matching__compare=named['dm'].matching.compare)),
    ('mdc', dict(matching__clamp=False)),
    ('mdc', dict(matching__whole=False)),
    ('mdc', dict(matching__extra__late=True))])
def test_what_came_later_is_spelled_when_chosen(name, changes):
    field = next(iter(changes)).split('__')[-1]
    assert f'{field}=' not in spell(named[name])
    assert f'{field}=' in spell(named[name].but(**changes)) and named[name].but(**changes) != named[name]
