"""Signals at random moments: what goes on afterwards ends in the same bytes, and nothing stays behind.

DC_NB_KILLS=60 is the whole campaign, DC_NB_KILLS_SEED another draw. A campaign can be run in pieces (DC_NB_KILLS=12 with seeds 1 to 5):
where DC_NB_KILLS is set, each moment adds a line to kills.csv beside this file.
By default there are three moments (TERM, INT, STOP and CONT; test_resume.py kills), with DC_NB_ALL=1 five, over all kinds of work.

One moment of kills.csv did not end in the same files (seed 2, EDC, INT after 6.56 s: a clock stayed behind). That was mended, and all later ones did.
"""
import contextlib
import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from conftest import ALL,ROOT
from dc_nb.core import checksum,flatten,load_state

MOMENTS = int(os.environ.get('DC_NB_KILLS', 5 if ALL else 0))        # 0: three of the five
SEED = int(os.environ.get('DC_NB_KILLS_SEED', 0))
SIGNALS = ('KILL', 'TERM', 'INT', 'STOP')                          # STOP is followed by CONT
WORK = dict(                                                       # what most of the time goes into
    edc=('edc', dict(ipc=1, iterations=3, epochs=2, seeds=1, observer_epochs=1)),
    mdc=('mdc', dict(ipc=2, rounds=2, epochs=1, seeds=1)),
    mtt=('mtt', dict(ipc=2)),
    ablation=('ablation', dict(ipc=1, observer_epochs=1)),
    tables=('edc', dict(ipc=1, observers='convnet_d1', observer_epochs=1, iterations=1, epochs=60, seeds=2)),
)
PASSING = {'seconds', 'memory', 'date', 'made', 'curve', 'commit', 'dirty'}     # of a row: clocks, and who commits meanwhile

def tensors(path):
    state,card = load_state(path)
    flat = flatten(state)
    return checksum({k:v for k,v in flat.items() if hasattr(v, 'dtype')}), card['key']

def outcome(tmp_path, name):
    "What must be equal: the bytes of the set, the row, the content of every cached file"
    rows = [json.loads(l) for l in (tmp_path/name/'rows.jsonl').read_text().splitlines()]
    cache = tmp_path/name/'cache'
    return dict(set=(tmp_path/f'{name}.set').read_bytes(), row={k:v for k,v in rows[-1].items() if k not in PASSING},
        states={f.name:tensors(f) for f in sorted(cache.glob('*.safetensors'))}, tables={f.name:np.load(f).tobytes() for f in sorted(cache.glob('*.npy'))})

def remains(*folders):
    "What a run that ended should have taken away: locks, checkpoints, clocks, half files"
    return sorted(str(f) for d in folders for f in d.rglob('*') if f.name[0] == '.' or f.suffix in ('.lock', '.part', '.pass', '.seconds'))

def noted(**moment):
    "A line of the campaign's table, written once the bytes were compared"
    print(moment, flush=True)
    if 'DC_NB_KILLS' not in os.environ: return
    table = Path(__file__).with_name('kills.csv')
    new = not table.exists()
    with table.open('a', newline='') as f:
        w = csv.DictWriter(f, ('seed', 'kind', 'signal', 'moment', 'hit', 'code', 'same'), lineterminator='\n')
        if new: w.writeheader()
        w.writerow(dict(moment, seed=SEED))

