"Condensed sets survive every format; what is damaged, foreign or hostile is refused by name"
import csv
import html
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from conftest import ALL
from dc_nb.core import Damaged, save_state
from dc_nb.data import CondensedSet, DataError, ImageSet
from dc_nb.formats import as_bytes, decoded, export, from_tensors, read, writers

names = st.text(st.characters(blacklist_categories=('Cs', 'Cc')), min_size=1, max_size=8)

@st.composite
def sets(draw):
    """Condensed sets of all kinds: bytes or floats, gray or colour, hard or soft labels, one or four tiles, any class
    names"""
    c,ipc = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    channels,side = draw(st.sampled_from([1, 3])), draw(st.sampled_from([2, 4]))
    shape = (c, ipc, channels, side, side)
    x = draw(arrays(np.uint8, shape) | arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    kinds = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
    soft = draw(st.none() | arrays(np.float64, (c, ipc, draw(st.integers(1, 3))), elements=st.floats(-6e4, 6e4)))
    classes = draw(st.lists(names, min_size=c, max_size=c, unique=True))
    meta = dict(data=draw(names), classes=classes, mean=[.5]*channels, shape=[channels, side, side])
    x = torch.from_numpy(x)
    if x.is_floating_point(): x = x.to(draw(kinds))
    return CondensedSet(x, None if soft is None else torch.from_numpy(soft).to(draw(kinds)),
        draw(st.sampled_from([1, 2])), meta)

@pytest.mark.parametrize('to', ['native', 'npz', 'torch', 'png', 'hf'])
@given(cs=sets())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path_factory, to, cs):
    path = export(cs, to, tmp_path_factory.mktemp('f')/('set'
        +dict(native='.safetensors', npz='.npz', torch='.pt').get(to, '')))
    expected = cs if to not in ('png', 'hf') else CondensedSet(as_bytes(cs.x), cs.labels, cs.factor, cs.meta)
    assert read(path) == expected

@pytest.mark.parametrize('to', writers)
def test_nothing_is_overwritten_or_left_behind(to, tmp_path):
    (tmp_path/'file').write_text('mine')
    ending = dict(native='.safetensors', npz='.npz', torch='.pt').get(to, '')
    (tmp_path/f'there{ending}').mkdir()
    for out in (f'there{ending}', f'file/x{ending}', 'x'*300+ending, *(['set.other'] if ending else [])):
        with pytest.raises(DataError, match=re.escape(out[:50])): export(CS, to, tmp_path/out)
    assert sorted(f.name for f in tmp_path.iterdir()) == ['file', f'there{ending}']

@pytest.mark.parametrize('data,says', [('../../up', 'up-ipc3.npz'), ('/etc/foo', 'foo-ipc3.npz'),
    ('a\nb', 'a_b-ipc3.npz'), (None, 'set-ipc3.npz'), ('', 'set-ipc3.npz')])
