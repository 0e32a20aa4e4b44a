"The five lines: every kind of source, a set that is judged beside random images, and words where something cannot be"
import json
import pydoc

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conftest import ROOT
from dc_nb import condense
from dc_nb.condensed import CondensedSet
from dc_nb.core import UnknownName
from dc_nb.data import as_images, load, toy
from dc_nb import door
from dc_nb.door import parts_of
from dc_nb.edc_runs import NearChance
from dc_nb.experiments import ParameterError
from dc_nb.sources import DataError
from dc_nb.unequal_sets import UnequalSet

TINY = dict(network='convnet_d1', iterations=2, epochs=3, student='convnet_d1')

def folder(d, n=20, side=8):
    "Three classes of pictures that a network can tell apart"
    data = toy(n=n, side=side, channels=3)
    for i,(x,y) in enumerate(zip(data.x, data.y.tolist())):
        file = d/'abc'[y]/f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x.permute(1, 2, 0).numpy()).save(file)
    return d

def verdict(found):
    "What must be said of this difference"
    gain,half = found.difference
    return 'no difference shown' if abs(gain) <= half else f"{'better' if gain > 0 else 'worse'} than random images"

def test_images_and_labels():
    data = toy()
    small = condense((data.x, data.y), ipc=2, **TINY)
    assert small.x.shape == (3, 2, 1, 8, 8) and small.table is not None, 'labels of the default regime come along'
    found = small.evaluate(seeds=2)
    assert found.set.n == found.random.n == 2 and 'difference:' in str(found) and str(found).endswith(verdict(found))

def test_a_folder(tmp_path):
    small = condense(folder(tmp_path/'pictures'), ipc=1, regime='hard', **TINY)
    assert small.names == ['a', 'b', 'c'] and small.x.shape == (3, 1, 3, 8, 8)
    assert small.evaluate(seeds=1).set.n == 1, 'a fifth was held back to test on'

@pytest.mark.parametrize('regime', ['live', 'hard', 'fixed'])
def test_a_number_for_each_class(tmp_path, regime):
    "A rare class has fewer real images than the mean of the set; the second call makes nothing"
    data,keep = toy(n=20), dict(TINY, out=tmp_path, regime=regime)
    tail = data.subset(torch.cat([data.of_class(c)[:n] for c,n in enumerate((20, 6, 2))]))
    small = condense((tail, toy(split='test')), ipc=[8, 3, 2], **keep)
    assert small.counts == [8, 3, 2] and small.evaluate(seeds=1).random.regime == regime
    files = {f.name:f.stat().st_mtime_ns for f in (tmp_path/'cache').glob('*.safetensors')}
    for ipc in (np.array([8, 3, 2]), torch.tensor([8, 3, 2]), lambda sizes: [8, 3, sizes.min()]):
        again = condense((tail, toy(split='test')), ipc=ipc, **keep)
        assert torch.equal(again.x, small.x) and again.evaluate(seeds=1) == small.evaluate(seeds=1)
    assert files == {f.name:f.stat().st_mtime_ns for f in (tmp_path/'cache').glob('*.safetensors')}
    small.save(tmp_path/'set.safetensors')
    back = UnequalSet.load(tmp_path/'set.safetensors')
    assert torch.equal(back.x, small.x) and back.counts == small.counts and back.meta == small.meta
    with pytest.raises(ParameterError, match='a set from a file'): back.evaluate()

def test_numbers_that_cannot_be():
    parts = toy(), toy(split='test')
    for ipc,says in (([3, 3, 99], 'has 20, not 99'), ([3, 3], '2 numbers for 3'), ([3, 0, 3], '1 image or more'), ('3,3,3', 'one number for all')):
        with pytest.raises(ParameterError, match=says): condense(parts, ipc=ipc, **TINY)
    for method in ('mdc', 'dm', 'mtt'):
        with pytest.raises(ParameterError, match='only EDC and its relatives'): condense(parts, ipc=[3, 3, 3], method=method)

def test_a_name_and_a_cache(tmp_path):
    one = condense('digits', ipc=1, out=tmp_path, **TINY)
    files = {f.name:f.stat().st_mtime_ns for f in (tmp_path/'cache').glob('*.safetensors')}
    two = condense('digits', ipc=1, out=tmp_path, **TINY)
    assert one == two and files == {f.name:f.stat().st_mtime_ns for f in (tmp_path/'cache').glob('*.safetensors')}
    one.first(1).save(tmp_path/'one.safetensors')
    assert CondensedSet.load(tmp_path/'one.safetensors').evaluate(load('digits', split='test')).set.n == 1

