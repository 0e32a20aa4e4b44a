"Bad sources are refused with their path, good ones are read as they are, condensed sets survive a file"
import re

import numpy as np,pytest,torch
from PIL import Image

from dc_nb import sets
from dc_nb.core import Damaged,save_state
from dc_nb.data import CondensedSet,DataError,ImageFiles,ImageSet,datasets,load,toy

ARRAYS = dict(train_images=np.arange(6*4*4*3).reshape(6, 4, 4, 3).astype('uint8'), train_labels=np.array([0, 1, 2]*2),
    test_images=np.full((3, 4, 4, 3), 7, 'uint8'), test_labels=np.array([[0], [1], [2]]))

def npz(d, drop=None, **changes):
    np.savez(d/'set.npz', **{k:v for k,v in {**ARRAYS, **changes}.items() if k!=drop}); return d/'set.npz'

def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True); path.write_bytes(data); return path

def draw(path, size=(8, 8), mode='RGB', level=90):
    path.parent.mkdir(parents=True, exist_ok=True); Image.new(mode, size, level if mode=='L' else (level,)*3).save(path); return path

def folder(d, parts=('train', 'val')):
    for p in parts:
        for c in ('ant', 'bee'): draw(d/p/c/'1.png'); draw(d/p/c/'2.png')
    return d

def tiny(d):
    root = d/'tiny-imagenet-200'
    for i,w in enumerate(('n01', 'n02')):
        for j in range(3): draw(root/f'train/{w}/images/{w}_{j}.JPEG', (64, 64), 'L' if j==0 else 'RGB', 50*(i+1))
    draw(root/'val/images/val_0.JPEG', (64, 64))
    write(root/'wnids.txt', b'n02\nn01\n'); write(root/'words.txt', b'n01\tgoldfish, Carassius\n')
    write(root/'val/val_annotations.txt', b'val_0.JPEG\tn02\t0\t0\t9\t9\n')
    return d