def test_a_file_does_not_choose_where_it_is_exported(data, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = export(CondensedSet(CS.x, meta=dict(data=data)), 'npz')
    assert path.name.endswith(says) and (tmp_path/path.name).exists()

@pytest.mark.slow                                                   # the other round trips have a few
def test_ten_thousand_classes(tmp_path):
    cs = CondensedSet(torch.arange(10_001).remainder(256).byte().view(-1, 1, 1, 1, 1))
    assert read(export(cs, 'hf', tmp_path/'many')) == cs

def test_all_formats_are_tested(): assert set(writers) == {'native', 'npz', 'torch', 'png', 'hf'}

@given(cs=sets())
@settings(max_examples=25, deadline=None)
def test_parts_and_unions(cs):
    assert CondensedSet.concat(*(cs.by_class(c) for c in range(cs.classes))).x.equal(cs.x)
    assert decoded(cs).factor == 1 and len(decoded(cs)) == len(cs)
    x,y = zip(*cs)
    assert torch.stack(x).equal(cs.images) and len(y) == len(cs)
    assert sum(len(b) for b,_ in cs.loader(3)) == len(cs)

g = torch.Generator().manual_seed(0)
LIKE = ImageSet(torch.zeros(2, 3, 4, 4).byte(), [0, 1], ('cat', 'cow'), [.5]*3, [.2]*3, 'pets', ('n01', 'n02'))
CS = CondensedSet(torch.randint(256, (2, 3, 3, 4, 4), generator=g).byte(), meta=LIKE.card)
X,Y = torch.rand(6, 3, 4, 4, generator=g), torch.tensor([0, 0, 0, 1, 1, 1])

def changed(to, change):
    "A file or folder in format `to`, spoilt by `change(path)`"
    def make(d):
        path = export(CS, to, d/('set'+dict(native='.safetensors', npz='.npz', torch='.pt').get(to, '')))
        return change(path) or path
    return make

def half(path): path.write_bytes(path.read_bytes()[:path.stat().st_size//2])
def flip(path):
    b = bytearray(path.read_bytes())
    b[-9] ^= 4
    path.write_bytes(b)
def saved(value, name='data_best.pt'):
    def make(d):
        torch.save(value, d/name)
        return d/name
    return make

def card(**kw):
    def change(path):
        f = path/'card.json'
        f.write_text(json.dumps({**json.loads(f.read_text()), **kw}))
    return change

def meta_of(**kw):
    return changed('native', lambda p: save_state(p, dict(x=CS.x, labels=None), kind='CondensedSet', factor=1,
        meta={**CS.meta, **kw}))

def csv_rows(change):
    def edit(path):
        rows = list(csv.DictReader(open(path/'labels.csv', newline='')))
        change(rows)
        with open(path/'labels.csv', 'w', newline='') as f:
            w = csv.DictWriter(f, rows[0])
            w.writeheader()
            w.writerows(rows)
    return edit

def huge_png(path):
    "A picture of 60,000 x 60,000 pixels in a hundred bytes"
    part = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind+data))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + part(b'IHDR', struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0))
        + part(b'IDAT', zlib.compress(b'0')) + part(b'IEND', b''))

def npz(drop=None, **arrays_):
    def change(path):
        with np.load(path) as z: all_ = {**dict(z), **arrays_}
        all_.pop(drop, None)
        np.savez(path, **all_)
    return changed('npz', change)

class Evil:
    "What a pickle can do: run code when it is read"
    def __reduce__(self): return open, ('/tmp/dc_nb_was_here', 'w')

def folders(form, counts, size=(4, 4), mode='RGB'):
    def make(d):
        for c,n in counts.items():
            for i in range(n):
                f = d/'syn'/form.format(c)/f'class{i}.png'
                f.parent.mkdir(parents=True, exist_ok=True)
                Image.new(mode, size).save(f)
        return d/'syn'
    return make

def mtt(d, images=X, labels=Y):
    (d/'m').mkdir()
    torch.save(images, d/'m/images_best.pt')
    if labels is not None: torch.save(labels, d/'m/labels_best.pt')
    return d/'m'

def huge_decode(d, factor=2, shape=(1, 2**14, 2**14), side=2):
    "A few hundred bytes that ask for gigabytes of training images"
    save_state(d/'s.safetensors', dict(x=torch.zeros(1, 1, 1, side, side).byte(), labels=None), kind='CondensedSet',
        factor=factor, meta=dict(shape=list(shape)))
    return d/'s.safetensors'