def test_a_set_without_the_labels_it_was_made_for_says_so(tmp_path):
    small = condense((toy(), toy(split='test')), ipc=1, **TINY)
    bare = CondensedSet(small.x, meta={k:v for k,v in small.meta.items() if k != 'table'})
    said = str(bare.evaluate(toy(split='test'), seeds=1))
    assert 'made for live labels and brings none: these students learned from hard ones' in said

@pytest.mark.parametrize('source,kw,says', [
    ('digts', {}, "did you mean 'digits'"), ('digits', dict(method='ecd'), "did you mean 'edc'"), ('digits', dict(icp=3), "did you mean 'ipc'"),
    ('digits', dict(network=nn.Sequential()), 'network takes names, not a Sequential'),
    ('digits', dict(network=[nn.ReLU()]), 'network takes names, not a ReLU'),
    ('digits', dict(ipc=0), 'ipc = 0 is not right'), ((torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 1, 2])), {}, 'one image; two are needed'),
])
def test_mistakes(source, kw, says):
    with pytest.raises((ParameterError, DataError, UnknownName), match=says): condense(source, **kw)

def test_help_shows_the_parameters():
    shown = pydoc.render_doc(condense, renderer=pydoc.plaintext)
    for said in ('images a class', "'small', 'cpu' or 'paper'", 'a folder for caches', 'any other: size and fit of a folder'): assert said in shown

def painter():
    "The function of the guide that draws a picture of a kind"
    cells = json.loads((ROOT/'nbs'/'guides'/'01_own_data.ipynb').read_text())['cells']
    space = {}
    exec(next(s for c in cells if 'def paint' in (s := ''.join(c['source']))), space)
    return space['kinds'],space['paint']

@pytest.mark.slow                                                  # test_a_folder has a small one
def test_a_new_users_folder(tmp_path):
    "Sixty pictures a class, as in the guide but other ones: better than random images, or it is said that it is not, and what to do"
    kinds,paint = painter()
    for i,kind in enumerate(kinds):
        (tmp_path/kind).mkdir()
        for n in range(60): paint(kind, 10_000+3*n+i).save(tmp_path/kind/f'{n}.png')
    try: small = condense(tmp_path, ipc=5)
    except NearChance as e:
        assert 'give it more epochs (observer_epochs) or another network' in str(e)
        small = condense(tmp_path, ipc=5, network='wrn_16_2')
    found = small.evaluate(seeds=5)
    print(found)
    assert str(found).endswith(verdict(found))

def photographs(d):
    "Two classes of pictures of several sizes"
    for i in range(40):
        file = d/('dark', 'light')[i%2]/f'{i}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (12+i%5, 10+i%3), (60+150*(i%2), 5*i, 90)).save(file)
    return d

def test_photographs_of_several_sizes(tmp_path):
    "They are asked for in the words of Python, and what is asked for works"
    where = photographs(tmp_path/'pictures')
    with pytest.raises(DataError, match='pass size=') as said: condense(where, ipc=1, **TINY)
    assert '--size' not in str(said.value) and "fit='squash'" in str(said.value)
    for how in (dict(size=8), dict(size=8, fit='squash'), dict(size=10, test_share=.4)):
        small = condense(where, ipc=1, regime='hard', **how, **TINY)
        assert small.x.shape[-1] == how['size'] and small.names == ['dark', 'light']
    assert len(small.origin[0].test) == 16, 'two fifths'

@pytest.mark.parametrize('name', ['load', 'ImageSet', 'evaluate', 'Protocol', 'Study', 'create', 'fit', 'synthesize', 'match_gradients'])
def test_help_explains_what_is_offered(name):
    import dc_nb
    shown = pydoc.render_doc(getattr(dc_nb, name), renderer=pydoc.plaintext)
    assert '\n    - ' in shown or '\n |  - ' in shown, shown[:1000]

