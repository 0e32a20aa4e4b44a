"Ray makes the same files as one process; lost workers and machines change nothing; errors are those of one process"
import os
import random
import signal
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

ray = pytest.importorskip('ray')
from ray.cluster_utils import Cluster

from conftest import TINY,TINY_MDC,TINY_MTT
from dc_nb.ablation_runs import Ablation,AblationRun
from dc_nb.core import checksum,flatten,load_state
from dc_nb.data import DataError
from dc_nb.edc_runs import Edc,EdcRun,observers,synthesis
from dc_nb.engines import engines,make_all,unmade
from dc_nb.experiments import check
from dc_nb.matching_runs import Mdc,MdcRun
from dc_nb.stages import chain
from dc_nb.synthesis import synthesize
from dc_nb.trajectory_runs import Mtt,MttRun

ONE = dict(num_cpus=1, object_store_memory=10**8)
KINDS = dict(edc=(EdcRun, Edc, TINY), mdc=(MdcRun, Mdc, TINY_MDC), mtt=(MttRun, Mtt, TINY_MTT), ablation=(AblationRun, Ablation, dict(TINY, observers='convnet_d1', ipc=1, seeds=1, ablation='zeta')))

@pytest.fixture(scope='module')
def cluster():
    "Two machines of one CPU, as Ray sees it"
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    c = Cluster(initialize_head=True, head_node_args=dict(ONE, include_dashboard=False))
    c.add_node(**ONE)
    yield c
    ray.shutdown()
    c.shutdown()

@pytest.fixture
def joined(cluster):
    "Connected once for several tests: workers need seconds to import PyTorch"
    if not ray.is_initialized(): ray.init(cluster.address, log_to_driver=False)
    return cluster

def a_run(folder, kind='edc', **kw):
    run,parameters,tiny = KINDS[kind]
    return run(check(dict(tiny, out=str(folder), **kw), parameters))

def content(folder):
    "{file: its tensors and what its card says besides who made it}; tables as bytes"
    def one(f):
        if f.suffix == '.npy': return f.read_bytes()
        state,card = load_state(f)
        flat = flatten(state)
        tensors = {k:v for k,v in flat.items() if isinstance(v, torch.Tensor)}
        return checksum(tensors), {k:v for k,v in flat.items() if k not in tensors}, {k:v for k,v in card.items() if k != 'made'}
    return {f.name:one(f) for f in (Path(folder)/'cache').iterdir()}

@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "alone(kind): the files of one process"
    known = {}
    def of(kind):
        if kind not in known:
            make_all(a_run(folder := tmp_path_factory.mktemp(kind), kind))
            known[kind] = content(folder)
        return known[kind]
    return of

@pytest.mark.parametrize('kind', KINDS)
def test_same_files_as_one_process(tmp_path, joined, alone, kind):
    run = a_run(tmp_path, kind)
    make_all(run, 'ray')
    assert content(tmp_path) == alone(kind)
    assert not unmade(run.store, chain(*run.stages()))