def deflated(path):
    "The same archive with its parts compressed, as PyTorch never writes them"
    with zipfile.ZipFile(path) as z: parts = {o.filename:z.read(o) for o in z.infolist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        for k,v in parts.items(): z.writestr(k, v)
    return path

first_png = lambda p: sorted(p.glob('**/*.png'))[0]

# what is made in a folder -> what the error must say beside the path
BAD = dict(
    missing=(lambda d: d/'none.safetensors', 'does not exist'),
    unknown_ending=(changed('native', lambda p: p.rename(p.with_suffix('.bin'))), 'none of .safetensors'),
    native_empty=(changed('native', lambda p: p.write_bytes(b'') and None), 'not a set that dc_nb saved'),
    native_half=(changed('native', half), 'not all of it'),
    native_bit=(changed('native', flip), 'checksum'),
    native_pickle=(changed('native', lambda p: p.write_bytes(pickle.dumps(Evil())) and None), 'not a set that dc_nb saved'),
    native_other_kind=(changed('native', lambda p: save_state(p, dict(x=CS.x), kind='Fit')), "holds 'Fit'"),
    native_wrong_shape=(changed('native', lambda p: save_state(p, dict(x=CS.x[0], labels=None), kind='CondensedSet',
    factor=1, meta={})), 'classes x ipc x C x H x W'),
    native_wrong_factor=(changed('native', lambda p: save_state(p, dict(x=CS.x, labels=None), kind='CondensedSet',
    factor=3, meta={})), 'factor 3 does not divide'),
    native_meta_none=(changed('native', lambda p: save_state(p, dict(x=CS.x, labels=None), kind='CondensedSet',
    factor=1, meta=None)), 'meta must be a dict'),
    native_factor_float=(changed('native', lambda p: save_state(p, dict(x=CS.x, labels=None), kind='CondensedSet',
    factor=1., meta={})), 'factor 1.0'),
    native_labels_list=(changed('native', lambda p: save_state(p, dict(x=CS.x, labels=[1, 2]), kind='CondensedSet',
    factor=1, meta={})), 'set.safetensors'),
    native_nan=(changed('native', lambda p: save_state(p, dict(x=CS.x.float()/0, labels=None), kind='CondensedSet',
    factor=1, meta={})), 'floats in [0,1]'),
    native_nan_labels=(changed('native', lambda p: save_state(p,
    dict(x=CS.x, labels=torch.full((2, 3, 2), float('nan'))), kind='CondensedSet', factor=1, meta={})), 'finite'),
    native_folder=(lambda d: ((d/'s.safetensors').mkdir(), d/'s.safetensors')[1], 's.safetensors'),
    native_int_images=(changed('native', lambda p: save_state(p, dict(x=CS.x.long(), labels=None), kind='CondensedSet',
    factor=1, meta={})), 'uint8 or float'),
    meta_classes=(meta_of(classes=['cat']), '1 classes, the images need 2'),
    meta_mean=(meta_of(mean=[.5]), '1 mean, the images need 3'),
    meta_text=(meta_of(std='x'), 'std in meta must be a list'),
    meta_none=(meta_of(mean=[None]*3), 'mean in meta must be a list'),
    meta_nested=(meta_of(classes=[['cat'], ['cow']]), 'classes in meta must be a list'),
    meta_number=(meta_of(choices=3), 'choices in meta must be a text'),
    meta_other_size=(meta_of(shape=[3, 8, 8]), 'images of 4 x 4 pixels in a set for 8 x 8'),
    meta_huge=(meta_of(shape=[3, 10**6, 10**6]), '[3, 1000000, 1000000]'),
    meta_ipc_text=(meta_of(ipc='10'), 'ipc in meta must be a whole number'),
    meta_ipc_huge=(meta_of(ipc=10**12), 'ipc in meta must be a whole number'),
    meta_ipc_true=(meta_of(ipc=True), 'ipc in meta must be a whole number'),
    meta_seed_list=(meta_of(seed=[0]), 'seed in meta must be a whole number'),
    meta_std_huge=(meta_of(std=[10**400]*3), 'std in meta must be a list of numbers'),
    meta_std_zero=(meta_of(std=[0, 1, 1]), 'std in meta must be above 0'),
    meta_std_nan=(meta_of(std=[float('nan')]*3), 'std in meta must be a list of numbers'),
    meta_scores_list=(meta_of(scores=[1]), 'scores in meta must be a dict'),
    meta_mean_none=(meta_of(scores=dict(edc=dict(mean=None, n=3))), 'mean of scores.edc in meta must be a number'),
    meta_mean_list=(meta_of(scores=dict(A={'1':dict(mean=[.5], n=3)})), 'mean of scores.A.1 in meta must be a number'),
    meta_n_text=(meta_of(scores=dict(edc=dict(mean=.5, n='3'))), 'n of scores.edc in meta must be a number'),
    meta_averages=(meta_of(averages=dict(A=dict(mean='x'))), 'mean of averages.A in meta must be a number'),
    meta_table=(meta_of(table=dict(epochs=3)), 'a label table needs its protocol'),
    meta_columns=(meta_of(label_classes=['cat']), '1 label_classes'),
    card_ipc_huge=(changed('png', card(ipc=10**12)), 'ipc in the card must be a whole number'),
    card_ipc_true=(changed('png', card(ipc=True)), 'ipc in the card must be a whole number'),
    card_types=(changed('png', card(types=['load'])), 'types in the card must be of'),
    card_types_text=(changed('png', card(types='uint8')), 'types in the card must be of'),
    card_types_many=(changed('png', card(types=['uint8', 'float32'])), 'soft labels'),
    card_factor=(changed('png', card(factor='2')), 'factor 2'),
    card_meta=(changed('png', card(meta=3)), 'meta must be a dict'),
    card_checksum=(changed('png', card(checksum=None)), 'not those that were exported'),
    native_decodes_huge=(lambda d: huge_decode(d), 'stored as 16384 x 16384'),
    native_factor_huge=(lambda d: huge_decode(d, factor=32, shape=[1, 32, 32], side=32), 'none of 1..16'),
    pt_deflated=(lambda d: deflated(saved([torch.zeros(6, 3, 400, 400), Y])(d)), 'bytes in a file of'),
    npz_half=(changed('npz', half), 'damaged or not a condensed set'),
    npz_text=(changed('npz', lambda p: p.write_text('images') and None), 'set.npz'),
    npz_objects=(npz(labels=np.array([Evil()]*6)), 'set.npz'),
    npz_object_images=(npz(images=np.array([Evil()]*6)), 'set.npz'),
    npz_no_card=(npz('card'), 'has images, labels and card'),
    npz_flat=(npz(images=np.zeros((6, 4, 4), 'uint8')), 'N x H x W x C'),
    npz_other_images=(npz(images=np.zeros((6, 4, 4, 3), 'uint8')), 'not those that were exported'),
    npz_card_list=(npz(card=np.array('[1]')), 'set.npz'),
    npz_bomb=(changed('npz', lambda p: np.savez_compressed(p, images=np.zeros((6, 7000, 7000), 'uint8'))),
    'it claims 294,000'),
    npz_card_no_json=(npz(card=np.array('cat')), 'set.npz'),
    npz_labels=(npz(labels=np.array([0, 1]*3)), 'class by class'),
    npz_card_foreign=(npz(card=np.array('{"ipc": 3}')), 'not one that dc_nb wrote'),
    npz_zip_of_text=(changed('npz', lambda p: zipfile.ZipFile(p, 'w').writestr('images.npy', 'x')), 'set.npz'),
    png_missing=(changed('png', lambda p: first_png(p).unlink()), '0000.png'),
    png_zero_bytes=(changed('png', lambda p: first_png(p).write_bytes(b'') and None), '0000.png'),
    png_half=(changed('png', lambda p: half(first_png(p))), '0000.png'),
    png_text=(changed('png', lambda p: first_png(p).write_text('picture') and None), '0000.png'),
    png_huge=(changed('png', lambda p: huge_png(first_png(p))), '0000.png'),
    png_16_bit=(changed('png', lambda p: Image.new('I;16', (4, 4)).save(first_png(p))), 'I;16 pixels'),
    png_alpha=(changed('png', lambda p: Image.new('RGBA', (4, 4)).save(first_png(p))), 'RGBA pixels'),
    png_other_size=(changed('png', lambda p: Image.new('RGB', (5, 4)).save(first_png(p))), '(3, 4, 5)'),
    png_repainted=(changed('png', lambda p: Image.new('RGB', (4, 4)).save(first_png(p))),
    'not those that were exported'),
    png_outside=(changed('png', csv_rows(lambda rows: rows[0].update(file='../../etc/passwd'))), 'lies outside'),
    png_labels_shuffled=(changed('png', csv_rows(lambda rows: rows.reverse())), 'class by class'),
    png_label_no_number=(changed('png', csv_rows(lambda rows: rows[0].update(label='cat'))), 'set'),
    png_row_missing=(changed('png', csv_rows(lambda rows: rows.pop())), 'no classes of 3'),
    png_no_card=(changed('png', lambda p: (p/'card.json').unlink()), 'its card.json is missing'),
    png_no_table=(changed('png', lambda p: (p/'labels.csv').unlink()), 'labels.csv'),
    png_no_column=(changed('png', csv_rows(lambda rows: [r.pop('file') for r in rows])), "'file' is missing"),
    png_open_quote=(changed('png', lambda p: (p/'labels.csv').write_text('file,label\n"' + 'x'*200_000) and None),
    'labels.csv'),
    png_card_ipc=(changed('png', card(ipc=0)), 'ipc in the card must be a whole number'),
    hf_card_ipc=(changed('hf', card(ipc='3')), 'set'),
    hf_no_pictures=(changed('hf', lambda p: [f.unlink() for f in p.glob('train/*/*.png')] and None),
    'names no pictures'),
    pt_evil=(saved(Evil()), 'no code in a file is run here'),
    pt_evil_inside=(saved([X, Y, Evil()]), 'no code in a file is run here'),
    pt_module=(saved(torch.nn.Linear(2, 2)), 'no code in a file is run here'),
    pt_raw_pickle=(lambda d: (d/'a.pt').write_bytes(pickle.dumps([1, 2])) and d/'a.pt', 'a.pt'),
    pt_half=(lambda d: (half(saved([X, Y])(d)), d/'data_best.pt')[1], 'data_best.pt'),
    pt_number=(saved(3), 'holds a int'),
    pt_three=(saved([X, Y, Y]), 'a condensed set is [images, labels]'),
    pt_labels_short=(saved([X, Y[:5]]), '6 images need as many labels'),
    pt_labels_negative=(saved([X, Y-1]), 'labels go from -1 to 0'),
    pt_large_label=(saved([X, torch.where(Y==0, Y, 10**9)]), 'labels go from 0 to 1000000000'),
    pt_fractions=(saved([X, Y+.7]), 'must be whole'),
    pt_empty=(saved([X[:0], Y[:0]]), '0 images'),
    pt_other_size=(saved([torch.rand(6, 3, 5, 5), Y]), '5 x 5 pixels'),
    pt_card_number=(saved(dict(images=X, labels=Y, card=3)), 'the card a text'),
    pt_no_labels=(saved(dict(images=X, labels=None, card='{}')), 'data_best.pt'),
    pt_text=(lambda d: ((d/'a.pt').write_text('no tensors'), d/'a.pt')[1], 'no PyTorch file'),
    pt_too_many_classes=(saved([X, torch.arange(6)]), '2 classes'),
    pt_unequal=(saved([X, torch.tensor([0, 0, 0, 0, 1, 1])]), '[4, 2]'),
    pt_nan=(saved([X*float('nan'), Y]), 'finite floats'),
    pt_ints=(saved([X.mul(255).long(), Y]), 'finite floats'),
    pt_gray=(saved([X[:,:1], Y]), 'images of 1 channels'),
    pt_other_normalisation=(saved([X*40-20, Y]), 'another data set, or ZCA-whitened'),
    pt_claims_more=(saved([X[:1,:1,:1,:1].clone().expand(6, 3, 500, 500), Y]), 'claims 18,000,000 bytes'),
    dc_empty=(saved(dict(data=[]), 'res.pt'), 'holds a dict'),
    mtt_no_labels=(lambda d: mtt(d, labels=None), 'labels_best.pt'),
    mtt_evil=(lambda d: mtt(d, images=Evil()), 'no code in a file is run here'),
    folder_empty=(lambda d: ((d/'e').mkdir(), d/'e')[1], 'but nothing'),
    folder_one_class=(folders('new{:03d}', {0:2}), '1 class folders for 2 classes'),
    folder_too_many=(folders('new{:03d}', {0:1, 1:1, 2:1}), 'new002 is no class of pets'),
    folder_unequal=(folders('{:05d}', {0:2, 1:1}), '1 to 2'),
    folder_other_names=(folders('dog{}', {0:1, 1:1}), 'dog0 is no class of pets'),
    folder_other_size=(folders('{:05d}', {0:1, 1:1}, size=(8, 8)), 'pets has (3, 4, 4)'),
    long_name=(lambda d: d/('x'*300), 'x'*300),
    folder_gray=(folders('{:05d}', {0:1, 1:1}, mode='L'), 'pictures of (1, 4, 4)'),
)

@pytest.mark.parametrize('case', BAD)
def test_bad_set(case, tmp_path):
    make,says = BAD[case]
    path = make(tmp_path)
    with pytest.raises((DataError, Damaged), match=re.escape(says)) as e: read(path, LIKE)
    assert path.name in str(e.value) or str(tmp_path) in str(e.value)
    assert not list(tmp_path.parent.glob('dc_nb_was_here')) and not __import__('os').path.exists('/tmp/dc_nb_was_here')

def test_an_inflated_file_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = deflated(saved([torch.zeros(6, 3, 400, 400), Y])(tmp_path))
    monkeypatch.setattr(torch, 'load', lambda *a, **k: pytest.fail('it was unpacked'))
    with pytest.raises(DataError, match='claims 11,52'): read(path, LIKE)

def test_foreign_layouts_need_the_data(tmp_path):
    with pytest.raises(DataError, match='give the data set that was condensed'): read(saved([X, Y])(tmp_path))

def test_wnid_folders(tmp_path):
    for i,w in enumerate(LIKE.ids): folders(w, {0:2})(tmp_path)
    assert read(tmp_path/'syn', LIKE).x.shape == (2, 2, 3, 4, 4)

@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 3]), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_foreign_tensors_keep_their_training_images(classes, ipc, factor, seed):
    "The training images of an IDC file are those that its own decode gives, in another order"
    gen = torch.Generator().manual_seed(seed)
    side = 2*factor
    like = ImageSet(torch.zeros(classes, 1, side, side).byte(), range(classes), range(classes), [.5], [.5], 'any')
    x = torch.rand(classes*ipc, 1, side, side, generator=gen)
    got = from_tensors(x, torch.arange(classes).repeat_interleave(ipc), like, factor)
    tiles = lambda o: sorted(map(tuple, torch.cat([p.flatten(1)
        for p in o.unfold(2, 2, 2).unfold(3, 2, 2).permute(2, 3, 0, 1, 4, 5).flatten(0, 1)]).tolist()))
    for c in range(classes): assert tiles(got.x[c]) == tiles(x[c*ipc:(c+1)*ipc])