def moments(n):
    "n times (kind of work, signal, share of its time), each kind and signal equally often"
    draw = random.Random(SEED)
    kinds = list(WORK)
    found = [(kinds[i%len(kinds)], SIGNALS[(i//len(kinds)+i)%4], draw.random()) for i in range(n or 5)]
    return found if n else found[1:4]

def test_signals_at_random_moments(tmp_path, runs, record_property):
    "One folder for each kind of work: hit it again and again, go on, compare"
    expected,length,table,todo = {}, {}, [], moments(MOMENTS)
    for kind in {k for k,*_ in todo}:
        family,change = WORK[kind]
        r, = runs(f'whole-{kind}', family, **change)
        assert r['code'] == 0, r['log']
        expected[kind],length[kind] = outcome(tmp_path, f'whole-{kind}'), r['seconds']
    for kind,name,share in todo:
        family,change = WORK[kind]
        r = runs(kind, family, signal=name, after=share*length[kind], **change)
        assert not r['left'], (kind, name, share, 'children that outlive it')
        done = r['code'] == 0
        assert done or r['hit'] and name != 'STOP', r['log']
        if not done:
            r2, = runs(kind, family, **change)
            assert r2['code'] == 0, (kind, name, share, r2['log'])
        table.append(o := dict(kind=kind, signal=name, moment=round(share*length[kind], 2), hit=r['hit'], code=r['code']))
        same = outcome(tmp_path, kind) == expected[kind] and not remains(tmp_path)
        noted(**o, same=same)
        assert outcome(tmp_path, kind) == expected[kind], table[-1]
        assert not remains(tmp_path), (table[-1], remains(tmp_path))
        shutil.rmtree(tmp_path/kind)
        for f in tmp_path.glob(f'{kind}.*'): f.unlink()
    heard = [o['code'] for o in table if o['signal'] == 'INT' and o['hit']]
    assert not heard or 1 in heard, 'nobody heard an interrupt'
    if MOMENTS >= 8: assert sum(o['hit'] for o in table) >= MOMENTS//2, table

LINE = 'run edc --out out -p ipc 1 -p observers convnet_d1 -p observer_epochs 3 -p iterations 20 -p student convnet_d1 -p epochs 20 -p seeds 2 -p every 0'
ENDS = dict(KILL=-9, TERM=143, INT=130, STOP=0)                    # exit status of the command

FULL = '''
import errno,os
def full(old, new, put=os.replace):
    if os.environ['FULL'] in str(new): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(old))
    put(old, new)
os.replace = full
'''                                                                # in every process: no room for files of this name

def command(cwd, full=None, largest=None):
    env = dict(os.environ, PYTHONPATH=f'{cwd/"site"}:{ROOT}', OMP_NUM_THREADS='1')
    if full:
        (cwd/'site').mkdir(exist_ok=True)
        (cwd/'site'/'sitecustomize.py').write_text(FULL)
        env['FULL'] = full
    def born():
        signal.signal(signal.SIGINT, signal.SIG_DFL)               # a shell's background jobs are deaf to it
        if largest: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    return subprocess.Popen([sys.executable, '-c', 'from dc_nb.cli import main; main()', *LINE.split()], cwd=cwd,
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=born)

def begun(p, cwd, what='cache/*.seconds'):
    "Wait until the command is at work on a stage"
    while p.poll() is None and not list((cwd/'out').glob(what)): time.sleep(.02)
    return time.monotonic()

def finished(cwd):
    p = command(cwd)
    start = begun(p, cwd)
    out,_ = p.communicate(timeout=300)
    assert p.returncode == 0, out
    file, = (cwd/'out').glob('edc-*/edc-*.safetensors')
    row = json.loads((file.parent/'row.json').read_text())
    return file.read_bytes(), {k:v for k,v in row.items() if k not in PASSING}, time.monotonic()-start

@pytest.fixture(scope='module')
def whole(tmp_path_factory): return finished(tmp_path_factory.mktemp('whole'))

# test_cli interrupts a command, test_attack kills its kernel, test_resume kills every stage
@pytest.mark.skipif(not MOMENTS, reason='slow: DC_NB_ALL=1 or DC_NB_KILLS runs it')
@pytest.mark.parametrize('i', range(max(1, MOMENTS//7)))
def test_signals_to_the_command_line(tmp_path, whole, i):
    "The kernel goes with the command, in one sentence where there is somebody to say it; the same command ends in the same bytes"
    content,row,length = whole
    name = SIGNALS[i%4]
    p = command(tmp_path)
    begun(p, tmp_path)
    time.sleep((moment := random.Random(f'{SEED} {i}').random())*length)
    family,hit = [], p.poll() is None
    if hit:
        with contextlib.suppress(psutil.Error): family = psutil.Process(p.pid).children(recursive=True)
        os.killpg(p.pid, signal.SIGINT) if name == 'INT' else os.kill(p.pid, getattr(signal, f'SIG{name}'))
    if hit and name == 'STOP':
        time.sleep(1)
        os.kill(p.pid, signal.SIGCONT)
    out,_ = p.communicate(timeout=300)
    assert not psutil.wait_procs(family, 10)[1], 'a kernel outlives its command'
    assert p.returncode in (0, ENDS[name]) and 'Traceback' not in out, (name, p.returncode, out)
    if p.returncode in (130, 143): assert 'interrupted; the same command goes on from here' in out
    again = finished(tmp_path)
    noted(kind='command', signal=name, moment=round(moment*length, 2), hit=hit, code=p.returncode, same=again[:2] == (content, row))
    assert again[:2] == (content, row)
    assert not remains(tmp_path/'out'), remains(tmp_path/'out')

@pytest.mark.slow                                                  # test_resume.test_full_disk has no notebook around it
@pytest.mark.parametrize('kw', [dict(full='set-'), dict(full='row.json'), dict(largest=60_000)][:3 if MOMENTS > 8 else 1], ids=str)
def test_a_full_disk_from_the_command_line(tmp_path, whole, kw):
    "One sentence, no half file, and with room the same command ends in the same bytes"
    p = command(tmp_path, **kw)
    out,_ = p.communicate(timeout=300)
    said = [l for l in out.splitlines() if 'free some space' in l]
    assert p.returncode == 1 and len(said) == 1 and 'cannot be written' in said[0] and 'Traceback' not in out, out
    assert not remains(tmp_path/'out') or all(f.endswith(('.part', '.seconds')) for f in remains(tmp_path/'out')), remains(tmp_path/'out')
    shutil.rmtree(tmp_path/'site', ignore_errors=True)
    again = finished(tmp_path)
    assert again[:2] == whole[:2] and not remains(tmp_path/'out')
