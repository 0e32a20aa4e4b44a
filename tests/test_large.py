"Folders that do not fit in memory: some of their classes, streams, and the whole chain of ImageNet-1k below 2 GiB"
import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from conftest import ROOT
from dc_nb import standard_sets
from dc_nb import sources
from dc_nb.augment import jitter,lighting
from dc_nb.data import DataError,ImageFiles,load
from dc_nb.edc_runs import Edc,EdcRun,study_of
from dc_nb.experiments import check
from dc_nb.folders import from_stream
from dc_nb.matching_runs import Mdc,MdcRun,matching_study_of
from dc_nb.recipes import study as named_study
from dc_nb.rehearsal import rehearse

def draw(path, level, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (side, side), (level,)*3).save(path)

@pytest.fixture
def animals(tmp_path):
    for part,n in dict(train=3, test=2).items():
        for c,name in enumerate(('ant', 'bee', 'cat', 'dog')):
            for i in range(n): draw(tmp_path/part/name/f'{i}.png', 50*c+i)
    return tmp_path

def test_only_the_chosen_classes_are_read(animals, monkeypatch):
    read,seen = sources._read,[]
    monkeypatch.setattr(sources, '_read', lambda path, *more: seen.append(os.path.basename(os.path.dirname(path))) or read(path, *more))
    part = load(animals, classes='cat,0', size=8)
    # the normalisation is that of all classes, so it looks at some of all
    assert sorted(seen[-6:]) == ['ant']*3 + ['cat']*3
    assert part.classes == ('cat', 'ant') and part.y.tolist() == [0]*3 + [1]*3
    assert torch.equal(part.x, load(animals).by_class('cat', 'ant').x) and part.mean == load(animals).mean
    assert load(animals, split='test', classes='cat,0').classes == part.classes

@pytest.mark.parametrize('bad,says', [('[0:9]', 'must lie in 0:4'), ('[emu]', "has no class 'emu'"), ('[1,bee]', 'twice'),
    ('[2:2]', 'must lie in')])
def test_classes_that_are_not_there(animals, bad, says):
    with pytest.raises(DataError, match=says.replace('[', '\\[')): load(f'{animals}{bad}')

def test_a_run_on_some_classes(tmp_path):
    "Its data have another name and another digest, so no number of it is one of the whole set"
    part,whole = [EdcRun(check(dict(dataset=d, ipc=1, out=str(tmp_path)), Edc)) for d in ('digits[0:3]', 'digits')]
    assert part.train.classes == ('0', '1', '2') == part.test.classes and part.train.name == 'digits[0:3]'
    assert part.source != whole.source and part.id != whole.id

def test_some_classes_have_the_recipe_of_all():
    for kind,study in ((Edc, study_of), (Mdc, matching_study_of)):
        part,whole,other = [study(check(dict(dataset=d, preset='paper'), kind)) for d in ('svhn[0:3]', 'svhn', 'cifar100')]
        assert part == whole != other

def test_a_stream_may_break_at_any_row(tmp_path):
    "Whatever the row, the next call goes on, and the folder is that of a stream that did not break"
    def rows(stop=None):
        for i in range(7):
            if i == stop: raise ConnectionError
            yield dict(image=Image.new('RGB', (8, 8), (30*i,)*3), label=i%2)
    from_stream(rows(), tmp_path/'whole')
    names = lambda d: sorted((str(f.relative_to(d)), f.read_bytes()) for f in d.rglob('*.png'))
    for stop in range(1, 7):
        d = tmp_path/f'broken {stop}'
        with pytest.raises(ConnectionError): from_stream(rows(stop), d)
        assert not (d/'train').exists()
        from_stream(rows(), d)
        assert names(d) == names(tmp_path/'whole')

