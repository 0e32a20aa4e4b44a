"""A second attack: inputs of our own making, each with its outcome in second_attack.csv (`python tests/test_second_attack.py` writes it again).

Every input is either taken, or refused by one of our errors in words. What is taken must be what it says (a whole number that is one, a set that
can be saved and read). An input that neither is refused nor right is listed in MEND with the file where it is mended; it turns red when that is done."""
import contextlib
import csv
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from dc_nb.ablation_runs import Ablation
from dc_nb.cli import main
from dc_nb.core import Damaged, Diverged, UnknownName, load_state, save_state
from dc_nb.data import CondensedSet, DataError, from_arrays, toy
from dc_nb.edc_runs import Edc, EdcRun
from dc_nb.evaluation import Protocol, own_labels
from dc_nb.experiments import ParameterError, check
from dc_nb.formats import read
from dc_nb.matching_runs import Mdc
from dc_nb.models import models
from dc_nb.runs import publish, sized
from dc_nb.trajectory_runs import Mtt

ROOT,TABLE = Path(__file__).resolve().parents[1], Path(__file__).with_name('second_attack.csv')
OURS = ParameterError, DataError, UnknownName, Damaged, Diverged
MEND = {}                                   # input: where it will be mended
CASES = {}

def case(name, f):
    assert name not in CASES, name
    CASES[name] = f

def wrong(what): raise AssertionError(what)

# --- parameters of runs

FAMILIES = dict(edc=Edc, mdc=Mdc, mtt=Mtt, ablation=Ablation)
WHOLE = [0, -1, 1.5, 2.0, '1', '1e3', '１', ' 2 ', '2;ls', True, None, math.nan, math.inf, 10**400, 2**63, [], {}, b'1']
REAL = [-1e-9, 2, '0.5', '٠٫٥', True, None, math.nan, -math.inf, 1e308, 10**400, [.5], {}, 'half']
TEXT = ['', ' ', '\0', '../x', ':', 'a:b:c', 'no_such_module:net', 'dc_nb.models:nothing', 'n'*5000, '\x1b[2J', 'convnet_d1;', 'timm/', 'timm/../x',
    'torchvision/no', '$(id)', 3, True, [], b'x']

def asked(kind, field, value):
    p = check({field:value}, FAMILIES[kind])
    got = getattr(p, field)
    if type(got) is bool or isinstance(got, float) and not math.isfinite(got): wrong(f'{field} is {got!r}')
    if isinstance(got, str) and isinstance(value, str) and got != value: wrong(f'{field} is {got!r}')
    return got

def short(v): return repr(v) if len(repr(v)) < 24 else f'{repr(v)[:16]}... ({len(repr(v))})'
for kind,fields in dict(edc=('ipc', 'iterations'), mdc=('rounds',), mtt=('experts', 'span'), ablation=('runs',)).items():
    for field in fields:
        for v in WHOLE: case(f'{kind}: {field}={short(v)}', partial(asked, kind, field, v))
for kind,fields in dict(edc=('alpha',), mdc=('rate',), mtt=('step_rate',)).items():
    for field in fields:
        for v in REAL: case(f'{kind}: {field}={short(v)}', partial(asked, kind, field, v))
for kind,fields in dict(edc=('observers',), mtt=('network',)).items():
    for field in fields:
        for v in TEXT: case(f'{kind}: {field}={short(v)}', partial(asked, kind, field, v))
for kind,field,v in [('mdc', 'sizes', '1,,2'), ('mdc', 'sizes', '0'), ('mdc', 'sizes', '1-3'), ('mdc', 'sizes', 'all'), ('mdc', 'compare', 'mdc,mdc'),
    ('mdc', 'compare', 'Z'), ('mtt', 'compare', 'DC'),
    ('mtt', 'compare', ','), ('ablation', 'ablation', ''), ('ablation', 'ablation', 'zeta,alpha'), ('ablation', 'ablation', 'os:system'),
    ('edc', 'device', 'cuda:-1'), ('edc', 'device', 'cpu:0:0'), ('edc', 'engine', 'spark')]:
    case(f'{kind}: {field}={short(v)}', partial(asked, kind, field, v))

