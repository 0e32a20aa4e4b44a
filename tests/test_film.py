"What a run keeps on its way and where it begins: the parameters `film` and `start`"
import json
from unittest.mock import patch

import papermill
import pytest
import torch

from conftest import ROOT,TINY,TINY_MDC,TINY_MTT
from dc_nb import matching_runs
from dc_nb.data import CondensedSet
from dc_nb.door import condense
from dc_nb.edc_runs import Edc,EdcRun,on_the_way,synthesis
from dc_nb.edc_stages import film_stage
from dc_nb.experiments import check
from dc_nb.matching_runs import Mdc,MdcRun
from dc_nb.rehearsal import rehearse
from dc_nb.stages import chain
from dc_nb.synthesis import Synthesis
from dc_nb.trajectory_runs import Mtt,MttRun

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

@pytest.mark.parametrize('name,says', [('small', 'images of (1, 4, 4)'), ('tiles', 'a set of factor 2 is no start here'), ('cat', 'do not have: cat'),
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


# --- the start of the other loops

OTHERS = dict(mdc=(MdcRun, Mdc, dict(TINY_MDC, compare='A,B,C,MDC', seeds=1, curve=0, factor=1)), mtt=(MttRun, Mtt, dict(TINY_MTT, seeds=1)))

def of_family(kind, out, **kw):
    make,parameters,few = OTHERS[kind]
    return make(check({**few, 'out':str(out), **kw}, parameters))

@pytest.mark.parametrize('kind', OTHERS)
def test_every_family_begins_at_a_set(tmp_path, begun, kind):
    "Its first images are the set's, what is made goes on from there, and only what comes behind has other keys"
    plain,warm = of_family(kind, tmp_path), of_family(kind, tmp_path, start=str(begun))
    changed = {o.split('-')[0] for o in set(ids(plain))-set(ids(warm))}
    assert changed == ({'sets', 'student'} if kind == 'mdc' else {'set', 'student'})
    assert plain.id != warm.id and plain.folder != warm.folder
    cs = CondensedSet.load(begun)
    n = min(cs.ipc, warm.p.ipc)
    assert torch.equal(warm.beginning()[:3,:n], cs.x[:,:n]) and torch.equal(warm.beginning()[3:], plain.beginning()[3:])
    assert torch.equal(warm.made['start'], warm.beginning()) and not torch.equal(warm.main_set().x, plain.main_set().x)
    if kind == 'mdc': assert torch.equal(warm.beginning()[:,:1], matching_runs.trips(warm, warm.beginning())[0]['A1'].x)

@pytest.mark.parametrize('kind', OTHERS)
def test_a_start_of_the_other_loops_is_rehearsed_and_refused(tmp_path, begun, kind):
    rehearse(of_family(kind, tmp_path, start=str(begun)))
    bad_sets(tmp_path)
    for name,says in dict(small='images of (1, 4, 4)', cat='do not have: cat', tiles='a set of factor 2 is no start here').items():
        with pytest.raises(ValueError) as e: of_family(kind, tmp_path, start=str(tmp_path/f'{name}.safetensors'))
        assert says in str(e.value), repr(e.value)

def test_tiles_begin_at_tiles(tmp_path):
    bad_sets(tmp_path)
    run = of_family('mdc', tmp_path, factor=2, start=str(tmp_path/'tiles.safetensors'))
    assert torch.equal(run.beginning()[:,:1], CondensedSet.load(tmp_path/'tiles.safetensors').x)

@pytest.mark.parametrize('method', ['mdc', 'mtt'])
def test_condense_begins_at_a_set_in_memory(tmp_path, begun, method):
    "and says so in the file of what it makes, which cannot be made again without"
    few = {k:v for k,v in (TINY_MDC | dict(factor=1, curve=0) if method == 'mdc' else TINY_MTT).items() if k not in ('ipc', 'seeds', 'compare', 'dataset', 'preset')}
    cs = CondensedSet.load(begun)
    made = condense('digits', 2, method, start=cs, out=tmp_path/'out', **few)
    assert made.meta['start'] == cs.card['checksum'] and 'start' not in made.meta['parameters']
    again = condense('digits', 2, method, start=begun, out=tmp_path/'out', **few)
    assert torch.equal(made.x, again.x)