def half(path): b = path.read_bytes(); return write(path, b[:len(b)//2])
def flip(path): b = bytearray(path.read_bytes()); b[len(b)//4] ^= 255; return write(path, bytes(b))

# what is made in a folder d -> arguments of `load`, and what the error must say
BAD = dict(
    unknown=(lambda d: ('cifar11',), 'cifar10'),
    split=(lambda d: ('digits', None, 'val'), "'train' or 'test'"),
    no_root=(lambda d: ('cifar10',), 'cifar-10-batches-py'),
    root_is_missing=(lambda d: ('cifar100', d/'none'), 'none is no folder'),
    root_is_empty=(lambda d: ('svhn', d), 'download=True'),
    batches_corrupted=(lambda d: ('cifar10', write(d/'cifar-10-batches-py/data_batch_1', b'x').parent.parent), 'cifar-10-batches-py'),
    mat_truncated=(lambda d: ('svhn', write(d/'train_32x32.mat', b'x').parent), 'train_32x32.mat'),
    npz_missing=(lambda d: (d/'no.npz',), 'no.npz does not exist'),
    npz_empty=(lambda d: (write(d/'e.npz', b''),), 'e.npz'),
    npz_truncated=(lambda d: (half(npz(d)),), 'set.npz'),
    npz_bit_flipped=(lambda d: (flip(npz(d)),), 'set.npz'),
    npz_is_npy=(lambda d: (np.save(d/'a.npy', np.zeros(3)) or (d/'a.npy').rename(d/'a.npz'),), 'a.npz'),
    npz_without_key=(lambda d: (npz(d, drop='test_labels'),), 'test_labels is missing'),
    npz_pickle=(lambda d: (npz(d, train_images=np.array([None]*6)),), 'set.npz'),
    npz_float=(lambda d: (npz(d, train_images=ARRAYS['train_images']/255),), 'uint8'),
    npz_channels_first=(lambda d: (npz(d, train_images=np.zeros((6, 3, 9, 9), 'uint8')),), 'channels last'),
    npz_lengths=(lambda d: (npz(d, train_labels=np.array([0, 1])),), '6 images'),
    npz_float_labels=(lambda d: (npz(d, train_labels=np.arange(6.)),), 'whole numbers'),
    npz_negative_label=(lambda d: (npz(d, train_labels=np.array([0, 1, -1]*2)),), 'set.npz'),
    npz_huge_label=(lambda d: (npz(d, train_labels=np.array([0, 1, 2**40]*2)),), 'set.npz'),
    npz_label_without_name=(lambda d: (npz(d, classes=np.array(['a', 'b'])),), '2 classes'),
    npz_test_label=(lambda d: (npz(d, test_labels=np.array([0, 1, 3])), None, 'test'), '0..2'),
    npz_no_images=(lambda d: (npz(d, train_images=np.zeros((0, 4, 4, 3), 'uint8')),), 'not empty'),
    named_npz_gray=(lambda d: ('cifar10', npz(d, train_images=ARRAYS['train_images'][...,0]).rename(d/'cifar10.npz').parent), 'this file of 1'),
    folder_empty=(lambda d: (d,), 'train'),
    folder_without_classes=(lambda d: (draw(d/'train/1.png').parent.parent,), 'no class folders'),
    folder_without_test=(lambda d: (folder(d, ['train']), None, 'test'), 'test or val'),
    folder_class_empty=(lambda d: (write(folder(d)/'train/cat/a.txt', b'').parents[2],), 'cat holds no images'),
    folder_test_class=(lambda d: (draw(folder(d)/'val/cat/1.png').parents[2], None, 'test'), "'cat'"),
    folder_sizes=(lambda d: (draw(folder(d)/'train/ant/3.png', (9, 8)).parents[2],), 'pass size='),
    folder_not_an_image=(lambda d: (write(folder(d)/'train/ant/3.png', b'text').parents[2],), '3.png'),
    folder_image_truncated=(lambda d: (half(draw(folder(d)/'train/ant/1.png')).parents[2],), '1.png'),
    tiny_missing=(lambda d: ('tiny-imagenet', d), 'wnids.txt'),
    tiny_no_train=(lambda d: ('tiny-imagenet', write(d/'wnids.txt', b'n01').parent), 'train'),
    tiny_notes_missing=(lambda d: ((tiny(d)/'tiny-imagenet-200/val/val_annotations.txt').unlink() or 'tiny-imagenet', d, 'test'), 'val_annotations.txt'),
    tiny_notes_empty=(lambda d: (write(tiny(d)/'tiny-imagenet-200/val/val_annotations.txt', b'') and 'tiny-imagenet', d, 'test'), 'at least one'),
    tiny_notes_garbled=(lambda d: (write(tiny(d)/'tiny-imagenet-200/val/val_annotations.txt', b'x y') and 'tiny-imagenet', d, 'test'), 'wnid'),
    tiny_image_missing=(lambda d: ((tiny(d)/'tiny-imagenet-200/val/images/val_0.JPEG').unlink() or 'tiny-imagenet', d, 'test'), 'val_0.JPEG'),
    imagenet10_class_missing=(lambda d: ('imagenet10', folder(d)), 'n02869837'),
)

@pytest.mark.parametrize('case', BAD)
def test_bad_source(case, tmp_path):
    make,says = BAD[case]
    args = make(tmp_path)
    with pytest.raises(DataError, match=re.escape(says)) as e: load(*args)
    assert str(args[0]) in str(e.value) or str(tmp_path) in str(e.value)

def test_npz_by_name_and_by_path(tmp_path):
    npz(tmp_path).rename(tmp_path/'cifar10.npz')
    named,test = load('cifar10', tmp_path),load(tmp_path/'cifar10.npz', split='test')
    assert torch.equal(named.x, torch.from_numpy(ARRAYS['train_images']).permute(0, 3, 1, 2)) and named.mean == (.5071, .4867, .4408)
    assert test.y.tolist() == [0, 1, 2] and test.mean == load(tmp_path/'cifar10.npz').mean
    assert test.mean[0] == pytest.approx((ARRAYS['train_images'][...,0]/255).mean())

def test_tiny_imagenet_with_gray_files(tmp_path):
    ds,test = load('tiny-imagenet', tiny(tmp_path)),load('tiny_imagenet', tmp_path/'tiny-imagenet-200', 'test')
    assert ds.shape == (3, 64, 64) and ds.classes == ('goldfish', 'n02') and ds.counts.tolist() == [3, 3] and test.y.tolist() == [1]
    assert (ds.x[ds.of_class(0)].float()-50).abs().max() <= 1 and (ds.x[ds.of_class(1)].float()-100).abs().max() <= 1

def test_lazy_files_read_only_what_is_asked(tmp_path, monkeypatch):
    folder(tmp_path); ds = load(tmp_path, in_memory=0)
    read,seen = sets._read,[]
    monkeypatch.setattr(sets, '_read', lambda path, size: seen.append(path) or read(path, size))
    assert isinstance(ds.x, ImageFiles) and ds.subset(torch.tensor([3, 0])).checksum and not seen
    x,y = ds.subset(torch.tensor([3, 0])).take(torch.tensor([0]))
    assert y.tolist() == [1] and x.shape == (1, 3, 8, 8) and [p[-9:] for p in seen] == ['bee/2.png']

def test_condensed_set_round_trip(tmp_path):
    g = torch.Generator().manual_seed(0)
    for factor in (1, 2):
        for x in (torch.rand(3, 4, 1, 8, 8, generator=g), torch.randint(256, (3, 4, 3, 8, 8), generator=g).byte()):
            for labels in (None, torch.rand(3, 4, 5, generator=g)):
                cs = CondensedSet(x, labels, factor, dict(classes=('a', 'b', 'c'), nested=dict(a=[1, None])))
                cs.save(tmp_path/'c.safetensors'); again = CondensedSet.load(tmp_path/'c.safetensors')
                assert again == cs and again.meta == cs.meta and again.first(4) == cs and again.bytes == cs.bytes
                for n in (1, 3): assert torch.equal(cs.first(n).decode(), cs.decode()[:,:n])
                assert cs.decode().shape == (3, 4, factor**2, *x.shape[2:]) and len(cs.images) == len(cs.y) == 12*factor**2
                assert cs != cs.first(2) and (factor>1 or torch.equal(cs.decode()[:,:,0], sets.unit(x)))
    for n in (0, 5, -1):
        with pytest.raises(ValueError, match='1..4'): cs.first(n)

def test_condensed_set_refuses_other_files(tmp_path):
    cs = CondensedSet(torch.rand(2, 1, 1, 4, 4)); f = tmp_path/'c.safetensors'
    for spoil in (half, flip, lambda f: write(f, b''), lambda f: f.unlink(), lambda f: save_state(f, dict(x=cs.x), kind='net')):
        cs.save(f); spoil(f)
        with pytest.raises((DataError, Damaged), match='c.safetensors'): CondensedSet.load(f)

def test_decode_lets_gradients_through():
    x = torch.rand(2, 1, 1, 8, 8, requires_grad=True)
    CondensedSet(x, factor=2).decode().sum().backward()
    assert x.grad.sum() == pytest.approx(2*4*64, rel=1e-4)

def test_digits_and_toy_are_fixed():
    assert load('digits').checksum != load('digits', split='test').checksum == load('digits', split='test').checksum
    assert toy().checksum == toy().checksum != toy(seed=1).checksum and isinstance(toy(), ImageSet) and 'digits' in datasets