def test_a_squashed_set_is_judged_and_verified_by_the_same_reading(tmp_path, monkeypatch):
    "Its card says how the folder was read; nobody needs to repeat it"
    from click.testing import CliRunner
    from dc_nb.cli import main
    monkeypatch.chdir(tmp_path)
    condense(photographs(tmp_path/'pictures'), ipc=1, regime='hard', size=8, fit='squash', **TINY).save('small.safetensors')
    for line,says in {'verify small.safetensors --dataset pictures':'ok  data', 'evaluate small.safetensors --dataset pictures --seeds 1':'on random images'}.items():
        r = CliRunner().invoke(main, line.split(), prog_name='dc_nb')
        assert r.exit_code == 0 and says in r.output, r.output

class Blind(nn.Module):
    "Looks at nothing, says the first class"
    def __init__(self, classes, channels, size):
        super().__init__()
        self.look,self.classes = nn.Conv2d(channels, 1, 1), classes
    def forward(self, x): return self.look(x).mean((1, 2, 3))[:,None]*0 + torch.eye(self.classes)[0].to(x.device)

def test_an_observer_at_chance_is_left_out(capsys):
    "With one sentence; fewer than half of them stop the run, with advice"
    from dc_nb.models import models
    models['blind'] = Blind
    try:
        data,how = (toy(), toy(split='test')), dict(TINY, ipc=1)
        for regime in ('live', 'fixed', 'hard'):
            small = condense(data, **{**how, 'network':'convnet_d1,blind', 'regime':regime})
            assert 'blind has 33.3% of the test images right, where a guess has 33.3%: it is left out' in capsys.readouterr().out
        alone = condense(data, **{**how, 'network':'convnet_d1', 'regime':'hard'})
        assert small.x.equal(alone.x), 'nothing of it is in the images'
        for network in ('blind', 'blind,convnet_d1,blind_too'):
            models['blind_too'] = Blind
            with pytest.raises(NearChance, match='more epochs'): condense(data, **{**how, 'network':network})
    finally:
        for k in ('blind', 'blind_too'):
            if k in models: del models[k]

def test_a_saved_set_is_judged_with_the_labels_that_it_was_made_for(tmp_path, monkeypatch):
    "By the terminal, too: teachers of the cache are asked, where Python had asked them"
    from click.testing import CliRunner
    from dc_nb.cli import main
    monkeypatch.chdir(tmp_path)
    small = condense('digits', ipc=1, out='out', **TINY)
    small.save('one.safetensors')
    r = CliRunner().invoke(main, 'evaluate one.safetensors --seeds 1'.split(), prog_name='dc_nb')
    assert r.exit_code == 0 and f'{small.evaluate(seeds=1).set}' in r.output and 'live labels' in r.output, r.output

def test_a_watched_call_has_its_page_in_its_own_folder(tmp_path, capsys):
    "As `dc_nb run --watch`: out/ID/watch.html, named before the first stage; nothing else lies in `out` itself"
    condense((toy(), toy(split='test')), ipc=1, regime='hard', watch=True, out=tmp_path, **TINY)
    page, = tmp_path.rglob('watch.html')
    assert page.parent.parent == tmp_path and page.parent.name.startswith('edc-')
    assert capsys.readouterr().out.splitlines()[0] == f'watch it in a browser: {page}'
    assert 'all stages are made' in page.read_text() and 'refresh' not in page.read_text()
    assert not [f for f in tmp_path.iterdir() if f.is_file()]

# ---- two parts, and rows with names

class Pairs(torch.utils.data.Dataset):
    "As torchvision's data sets are: pictures, numbers, names of the classes"
    classes = ['a', 'b', 'c']
    def __init__(self, data): self.data = data
    def __len__(self): return len(self.data)
    def __getitem__(self, i): return Image.fromarray(self.data.x[i,0].numpy()), int(self.data.y[i])

PARTS = Pairs(toy()), Pairs(toy(split='test'))

@pytest.mark.parametrize('source', [PARTS, dict(train=PARTS[0], test=PARTS[1]), dict(train=PARTS[0], validation=PARTS[1])])
def test_two_parts(source):
    small = condense(source, ipc=1, **TINY)
    run,_ = small.origin
    assert (len(run.train), len(run.test)) == (len(PARTS[0]), len(PARTS[1])), 'nothing is held back'
    assert run.test.mean == run.train.mean and small.names == ['a', 'b', 'c']
    assert torch.equal(run.test.x, toy(split='test').x)

