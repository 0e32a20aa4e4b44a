"What a run keeps on its way and where it begins: the parameters `film` and `start`"
import json
from unittest.mock import patch

import papermill
import pytest
import torch

from conftest import ROOT,TINY
from dc_nb.data import CondensedSet
from dc_nb.edc_runs import Edc,EdcRun,on_the_way,synthesis
from dc_nb.edc_stages import film_stage
from dc_nb.experiments import check
from dc_nb.rehearsal import rehearse
from dc_nb.stages import chain
from dc_nb.synthesis import Synthesis

def made(out, **kw): return EdcRun(check({**TINY, 'out':str(out), **kw}, Edc))
def ids(run, parts=False): return [s.id for s in chain(*run.stages(), parts=parts)]

@pytest.fixture
def begun(tmp_path):
    "A set of the first three digits, two images of each"
    x = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    CondensedSet(x, meta=dict(classes=['0', '1', '2'])).save(tmp_path/'begun.safetensors')
    return tmp_path/'begun.safetensors'

def test_what_depends_on_what(tmp_path, begun):
    "A film is behind nothing; what a start shows, not where it lies, is in every key behind it"
    plain,filmed,warm = made(tmp_path), made(tmp_path, film='1'), made(tmp_path, start=str(begun))
    assert [o for o in ids(filmed) if not o.startswith('film-')] == ids(plain) and filmed.id == plain.id
    assert len(ids(filmed)) == len(ids(plain)) + 1
    changed = {o.split('-')[0] for o in set(ids(plain, True))-set(ids(warm, True))}
    assert changed == {'set', 'start', 'batch', 'labels', 'student'}
    begun.rename(tmp_path/'elsewhere.safetensors')
    assert ids(made(tmp_path, start=str(tmp_path/'elsewhere.safetensors'))) == ids(warm)
    cs = CondensedSet.load(tmp_path/'elsewhere.safetensors')
    CondensedSet(1-cs.x, meta=cs.meta).save(begun)
    assert ids(made(tmp_path, start=str(begun))) != ids(warm)

@pytest.mark.parametrize('batch', [None, 4])
def test_a_film_is_killed_and_goes_on(tmp_path, batch):
    class Killed(Exception): pass
    more = dict(film='2,3', iterations=4, batch=batch, every=0.)
    whole,again = made(tmp_path/'a', **more), made(tmp_path/'b', **more)
    images,left,step = whole.get(synthesis(whole)), iter(range(3)), Synthesis.advance
    def dies(self):
        if next(left, None) is None: raise Killed
        return step(self)
    with patch.object(Synthesis, 'advance', dies), pytest.raises(Killed): again.get(synthesis(again))
    assert again.get(synthesis(again)) == images
    for k,x in on_the_way(whole).items(): assert torch.equal(on_the_way(again)[k], x)
    assert again.store.state(film_stage(again)) == 'made'

def bad_sets(folder):
    x = torch.rand(10, 1, 1, 8, 8)
    CondensedSet(x[:,:,:,:4,:4]).save(folder/'small.safetensors')
    CondensedSet(x, factor=2).save(folder/'tiles.safetensors')
    CondensedSet(x[:1], meta=dict(classes=['cat'])).save(folder/'cat.safetensors')
    (folder/'text.safetensors').write_text('no set')

@pytest.mark.parametrize('name,says', [('small', 'images of (1, 4, 4)'), ('tiles', 'factor 2'), ('cat', 'do not have: cat'),
    ('text', 'text.safetensors'), ('nowhere', 'nowhere.safetensors')])
def test_a_start_that_does_not_fit(tmp_path, name, says):
    "is refused before a network trains"
    bad_sets(tmp_path)
    with pytest.raises(ValueError) as e: made(tmp_path/'out', start=str(tmp_path/f'{name}.safetensors'))
    assert says in str(e.value), repr(e.value)

def test_a_start_of_other_classes_is_rehearsed(tmp_path, begun):
    "A rehearsal has three classes; the start may know others"
    rehearse(made(tmp_path, start=str(begun), film='1'))
    CondensedSet(torch.rand(1, 1, 1, 8, 8), meta=dict(classes=['9'])).save(begun)
    rehearse(made(tmp_path, start=str(begun)))

@pytest.mark.slow                                                   # the film is rehearsed above
def test_the_notebook_draws_the_film(tmp_path, begun):
    from dc_nb import report
    papermill.execute_notebook(str(ROOT/'nbs'/'run_edc.ipynb'), str(tmp_path/'run.ipynb'), dict(TINY, out=str(tmp_path/'out'),
        film='1,2', start=str(begun), seeds=1), progress_bar=False, cwd=str(tmp_path))
    folder = tmp_path/'out'/'latest'
    assert json.loads((folder/'row.json').read_text())['scores']
    file, = folder.glob('edc-*.safetensors')
    assert CondensedSet.load(file).meta['start'] == CondensedSet.load(begun).card['checksum']
    assert report.Image.open(folder/'images.png').size[0] > 1000      # four sets side by side; two take 968