def test_many_files_have_their_digests_folder_by_folder(animals, monkeypatch):
    files = lambda: load(animals, in_memory=0)
    before = files().checksum
    (animals/'.dc_nb_digests.json').unlink(missing_ok=True)
    monkeypatch.setattr(sources, '_many', 5)
    monkeypatch.setattr(sources, '_settled', 0.)
    assert files().checksum == before
    kept = animals/'train/bee/.dc_nb_digests.json'
    assert kept.exists() and not (animals/'.dc_nb_digests.json').exists()
    draw(animals/'train/bee/1.png', 99)
    assert files().checksum != before and isinstance(files().x, ImageFiles)

@pytest.mark.slow
@pytest.mark.parametrize('loop,stages', {1:['statistics', 'synthesis', 'stored labels', 'student'],
    2:['matching', 'students on every size'], 3:['an expert', 'trajectories', 'student']}.items())
def test_a_thousand_classes_below_two_gigabytes(loop, stages):
    "benchmarks/large_images.py as it stands"
    how = f'--json --loop {loop} --images {8 if loop == 2 else 4}'.split()
    r = subprocess.run([sys.executable, str(ROOT/'benchmarks'/'large_images.py'), *how], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-2000:]
    found = json.loads(r.stdout.splitlines()[-1])
    assert [o['stage'].split(',')[0] for o in found][-len(stages):] == stages
    assert found[-1]['peak_GiB'] < 2

# --- the recipes of ImageNet, on made-up folders of their shape

def pictures(root, classes, train, side=16):
    for part,n in dict(train=train, val=1).items():
        for c,name in enumerate(classes):
            for i in range(n): draw(root/part/name/f'{i}.JPEG', (20*c+i) % 256, side)
    return root

def test_mdc_on_imagenet10_is_rehearsed(tmp_path):
    "Its students see colour jitter and lighting, its condensation factor is 3; every stage runs on a few pictures"
    pictures(tmp_path/'images', standard_sets._ten, 27)
    run = MdcRun(check(dict(dataset='imagenet10', root=str(tmp_path/'images'), size=64, ipc=3, preset='paper', compare='C,MDC',
        out=str(tmp_path/'out')), Mdc))
    assert {jitter, lighting} <= {*run.study.protocol.training.views} and run.study.matching.factor == 3
    rehearse(run)
    assert not list((tmp_path/'out/cache').iterdir())

def test_edc_on_imagenet1k_is_rehearsed_with_the_labels_of_four(tmp_path):
    "Five observers guide the synthesis, four of them label, as in the paper"
    pictures(tmp_path/'images', [f'n{c:08}' for c in range(12)], 8)
    five = named_study('imagenet1k', 10).observers
    four = tuple(o for o in five if 'efficientnet' not in o)
    run = EdcRun(check(dict(dataset='imagenet1k', root=str(tmp_path/'images'), size=64, ipc=2, preset='paper', ceiling=False,
        out=str(tmp_path/'out')), Edc))
    assert run.study.observers == five and len(five) == 5 and run.study.protocol.labellers == four and len(four) == 4
    rehearse(run)
    def told(**p): return study_of(check(dict(dataset='imagenet1k', ipc=2, **p), Edc), 224).protocol.labellers
    assert told(preset='small') is told(preset='cpu') is told(preset='paper', observers='resnet18') is None
    assert told(preset='paper', labellers='resnet18') == ('resnet18',)

def test_a_stream_of_many_classes_becomes_a_run(tmp_path):
    "ImageNet-21k-P comes as a stream: rows with numbers, names beside them; the folder is a data set as any other"
    class Stream(list): features = dict(image='a picture', label=type('Names', (), dict(names=[f'n{c:08}' for c in range(300)])))
    def row(i): return dict(image=Image.new('RGB', (9, 9), (i % 256,)*3), label=i % 300)
    root = from_stream(Stream(map(row, range(2400))), tmp_path/'images', size=8)
    from_stream(Stream(map(row, range(300))), root, 'test', size=8)
    images = load(root, in_memory=0)
    assert (len(images), len(images.classes)) == (2400, 300) and isinstance(images.x, ImageFiles)
    run = EdcRun(check(dict(dataset=str(root), ipc=1, preset='cpu', observers='resnet18', student='resnet18', ceiling=False,
        out=str(tmp_path/'out')), Edc))
    rehearse(run)