def test_what_is_there_is_not_made_again(tmp_path, joined, alone):
    "Half of the stages here, the rest on the cluster, and a damaged file is named and made again"
    run = a_run(tmp_path)
    stages = chain(*run.stages())
    for s in stages[:len(stages)//2]: run.get(s)
    before = {f:f.stat().st_mtime_ns for f in (tmp_path/'cache').iterdir()}
    make_all(run, 'ray')
    assert content(tmp_path) == alone('edc') and {f:f.stat().st_mtime_ns for f in before} == before
    fresh = a_run(tmp_path)
    last = chain(*fresh.stages())[-1]
    fresh.store.file(last).write_bytes(b'half')
    with warnings.catch_warnings(record=True, action='always') as said: make_all(fresh, 'ray')
    assert any('this stage runs again' in str(w.message) for w in said) and content(tmp_path) == alone('edc')

def at_work(node):
    "Process ids of a node's workers that have a task"
    raylet = node.all_processes['raylet'][0].process.pid
    def title(pid):
        try: return Path(f'/proc/{pid}/cmdline').read_text(errors='replace')
        except (FileNotFoundError, ProcessLookupError): return ''
    children = Path(f'/proc/{raylet}/task/{raylet}/children').read_text().split()
    titles = {int(pid):title(pid) for pid in children}
    return [pid for pid,t in titles.items() if t.startswith('ray::') and 'IDLE' not in t and 'Agent' not in t]          # a node dies with its agents

def meanwhile(act, folder, pattern):
    "Run `act` in a thread when a file of the pattern is in the cache; the list of what it did"
    did,stop = [], threading.Event()
    def wait():
        while not stop.is_set():
            if list((folder/'cache').glob(pattern)):
                time.sleep(random.uniform(0, .1))
                if (done := act()) is not None: return did.append(done)
            time.sleep(.001)
    t = threading.Thread(target=wait, daemon=True)
    t.start()
    def end():
        stop.set()
        t.join()
        return did
    return end

LOST = [('edc', 'batch-*.part'), ('mdc', 'sets-*.part')]
MORE = [('edc', 'network-*.part'), ('edc', 'observer-*.part'), ('edc', 'labels-*.part'), ('edc', 'student-*.part'), ('mtt', 'set-*.part')]

@pytest.mark.parametrize('kind,pattern', LOST + [pytest.param(*o, marks=pytest.mark.slow) for o in MORE])
def test_a_killed_worker(tmp_path, joined, alone, kind, pattern):
    def kill():
        for pid in (pid for node in joined.list_all_nodes() for pid in at_work(node)):
            os.kill(pid, signal.SIGKILL)
            return pid
    end = meanwhile(kill, tmp_path, pattern)
    make_all(a_run(tmp_path, kind), 'ray')
    assert len(end()) == 1 and content(tmp_path) == alone(kind)

def test_batches_of_a_synthesis_are_made_side_by_side(tmp_path, joined, alone):
    "Each is a task of its own; the set is that of one process, and of one loop"
    run = a_run(tmp_path)
    assert [s.kind for s in unmade(run.store, chain(*run.stages()))].count('batch') == 2
    make_all(run, 'ray')
    assert content(tmp_path) == alone('edc')
    whole = synthesize(run.study.synthesis, run.train, observers(run), run.p.ipc, run.p.seed)
    assert run.get(synthesis(run)) == whole

MOMENTS = int(os.environ.get('DC_NB_LOST', 0))

def noted(*moment):
    "A line of lost_workers.csv: number, kind of run, seconds after the first file, whether a worker was at work and lost, same bytes"
    table = Path(__file__).with_name('lost_workers.csv')
    new = not table.exists()
    with table.open('a') as f: f.write('i,kind,moment,hit,same\n'*new + ','.join(map(str, moment)) + '\n')

@pytest.mark.skipif(not MOMENTS, reason='DC_NB_LOST=20 loses 20 workers at random moments; lost_workers.csv keeps what came of it')
@pytest.mark.parametrize('i', range(MOMENTS))
def test_a_worker_lost_at_any_moment(tmp_path, joined, alone, i):
    draw = random.Random(i)
    kind = ('edc', 'mdc', 'mtt', 'ablation')[i%4]
    moment = draw.uniform(0, 6)
    def kill():
        time.sleep(moment)
        for pid in (pid for node in joined.list_all_nodes() for pid in at_work(node)):
            os.kill(pid, signal.SIGKILL)
            return pid
    end = meanwhile(kill, tmp_path, '*')
    make_all(a_run(tmp_path, kind), 'ray')
    hit,same = bool(end()), content(tmp_path) == alone(kind)
    noted(i, kind, f'{moment:.2f}', hit, same)
    assert same

def test_a_lost_machine(tmp_path, joined, alone):
    def unplug():
        node, = joined.worker_nodes
        if at_work(node):
            joined.remove_node(node, allow_graceful=False)
            return node
    end = meanwhile(unplug, tmp_path, '*.part')
    try: make_all(a_run(tmp_path), 'ray')
    finally: did = end()
    if not did: pytest.skip('the other machine was never at work while this run made a stage')
    assert len(did) == 1 and len(joined.worker_nodes) == 0 and content(tmp_path) == alone('edc')
    joined.add_node(**ONE)

def test_an_error_is_that_of_one_process(tmp_path, joined):
    (tmp_path/'weights').mkdir()
    torch.save(dict(a=torch.ones(1)), tmp_path/'weights'/'convnet_d1.pth')
    bad = dict(observers='convnet_d1', weights=str(tmp_path/'weights'))
    said = []
    for engine in engines:
        with pytest.raises(DataError, match='is not a state dict of this network') as e: make_all(a_run(tmp_path/engine, **bad), engine)
        said.append((type(e.value), str(e.value)))
    assert said[0] == said[1]

def test_no_room_says_so(tmp_path, joined):
    with pytest.raises(ValueError, match='a stage needs 2 CPUs and 0 GPUs on one machine; the machines of this cluster have .*: 1 and 0'):
        engines['ray'](a_run(tmp_path), threads=2)
    with pytest.raises(ValueError, match='a stage needs 1 CPUs and 1 GPUs on one machine'): engines['ray'](a_run(tmp_path), gpus=1)

def test_by_address(tmp_path, cluster, alone):
    ray.shutdown()
    make_all(a_run(tmp_path), 'ray', cluster.address)
    assert content(tmp_path) == alone('edc') and not ray.is_initialized()