# --- sets in memory

def kept(**kw):
    "A set that can be saved and read again, or is refused"
    base = dict(x=torch.rand(2, 1, 1, 4, 4))
    cs = CondensedSet(**{**base, **kw})
    with tempfile.TemporaryDirectory() as d:
        cs.save(f'{d}/x.safetensors')
        back = CondensedSet.load(f'{d}/x.safetensors')
        if not back == cs and json.dumps(back.meta) != json.dumps(cs.meta): wrong('another set comes back')
        back._repr_html_()
        return cs.x.shape

def deep(n):
    out = []
    for _ in range(n): out = [out]
    return out

def looped():
    d = {}
    d['me'] = d
    return d

x = torch.rand(2, 1, 1, 4, 4)
for name,kw in {'no classes':dict(x=x[:0]), 'no images':dict(x=x[:,:0]), 'no pixels':dict(x=x[...,:0]), 'four axes':dict(x=x[0]), 'a list':dict(x=[1]),
    'None':dict(x=None), 'nan':dict(x=x*math.nan), 'infinite':dict(x=x+math.inf),
    'below zero':dict(x=x*0-2), 'bools':dict(x=x > .5), 'int64':dict(x=(x*255).long()), 'complex':dict(x=x.to(torch.complex64)), 'half':dict(x=x.half()),
    'meta device':dict(x=torch.empty(2, 1, 1, 4, 4, device='meta')),
    'factor 0':dict(factor=0), 'factor -1':dict(factor=-1), 'factor 3':dict(factor=3), 'factor True':dict(factor=True), 'factor 1.0':dict(factor=1.),
    'factor "1"':dict(factor='1'), 'factor 17':dict(factor=17),
    'labels nan':dict(labels=torch.full((2, 1, 3), math.nan)), 'labels infinite':dict(labels=torch.full((2, 1, 3), math.inf)),
    'labels of one axis':dict(labels=torch.zeros(2)), 'labels of other classes':dict(labels=torch.zeros(3, 1, 3)),
    'labels of no column':dict(labels=torch.zeros(2, 1, 0)), 'labels int':dict(labels=torch.zeros(2, 1, 3).long()),
    'table without protocol':dict(table=torch.zeros(1, 2, 2).half()), 'protocol without table':dict(meta=dict(table={})),
    'table of nan':dict(table=torch.full((1, 2, 2), math.nan).half(), meta=dict(table=dict(epochs=1, batch=1, views='', seed=0, labellers=[]))),
    'table in float32':dict(table=torch.zeros(1, 2, 2), meta=dict(table=dict(epochs=1, batch=1, views='', seed=0, labellers=[]))),
    'table of other epochs':dict(table=torch.zeros(1, 2, 2).half(), meta=dict(table=dict(epochs=2, batch=1, views='', seed=0, labellers=[]))),
    'a card in a card':dict(meta=dict(parameters=dict(card=dict(card=dict(card={}))))), 'a card 200 deep':dict(meta=dict(mine=deep(200))),
    'a card in itself':dict(meta=looped()), 'a function in the card':dict(meta=dict(mine=print)),
    'a tensor in the card':dict(meta=dict(mine=x)), 'nan in the card':dict(meta=dict(mine=math.nan)),
    'classes of one name':dict(meta=dict(classes=['a', 'a'])), 'three names for two':dict(meta=dict(classes=['a', 'b', 'c'])),
    'names with newlines':dict(meta=dict(classes=['a\nok', '\x1b[2J'])), 'std of zero':dict(meta=dict(std=[0])), 'std below zero':dict(meta=dict(std=[-1])),
    'shape of 2**40':dict(meta=dict(shape=[1, 2**40, 2**40])),
    'shape of other channels':dict(meta=dict(shape=[3, 4, 4])), 'ipc of 10**12':dict(meta=dict(ipc=10**12)), 'seed of 10**40':dict(meta=dict(seed=10**40)),
    'scores of text':dict(meta=dict(scores=dict(edc=dict(mean='best')))),
    'scores of scores':dict(meta=dict(scores=dict(edc=dict(mean=.5, edc=dict(mean=None))))),
    'a name of 10**6 letters':dict(meta=dict(method='n'*10**6))}.items():
    case(f'sets: {name}', partial(kept, **kw))

