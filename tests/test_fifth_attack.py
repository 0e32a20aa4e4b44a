"What a fifth reading of the code found: files that nothing reads again, labels in object arrays, tables that lose a bar"
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dc_nb.ablations import ablations
from dc_nb.core import spell,table
from dc_nb.condensed import CondensedSet
from dc_nb.data import DataError,as_images
from dc_nb.door import Comparison
from dc_nb.evaluation import Score
from dc_nb.files import aside
from dc_nb.formats import export,read
from dc_nb.ledger import letter_step
from dc_nb.recipes import named
from dc_nb.rehearsal import _quietly
from dc_nb.run_base import read_weights
from dc_nb.run_commands import columns,rows_of
from dc_nb.sets import class_numbers
from dc_nb.stage_files import Checked
from dc_nb.trajectory_runs import MttRun

SET = CondensedSet(torch.rand(2, 3, 1, 4, 4))

@pytest.mark.parametrize('to', ['npz', 'torch', 'native'])
def test_a_file_without_an_ending_is_refused(tmp_path, to):
    with pytest.raises(DataError, match='should end in'): export(SET, to, tmp_path/'foo')
    assert not list(tmp_path.iterdir())

def test_pth_is_an_ending(tmp_path): assert read(export(SET, 'torch', tmp_path/'foo.pth')).ipc == 3

def test_weights_are_read_from_a_path_in_text(tmp_path):
    net = torch.nn.Linear(2, 2)
    torch.save(net.state_dict(), tmp_path/'w.pt')
    read_weights(str(tmp_path/'w.pt'), net)

@pytest.mark.parametrize('labels', [pd.Series(['cow', 'cat']), np.array(['cow', 'cat'], object), np.array([b'cow', b'cat'])], ids=str)
def test_names_as_labels(labels):
    images = as_images((np.zeros((2, 4, 4, 3), np.uint8), labels))
    assert images.classes == ('cat', 'cow') and images.y.tolist() == [1, 0]
    assert as_images((np.zeros((2, 4, 4, 3), np.uint8), labels), like=images).y.tolist() == [1, 0]

def test_thousands_of_names_are_found_at_once(monkeypatch):
    "What is like a name is looked for only where there is none"
    from dc_nb import sets
    monkeypatch.setattr(sets, 'nearest', lambda *_: pytest.fail('nobody asked'))
    names = [f'n{i:08}' for i in range(1000)]
    assert class_numbers(names, names, [], 'x') == list(range(1000))

def test_a_set_that_moves_knows_its_run():
    cs = CondensedSet(SET.x)
    cs.origin = 'run'
    assert cs.to('cpu').origin == 'run'

def test_a_name_with_damaged_in_it_can_be_kept(tmp_path):
    files = Checked(tmp_path, stale='keep')
    assert files.serves(None, 'my:damaged_net changed') and not files.serves(None, 'damaged (cut short)')

def test_one_run_of_one_student_has_no_interval():
    row = dict(scores={f'CONFIG {k}':dict(accuracies=[a]) for k,a in dict(A=.2, B=.4).items()}, runs=1, seeds=1)
    assert letter_step(row, 'B', 'A')[1] == '+20.0'

def test_a_single_observer_cannot_be_left_out():
    assert all(s.observers for s in ablations['observers'](named['edc'].but(observers=('resnet18',))).values())

def test_a_bar_in_a_table():
    text = table([dict(a='x|y', b='1'), dict(a='---', b='2')])
    assert rows_of(text) == [dict(a='x|y', b='1'), dict(a='---', b='2')]
    assert columns(text).splitlines() == ['a    b', 'x|y  1', '---  2']

def test_mtt_says_what_it_is_compared_with():
    s = lambda *a: dict(accuracies=a, mean=sum(a)/len(a), sd=.01)
    averages = dict(MTT=s(.5, .6), MDC=s(.6, .65), random=s(.3, .4))
    scores = {k:{'1':v} for k,v in averages.items()}
    row = dict(run='mtt', method='mtt', dataset='digits', ipc=1, sizes=[1], student='convnet_d1', averages=averages, scores=scores)
    _,said = MttRun.told(SimpleNamespace(), row)
    assert 'MDC minus MTT: +7.5' in said and 'MDC minus random: +27.5' in said

def test_a_set_that_was_judged_alone():
    alone = Comparison(Score((.5, .6)))
    assert alone.difference is None and alone.verdict == 'judged alone'

@pytest.mark.parametrize('v,as_python', [(np.float64(.1), .1), (np.int64(3), 3), (np.float32(.5), .5)])
def test_numbers_of_numpy_are_numbers(v, as_python): assert spell(v) == spell(as_python)

def test_files_have_the_rights_of_others(tmp_path):
    (tmp_path/'plain').touch()
    with aside(tmp_path/'ours') as tmp: Path(tmp).write_text('x')
    assert (tmp_path/'ours').stat().st_mode == (tmp_path/'plain').stat().st_mode

@pytest.mark.parametrize('before', ['0', '1', None])
def test_a_rehearsal_leaves_bars_as_they_were(monkeypatch, before):
    monkeypatch.delenv('TQDM_DISABLE', raising=False)
    if before is not None: monkeypatch.setenv('TQDM_DISABLE', before)
    with _quietly(): assert os.environ['TQDM_DISABLE'] == '1'
    assert os.environ.get('TQDM_DISABLE') == before