# the file of a set

WRITE = """
import sys
import torch
from dc_nb.data import CondensedSet
from dc_nb.formats import export
keys = {'regime', 'bytes', 'student', 'scale', 'commit', 'dirty', 'torch', 'machine', 'date'}           # as a run collects them
meta = {k:'x' for k in keys - {'bytes'}} | dict(bytes={k:1 for k in {'images', 'labels', 'teachers'}}, classes=['a', 'b'])
cs = CondensedSet(torch.arange(32).view(2, 1, 1, 4, 4).byte(), torch.ones(2, 1, 2), meta=meta)
for to,end in dict(native='.safetensors', npz='.npz').items(): export(cs, to, sys.argv[1]+end)
"""

def test_the_file_has_the_same_bytes_in_every_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['', str(tmp_path/'here')])
    exec(WRITE, {})
    env = dict(os.environ, PYTHONHASHSEED='77', OMP_NUM_THREADS='1')                     # its sets have another order
    subprocess.run([sys.executable, '-c', WRITE, str(tmp_path/'there')], env=env, check=True, timeout=120)
    for end in ('.safetensors', '.npz'): assert (tmp_path/f'here{end}').read_bytes() == (tmp_path/f'there{end}').read_bytes()

# texts of a card on a page

texts = st.text() | st.text('<>&"\'[]()!*_`~#|\\\n\r\x1b\u202e:/.wW@$=-+ 1ab')

