"Observers with LayerNorms: their moments, what is refused in words, and a synthesis that follows them"
from collections import OrderedDict
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from dc_nb.core import stream
from dc_nb.data import toy
from dc_nb.initialization import noise
from dc_nb.models import Normalise,create
from dc_nb.observers import Statistics,layer_moments,load_observer,observe,said,save_observer,watch,watched
from dc_nb.soft_matching import gap
from dc_nb.synthesis import Running,Synthesis,SynthesisRecipe,as_float,label,look,soft_category,synthesize
from dc_nb.train import Training,fit

torch.set_num_threads(1)

def wrapped(body, data): return nn.Sequential(OrderedDict(normalise=Normalise(data.mean, data.std), body=body))

def vit(data, seed=0):
    from timm.models import VisionTransformer
    torch.manual_seed(seed)
    c,side,_ = data.shape
    body = VisionTransformer(side, 2, c, len(data.classes), embed_dim=16, depth=2, num_heads=2)
    return wrapped(body, data)

def convnext(data):
    from timm.models import ConvNeXt
    torch.manual_seed(0)
    body = ConvNeXt(data.shape[0], len(data.classes), depths=(1,)*4, dims=(8,)*4, patch_size=1)
    return wrapped(body, data)

@pytest.fixture(scope='module')
def trained():
    data = toy(n=20)
    return data, fit(vit(data), data, Training(epochs=4, batch=20), 0)[0]

@pytest.mark.parametrize('shape', [(2, 5, 3), (2, 3), (2, 4, 2, 3)])
def test_moments_of_tokens(shape):
    "Mean and variance of each feature over all places, for B x T x D, B x D and B x H x W x D"
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    found = layer_moments(nn.LayerNorm(3), x, 4)
    places = x.reshape(2, -1, 3)
    assert list(found) == ['channel']
    torch.testing.assert_close(found['channel'].mean, places.mean(1))
    torch.testing.assert_close(found['channel'].var, places.var(1, correction=0), atol=1e-5, rtol=1e-5)

def test_a_layernorm_of_maps_has_its_channels_first():
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    from timm.layers import LayerNorm2d
    from torchvision.models.convnext import LayerNorm2d as theirs
    for layer in (LayerNorm2d(3), theirs(3), nn.LayerNorm((3, 4, 4))):
        torch.testing.assert_close(layer_moments(layer, x, 4)['channel'].mean, x.mean((2, 3)))

@pytest.mark.parametrize('make,says', [(vit, '1 Conv2d, 5 LayerNorm'), (convnext, '8 Conv2d, 9 LayerNorm')])
def test_targets_are_those_of_the_definition(make, says):
    data = toy(n=10)
    net,seen = make(data), {}
    assert said(net) == says
    obs = observe(net, data, Statistics(batch=7))
    x,y = data.take(torch.arange(len(data)))
    with torch.no_grad(), watch(net, lambda k,f: seen.update({k:f})): net(x)
    assert list(seen) == list(watched(net))
    for k,f in seen.items():
        layer = watched(net)[k]
        first = isinstance(layer, nn.Conv2d) or type(layer).__name__ == 'LayerNorm2d'
        f = f.movedim(1, -1) if first else f
        parts = [obs.whole[f'{k}/channel'], *(type(obs.whole[f'{k}/channel'])(*(t[c] for t in obs.by_class[f'{k}/channel']))
            for c in range(len(data.classes)))]
        rows = [f, *(f[y == c] for c in range(len(data.classes)))]
        for m,r in zip(parts, rows):
            r = r.reshape(-1, f.shape[-1])
            torch.testing.assert_close(m.mean, r.mean(0), atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(m.var, r.var(0, correction=0), atol=1e-4, rtol=1e-3)

def far(obs, x, data):
    "Gaps of whole and classes, summed over the layers"
    y = torch.arange(len(data.classes)).repeat_interleave(x.shape[1])
    with torch.no_grad(): _,seen = look(obs, x.flatten(0, 1), y, y.unique(), 4, Running(0, 'first'), '')
    return sum(float(gap(w, obs.whole[k]) + gap(c, obs.by_class[k]).mean()) for k,(w,c) in seen.items())

def test_a_synthesis_follows_a_transformer(trained):
    "Images come nearer to what a ViT saw of real ones, in its tokens too; the default terms do it"
    data,net = trained
    obs = observe(net, data, name='a ViT')
    recipe = SynthesisRecipe(start=noise, steps=30, views=(), store=as_float, terms=((1., label), (.1, soft_category)))
    begun = noise(data, 4, stream(0, 'start'))
    ended = synthesize(recipe, data, [obs], 4, 0).x
    assert far(obs, ended, data) < .7*far(obs, begun, data)
    tokens = replace(obs, **{part:{k:v for k,v in getattr(obs, part).items() if 'norm' in k} for part in ('whole', 'by_class')})
    assert len(tokens.whole) == 5
    gaps = []
    for x in (begun, ended):
        y = torch.arange(3).repeat_interleave(4)
        with torch.no_grad(): _,seen = look(obs, x.flatten(0, 1), y, y.unique(), 4, Running(0, 'first'), '')
        gaps.append([float(gap(seen[k][0], m)) for k,m in tokens.whole.items()])
    assert all(b < a for a,b in zip(*gaps))

def test_an_observer_of_tokens_is_kept(trained, tmp_path):
    data,net = trained
    obs = observe(net, data)
    save_observer(obs, tmp_path/'o')
    back = load_observer(tmp_path/'o', vit(data, seed=1))
    assert all(torch.equal(a, b) for k in obs.by_class for a,b in zip(obs.by_class[k], back.by_class[k]))

def test_what_cannot_be_watched_is_refused_in_words(trained):
    data,net = trained
    plain = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), data)
    with pytest.raises(ValueError, match='kinds BatchNorm2d, Conv2d, LayerNorm; this network has none'): observe(plain, data)
    for bare in (net, create('convnet_d1', 3, 8, 1, data.mean, data.std, seed=0)):
        with pytest.raises(TypeError, match='is a network, not an observer: `observe'):
            Synthesis(SynthesisRecipe(steps=2), data, [bare], 2, 0)
    only_norms = SynthesisRecipe(steps=2, terms=((1., soft_category),)).but(views=())
    bn = only_norms.but(terms=((1., partial(soft_category, layers=(nn.BatchNorm2d,))),))
    with pytest.raises(ValueError, match='a ViT has none of the layers BatchNorm2d'):
        synthesize(bn, data, [observe(net, data, name='a ViT')], 2, 0)
