"Who takes a set away has the test images, and nothing else: the numbers are those of who has all"
import json

import numpy as np
import pytest
from click.testing import CliRunner

from dc_nb import condense
from dc_nb.cli import main
from dc_nb.data import toy

TINY = dict(ipc=2, observers='convnet_d1', iterations=2, epochs=3, student='convnet_d1')

def arrays(part, **sets):
    return {f'{part}_images':sets[part].x.permute(0, 2, 3, 1).numpy(), f'{part}_labels':sets[part].y.numpy()}

@pytest.fixture
def files(tmp_path, monkeypatch):
    "all.npz and test.npz, in the folder of the process"
    monkeypatch.chdir(tmp_path)
    sets = dict(train=toy(), test=toy(split='test'))
    np.savez('all.npz', **arrays('train', **sets), **arrays('test', **sets))
    np.savez('test.npz', **arrays('test', **sets))

def said(line):
    r = CliRunner().invoke(main, line.split(), prog_name='dc_nb')
    if r.exception and not isinstance(r.exception, SystemExit): raise r.exception
    return r

@pytest.mark.parametrize('method,regime,more', [('edc', 'hard', '--seeds 2'), ('edc', 'live', '--alone'), ('mdc', None, '--seeds 2')])
def test_the_same_numbers(files, method, regime, more):
    made = dict(TINY, regime=regime) if method == 'edc' else dict(ipc=2, rounds=2, steps=1, period=1, learn=8, epochs=2, factor=1)
    condense('all.npz', method=method, **made).save('set.safetensors')
    found = {}
    for data in ('all', 'test'):
        r = said(f'evaluate set.safetensors --dataset {data}.npz {more} --json --out out-{data}')
        assert r.exit_code == 0, r.output
        found[data] = json.loads(r.stdout.splitlines()[-1])
        random_left_out = 'random ones of the same number, to compare with, are left out' in r.stderr
        assert random_left_out == (data == 'test')
    assert found['all']['set'] == found['test']['set'] and found['test'].keys() == {'set'}
    if more == '--alone': assert 'labels of one student' in said('evaluate set.safetensors --dataset all.npz --alone --seeds 2').output

def test_what_cannot_be_judged_is_said(files):
    "Labels of teachers that are not here; a file without even a test part; classes that are others"
    condense('all.npz', **TINY).save('set.safetensors')
    line = 'evaluate set.safetensors --seeds 1'
    r = said(f'{line} --dataset test.npz')
    assert r.exit_code == 1 and 'networks that saw all training images' in r.output and '--alone takes those of the file' in r.output
    np.savez('none.npz', images=np.zeros(3))
    r = said(f'{line} --dataset none.npz')
    assert r.exit_code == 1 and 'train_images is missing' in r.output
    other = toy(split='test')
    np.savez('other.npz', **arrays('test', test=other), classes=np.array(['x', 'y', 'z']))
    r = said(f'{line} --dataset other.npz --alone')
    assert r.exit_code == 1 and 'class' in r.output, r.output