@given(texts)
@settings(max_examples=300, deadline=None)
def test_what_is_shown_is_printable_and_what_is_escaped_is_only_text(text):
    from dc_nb.sources import escaped, shown
    assert shown(text).isprintable() or not text
    assert html.unescape(escaped(text)) == shown(text)
    mistune = pytest.importorskip('mistune')
    page = mistune.create_markdown(escape=False, plugins=['strikethrough', 'table', 'url', 'task_lists', 'footnotes',
        'math'])(f'- x: {escaped(text)}\n')
    assert re.findall('<[^>]*>', page) == ['<ul>', '<li>', '</li>', '</ul>']
    assert html.unescape(re.sub('<[^>]*>', '', page)).split() == ['x:', *shown(text).split()]

EVIL = '\x1b]52;c;ZXZpbA==\x07<script>run()</script>\n\n# ok\n[x](http://evil.example) ![](http://evil.example/p.png) | `'

def test_a_card_cannot_write_into_the_readme(tmp_path):
    meta = dict(CS.meta, **{k:EVIL for k in ('data', 'source', 'licence', 'method', 'recipe', 'choices', 'run',
        'regime')}, classes=[EVIL, 'cow'])
    text = (export(CondensedSet(CS.x, meta=meta), 'hf', tmp_path/'s')/'README.md').read_text()
    for part in ('<script', '](', '\n# ok', '`', '\x1b', 'http:') : assert part not in text.replace('`card.json`', '')
    assert read(tmp_path/'s').meta['licence'] == EVIL