def columns(names):
    "Soft labels whose columns have names: the right one for every class, or refused"
    labels = torch.arange(4.).repeat(2, 1, 1)
    labels = labels[...,:len(names)]
    cs = CondensedSet(torch.rand(2, 1, 1, 4, 4), labels, meta=dict(classes=['a', 'b'], label_classes=names))
    try: got = own_labels(cs, Protocol(regime='fixed'))
    except ValueError as e: raise DataError(str(e)) from None
    if [names[int(i)] for i in got[0]] != ['a', 'b']: wrong('columns of others')
    if any(names.count(c) > 1 for c in ('a', 'b')): wrong('nobody knows which column is meant')
    return got[0].tolist()
case('labels: in another order', partial(columns, ['b', 'a']))
case('labels: of more classes', partial(columns, ['c', 'b', 'a']))
case('labels: one class is missing', partial(columns, ['a', 'c']))
case('labels: two columns of one name', partial(columns, ['a', 'b', 'a']))

# --- files

def header(spec, data=b'', length=None):
    text = json.dumps(spec).encode() if not isinstance(spec, bytes) else spec
    return struct.pack('<Q', len(text) if length is None else length) + text + data

BYTES = {'empty':b'', 'eight zeros':bytes(8), 'a text':b'not a set', 'a header of 2**63 bytes':struct.pack('<Q', 2**63),
    'a header cut short':header({}, length=100), 'no tensors':header({}),
    'a header that is a list':header([]), 'nested 100000 deep':header(b'['*100000),
    'offsets beyond the file':header(dict(x=dict(dtype='U8', shape=[9], data_offsets=[0, 9]))),
    'offsets that go back':header(dict(x=dict(dtype='U8', shape=[1], data_offsets=[5, 4])), b'12345'),
    'a shape of 2**60':header(dict(x=dict(dtype='F32', shape=[2**60], data_offsets=[0, 4])), b'1234'),
    'a shape below zero':header(dict(x=dict(dtype='F32', shape=[-1], data_offsets=[0, 4])), b'1234'),
    'a type nobody knows':header(dict(x=dict(dtype='F1', shape=[1], data_offsets=[0, 1])), b'1'),
    'no card':header(dict(x=dict(dtype='U8', shape=[1], data_offsets=[0, 1])), b'1'),
    'a card that is no JSON':header(dict(__metadata__=dict(dc_nb='x'*64+'{'), x=dict(dtype='U8', shape=[1], data_offsets=[0, 1])), b'1'),
    'a label bomb':header(dict(__metadata__=dict(dc_nb='0'*64+json.dumps(dict(plain={}, card=dict(kind='CondensedSet')))),
    table=dict(dtype='F16', shape=[10**6, 10**6, 1000], data_offsets=[0, 2])), b'12'),
    'a pickle':b'\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.', 'a zip without end':b'PK\x03\x04'+bytes(30),
    'a picture':b'\x89PNG\r\n\x1a\n'+bytes(20)}

def opened(content, name):
    with tempfile.TemporaryDirectory() as d:
        (Path(d)/name).write_bytes(content)
        return read(f'{d}/{name}')
for name,content in BYTES.items():
    case(f'files: {name}, as .safetensors', partial(opened, content, 'x.safetensors'))
for name in ('empty', 'a text', 'a pickle', 'a zip without end'):
    for end in ('npz', 'pt'): case(f'files: {name}, as .{end}', partial(opened, BYTES[name], f'x.{end}'))

def altered(how):
    "The state of a stage with something else in it"
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'s.safetensors'
        save_state(f, dict(x=torch.rand(4), n=3), key='a')
        b = bytearray(f.read_bytes())
        f.write_bytes(how(b))
        return load_state(f)
