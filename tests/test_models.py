"Every registered network, and what `create` promises; registering a network buys these tests"
import pytest,torch

from dc_nb.core import UnknownName
from dc_nb.models import InstanceNorm,create,list_models,models,parameter_count

torch.set_num_threads(1)
small = pytest.mark.parametrize('channels,size', [(1,8), (3,32)])

def steps(net, channels, size):
    "Forward and backward of two images in train mode; everything must get a finite gradient"
    x = torch.rand(2, channels, size, size, requires_grad=True)
    logits = net.train()(x)
    logits.square().sum().backward()
    assert logits.shape == (2,10)
    assert all(o.grad is not None and o.grad.isfinite().all() for o in (x, *net.parameters()))

@small
@pytest.mark.parametrize('name', models.list())
def test_forward_and_backward(name, channels, size): steps(create(name, 10, size, channels, seed=0), channels, size)

@pytest.mark.parametrize('name', ['resnet18', 'resnet10', 'resnet10_ap'])
def test_large_images(name): steps(create(name, 10, 224, seed=0), 3, 224)

@small
@pytest.mark.parametrize('name', ['timm/resnet10t', 'timm/efficientnet_b0', 'timm/deit_tiny_patch16_224',
    'torchvision/mnasnet0_5'])
def test_other_libraries(name, channels, size): steps(create(name, 10, size, channels, seed=0), channels, size)

@pytest.mark.parametrize('name', models.list())
def test_seed_is_the_weights(name):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    a,b,c = [create(name, 10, 8, 1, seed=s).state_dict() for s in (0,0,1)]
    assert all(a[k].equal(b[k]) for k in a) and not all(a[k].equal(c[k]) for k in a)
    assert torch.random.get_rng_state().equal(before)

@pytest.mark.parametrize('name,million', dict(resnet18='11.17', convnet_w128='0.32', mobilenet_v2='0.70',
    wrn_16_2='0.69',
    shufflenet_v2_x0_5='0.35', convnet_d1='0.33', convnet_d2='0.23', convnet_w32='0.02').items())
def test_parameters_of_the_observers(name, million):
    assert f'{parameter_count(models[name](10, 3, 32))/1e6:.2f}' == million

@pytest.mark.parametrize('shape', [(4,6,5,7), (1,6,3,3), (2,6,2,1)])
def test_instance_norm_is_group_norm(shape):
    x,w,b = torch.randn(shape), torch.randn(6), torch.randn(6)
    net = InstanceNorm(6)
    net.load_state_dict(dict(weight=w, bias=b))
    torch.testing.assert_close(net(x), torch.nn.functional.group_norm(x, 6, w, b), atol=1e-5, rtol=1e-5)
    assert not isinstance(net, torch.nn.BatchNorm2d)

def test_normalisation_is_inside():
    mean,std = (.1,.2,.3),(.4,.5,.6)
    net,x = create('convnet_d1', 10, 8, mean=mean, std=std, seed=0),torch.rand(2,3,8,8)
    by_hand = (x - torch.tensor(mean)[:,None,None])/torch.tensor(std)[:,None,None]
    torch.testing.assert_close(net(x), net.body(by_hand))
    with pytest.raises(ValueError, match='std has 3 values, images of 1 channels'):
        create('convnet_d1', 10, 8, 1, std=std)
    with pytest.raises(TypeError, match='divide uint8'): net(torch.zeros(2,3,8,8, dtype=torch.uint8))

@pytest.mark.parametrize('name,size,least', [('convnet_w128',4,8), ('convnet_d2',2,4), ('resnet10_ap',4,8),
    ('densenet',7,8)])
def test_too_small(name, size, least):
    with pytest.raises(ValueError, match=f'at least {least} pixels a side, not size {size}'): create(name, 10, size)

@pytest.mark.parametrize('name,hint', [('resnet81','resnet18'), ('convnet_w12','convnet_w128'),
    ('timm/efficientnet_b00','efficientnet_b0'),
    ('torchvision/alexnets','alexnet'), ('tim/resnet18','resnet18'), ('?',"list_models")])
def test_unknown_name(name, hint):
    with pytest.raises(UnknownName, match=hint): create(name, 10, 32)

def test_lists():
    assert list_models('convnet_d*') == ['convnet_d1', 'convnet_d2']
    assert 'timm/resnet10t' in list_models('timm/resnet*') and 'torchvision/alexnet' in list_models('torchvision/*')
