"The run notebook through papermill: parameters arrive, results appear, bad input stops it and says why"
import json
import subprocess
import sys

import numpy as np
import papermill
import pytest

from conftest import ROOT,TINY
from dc_nb.data import CondensedSet
from dc_nb.edc_runs import Edc,EdcRun,synthesis
from dc_nb.experiments import check

NOTEBOOK = str(ROOT/'nbs'/'run_edc.ipynb')

def places(tmp_path): return dict(out=str(tmp_path/'out'))

def execute(tmp_path, **kw):
    return papermill.execute_notebook(NOTEBOOK, str(tmp_path/'run.ipynb'), dict(places(tmp_path), **kw),
        progress_bar=False, cwd=str(tmp_path))

def own_data(path, n=24, side=8, **changes):
    "A .npz of two classes that a network can tell apart"
    g = np.random.default_rng(0)
    y = np.arange(n)%2
    x = (g.integers(0, 100, (n, side, side, 3)) + 150*y[:,None,None,None]).astype(np.uint8)
    np.savez(path, **{**dict(train_images=x, train_labels=y, test_images=x, test_labels=y,
        classes=np.array(['dark', 'light'])), **changes})
    return str(path)

def test_end_to_end(tmp_path):
    data = own_data(tmp_path/'own.npz')
    nb = execute(tmp_path, dataset=data, ipc=3, observers='convnet_d2', observer_epochs=2, iterations=5,
        student='convnet_d1', epochs=6, seeds=2, seed=7,
        regime='stored', alpha=.25, flatness_weight=0., zeta=1.5, precision='bf16')
    folder = tmp_path/'out'/'latest'
    row = json.loads((folder/'row.json').read_text())
    assert (row['ipc'], row['student'], row['epochs'], row['steps'], row['regime'], row['seed'],
        row['precision']) == (3, 'convnet_d1', 6, 5, 'stored', 7, 'bf16')
    assert list(row['observers']) == ['convnet_d2'] and row['scores']['edc']['n'] == 2 and row['scale'] == 'small run'
    assert 'alpha=0.25' in row['changes']['synthesis.terms'][1] and 'flatness' not in row['changes']['synthesis.terms'][
        1]
    assert 'zeta=1.5' in row['changes']['protocol.training.schedule'][1]
    file, = folder.glob('edc-*.safetensors')
    cs = CondensedSet.load(file)
    assert (cs.classes, cs.ipc, cs.meta['classes']) == (2, 3, ['dark', 'light'])
    cs.check(EdcRun(check(dict(places(tmp_path), dataset=data), Edc)).train)
    assert cs.table.shape == (6, 6, 2) and cs.meta['table']['labellers'] == [
        'convnet_d2'], 'the file brings the labels of a student'
    assert list(folder.glob('*.png'))
    text = json.dumps(nb)
    assert 'same recipe' in text and '|█' not in text, 'scores are shown, progress bars are not left behind'

def test_a_run_that_is_watched(tmp_path):
    "Its page gets losses, the images as they are, and at the end the set; then the browser asks no more"
    from dc_nb.edc_runs import edc_results
    from dc_nb.opening import apart,closed
    from dc_nb.runs import keep,signed
    run = EdcRun(check(dict(places(tmp_path), **TINY, watch=True), Edc))
    apart(run)
    run.get(synthesis(run))
    page = (run.folder/'watch.html').read_text()
    assert 'data:image' in page and 'refresh' in page and '>done<' not in page
    found = edc_results(run)
    keep(run, signed(found['condensed'], run, found['row'], 'scores'), found['row'])
    closed(run, found['condensed'].x)
    page = (run.folder/'watch.html').read_text()
    assert 'data:image' in page and '>done<' in page and 'refresh' not in page

def test_typed_parameters():
    "papermill reads the cell as help: each parameter of the model is there with a comment, and with the same default"
    found = papermill.inspect_notebook(NOTEBOOK)
    assert set(found) == set(Edc.model_fields)
    assert all(v['help'] for v in found.values())
    assert all(eval(v['default']) == Edc.model_fields[k].default for k,v in found.items())