for name,how in {'a bit of the data':lambda b: b[:-1]+bytes([b[-1]^1]), 'a bit of the header':lambda b: b[:20]+bytes([b[20]^1])+b[21:],
    'half':lambda b: b[:len(b)//2], 'twice':lambda b: b+b, 'one byte more':lambda b: b+b'x'}.items():
    case(f'states: {name}', partial(altered, how))

# --- images in memory

def images(x, y, **kw):
    made = from_arrays(x, y, **kw)
    made.take(torch.arange(len(made)))
    return made.shape
good = np.zeros((4, 8, 8, 3), 'uint8'), np.array([0, 1, 0, 1])
for name,(a,b) in {'labels of text':(good[0], np.array(list('abab'))), 'labels below zero':(good[0], good[1]-1),
    'a label too large':(good[0], good[1]*10**9), 'labels of half':(good[0], good[1]+.5), 'labels nan':(good[0], good[1]*math.nan),
    'one label less':(good[0], good[1][:3]), 'no images':(good[0][:0], good[1][:0]), 'objects':(good[0].astype(object), good[1]),
    'texts':(np.array(['x']*4), good[1]), 'five axes':(good[0][None], good[1]),
    'nan images':(good[0]*math.nan, good[1]), 'floats to 255':(good[0].astype(float)+255, good[1]), 'signed bytes':(good[0].astype('int8')-1, good[1]),
    'one class':(good[0], good[1]*0), 'complex':(good[0]*1j, good[1])}.items():
    case(f'images: {name}', partial(images, a, b))

# --- networks of somebody's own

class Net(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer,self.fc = answer, nn.Linear(64, 3)
    def forward(self, x): return self.answer(self, x)

def built(answer):
    data = toy(classes=3)
    models['attacked'] = lambda classes, channels, size: Net(answer)
    try: return sized(['attacked'], data)
    finally: del models['attacked']

def judged(answer):
    "A student that gives no numbers when it is asked has no accuracy"
    models['attacked'] = lambda classes, channels, size: Net(answer)
    with tempfile.TemporaryDirectory() as d:
        p = check(dict(ipc=1, student='attacked', regime='hard', epochs=1, seeds=1, ceiling=False, out=d), Edc)
        run = EdcRun(p, None, (toy(), toy(split='test')))
        try: return run.get(run.random()[0])
        finally: del models['attacked']

for name,answer in {'None':lambda s, x: None, 'the images':lambda s, x: x, 'a number':lambda s, x: x.mean(), 'a class more':lambda s,
    x: s.fc(x.flatten(1)).repeat(1, 2), 'one for each pixel':lambda s, x: s.fc(x.flatten(1))[:,:,None],
    'a tuple':lambda s, x: (s.fc(x.flatten(1)),)*2, 'a dict':lambda s, x: dict(out=s.fc(x.flatten(1))), 'half of the images':lambda s,
    x: s.fc(x.flatten(1))[::2], 'another size':lambda s, x: s.fc(x.flatten(1)[:,:9])}.items():
    case(f'networks: answers {name}', partial(built, answer))
case('networks: answers as it should', partial(judged, lambda s, x: s.fc(x.flatten(1))))
case('networks: nan in eval mode alone', partial(judged, lambda s, x: s.fc(x.flatten(1))*(1. if s.training else math.nan)))

# --- rows

def published(text):
    with tempfile.TemporaryDirectory() as d:
        (Path(d)/'row.json').write_bytes(text)
        try: return publish(Path(d)/'row.json', Path(d)/'results').name
        except (ValueError, UnicodeError) as e: raise DataError(str(e)) from None
for name,text in {'empty':b'', 'a list':b'[]', 'a path':b'{"run": "../x", "id": "a", "scores": {}}', 'two words':b'{"run": "a b", "id": "a", "scores": {}}',
    'a number as id':b'{"run": "edc", "id": 1, "scores": {}}', 'no scores':b'{"run": "edc", "id": "a"}',
    'nested deep':b'{"run": "edc", "id": "a", "scores": '+b'{"a":'*3000+b'1'+b'}'*3000+b'}',
    'latin-1':'{"run": "é", "id": "a", "scores": {}}'.encode('latin-1'), 'a null byte':b'{"run": "e\\u0000", "id": "a", "scores": {}}',
    'whole':b'{"run": "edc", "id": "a", "scores": {}}'}.items():
    case(f'rows: {name}', partial(published, text))

# --- commands

def command(*line):
    with tempfile.TemporaryDirectory() as d, contextlib.chdir(d): r = CliRunner().invoke(main, list(line), prog_name='dc_nb')
    if r.exception is not None and not isinstance(r.exception, SystemExit): raise r.exception
    if r.exit_code == 0: return r.output[:40]
    if '\x1b' in r.output or 'Traceback' in r.output: wrong('raw words')
    raise DataError(r.output.strip().splitlines()[-1][:100])
for line in ['rnu edc', 'run', 'run edcc', 'run edc -p', 'run edc -p ipc', 'run edc -p ipc 0', 'run edc -p icp 1', 'run edc -p ipc 1 -p ipc nan',
    'run edc -p out /proc/x', 'run edc -p dataset no_such', 'run edc -p student :', 'run mdc -p ipc 1', 'run mtt -p latest 0',
    'show', 'show no_such.safetensors', 'show zoo:no_such', 'verify .', 'verify /dev/null', 'export x --to gif', 'evaluate no_such', 'publish no_such.json',
    'list no_such', 'search', '--no-such']:
    case(f'commands: {line}', partial(command, *line.split()))
case('commands: a set whose name moves the cursor', partial(command, 'show', '\x1b[2J'))

# --- versions

def elsewhere():
    "The commit of a row is the package's, whatever repository the environment names"
    code = 'from dc_nb.provenance import commit; print(commit()["commit"])'
    run = lambda **env: subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH':str(ROOT), **env}, capture_output=True, text=True,
        check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as d:
        git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b']
        for line in (['init', '-q'], ['commit', '-q', '--allow-empty', '-m', 'x']): subprocess.run([*git, *line], cwd=d, check=True)
        a,b = run(), run(GIT_DIR=f'{d}/.git')
    if a != b: wrong(f'{b} in the place of {a}')
    return 'the same commit'
case('versions: GIT_DIR names another repository', elsewhere)


def outcome(name)->tuple:
    "('taken' or 'refused' or 'BROKEN', words)"
    try: got = CASES[name]()
    except OURS as e: return 'refused', f"{type(e).__name__}: {' '.join(str(e).split())}"
    except Exception as e: return 'BROKEN', f"{type(e).__name__}: {' '.join(str(e).split())}"
    return 'taken', ' '.join(str(got).split())

def plain(words):
    "Words for the table: no folder of this run, no unprintable letters"
    words = ''.join(c if c.isprintable() else '?' for c in words)
    return re.sub(rf'{re.escape(tempfile.gettempdir())}/\w+', 'TMP', words)[:110]

def table(): return {r['input']:r for r in csv.DictReader(TABLE.open(newline='', encoding='utf-8'))} if TABLE.exists() else {}

def test_the_table_is_whole():
    assert set(table()) == {ascii(k) for k in CASES} and len(CASES) >= 250

@pytest.mark.parametrize('name', [pytest.param(k,
    marks=pytest.mark.xfail(strict=True, reason=f'to be mended in {MEND[k]}')) if k in MEND else k for k in CASES], ids=ascii)
def test_outcome(name):
    kind,words = outcome(name)
    assert kind != 'BROKEN', words
    if name not in MEND: assert kind == table()[ascii(name)]['outcome'], words

if __name__ == '__main__':
    with TABLE.open('w', newline='', encoding='utf-8') as f:
        w = csv.writer(f, lineterminator='\n')
        w.writerow(['input', 'outcome', 'words'])
        for k in CASES:
            kind,words = outcome(k)
            if kind == 'BROKEN' and k not in MEND: print(k, words, file=sys.stderr)
            w.writerow([ascii(k), kind if kind != 'BROKEN' else f'to be mended: {MEND.get(k)}', plain(words)])
    print(len(CASES), 'inputs', file=sys.stderr)
