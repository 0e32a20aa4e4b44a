"Bad sources are refused with their path, good ones are read as they are, condensed sets survive a file"
import os
import re
import subprocess
import sys
import warnings

import numpy as np,pytest,torch
from PIL import Image

import dc_nb.data
from dc_nb.core import Damaged,save_state
from dc_nb.data import CondensedSet,DataError,ImageFiles,ImageSet,datasets,load,toy

ARRAYS = dict(train_images=np.arange(6*4*4*3).reshape(6, 4, 4, 3).astype('uint8'), train_labels=np.array([0, 1, 2]*2),
    test_images=np.full((3, 4, 4, 3), 7, 'uint8'), test_labels=np.array([[0], [1], [2]]))

def npz(d, drop=None, **changes):
    np.savez(d/'set.npz', **{k:v for k,v in {**ARRAYS, **changes}.items() if k!=drop})
    return d/'set.npz'

def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path

def draw(path, size=(8, 8), mode='RGB', level=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode=='L' else (level,)*3).save(path)
    return path

def folder(d, parts=('train', 'val')):
    for p in parts:
        for c in ('ant', 'bee'):
            draw(d/p/c/'1.png')
            draw(d/p/c/'2.png')
    return d

def tiny(d):
    root = d/'tiny-imagenet-200'
    for i,w in enumerate(('n01', 'n02')):
        for j in range(3): draw(root/f'train/{w}/images/{w}_{j}.JPEG', (64, 64), 'L' if j==0 else 'RGB', 50*(i+1))
    draw(root/'val/images/val_0.JPEG', (64, 64))
    write(root/'wnids.txt', b'n02\nn01\n')
    write(root/'words.txt', b'n01\tgoldfish, Carassius\n')
    write(root/'val/val_annotations.txt', b'val_0.JPEG\tn02\t0\t0\t9\t9\n')
    return d