def test_two_parts_mean_the_same_classes():
    "A class is matched by its name, and a number that could mean two classes is refused"
    turned = Pairs(toy(split='test'))
    turned.classes, turned.data.y = ['c', 'b', 'a'], 2-turned.data.y
    small = condense((PARTS[0], turned), ipc=1, **TINY)
    assert small.origin[0].test.y.tolist() == PARTS[1].data.y.tolist()
    x,y,names = PARTS[0].data.x, PARTS[0].data.y, np.array(['cat', 'dog', 'bee'])
    with pytest.raises(DataError, match='numbers as labels, and those of own are names'):
        condense(((x, names[y]), (x, y)), ipc=1, **TINY)
    by_name = condense(((x, names[y]), (x, names[y])), ipc=1, regime='hard', **TINY)
    alone = CondensedSet(by_name.x, meta=by_name.meta)
    for made in (by_name, alone):
        with pytest.raises(DataError, match='numbers as labels'): made.evaluate((x, y), seeds=1)
        assert torch.equal(door.tested_on(made, (x, names[y])).y, torch.tensor([1, 2, 0])[y])
    with pytest.raises(DataError, match='part to test on'): condense(PARTS, ipc=1, test_share=.3, **TINY)

def test_names_that_are_numbers_keep_their_order():
    data = toy(classes=11, n=6)
    (a,b),(c,d) = [parts_of(((data.x, l(data.y)), (data.x, data.y)), size=8) for l in (lambda y: y.numpy().astype(str), lambda y: y)]
    assert a.classes == c.classes == tuple(map(str, range(11))) and torch.equal(a.y, c.y) and torch.equal(b.y, d.y)

class Broken(Pairs):
    def __getitem__(self, i): raise RuntimeError('the disk is gone')

IMAGES, LABELS = toy().x.permute(0, 2, 3, 1).numpy(), toy().y.numpy()

@pytest.mark.parametrize('source,says', [
    ([dict(img=PARTS[0][0][0], label=0)]*4, "row 0 has the columns img, label, not \\['image'\\]"),
    (('a', 'b'), 'a is the path or name of a whole data set'), (dict(train='a', test='b'), 'a is the path or name'),
    (dict(train=PARTS[0], dev=PARTS[1]), 'which of the parts train, dev is to test on'),
    ((PARTS[0], None), 'not a Pairs and a NoneType'),
    ((iter([]), iter([])), 'not a list_iterator and a list_iterator'),
    ((IMAGES, [0, 'cat']*30), 'some are names and some are numbers'),
    ((IMAGES.astype('uint16'), LABELS), 'must be uint8'), (PARTS[0], 'whole number of pixels'),
    ((PARTS[0], Pairs(toy(channels=3))), None)])
def test_what_cannot_be_read_is_said(source, says):
    more = dict(size='8') if says == 'whole number of pixels' else {}
    if says is None:
        class Colour(Pairs):
            def __getitem__(self, i): return self.data.x[i], int(self.data.y[i])
        source,says = (PARTS[0], Colour(toy(channels=3))), 'the test part of own has images that are RGB, those of own are gray'
    with pytest.raises(DataError, match=says): condense(source, ipc=1, **TINY, **more)

def test_an_error_of_a_data_set_is_its_own():
    with pytest.raises(RuntimeError, match='the disk is gone'): condense(Broken(toy()), ipc=1, **TINY)

@pytest.mark.parametrize('wrong', [dict(method='ecd'), dict(ipc=0), dict(student='nobody'), dict(epohcs=3)])
def test_parameters_are_refused_before_an_image_is_read(wrong):
    with pytest.raises((UnknownName, ParameterError)): condense(Broken(toy()), **dict(ipc=1) | TINY | wrong)

def test_other_forms_of_a_source():
    "A list of two, tuples of images, columns of pandas, a split by torch, a mapping with the test part alone"
    import pandas as pd
    ims = [PARTS[0][i][0] for i in range(60)]
    right = as_images(PARTS[0])
    frame = pd.DataFrame(dict(image=ims, label=['abc'[y] for y in LABELS]))
    for same in ((tuple(ims), tuple(LABELS.tolist())), [ims, LABELS.tolist()], frame, (frame.image, frame.label)):
        assert torch.equal(as_images(same).x, right.x) and torch.equal(as_images(same).y, right.y)
    split = torch.utils.data.random_split(PARTS[0], [40, 20])
    assert [len(o) for o in parts_of(split)] == [40, 20] == [len(o) for o in parts_of(tuple(split))]
    small = condense(list(PARTS), ipc=1, regime='hard', **TINY)
    assert small.evaluate(dict(validation=PARTS[1]), seeds=1).set == small.evaluate(seeds=1).set
    renamed = condense(PARTS, ipc=1, classes=['x', 'y', 'z'], **TINY)
    assert renamed.names == ['x', 'y', 'z'] and renamed.origin[0].test.classes == ('x', 'y', 'z')

