"What a run says before its first stage: in every run notebook, in time, and in words"
import json
import time

import pytest
import torch

from conftest import ROOT,TINY,TINY_ABLATION,TINY_MDC
from dc_nb.ablation_runs import Ablation,AblationRun
from dc_nb.data import ImageSet
from dc_nb.edc_runs import Edc,EdcRun
from dc_nb.experiments import check
from dc_nb.matching_runs import Mdc,MdcRun
from dc_nb.opening import long,opened,ready
from dc_nb.sizes import Sizes,SizesRun
from dc_nb.rehearsal import rehearse
from dc_nb.trajectory_runs import Mtt,MttRun

def cifar_sized(n, seed):
    g = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(256, (n, 3, 32, 32), generator=g, dtype=torch.uint8), torch.arange(n)%10, range(10), (.5,)*3, (.25,)*3, 'noise')

@pytest.mark.parametrize('make,kind,given', [(EdcRun, Edc, dict(TINY, epochs=1, iterations=1)), (MdcRun, Mdc, TINY_MDC), (AblationRun, Ablation, TINY_ABLATION),
    (MttRun, Mtt, dict(ipc=1, seeds=1, experts=1, latest=1, span=1, steps=1, iterations=1, epochs=1)),
    (SizesRun, Sizes, dict(TINY, epochs=1, iterations=1, seeds=1, rivals='prefix,herding,nested labels', sizes='2'))], ids=lambda v: getattr(v, 'name', None))
def test_every_family_has_a_plan(tmp_path, make, kind, given):
    "Also where a loop is over after one step; nothing is left behind, and all knows its time"
    run = make(check(dict(given, out=str(tmp_path)), kind))
    text = opened(run)
    log = run.folder/'progress.log'
    assert '| students trained |' in text and 'to do:' in log.read_text() and not (tmp_path/'progress.log').exists()
    assert not list((tmp_path/'cache').iterdir())
    for s in run.stages(): run.get(s)
    assert opened(run := make(check(dict(given, out=str(tmp_path)), kind))) == 'Everything is made already.' and not run.store.ahead
    ready(run)
    assert 'everything is made already' in log.read_text()

@pytest.mark.parametrize('name', ['edc', 'mdc', 'mtt', 'ablation', 'sizes'])
def test_every_run_notebook_opens_and_closes(name):
    cells = [''.join(c['source']) for c in json.loads((ROOT/'nbs'/f'run_{name}.ipynb').read_text())['cells'] if c['cell_type'] == 'code']
    at = [next(i for i,c in enumerate(cells) if what in c) for what in ('Run(p)', 'opened(run)', 'ready(run)', 'closed(run')]
    assert at == sorted(at) and at[1]+1 == at[2] and at[3] == len(cells)-1

def test_a_plan_of_cifar10_in_ten_seconds(tmp_path):
    "From the images in memory to the table. The processor's clock: others may use this machine"
    data = cifar_sized(50_000, 0), cifar_sized(10_000, 1)
    start = time.process_time()
    run = EdcRun(check(dict(dataset='cifar10', preset='cpu', ipc=10, out=str(tmp_path)), Edc), data=data)
    text = opened(run)
    spent = time.process_time()-start
    print(f'{spent:.1f} s of a processor')
    assert spent < 30, 'ten seconds of two idle cores'
    assert sum(v or 0 for v in run.store.ahead.values()) > long and 'student, edc, seed 4' in text, 'a long run shows every stage'
    assert 'networks trained on all images' in (run.folder/'progress.log').read_text()

def coloured(n, seed):
    "Ten colours with noise, 32 pixels: any network learns them"
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n)%10
    tint = torch.rand(10, 3, 1, 1, generator=torch.Generator().manual_seed(9))
    x = ((.7*tint[y] + .3*torch.rand(n, 3, 32, 32, generator=g))*255).byte()
    return ImageSet(x, y, range(10), (.5,)*3, (.25,)*3, 'colours')

@pytest.mark.slow                                                   # test_every_family_has_a_plan has estimates
def test_the_estimate_at_the_end(tmp_path):
    "Small sets are tested for longer than they are learned, observers differ: 30 % off on an idle machine. Others may use this one"
    given = dict(preset='small', ipc=2, observers='convnet_w32,wrn_16_2', observer_epochs=2, iterations=10, student='convnet_w32', epochs=12, seeds=2, ceiling=False)
    run = EdcRun(check(dict(given, out=str(tmp_path)), Edc), data=(coloured(400, 0), coloured(400, 1)))
    opened(run)
    planned = dict(run.store.ahead)
    for s in run.stages(): run.get(s)
    spent = {k:run.store.cards[k]['made']['seconds'] for k in planned}
    for kind in ('network', 'observer', 'set', 'labels', 'student'):
        print(kind, *(round(sum(v for k,v in o.items() if k.startswith(kind)), 2) for o in (planned, spent)))
    assert .5 < sum(planned.values())/sum(spent.values()) < 2

def test_two_runs_in_one_folder_do_not_mix(tmp_path):
    "Log, bar and watched page are of one run each"
    one,two = [EdcRun(check(dict(TINY, seed=s, watch=True, out=str(tmp_path)), Edc)) for s in (0, 1)]
    for run in (one, two): opened(run)
    one.store.say('of the first')
    two.get(two.network('convnet_d1'))
    logs = [(r.folder/'progress.log').read_text() for r in (one, two)]
    assert 'of the first' in logs[0] and 'of the first' not in logs[1]
    assert all(str(r.folder/'watch.html') in log and (r.folder/'watch.html').exists() for r,log in zip((one, two), logs))
    assert not [f for f in tmp_path.iterdir() if f.is_file()], 'nothing of a run lies beside the folders'

def test_every_size_is_rehearsed_in_seconds(tmp_path):
    "Also those of a paper-sized study: the sizes below the largest have short studies, too"
    run = SizesRun(check(dict(ipc=3, runs=2, sizes='1,3', preset='cpu', out=str(tmp_path)), Sizes))
    start = time.process_time()
    rehearse(run)
    assert time.process_time()-start < 20