def half(path):
    b = path.read_bytes()
    return write(path, b[:len(b)//2])
def flip(path):
    b = bytearray(path.read_bytes())
    b[len(b)//4] ^= 255
    return write(path, bytes(b))

# what is made in a folder d -> arguments of `load`, and what the error must say
BAD = dict(
    unknown=(lambda d: ('cifar11',), 'cifar10'),
    split=(lambda d: ('digits', None, 'val'), "'train' or 'test'"),
    no_root=(lambda d: ('cifar10',), 'cifar-10-batches-py'),
    root_is_missing=(lambda d: ('cifar100', d/'none'), 'none is no folder'),
    root_is_empty=(lambda d: ('svhn', d), 'download=True'),
    batches_corrupted=(lambda d: ('cifar10', write(d/'cifar-10-batches-py/data_batch_1', b'x').parent.parent),
    'cifar-10-batches-py'),
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
    named_npz_gray=(lambda d: ('cifar10', npz(d, train_images=ARRAYS['train_images'][...,
    0]).rename(d/'cifar10.npz').parent), 'this file of 1'),
    folder_empty=(lambda d: (d,), 'train'),
    folder_without_classes=(lambda d: (draw(d/'train/1.png').parent.parent,), 'no class folders'),
    folder_without_test=(lambda d: (folder(d, ['train']), None, 'test'), 'test or val'),
    folder_class_empty=(lambda d: (write(folder(d)/'train/cat/a.txt', b'').parents[2],), 'cat holds no images'),
    folder_test_class=(lambda d: (draw(folder(d)/'val/cat/1.png').parents[2], None, 'test'), "'cat'"),
    folder_sizes=(lambda d: (draw(folder(d)/'train/ant/3.png', (9, 9)).parents[2],), 'pass size='),
    folder_not_square=(lambda d: ([draw(d/f'train/{c}/1.png', (9, 8)) for c in 'ab'] and d,),
    'they must be square and of one size: pass size=PIXELS'),
    folder_no_train=(lambda d: (folder(d, ['val']),), 'none that is called train'),
    folder_one_image=(lambda d: (draw(d/'ant/1.png').parents[1],), 'one image; two are needed'),
    npz_two_channels=(lambda d: (npz(d, train_images=ARRAYS['train_images'][...,:2]),),
    'C 1 (gray) or 3 (RGB), not (6, 4, 4, 2)'),
    npz_four_channels=(lambda d: (npz(d, train_images=np.zeros((6, 4, 4, 4), 'uint8')),),
    'C 1 (gray) or 3 (RGB), not (6, 4, 4, 4)'),
    npz_not_square=(lambda d: (npz(d, train_images=ARRAYS['train_images'][:,:3]),),
    'they must be square and of one size: pass size=PIXELS'),
    folder_not_an_image=(lambda d: (write(folder(d)/'train/ant/3.png', b'text').parents[2],), '3.png'),
    folder_image_truncated=(lambda d: (half(draw(folder(d)/'train/ant/1.png')).parents[2],), '1.png'),
    tiny_missing=(lambda d: ('tiny-imagenet', d), 'wnids.txt'),
    tiny_no_train=(lambda d: ('tiny-imagenet', write(d/'wnids.txt', b'n01').parent), 'train'),
    tiny_notes_missing=(lambda d: ((tiny(d)/'tiny-imagenet-200/val/val_annotations.txt').unlink() or 'tiny-imagenet',
    d, 'test'), 'val_annotations.txt'),
    tiny_notes_empty=(lambda d: (write(tiny(d)/'tiny-imagenet-200/val/val_annotations.txt', b'') and 'tiny-imagenet',
    d, 'test'), 'at least one'),
    tiny_notes_garbled=(lambda d: (write(tiny(d)/'tiny-imagenet-200/val/val_annotations.txt', b'x y')
    and 'tiny-imagenet', d, 'test'), 'wnid'),
    tiny_image_missing=(lambda d: ((tiny(d)/'tiny-imagenet-200/val/images/val_0.JPEG').unlink() or 'tiny-imagenet', d,
    'test'), 'val_0.JPEG'),
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
    assert torch.equal(named.x, torch.from_numpy(ARRAYS['train_images']).permute(0, 3, 1, 2)) and named.mean == (.5071,
        .4867, .4408)
    assert test.y.tolist() == [0, 1, 2] and test.mean == load(tmp_path/'cifar10.npz').mean
    assert test.mean[0] == pytest.approx((ARRAYS['train_images'][...,0]/255).mean())

def test_tiny_imagenet_with_gray_files(tmp_path):
    ds,test = load('tiny-imagenet', tiny(tmp_path)),load('tiny_imagenet', tmp_path/'tiny-imagenet-200', 'test')
    assert ds.shape == (3, 64, 64) and ds.classes == ('goldfish', 'n02') and ds.counts.tolist() == [3,
        3] and test.y.tolist() == [1]
    assert (ds.x[ds.of_class(0)].float()-50).abs().max() <= 1 and (ds.x[ds.of_class(1)].float()-100).abs().max() <= 1

def test_lazy_files_read_only_what_is_asked(tmp_path, monkeypatch):
    folder(tmp_path)
    ds = load(tmp_path, in_memory=0)
    from dc_nb import sources
    read,seen = sources._read,[]
    monkeypatch.setattr(sources, '_read', lambda path, *size: seen.append(path) or read(path, *size))
    assert isinstance(ds.x, ImageFiles) and ds.subset(torch.tensor([3, 0])).checksum and not seen
    x,y = ds.subset(torch.tensor([3, 0])).take(torch.tensor([0]))
    assert y.tolist() == [1] and x.shape == (1, 3, 8, 8) and [p[-9:] for p in seen] == ['bee/2.png']

# what a lazy set is known by: the content of its files

def repaint(path, level):
    "Other pixels in a file of the same name, size and (as far as a user can set it) times"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(bytes([90]*3), bytes([level]*3)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size

def lazy(d):
    for c in ('ant', 'bee'):
        for i in range(3): draw(d/'train'/c/f'{i}.bmp')
    return load(d, in_memory=0)

def test_a_repainted_file_changes_the_checksum(tmp_path):
    before = lazy(tmp_path).checksum
    assert load(tmp_path, in_memory=0).checksum == before
    repaint(tmp_path/'train/bee/1.bmp', 91)
    assert load(tmp_path, in_memory=0).checksum != before

@pytest.fixture
def settled(monkeypatch):
    from dc_nb import sources
    read,seen = sources.file_sha,[]
    monkeypatch.setattr(sources, '_settled', 0.)
    monkeypatch.setattr(sources, 'file_sha', lambda path: seen.append(os.path.basename(path)) or read(path))
    return seen

def test_content_is_read_once(tmp_path, settled):
    before = lazy(tmp_path).checksum
    assert len(settled) == 6 and (tmp_path/'.dc_nb_digests.json').exists()
    assert load(tmp_path, in_memory=0).checksum == before and len(settled) == 6
    repaint(tmp_path/'train/bee/1.bmp', 91)
    assert load(tmp_path, in_memory=0).checksum != before and settled[6:] == ['1.bmp']
    (tmp_path/'.dc_nb_digests.json').write_text('[not what we wrote')
    assert load(tmp_path, in_memory=0).checksum != before and len(settled) == 13

def test_digests_go_to_the_cache_where_the_data_cannot_be_written(tmp_path, settled, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    # a place that cannot be written, for root too
    (tmp_path/'d/.dc_nb_digests.json').mkdir(parents=True)
    before = lazy(tmp_path/'d').checksum
    assert load(tmp_path/'d', in_memory=0).checksum == before and len(settled) == 6
    assert [f.name[:8] for f in (tmp_path/'cache/dc_nb').iterdir()] == ['digests-']

# pictures as people see them

def test_a_turned_picture_is_turned(tmp_path):
    a = np.zeros((8, 8, 3), 'uint8')
    a[:,:4] = 200
    note = Image.Exif()
    note[0x112] = 6
    for p in ('train', 'test'):
        for c in 'ab':
            draw(tmp_path/p/c/'0.png')
            Image.fromarray(a).save(tmp_path/p/c/'1.png', exif=note)
    x = load(tmp_path).x[1,0]
    assert (x[:4] == 200).all() and (x[4:] == 0).all()

@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P'])
def test_transparency_is_put_on_white(mode, tmp_path):
    im = Image.new('RGBA', (8, 8), (0, 0, 0, 0))
    im.paste((10, 20, 30, 255), (0, 0, 4, 8))
    im = im.quantize() if mode == 'P' else im.convert(mode)
    for p in ('train', 'test'):
        for c in 'ab':
            (tmp_path/p/c).mkdir(parents=True)
            im.save(tmp_path/p/c/'1.png')
    for x in (load(tmp_path).x[0], dc_nb.data.from_pairs([(im, 0)]).x[0]):
        assert (x[:,:,5:] == 255).all() and (x[:,:,:4] < 40).all()

def test_files_that_are_left_out_are_counted(tmp_path):
    for name in ('a.heic', 'b.heic', 'c.txt', 'README'): write(folder(tmp_path)/'train/ant'/name, b'')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        load(tmp_path)
    assert [str(w.message).split('train: ')[1].split(';')[0]
        for w in said] == ['files left out: 2 of .heic, 1 of .txt, 1 of no ending']

# names

def test_two_classes_of_one_name_are_not_confused():
    ds = ImageSet(torch.zeros(3, 1, 2, 2).byte(), [0, 1, 2], ('crane', 'cat', 'crane'), [.5], [.5], 'birds',
        ('n1', 'n2', 'n3'))
    with pytest.raises(DataError, match="2 classes called 'crane': choose by number or id"): ds.by_class('crane')
    assert ds.by_class('n3', 'cat').classes == ('crane', 'cat')
    cs = CondensedSet(torch.zeros(3, 1, 1, 2, 2).byte(), torch.eye(3)[:,None], meta=ds.card)
    for which in ('crane', 'n3', 2):
        with pytest.raises(DataError, match='crane'): cs.by_class(which)
    assert cs.by_class('cat').labels[0,0].tolist() == [0, 1, 0]

@pytest.mark.parametrize('name', [r'$\frac$', b'caf\xe9', 'a\nb', '\x1b[2J', '\u202eabc', '<b>'])
def test_any_class_name_can_be_shown_drawn_and_saved(name, tmp_path):
    d = os.fsencode(tmp_path)
    for c in (name, 'cat'):
        for i in range(2):
            os.makedirs(os.path.join(d, os.fsencode(c)), exist_ok=True)
            Image.new('L', (4, 4)).save(os.path.join(d, os.fsencode(c), b'%d.png' % i))
    ds = load(tmp_path)
    assert all(c.isprintable() and c.encode() for c in ds.classes) and ds.checksum and load(tmp_path,
        in_memory=0).checksum
    cs = CondensedSet(torch.zeros(2, 1, 3, 4, 4).byte(), meta=ds.card)
    cs.plot().canvas.draw()
    assert '<b>' not in cs._repr_html_().replace('<b>Condensed', '')
    cs.save(tmp_path/'s.safetensors')
    assert CondensedSet.load(tmp_path/'s.safetensors').meta['classes'] == list(ds.classes)

def test_class_names_of_bytes_in_a_npz(tmp_path):
    assert load(npz(tmp_path, classes=np.array([b'caf\xe9', b'cat', b'dog']))).classes == ('caf\\udce9', 'cat', 'dog')

# memory: nothing large is allocated for a moment or before its size is known

MEMORY = """
import resource,sys
import numpy as np,torch
torch.set_num_threads(1)
from dc_nb.data import channel_stats,load
now = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**10
before = now()
load(sys.argv[1])
print(now()-before)
x = torch.zeros(600, 3, 224, 224, dtype=torch.uint8)+1
channel_stats(x)
print(now()-before)
"""

def test_loading_takes_the_size_of_the_images_and_statistics_take_little(tmp_path):
    x = np.ones((1000, 256, 256, 3), 'uint8')                                      # 188 MB; the second set has 86 MB
    np.savez(tmp_path/'a.npz', train_images=x, test_images=x[:2], train_labels=np.arange(1000)%2,
        test_labels=np.arange(2))
    done = subprocess.run([sys.executable, '-c', MEMORY, str(tmp_path/'a.npz')], capture_output=True, text=True,
        timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(float(o) < 188+130 for o in done.stdout.split())

# everything that holds images

def test_a_folder_without_parts_is_split(tmp_path):
    for c,n in dict(ant=10, bee=3).items():
        for i in range(n): draw(tmp_path/c/f'{i}.png', level=10*i+(c=='bee'))
    train,test = load(tmp_path),load(tmp_path, split='test')
    assert train.counts.tolist() == [8, 2] and test.counts.tolist() == [2, 1] and train.mean == test.mean
    assert torch.cat([train.x, test.x])[:,0,0,0].unique().numel() == 13
    assert load(tmp_path).checksum == train.checksum != load(tmp_path, split_seed=1).checksum
    assert load(tmp_path, test_share=.5).counts.tolist() == [5, 1]
    with pytest.raises(DataError, match='test_share=2'): load(tmp_path, test_share=2)

@pytest.mark.parametrize('fit,left', [('crop', 200), ('squash', 100)])
def test_sizes_that_differ_are_brought_to_one(fit, left, tmp_path):
    a = np.full((8, 16, 3), 200, 'uint8')
    a[:,:4] = a[:,12:] = 100
    for c in 'ab':
        for i in range(2):
            draw(tmp_path/c/f'{i}.png', level=200)
            (tmp_path/c).mkdir(exist_ok=True)
            Image.fromarray(a).save(tmp_path/c/f'w{i}.png')
    ds = load(tmp_path, size=8, fit=fit, test_share=.1)
    assert ds.shape == (3, 8, 8) and ds.x[:,0,4,0].min() == left
    same = dc_nb.data.as_images((a[None], [0]), size=8, fit=fit)
    assert same.x[0,0,4,0] == left

def test_one_door_for_all_sources(tmp_path):
    as_images = dc_nb.data.as_images
    x,y = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), 'uint8'),np.arange(12)%3
    np.savez(tmp_path/'a.npz', train_images=x, train_labels=y, test_images=x, test_labels=y)
    for i in range(12):
        (tmp_path/f'f/{y[i]}').mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i]).save(tmp_path/f'f/{y[i]}/{i:02}.png')
    chw = torch.from_numpy(x).permute(0, 3, 1, 2)
    class Own(torch.utils.data.Dataset):
        def __len__(self): return 12
        def __getitem__(self, i): return Image.fromarray(x[i]), int(y[i])
    same = [(x, y), (chw, torch.from_numpy(y)), (chw.float()/255, y.tolist()), (list(x), list(y)), Own(),
        list(zip(chw, y)), tuple(zip(x, y)), str(tmp_path/'a.npz')]
    for source in same:
        ds = as_images(source)
        assert torch.allclose(sets_unit(ds.x), sets_unit(chw)) and ds.y.tolist() == y.tolist() and ds.classes == ('0',
            '1', '2')
        assert load(source).checksum == ds.checksum and as_images(ds) is ds
    parts = [as_images(tmp_path/'f', split=o).counts.tolist() for o in ('train', 'test')]
    assert parts == [[3]*3, [1]*3] and as_images('digits').name == 'digits'
    parts = [as_images((x, y), split=o, test_share=.25) for o in ('train', 'test')]
    assert [p.counts.tolist() for p in parts] == [[3]*3, [1]*3] and parts[0].mean == parts[1].mean
    assert as_images((x, ['b']*6 + ['a']*6)).classes == ('a',
        'b') and as_images((x, [0]*11 + [1])).counts.tolist() == [11, 1]

def sets_unit(x): return x.float()/255 if x.dtype == torch.uint8 else x.float()

# what is given to `as_images` -> what the error must say
x4 = torch.rand(4, 3, 4, 4)
STRANGE = dict(
    no_test_part=(lambda as_images: as_images((x4, [0, 1, 0, 1]), split='test'), 'pass test_share=.2'),
    unknown_option=(lambda as_images: as_images((x4, [0, 1, 0, 1]), sizes=3), 'do not take sizes'),
    option_too_late=(lambda as_images: as_images(toy(), size=3), 'came too late'),
    root=(lambda as_images: as_images((x4, [0, 1, 0, 1]), root='x'), 'root='),
    split=(lambda as_images: as_images((x4, [0, 1, 0, 1]), split='val'), "'train' or 'test'"),
    number=(lambda as_images: as_images(3), 'must have a length and items'),
    lengths=(lambda as_images: as_images((x4, [0, 1])), '4 images and 2 labels'),
    normalised=(lambda as_images: as_images((x4*4-2, [0, 1, 0, 1])), 'floats in [0,1]'),
    nan=(lambda as_images: as_images((x4/0, [0, 1, 0, 1])), 'floats in [0,1]'),
    ints=(lambda as_images: as_images((x4.long(), [0, 1, 0, 1])), 'must be uint8'),
    channels_first_array=(lambda as_images: as_images((x4.numpy(), [0, 1, 0, 1])), 'N x H x W x C'),
    two_channels=(lambda as_images: as_images((x4[:,:2], [0, 1, 0, 1])), 'C 1 or 3'),
    not_square=(lambda as_images: as_images((x4[...,:3], [0, 1, 0, 1])), 'pass size=PIXELS'),
    fit=(lambda as_images: as_images((x4, [0, 1, 0, 1]), size=3, fit='fill'), "fit='fill'"),
    empty=(lambda as_images: as_images((x4[:0], [])), 'N above 0'),
    negative=(lambda as_images: as_images((x4, [0, 1, 0, -1])), 'labels go from -1'),
    huge_label=(lambda as_images: as_images((x4, [0, 1, 0, 10**12])), 'labels go from 0 to 1000000000000'),
    other_size=(lambda as_images: as_images((x4, [0, 1, 0, 1]), like=toy(channels=3)), 'pass size=PIXELS'),
    one_of_a_class=(lambda as_images: as_images((x4, [0, 0, 0, 1]), test_share=.2), 'class 1 has one image'),
)

@pytest.mark.parametrize('case', STRANGE)
def test_strange_sources_are_refused_in_words(case):
    make,says = STRANGE[case]
    with pytest.raises(DataError, match=re.escape(says)): make(dc_nb.data.as_images)

def test_condensed_set_round_trip(tmp_path):
    g = torch.Generator().manual_seed(0)
    for factor in (1, 2):
        for x in (torch.rand(3, 4, 1, 8, 8, generator=g), torch.randint(256, (3, 4, 3, 8, 8), generator=g).byte()):
            for labels in (None, torch.rand(3, 4, 5, generator=g)):
                cs = CondensedSet(x, labels, factor, dict(classes=('a', 'b', 'c'), nested=dict(a=[1, None])))
                cs.save(tmp_path/'c.safetensors')
                again = CondensedSet.load(tmp_path/'c.safetensors')
                assert again == cs and again.meta == cs.meta and again.first(4) == cs and again.bytes == cs.bytes
                for n in (1, 3): assert torch.equal(cs.first(n).decode(), cs.decode()[:,:n])
                assert cs.decode().shape == (3, 4, factor**2,
                    *x.shape[2:]) and len(cs.images) == len(cs.y) == 12*factor**2
                assert cs != cs.first(2) and (factor>1 or torch.equal(cs.decode()[:,:,0], sets_unit(x)))
    for n in (0, 5, -1):
        with pytest.raises(ValueError, match='1..4'): cs.first(n)

def test_condensed_set_refuses_other_files(tmp_path):
    cs = CondensedSet(torch.rand(2, 1, 1, 4, 4))
    f = tmp_path/'c.safetensors'
    for spoil in (half, flip, lambda f: write(f, b''), lambda f: f.unlink(),
        lambda f: save_state(f, dict(x=cs.x), kind='net')):
        cs.save(f)
        spoil(f)
        with pytest.raises((DataError, Damaged), match='c.safetensors'): CondensedSet.load(f)

def test_decode_lets_gradients_through():
    x = torch.rand(2, 1, 1, 8, 8, requires_grad=True)
    CondensedSet(x, factor=2).decode().sum().backward()
    assert x.grad.sum() == pytest.approx(2*4*64, rel=1e-4)

def test_digits_and_toy_are_fixed():
    assert load('digits').checksum != load('digits', split='test').checksum == load('digits', split='test').checksum
    assert toy().checksum == toy().checksum != toy(seed=1).checksum and isinstance(toy(),
        ImageSet) and 'digits' in datasets

def test_labels_are_counted_before_they_are_read(tmp_path):
    "A small file of a billion labels that deflate well is refused by its header"
    x = np.zeros((4, 4, 4, 1), 'u1')
    np.savez_compressed(tmp_path/'bomb.npz', train_images=x, test_images=x, train_labels=np.zeros(10**8, 'u1'), test_labels=np.zeros(4, 'u1'))
    with pytest.raises(DataError, match='100000000 labels for 4 images'): load(tmp_path/'bomb.npz')
