"Slimming, continual learning and attacks: identities, what a stage may see, errors, rows"
import json
import sys
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import ALL
from dc_nb import continual,robustness,slimming
from dc_nb.coresets import random
from dc_nb.data import toy
from dc_nb.experiments import home,rows
from dc_nb.models import create
from dc_nb.recipes import sized_study
from dc_nb.slimming import Slimming
from dc_nb.train import Training,accuracy,fit

torch.set_num_threads(1)
quick = Slimming().but(train__epochs=1, train__batch=30, steps=1)

def mixed(name, channels, size, seed=0):
    "A network whose scales and shifts are not all equal"
    net,g = create(name, 10, size, channels, seed=seed), torch.Generator().manual_seed(seed)
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            for p in (m.weight, m.bias, m.running_mean): p.data.copy_(torch.randn(p.shape, generator=g))
    return net.eval()

def silenced(net, keep):
    for name,stays in keep.items():
        bn = net.get_submodule(name)
        with torch.no_grad(): bn.weight.mul_(stays), bn.bias.mul_(stays)
    return net

@pytest.mark.parametrize('ratio', [0., .3, .8, .99])
@pytest.mark.parametrize('channels,size', [(1,8), (3,32)])
def test_a_cut_channel_is_one_of_zeros(ratio, channels, size):
    net,x = mixed('vgg11_bn', channels, size), torch.rand(3, channels, size, size)
    keep = slimming.kept(net, ratio)
    before = {k:v.clone() for k,v in net.state_dict().items()}
    cut = slimming.narrow(net, keep, (channels, size, size))
    assert all(torch.equal(v, before[k]) for k,v in net.state_dict().items())           # the network itself stays
    sure,x = silenced(net, keep).double(), x.double()
    with torch.no_grad(): torch.testing.assert_close(cut.double()(x), sure(x), atol=1e-9, rtol=1e-9)
    assert [len(g) for g in slimming.scales(cut).values()] == [int(k.sum()) for k in keep.values()]