def test_errors_do_not_show_raw_text(tmp_path):
    path = export(CS, 'png', tmp_path/'s')
    csv_rows(lambda rows: rows[0].update(file='../\x1b[2Jok\n'))(path)
    with pytest.raises(DataError) as e: read(path)
    assert str(e.value).isprintable()

# names of the classes

NAMES = [['circle', 'square'], ['square', 'circle'], ['a/b', 'a_b'], ['A', 'a'], ['', '..'], ['con', '\n'],
    ['crane', 'crane'], ['\udcff', 'x'*300], ['1', '0'], ['0001_b', '0000_a']]

@pytest.mark.parametrize('names', NAMES)
@pytest.mark.parametrize('to', ['native', 'npz', 'torch', 'png', 'hf'])
@pytest.mark.parametrize('soft', [False, True])
def test_class_names_survive_every_export(to, names, soft, tmp_path):
    x = torch.arange(2*3*3*4*4).remainder(256).byte().view(2, 3, 3, 4, 4)
    cs = CondensedSet(x, torch.eye(2)[:,None].expand(2, 3, 2).clone() if soft else None,
        meta=dict(classes=names, ids=['n1', 'n2']))
    path = export(cs, to, tmp_path/('set'+dict(native='.safetensors', npz='.npz', torch='.pt').get(to, '')))
    assert read(path) == cs
    if to in ('png', 'hf') and names[0] in ('circle', 'square', '0001_b', '1'):
        assert {o.name for o in (path/'train' if to == 'hf' else path).iterdir() if o.is_dir()} == set(names)