def test_pictures_by_their_paths(tmp_path):
    "A list of (path, label), two lists, and a table of pandas are the folder's images; each is brought to one size as it is read"
    import pandas as pd
    files = sorted(photographs(tmp_path).glob('*/*.jpg'))
    names = [f.parent.name for f in files]
    said = as_images(tmp_path, size=8, test_share=.2).classes
    forms = list(zip(files, names)), (list(map(str, files)), names), pd.DataFrame(dict(image=list(map(str, files)), label=names))
    found = [as_images(o, size=8) for o in forms]
    assert {o.checksum for o in found} == {found[0].checksum} and found[0].classes == tuple(said) and len(found[0]) == 40
    with pytest.raises(DataError, match='pass size=PIXELS'): as_images(forms[0])

def test_labels_that_begin_at_one():
    x,y = torch.rand(12, 1, 8, 8), torch.arange(12)%2 + 1
    with pytest.raises(ParameterError, match="class '0' has no images: labels are counted from 0"): condense((x, y), ipc=2, **TINY)

def test_evaluate_brings_images_to_the_side_of_the_set(tmp_path):
    small = condense(folder(tmp_path/'large', side=16), size=8, ipc=1, regime='hard', **TINY)
    assert small.evaluate(tmp_path/'large', seeds=1).set == small.evaluate(seeds=1).set
    one,two = parts_of(tmp_path/'large', size=16)
    with pytest.raises(DataError, match='pass size=PIXELS'): small.evaluate(two, seeds=1)
    pairs = [(x, int(y)) for x,y in zip(two.x, two.y)]
    assert small.evaluate(pairs, seeds=1).set.n == 1                    # the run's size
    assert condense(PARTS, ipc=1, regime='hard', **TINY).evaluate(Pairs(toy(side=16)), seeds=1, size=8).set.n == 1

def test_evaluate_on_any_source():
    "Test images of other kinds give what the `ImageSet` gives, for a set in memory and for one of a file"
    small = condense(PARTS, ipc=1, regime='hard', **TINY)
    right = small.evaluate(seeds=1)
    rows = [dict(image=im, label='abc'[y]) for im,y in (PARTS[1][i] for i in range(len(PARTS[1])))]
    for test in (PARTS[1], (PARTS[1].data.x, PARTS[1].data.y), rows, dict(train=0, test=PARTS[1])):
        assert small.evaluate(test, seeds=1).set == right.set
    alone = CondensedSet(small.x, meta=small.meta)
    assert alone.evaluate(rows, seeds=1).set == alone.evaluate(PARTS[1], seeds=1).set

def test_hugging_face(tmp_path, monkeypatch):
    "The real library, where it is installed: a dataset with two parts, columns of other names, a stream, and the way back"
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setenv('HF_HOME', str(tmp_path/'home'))
    hf = pytest.importorskip('datasets')
    folder(tmp_path/'pictures'/'train'), folder(tmp_path/'pictures'/'test', n=5)
    both = hf.load_dataset('imagefolder', data_dir=str(tmp_path/'pictures'))
    small = condense(both, ipc=1, **TINY)
    assert small.names == ['a', 'b', 'c'] and len(small.origin[0].test) == 15
    other = both.rename_columns(dict(image='img', label='fine_label'))
    assert torch.equal(condense(other.with_format('torch'), ipc=1, **TINY).x, small.x)
    from dc_nb.folders import from_stream
    from dc_nb.formats import export
    stream = hf.load_dataset('imagefolder', data_dir=str(tmp_path/'pictures'), split='train', streaming=True)
    with pytest.raises(DataError, match='from_stream'): condense(stream, ipc=1, **TINY)
    there = load(from_stream(stream.rename_column('image', 'img'), tmp_path/'stream'))
    assert torch.equal(there.x.sum((1, 2, 3)).sort()[0], toy(channels=3).x.sum((1, 2, 3)).sort()[0])
    with pytest.warns(UserWarning, match='stays behind'): export(small, 'hf', tmp_path/'out')
    again = hf.load_dataset(str(tmp_path/'out'), split='train')
    assert again.features['label'].names == ['a', 'b', 'c'] and len(again) == 3