@pytest.mark.parametrize('ratio', [.5, .9, .99])
def test_one_threshold_for_all_layers(ratio):
    net = mixed('vgg11_bn', 1, 8)
    keep,size = slimming.kept(net, ratio, least=.01), {k:g.detach().abs() for k,g in slimming.scales(net).items()}
    stay = torch.cat([size[k][m] for k,m in keep.items() if m.sum() > -(-len(m)//100)])    # layers above their least
    go = torch.cat([size[k][~m] for k,m in keep.items()])
    assert not len(stay) or stay.min() >= go.max()
    assert all(m.any() for m in keep.values())

@pytest.mark.parametrize('ratio', [1., -.1, 2])
def test_ratios_that_are_none(ratio):
    with pytest.raises(ValueError, match='choose 0 to less than 1'): slimming.kept(mixed('vgg11_bn', 1, 8), ratio)

@pytest.mark.parametrize('name', ['resnet10', 'wrn_16_2'])
def test_shortcuts_are_refused(name):
    net = mixed(name, 1, 8)
    keep = slimming.kept(net, .5)
    with pytest.raises(ValueError, match='share their channels'): slimming.narrow(net, keep, (1, 8, 8))

@pytest.mark.parametrize('package,use', [
    ('torch_pruning', lambda: slimming.narrow(create('vgg11_bn', 3, 8, 1), {}, (1, 8, 8))),
    ('torchattacks', lambda: robustness.fgsm(create('convnet_d1', 3, 8, 1), .1, 3, 0))])
def test_a_missing_package_is_named(package, use, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'dc_nb\[applications\]'"): use()

def test_rivals_of_equal_bytes():
    data = toy(n=30)
    watcher = [type('Seen', (), dict(net=create('convnet_d1', 3, 8, 1, data.mean, data.std, seed=0)))()]
    for ipc in (1, 10, 25, 30):
        sets = slimming.rivals(random(data, ipc, 0), data, watcher, 0)
        assert sets['equal bytes'].ipc == min(ipc*70//64, 30)      # 64 bytes of pixels, 6 of a soft label of 3 classes
        assert torch.equal(sets['random'].x, random(data, ipc, 0).x)

def test_healing_takes_equal_steps(monkeypatch):
    data,steps = toy(n=30),[]
    def counted(net, images, training, seed, objective):
        steps.append(training.epochs*-(-len(images)//training.batch))
        return net, []
    monkeypatch.setattr(slimming, 'fit', counted)
    for ipc in (1, 5, 25):
        lesson = slimming.lesson(random(data, ipc, 0), data)
        slimming.healed(create('convnet_d1', 3, 8, 1), *lesson, Slimming(steps=30), 0)
    assert steps == [30, 30, 30]

def test_a_step_does_not_see_the_others():
    "Later classes may change as they like: the memory of the first step has the same bytes"
    data = toy(classes=4, n=12)
    parts = continual.class_steps(4, 2, seed=3)
    later = torch.isin(data.y, torch.tensor(parts[1]))
    other = replace(data, x=torch.where(later[:,None,None,None], 255-data.x, data.x))
    study = sized_study('toy', 2, 'edc', 'small', 8)
    study = study.but(observers=('convnet_d1',), squeeze__epochs=1, synthesis__steps=2)
    fill = partial(continual.synthesized, study=study)
    a,b = [list(continual.memories(fill, d, parts, 2, seed=0)) for d in (data, other)]
    assert torch.equal(a[0].x, b[0].x) and torch.equal(a[1].x[:2], a[0].x) and not torch.equal(a[1].x, b[1].x)
    assert a[1].meta['classes'] == [data.classes[c] for c in parts[0]+parts[1]]

@pytest.fixture(scope='module')
def learned():
    data,test = toy(classes=5, n=30),toy(classes=5, n=20, split='test')
    net = create('convnet_d1', 5, 8, 1, data.mean, data.std, seed=0)
    return fit(net, data, Training(epochs=10, batch=16), 0)[0], test

@pytest.mark.parametrize('name', robustness.attacks.list())
def test_attacks_keep_their_bounds(name, learned):
    net,test = learned
    x,y = test.take(torch.arange(len(test)))
    before,eps = torch.random.get_rng_state(), .1
    z,again = [robustness.disturbed(net, x, y, robustness.attacks[name], eps, 5, seed=2) for _ in range(2)]
    assert torch.equal(z, again) and torch.equal(torch.random.get_rng_state(), before)
    assert 0 <= z.min() and z.max() <= 1 and not z.requires_grad
    assert name == 'cw' or (z-x).abs().max() <= eps + 1e-6
    assert robustness.attacked(net, test, robustness.attacks[name], eps) <= accuracy(net, test)

def test_the_ensemble_is_the_strongest(learned):
    net,test = learned
    found = {k:robustness.attacked(net, test, a, .15) for k,a in robustness.attacks.items() if k != 'cw'}
    assert found['auto'] == min(found.values())

def test_nobody_is_right_nobody_is_attacked(learned):
    net,test = learned
    wrong = replace(test, y=(net(test.take(torch.arange(len(test)))[0]).argmax(1)+1) % 5)
    assert robustness.attacked(net, wrong, robustness.auto, .1) == 0

tiny = dict(slimming=partial(slimming.measure_slimming, ipcs=(1,), ratios=(.9,), runs=1, recipe=quick, others=('sre2l',)),
    continual=partial(continual.measure_continual, ipc=1, steps=2, runs=1, updates=3, others=('sre2l',)),
    robustness=partial(robustness.measure_robustness, ipc=1, curve=(.05,), most=4, runs=1, others=('sre2l',)))

def hurry(patch):
    "Studies of a few steps; with DC_NB_ALL=1 those of the preset"
    if ALL: return
    few = dict(observers=('convnet_d1',), squeeze__epochs=1, synthesis__steps=2)
    def one(*of, plan=sized_study):
        batchnorm = dict(observers=('shufflenet_v2_x0_5',)) if of[2] == 'sre2l' else {}
        return plan(*of).but(protocol__training__epochs=2, **few | batchnorm)
    def both(*of, plan=continual.both_studies):
        edc,idc = plan(*of)
        return edc.but(**few), idc.but(matching__rounds=1)
    for m in (slimming, robustness, continual): patch.setattr(m, 'sized_study', one)
    patch.setattr(continual, 'both_studies', both)

@pytest.fixture
def hurried(monkeypatch): hurry(monkeypatch)

@pytest.mark.parametrize('name', tiny)
def test_the_row_of_a_tiny_run(name, hurried):
    "It is JSON, every number is of one run, a figure and a table can be made of it, and one seed gives one row"
    made = (toy(classes=4, n=6), toy(classes=4, n=2, split='test'))
    data,test = [replace(o, name='digits') for o in made]      # the recipes go by this name
    module = sys.modules[f'dc_nb.{name}']
    row = tiny[name](data, test)
    assert row['run'] == name and row['scale'] == 'small run'
    assert any('sre2l' in o['set'].lower() for o in row['scores'])
    assert all(o['n'] == 1 and o['sd'] is None for o in row['scores'])
    row = json.loads(json.dumps(row))
    plt.close(getattr(module, f'{name}_figure')(row))
    assert getattr(module, f'{name}_summary')(row, *((1, .9) if name == 'slimming' else (row['scores'][0]['set'],)))['n'] == 1
    if name == 'slimming': assert tiny[name](data, test)['scores'] == row['scores']

def test_the_rows_that_the_pages_show():
    found = {r['run']:r for r in rows(home()/'results/applications.jsonl')}
    assert set(found) == {'slimming', 'continual', 'robustness', 'trajectories', 'slimmable', 'equal seconds', 'cut'}
    for r in found.values():
        assert r['scale'] == 'small run' and r['commit']
        if r['run'] in ('slimmable', 'cut'): assert all(len(o['accuracies']) == r['runs'] for o in r['scores'])
        elif r['run'] not in ('trajectories', 'equal seconds'): assert all(len(o['accuracies']) == o['n'] == r['runs'] for o in r['scores'])