def test_papermill_stops(tmp_path):
    "Exit status and message, as a user of the command line sees them"
    r = subprocess.run([sys.executable, '-m', 'papermill', NOTEBOOK, str(tmp_path/'o.ipynb'), '-p', 'icp', '10'],
        capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode != 0 and "did you mean 'ipc'" in r.stderr

@pytest.mark.parametrize('bad,says', [
    (dict(ipc=0), 'ipc = 0'), (dict(ipc='ten'), "ipc = 'ten'"), (dict(ipc=2.5), 'ipc = 2.5'),
    (dict(ipc=1000), 'smallest class'), (dict(student='resnet81'), "did you mean 'resnet18'"),
    (dict(observers='convnet_d1,convnet_d9'), 'convnet_d9'),
    (dict(preset='big'), "input should be 'small', 'cpu' or 'paper'"), (dict(method='ecd'), "did you mean 'edc'"),
    (dict(method='mdc'), 'of another family'),
    (dict(alpha=1.5), 'alpha = 1.5'), (dict(flatness_weight=-1), 'flatness_weight = -1'), (dict(zeta=0), 'zeta = 0'),
    (dict(regime='soft'), "regime = 'soft'"),
    (dict(device='gpu'), "device = 'gpu'"), (dict(precision='fp8'), "precision = 'fp8'"), (dict(seeds=0), 'seeds = 0'),
    (dict(seed=-1), 'seed = -1'),
    (dict(dataset='cifra10'), "cifra10"), (dict(dataset='cifar10'), 'root'),
    (dict(dataset='cifar10', root='/does/not/exist'), '/does/not/exist'),
    (dict(dataset='tiny-imagenet'), 'root'), (dict(dataset='/does/not/exist.npz'), '/does/not/exist.npz'),
    (dict(student='convnet_w128', dataset='SMALL'), '4'),
    (dict(weights='/does/not/exist'), 'convnet_d1'), (dict(out='/proc/nowhere'), 'cannot write into'),
    (dict(size=8), 'does not take size'),
    (dict(download=True), 'does not take download'), (dict(student='torchvision/vgg16'),
    'torchvision/vgg16 does not take 8 x 8 images'),
])
def test_bad_input(tmp_path, bad, says):
    "All of these stop before anything is trained"
    if bad.get('dataset') == 'SMALL': bad = dict(bad, dataset=own_data(tmp_path/'small.npz', side=4), ipc=2)
    with pytest.raises(Exception) as e: EdcRun(check({**places(tmp_path), **bad}, Edc))
    assert isinstance(e.value, ValueError) and says in str(e.value), repr(e.value)

def test_weights_from_elsewhere(tmp_path):
    """Observers trained elsewhere: a state dict is read, other weights in the same file are other observers, a pickled
    module is refused"""
    import torch
    from dc_nb.edc_runs import ceiling,observers
    from dc_nb.models import create
    (tmp_path/'w').mkdir()
    def read(**kw):
        run = EdcRun(check(dict(places(tmp_path), **{**TINY, **kw, 'observers':'convnet_d1'},
            weights=str(tmp_path/'w')), Edc))
        return run, *run.get(run.network('convnet_d1'))
    for seed in (5, 6):
        net = create('convnet_d1', 10, 8, 1, seed=seed)
        torch.save(net.body.state_dict(), tmp_path/'w'/'convnet_d1.pth')
        run,got,acc = read()
        assert all(torch.equal(a, b) for a,b in zip(got.body.state_dict().values(), net.body.state_dict().values()))
    with pytest.raises(ValueError, match='has .* of the test images right, 10.0% would be chance'): observers(run)
    assert ceiling(run)['accuracy'] > acc                                # trained here, not read from the folder
    torch.save(net, tmp_path/'w'/'convnet_d1.pth')
    with pytest.raises(ValueError, match='convnet_d1.pth is not a state dict'): read()

def test_memory_of_synthesis_is_that_of_a_batch(tmp_path):
    "What a step keeps grows with the batch, not with the classes or the images a class"
    from dc_nb.data import toy
    from dc_nb.models import create
    from dc_nb.observers import observe
    from dc_nb.synthesis import Synthesis,SynthesisRecipe
    def state(classes, ipc):
        data = toy(classes=classes)
        run = Synthesis(SynthesisRecipe(steps=2, batch=4), data,
            [observe(create('convnet_d1', classes, 8, 1, seed=0), data)], ipc, 0)
        run.advance()
        s = run.state()
        return sum(t.numel() for k,t in s.items() if k in ('z', 'average')), run.now.z.shape[0]
    assert state(2, 2) == state(8, 8)