def test_folders_of_older_exports_are_read(tmp_path):
    path = export(CS, 'hf', tmp_path/'s')
    for i,n in enumerate(('cat', 'cow')): (path/'train'/n).rename(path/f'train/{i:04d}_{n}')
    assert read(path) == CS

def test_hugging_face_gives_our_labels(tmp_path):
    "Folders are numbered by alphabet there; where this is not our order, metadata.jsonl has the numbers"
    for names,there in ((['ant', 'bee'], False), (['bee', 'ant'], True)):
        path = export(CondensedSet(CS.x, meta=dict(classes=names)), 'hf', tmp_path/names[0])
        assert (path/'train/metadata.jsonl').exists() == there
    rows = [json.loads(l) for l in (path/'train/metadata.jsonl').read_text().splitlines()]
    assert rows[0] == dict(file_name='bee/0000.png', label=0, name='bee')

# label tables

ABOUT = dict(epochs=4, batch=5, views='(crop, flip)', seed=0, labellers=['convnet_d1'])

@pytest.mark.parametrize('factor', [1, 2])
@pytest.mark.parametrize('to', ['native', 'npz', 'torch'])
def test_tables_survive(factor, to, tmp_path):
    n = 6*factor**2
    table = torch.randn(4, n, 2, generator=torch.Generator().manual_seed(1)).half()
    cs = CondensedSet(CS.x, None, factor, {**CS.meta, 'table':ABOUT}, table)
    got = read(export(cs, to, tmp_path/('a'+dict(native='.safetensors', npz='.npz', torch='.pt')[to])))
    assert got == cs and got.bytes == cs.bytes == CS.bytes + table.nbytes and got.card == cs.card
    for k in (1, 2):
        part = got.first(k)
        # class, rank, tile
        rows = [c*3*factor**2+r*factor**2+t for c in range(2) for r in range(k) for t in range(factor**2)]
        assert part.table[2].equal(table[2,rows]) and part.images.equal(cs.images[rows])
        again = read(export(part, to, tmp_path/(f'b{k}'+dict(native='.safetensors', npz='.npz', torch='.pt')[to])))
        assert again == part == cs.first(k) and again.meta['table']['images'] == n
        with pytest.raises(ValueError, match=f'images {len(part)}, not {n}'): part.fits_table(4, 5, '(crop, flip)', 0)
    got.fits_table(4, 5, '(crop, flip)', 0)
    assert got.first(3) == got
    for wrong,says in (((5, 5, '(crop, flip)', 0), 'epochs 5, not 4'), ((4, 6, '(crop, flip)', 0), 'batch 6, not 5'),
        ((4, 5, '(flip)', 0), "views '\\(flip\\)', not"), ((4, 5, '(crop, flip)', 1), 'seed 1, not 0')):
        with pytest.raises(ValueError, match=says): got.fits_table(*wrong)
    with pytest.warns(UserWarning, match='stays behind'): assert got.by_class(1).table is None
    with pytest.warns(UserWarning, match='stays behind'): export(got, 'png', tmp_path/'p')
    assert read(tmp_path/'p') == CondensedSet(CS.x, None, factor, CS.meta)

def test_a_changed_table_is_noticed(tmp_path):
    cs = CondensedSet(CS.x, meta={**CS.meta, 'table':ABOUT}, table=torch.ones(4, 6, 2).half())
    for to,end in dict(native='.safetensors', npz='.npz').items():
        raw = bytearray(export(cs, to, tmp_path/f's{end}').read_bytes())
        at = raw.index(torch.ones(4, 6, 2).half().numpy().tobytes())
        raw[at+21] ^= 1
        (tmp_path/f's{end}').write_bytes(raw)
        with pytest.raises((DataError, Damaged), match='checksum|changed'): read(tmp_path/f's{end}')

def test_a_full_disk_is_noticed_before_the_first_label(tmp_path):
    from dc_nb.condensed import LabelFile
    from dc_nb.core import Unwritable
    import resource
    soft,hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, hard))
    try:
        with pytest.raises(Unwritable, match='free some space'): LabelFile(tmp_path/'t.npy', 10, 100, 100)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())

LARGE = """
import resource,sys
import numpy as np,torch
torch.set_num_threads(1)
from dc_nb.condensed import CondensedSet,LabelFile
from dc_nb.formats import export,read
now = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**10
d,epochs,n,classes = sys.argv[1],int(sys.argv[2]),5000,1000
before = now()
file = LabelFile(f'{d}/labels.npy', epochs, n, classes)
row = torch.arange(classes).float()
for e in range(epochs): file.write(e, torch.arange(n), (row+e).expand(n, -1))
about = dict(epochs=epochs, batch=64, views='()', seed=0, labellers=[])
cs = CondensedSet(torch.zeros(classes, 5, 1, 1, 1).byte(), meta=dict(table=about), table=file)
cs.save(f'{d}/a.safetensors')
got = CondensedSet.load(f'{d}/a.safetensors')
last = epochs-1
assert got.table[last, torch.tensor([4999])].tolist() == [(row+last).half().tolist()] and got.table.nbytes == epochs*10**7
got.first(2).save(f'{d}/b.safetensors')
assert CondensedSet.load(f'{d}/b.safetensors').table.nbytes == epochs*4*10**6
export(got.first(1), 'npz', f'{d}/c.npz')
assert read(f'{d}/c.npz').table[7, 0].tolist() == (row+7).half().tolist()
print(now()-before)
"""

def test_a_large_table_is_never_in_memory(tmp_path):
    "300 MB; with DC_NB_ALL=1 a gigabyte"
    done = subprocess.run([sys.executable, '-c', LARGE, str(tmp_path), str(100 if ALL else 30)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) < 120                                    # MB; the table has 286, or 954
