"""Inputs that should not get through, with what each must end in. The numbers are those of issue 13; each line of it is held by:

| line | tests |
| --- | --- |
| 1 no number that is none | here: test_divergence, test_a_command_that_diverges, test_absurd_but_finite, test_a_result_that_is_not_finite_is_not_saved, test_the_last_finite_checkpoint_stays, test_weights_that_are_no_numbers |
| 2 an edited network | here: test_an_edited_network_is_made_again, test_other_shapes_that_are_kept_end_in_a_sentence, test_a_half_trained_network_of_other_code_is_not_resumed; test_stale |
| 3 what a file names | here: test_hostile_cards, test_hostile_meta, test_a_network_that_the_person_names |
| 4 verify makes everything anew, a score is the set's own | here: test_again_reads_no_cache_of_the_run, test_a_score_is_that_of_the_set |
| 5 who made a row | here: test_rows_name_each_stage, test_commit_is_that_of_the_package; test_cli: test_json_everywhere (of the wheel) |
| 6 equal sets, equal files | test_formats: test_the_file_has_the_same_bytes_in_every_process |
| 7 rows are never glued | here: test_rows_are_never_glued, test_rows_that_many_append, test_rows_of_others_are_refused |
| 8 contents of lazy sets | test_data: test_a_repainted_file_changes_the_checksum, test_content_is_read_once |
| 9 foreign texts | here: test_words_of_a_file_command_no_terminal; test_formats: test_what_is_shown_is_printable_and_what_is_escaped_is_only_text, test_a_card_cannot_write_into_the_readme, test_errors_do_not_show_raw_text |
| 10 classes of one name, files in others' places | here: test_a_whole_file_in_the_place_of_another, test_a_damaged_table_is_made_again; test_data: test_two_classes_of_one_name_are_not_confused |
| 11 sentences | here: test_cards_of_wrong_types to test_full_disk_when_rows_are_appended; test_kills: test_a_full_disk_from_the_command_line |
| 12 late needs are tried first | here: test_class_names, test_data_names, test_seeds, test_every_recipe_is_rehearsed, test_what_fails_late_fails_first; test_data: npz_two_channels, npz_four_channels |
| 13 memory | test_data: test_loading_takes_the_size_of_the_images_and_statistics_take_little; test_formats: native_decodes_huge, npz_bomb, pt_claims_more, test_an_inflated_file_is_refused_before_it_is_unpacked |
| 14 pictures | test_data: test_a_turned_picture_is_turned, test_transparency_is_put_on_white, test_files_that_are_left_out_are_counted |
| 15 words | here: test_words, test_runs_that_are_too_large, test_a_set_without_metadata, test_a_narrow_terminal, test_waiting_is_seen_in_the_terminal, test_what_a_killed_process_left, test_nothing_stays_behind; test_run_edc: test_bad_input |

Kills and full disks are in test_kills and test_resume. A second attack, of other inputs, is test_second_attack; its outcomes are in second_attack.csv.
"""
import json
import os
import re
import subprocess
import sys
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import optim

from conftest import ROOT
from dc_nb import edc_runs,matching_runs,report,runs
from dc_nb.cli import main
from dc_nb.core import Diverged,all_finite,drive,load_state,save_state
from dc_nb.data import CondensedSet,toy
from dc_nb.edc_runs import Edc,EdcRun,observer,synthesis
from dc_nb.experiments import ParameterError,append_row,check,rows
from dc_nb.matching_runs import Mdc,MdcRun
from dc_nb.provenance import provenance
from dc_nb.ablation_runs import Ablation,AblationRun
from dc_nb.ablations import ablations,mdc_ablations
from dc_nb.recipes import Study,TrajectoryStudy,named
from dc_nb.rehearsal import rehearse
from dc_nb.runs import keep,publish,signed
from dc_nb.stages import Stage,Store
from dc_nb.trajectory_runs import Mtt,MttRun,trajectory_results
from test_run_edc import own_data

DATA = toy(n=12), toy(n=12, split='test')
QUICK = dict(ipc=2, observers='convnet_d1', observer_epochs=3, iterations=2, batch=6, student='convnet_d1', epochs=2, seeds=1, every=0., regime='hard', ceiling=False)
QUICK_MDC = dict(ipc=2, factor=1, network='convnet_d1', student='convnet_d1', rounds=2, steps=1, period=1, learn=8, epochs=1, seeds=1, curve=0, every=0., compare='MDC')
QUICK_MTT = dict(ipc=2, network='convnet_d1', student='convnet_d1', experts=1, latest=1, span=1, steps=2, iterations=4, epochs=1, seeds=1, every=0.)

def edc(out, data=DATA, study=None, **kw):
    p = check({**QUICK, **kw, 'out':str(out)}, Edc)
    return EdcRun(p, study and study(EdcRun(p, None, data).study), data)

def mdc(out, **kw): return MdcRun(check({**QUICK_MDC, **kw, 'out':str(out)}, Mdc), None, DATA)

def mtt(out, **kw): return MttRun(check({**QUICK_MTT, **kw, 'out':str(out)}, Mtt), None, DATA)

def said(line, code=1):
    "What a command answers; never a traceback"
    r = CliRunner().invoke(main, line if isinstance(line, list) else line.split(), prog_name='dc_nb')
    assert r.exception is None or isinstance(r.exception, SystemExit), repr(r.exception)
    assert r.exit_code == code, (r.exit_code, r.output)
    return r.output

def _last(line):
    "The JSON that a command answers, behind its bars"
    out = said(line, 0)
    return out[out.index('{"set"'):].splitlines()[0]

def python(code, cwd, **env):
    return subprocess.run([sys.executable, '-c', textwrap.dedent(code)], cwd=cwd, capture_output=True, text=True, timeout=120,
        env={**os.environ, 'PYTHONPATH':str(ROOT), 'OMP_NUM_THREADS':'1', **env})

def left(out, end='*.safetensors'): return sorted(f.name for f in (Path(out)/'cache').glob(end))

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A small run with its set: (run, path of the set, row)"
    folder = tmp_path_factory.mktemp('made')
    own_data(folder/'own.npz')
    run = EdcRun(check(dict(QUICK, dataset=str(folder/'own.npz'), out=str(folder/'out')), Edc))
    found = edc_runs.edc_results(run)
    keep(run, signed(found['condensed'], run, found['row'], 'scores'), found['row'])
    return run, run.folder/f'{run.folder.name}.safetensors', found['row']

def altered(path, to, **meta):
    "The set at `path` with other entries in its card, as somebody could send it"
    cs = CondensedSet.load(path)
    CondensedSet(cs.x, cs.labels, cs.factor, {**cs.meta, **meta}).save(to)
    return str(to)

def test_the_table_above_names_tests():
    "Every line of issue 13 has its tests, and they are there"
    lines = [l.split('|')[1:3] for l in __doc__.splitlines() if re.match(r'\| \d', l)]
    assert [int(a.split()[0]) for a,_ in lines] == list(range(1, 16))
    for _,tests in lines:
        for place,names in re.findall(r'(here|test_\w+): ([^;]+)', tests):
            text = Path(__file__).with_name('test_attack.py' if place == 'here' else f'{place}.py').read_text()
            for n in re.findall(r'\w{8,}', names): assert f'def {n}(' in text or f'{n}=' in text, (place, n)

# 1. No number becomes a result that is none

FAST = partial(optim.SGD, lr=1e8)

def everything(run): return {'edc':edc_runs.edc_results, 'mdc':matching_runs.size_results, 'mtt':trajectory_results}[run.name](run)

@pytest.mark.parametrize('name,make,says', [
    ('a diverged observer', lambda out: edc(out, study=lambda s: s.but(squeeze__optimiser=FAST)), ('convnet_d1:', 'at step', 'learning rate')),
    ('a diverged observer of many epochs', lambda out: edc(out, study=lambda s: s.but(squeeze__optimiser=FAST, squeeze__epochs=12)), ('convnet_d1:', 'at step', 'learning rate')),
    ('a diverged student', lambda out: edc(out, study=lambda s: s.but(protocol__training__optimiser=FAST, protocol__training__epochs=10)), ('student', 'at step', 'learning rate')),
    ('a weight beyond floats', lambda out: edc(out, flatness_weight=1e300), ('synthesis', 'at step', 'lower the weight')),
    ('matching at rate 1e38', lambda out: mdc(out, rate=1e38, rounds=4, steps=3), ('matching', 'distance', 'at step', 'lower the rate')),
    ('trajectories at rate 1e38', lambda out: mtt(out, rate=1e38), ('images', 'at step', 'lower')),
    ('an expert', lambda out: MttRun(check({**QUICK_MTT, 'out':str(out)}, Mtt), mtt(out).study.but(matching__expert__optimiser=FAST, matching__expert__epochs=8, matching__latest=8), DATA), ('expert', 'at step', 'rate')),
    ('a student of MTT', lambda out: MttRun(check({**QUICK_MTT, 'out':str(out)}, Mtt), mtt(out).study.but(learned=False, protocol__training__optimiser=FAST, protocol__training__epochs=10), DATA), ('student', 'at step', 'rate')),
    ('a student of MDC', lambda out: MdcRun(check({**QUICK_MDC, 'out':str(out)}, Mdc), mdc(out).study.but(protocol__training__optimiser=FAST, protocol__training__epochs=10), DATA), ('student', 'at step', 'rate')),
])
def test_divergence(tmp_path, name, make, says):
    "Stage, step, term and advice; no set, no row, no file that is not finite"
    run = make(tmp_path)
    with pytest.raises(Diverged) as e: everything(run)
    for s in says: assert s in str(e.value), str(e.value)
    for f in (tmp_path/'cache').glob('*.safetensors'):
        state,_ = load_state(f)
        assert all_finite(state), f.name
    # the last finite checkpoint stays
    assert not left(tmp_path, 'set-*.safetensors') or 'student' in name

def test_a_command_that_diverges(tmp_path, monkeypatch):
    "Exit status 1 and one sentence; no row, no set"
    monkeypatch.chdir(tmp_path)
    out = said(['run', 'mdc', *(w for k,v in {**QUICK_MDC, 'rate':1e38, 'rounds':4, 'steps':3, 'out':'out'}.items() for w in ('-p', k, str(v)))])
    assert 'Diverged: ' in out and 'lower the rate' in out, out
    assert re.search(r'the notebook up to there: .*/out/mdc-digits-[^/]*/run_mdc.ipynb', out), 'each run has its own'
    assert not [f for f in (tmp_path/'out').rglob('*') if f.name == 'row.json' or f.name.startswith('mdc-') and f.is_file()]

ADAM = partial(optim.AdamW, weight_decay=0.)

@pytest.mark.parametrize('name,make,says', [
    ('a loss beyond the rounding of what there is to learn', lambda out: edc(out, study=lambda s: s.but(protocol__training__optimiser=partial(ADAM, lr=1e8), protocol__training__epochs=6)), 'a network that says nothing has 1.1: lower the learning rate'),
    ('images beyond the rounding of a pixel', lambda out: mdc(out, rate=1e16, rounds=2, steps=2), 'lower the rate of the images'),
], ids=lambda o: o if isinstance(o, str) else '')
def test_absurd_but_finite(tmp_path, name, make, says):
    run = make(tmp_path)
    with pytest.raises(Diverged) as e: edc_runs.edc_results(run) if isinstance(run, EdcRun) else matching_runs.size_results(run)
    assert says in str(e.value) and ':' in str(e.value), e.value

@pytest.mark.parametrize('rate,doubtful', [(1e-3, False), (30., True)])
def test_a_doubt_is_in_the_row_and_in_the_last_lines(tmp_path, rate, doubtful):
    "A loss above that of a network that says nothing can be that of a short run: it is said, and nothing stops"
    run = edc(tmp_path, observer_epochs=6, study=lambda s: s.but(protocol__training__optimiser=partial(ADAM, lr=rate), protocol__training__epochs=6))
    found = edc_runs.edc_results(run)
    mine = [o for o in found['row']['doubts'] if o.startswith('student, ') and 'the loss ends at ' in o]
    last = keep(run, signed(found['condensed'], run, found['row'], 'scores'), found['row'])
    assert (bool(mine), 'doubts   student' in last) == (doubtful, doubtful), found['row']['doubts']
    if doubtful: assert edc_runs.edc_results(edc(tmp_path, observer_epochs=6, study=lambda s: run.study))['row']['doubts'] == found['row']['doubts'], 'from the cache, too'

def test_a_result_that_is_not_finite_is_not_saved(tmp_path):
    stage = Stage('x', 'mine', (), lambda job: job.save(dict(x=torch.tensor([0., float('nan')]))))
    with pytest.raises(Diverged, match='mine: the result is not finite'): Store(tmp_path/'cache').get(stage)
    assert not left(tmp_path)

def test_the_last_finite_checkpoint_stays(tmp_path):
    from dc_nb.models import create
    from dc_nb.train import Fit,Training
    net = create('convnet_d1', 3, 8, 1, seed=0)
    fit = Fit(net, DATA[0], Training(epochs=4, batch=9, optimiser=partial(optim.SGD, lr=.01)), 0)
    def tick(loss):
        if loss is not None and fit.at == 3: next(net.parameters()).data.fill_(float('nan'))
    with pytest.raises(Diverged, match='at step'): drive(fit, tmp_path/'x.part', 0., tick)
    state,_ = load_state(tmp_path/'x.part')
    assert all_finite(state) and state['i'] == 3

@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1e30])
def test_weights_that_are_no_numbers(tmp_path, value):
    from dc_nb.models import create
    net = create('convnet_d1', 3, 8, 1, seed=0).body
    next(net.parameters()).data.view(-1)[0] = value
    (tmp_path/'w').mkdir()
    torch.save(net.state_dict(), tmp_path/'w'/'convnet_d1.pth')
    with pytest.raises((ValueError, Diverged)) as e: edc_runs.edc_results(edc(tmp_path, weights=str(tmp_path/'w')))
    assert 'finite' in str(e.value) or 'chance' in str(e.value), e.value
    assert not left(tmp_path, 'set-*')

# 2. An own network that was edited

NET = """
from torch import nn
def blurry(classes, channels, size):
    return nn.Sequential(nn.Conv2d(channels, {width}, 3, padding=1), nn.BatchNorm2d({width}), nn.{act}(), nn.Flatten(), nn.Linear({width}*size*size, classes))
"""

@pytest.fixture
def own(tmp_path, monkeypatch):
    "own(act, width): writes my_nets.py and lets it be imported afresh"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    clock = [1_700_000_000]
    def write(act='ReLU', width=4):
        (tmp_path/'my_nets.py').write_text(NET.format(act=act, width=width))
        clock[0] += 10
        os.utime(tmp_path/'my_nets.py', (clock[0], clock[0]))
        sys.modules.pop('my_nets', None)
        import importlib
        importlib.invalidate_caches()
        from dc_nb import digests
        digests._found.cache_clear()
    yield write
    sys.modules.pop('my_nets', None)

def test_an_edited_network_is_made_again(tmp_path, own):
    own()
    get = lambda: (lambda r: r.get(synthesis(r)).x)(edc('out', observers='my_nets:blurry'))
    a = get()
    own('Tanh')
    with pytest.warns(UserWarning, match='my_nets:blurry: made by other code .my_nets.blurry.; this stage runs again'): b = get()
    assert not a.equal(b)
    own('Tanh', width=5)
    with pytest.warns(UserWarning, match='made by other code'): get()

def test_other_shapes_that_are_kept_end_in_a_sentence(tmp_path, own):
    own()
    r = edc('out', observers='my_nets:blurry')
    r.get(synthesis(r))
    own(width=5)
    r = edc('out', observers='my_nets:blurry', stale='keep')
    with pytest.raises(ValueError, match='my_nets:blurry: .*stale') as e: r.get(observer(r, 'my_nets:blurry'))
    assert len(str(e.value)) < 500

def test_a_half_trained_network_of_other_code_is_not_resumed(tmp_path, own, monkeypatch):
    own()
    stop = lambda self: (_ for _ in ()).throw(KeyboardInterrupt) if self.at >= 2 else step(self)
    from dc_nb.train import Fit
    step = Fit.advance
    with monkeypatch.context() as m:
        m.setattr(Fit, 'advance', stop)
        r = edc('out', observers='my_nets:blurry')
        with pytest.raises(KeyboardInterrupt): r.get(r.network('my_nets:blurry'))
    assert left('out', 'network-*.part')
    own('Tanh')
    ends = []
    for out in ('out', 'fresh'):
        r = edc(out, observers='my_nets:blurry')
        ends.append(r.get(r.network('my_nets:blurry'))[0].state_dict())
    assert all(torch.equal(a, b) for a,b in zip(ends[0].values(), ends[1].values()))
    assert not left('out', '*.part') and not left('out', '*.lock')

# 3, 4. What a file says is never imported, made or fetched

HOSTILE = [
    dict(student='payload:net'), dict(observers='payload:net'), dict(observers='convnet_d1,payload:net'), dict(observers='convnet_d1, payload:net'), dict(labellers='payload:net'),
    dict(observers=['payload:net']), dict(student=dict(a='payload:net')), dict(root='made'), dict(download=True), dict(download=True, root='made'), dict(weights='made'), dict(out='made'),
    dict(dataset='made'), dict(every=0), dict(device='cuda'), dict(stale='keep'), dict(plan=True), dict(method='payload:net'), dict(method='no_such'), dict(method='mdc'), dict(icp=3), dict(seeds=10**9),
    dict(seed='x'), dict(epochs=True), dict(ipc=10**9), dict(iterations=-1), dict(preset='huge'), dict(observers=','), dict(size=10**9),
]

@pytest.fixture
def trap(tmp_path, monkeypatch):
    "A folder in which the import of payload leaves a mark"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path/'payload.py').write_text("open('MARK', 'w').close()\nfrom dc_nb.models import convnet\ndef net(classes, channels, size): return convnet(classes, channels, size, depth=1, width=8)\n")
    yield tmp_path
    sys.modules.pop('payload', None)

@pytest.mark.parametrize('parameters', HOSTILE, ids=lambda d: ','.join(f'{k}={v}' for k,v in d.items())[:40])
@pytest.mark.parametrize('command', ['verify --again', 'evaluate --seeds 1'])
def test_hostile_cards(made, trap, parameters, command):
    run,path,_ = made
    mine = CondensedSet.load(path).meta['parameters']
    file = altered(path, trap/'x.safetensors', parameters={**mine, **parameters})
    r = CliRunner().invoke(main, [*command.split(), file, '--dataset', run.p.dataset], prog_name='dc_nb')
    assert r.exception is None or isinstance(r.exception, SystemExit), repr(r.exception)
    assert not (trap/'MARK').exists(), 'code of the current folder ran'
    assert {f.name for f in trap.iterdir()} <= {'x.safetensors', 'payload.py', 'out'}, 'a folder was made'
    if 'verify' in command: assert r.exit_code == 1 and not (trap/'out').exists(), r.output

@pytest.mark.parametrize('meta', [dict(data='made'), dict(data='../made'), dict(data='/etc'), dict(method='payload:net'), dict(run='payload:net'), dict(run=None), dict(run='ablation'), dict(data=None)], ids=str)
@pytest.mark.parametrize('command', ['verify --again', 'evaluate --seeds 1'])
def test_hostile_meta(made, trap, meta, command):
    "Data that a file names is a registered name or the person's own --dataset"
    (trap/'made').mkdir()
    file = altered(made[1], trap/'x.safetensors', **meta)
    r = CliRunner().invoke(main, [*command.split(), file], prog_name='dc_nb')
    assert r.exit_code == 1 and isinstance(r.exception, SystemExit), (r.exception, r.output)
    assert not (trap/'MARK').exists() and '--dataset' in r.output, r.output

def test_a_network_that_the_person_names(made, trap):
    run,path,_ = made
    mine = CondensedSet.load(path).meta['parameters']
    file = altered(path, trap/'x.safetensors', parameters={**mine, 'observers':'payload:net'})
    out = said(['verify', '--again', file, '--dataset', run.p.dataset, '--network', 'payload:net'])
    assert (trap/'MARK').exists() and 'NO  again' in out, out

def test_again_reads_no_cache_of_the_run(made, tmp_path, monkeypatch):
    "The caches of the run hold another set; verify makes its own"
    run,path,_ = made
    file = run.store.file(synthesis(run))
    before = file.read_bytes()
    state,card = load_state(file)
    monkeypatch.chdir(run.out.parent)
    try:
        save_state(file, dict(state, x=torch.zeros_like(state['x'])), **card)
        assert 'ok  again       the same bits' in said(['verify', '--again', str(path), '--dataset', run.p.dataset], 0)
    finally: file.write_bytes(before)

def test_a_score_is_that_of_the_set(made, tmp_path):
    "Two sets of equal pixels, whole images or four tiles each: neither gets the other's score from a cache"
    cs,p = CondensedSet.load(made[1]), made[0].p
    def score(factor, out):
        file = str(tmp_path/f'{factor}.safetensors')
        CondensedSet(cs.x, None, factor, {k:v for k,v in cs.meta.items() if k in ('classes', 'ids', 'mean', 'std', 'shape')}).save(file)
        return json.loads(_last(['evaluate', file, '--dataset', p.dataset, '--regime', 'hard', '--student', 'convnet_d1', '--seeds', '2', '--epochs', '6', '--out', str(tmp_path/out), '--json']))['set']
    first = score(1, 'both')
    assert score(2, 'both') == score(2, 'alone') != first

# 5. A row names who made its stages

def test_rows_name_each_stage(tmp_path):
    run = edc(tmp_path, regime='live')
    torch.set_num_threads(2)
    try: run.get(synthesis(run))
    finally: torch.set_num_threads(1)
    row = edc_runs.edc_results(edc(tmp_path, regime='live'))['row']
    by = {k:o['machine'].rsplit(', ')[-1] for o in row['made'] for k in o['stages']}
    assert by['set'] == by['network'] == '2 threads' and by['student'] == '1 threads', by
    assert '2 threads' in row['machine'] and '1 threads' in row['machine'] and all(o['commit'] for o in row['made'])

def test_commit_is_that_of_the_package(tmp_path):
    git = lambda *a: subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *a], cwd=tmp_path, check=True, capture_output=True)
    git('init', '-q'), git('commit', '-q', '--allow-empty', '-m', 'x')
    r = python('from dc_nb.provenance import commit; print(commit()["commit"])', tmp_path)
    assert r.stdout.strip() == str(provenance()['commit']), r.stderr

def test_a_checkout_that_is_not_installed_runs(monkeypatch):
    "Its version stands in the package, not in the list of what pip installed"
    from dc_nb import provenance as module
    def asked(name):
        if name == 'dc_nb': raise module.PackageNotFoundError(name)
        return known(name)
    known = module.version
    monkeypatch.setattr(module, 'version', asked)
    assert provenance()['dc_nb'] == __import__('dc_nb').__version__

# 7. Rows

@pytest.mark.parametrize('end', ['{"half": ', '{"whole": 1}', '', '{"whole": 1}\n', '\n\n'])
def test_rows_are_never_glued(tmp_path, end):
    f = tmp_path/'r.jsonl'
    f.write_text('{"first": 0}\n'+end)
    append_row(f, dict(mine=1))
    assert f.read_text().splitlines()[-1] == '{"mine": 1}' and f.read_text().splitlines()[0] == '{"first": 0}'
    if 'half' in end:
        with pytest.raises(ValueError, match='line 2 is no JSON'): rows(f)
    else: assert rows(f)[-1] == dict(mine=1)

def test_rows_that_many_append(tmp_path):
    f = tmp_path/'r.jsonl'
    f.write_text('{"half": ')
    with ThreadPoolExecutor(16) as pool: list(pool.map(lambda i: append_row(f, dict(i=i, text='x'*5000)), range(200)))
    assert sorted(json.loads(l)['i'] for l in f.read_text().splitlines()[1:]) == list(range(200))

@pytest.mark.parametrize('row', ['[]', '3', '{}', '{"run": "edc"}', '{"run": "../../x", "id": "a", "scores": {}}', '{"run": "/x", "id": "a", "scores": {}}', '{"run": ["edc"], "id": "a", "scores": {}}', 'not json', '\udcff'])
def test_rows_of_others_are_refused(tmp_path, monkeypatch, row):
    "A row decides no path"
    monkeypatch.chdir(tmp_path)
    (tmp_path/'row.json').write_bytes(row.encode(errors='surrogateescape'))
    said('publish row.json --results a/b/results')
    assert {f.name for f in tmp_path.rglob('*')} <= {'row.json', 'a', 'b', 'results'}

# 10. Whole files in the place of others

@pytest.mark.parametrize('kind', ['student', 'network', 'set', 'observer', 'subset', 'labels'])
def test_a_whole_file_in_the_place_of_another(tmp_path, kind):
    "It is seen, said, and made again: the row does not change"
    get = lambda: edc_runs.edc_results(edc(tmp_path, observers='convnet_d1,convnet_d2', seeds=2, regime='live'))['row']['scores']
    expected = get()
    if kind == 'set': edc_runs.edc_results(edc(tmp_path, observers='convnet_d1,convnet_d2', seeds=2, regime='live', seed=3))
    for end in ('.safetensors', '.npy') if kind == 'labels' else ('.safetensors',):
        a,*_,b = [tmp_path/'cache'/f for f in left(tmp_path, f'{kind}-*{end}')]
        one,other = a.read_bytes(), b.read_bytes()
        a.write_bytes(other), b.write_bytes(one)
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter('always')
            assert get() == expected
        assert any('runs again' in str(o.message) for o in w), [str(o.message) for o in w]

@pytest.mark.parametrize('how', ['cut', 'flip', 'gone'])
def test_a_damaged_table_is_made_again(tmp_path, how):
    get = lambda: edc_runs.edc_results(edc(tmp_path, regime='live'))['row']['scores']
    expected = get()
    f = tmp_path/'cache'/left(tmp_path, 'labels-*.npy')[0]
    b = bytearray(f.read_bytes())
    b[-1] ^= 1
    f.write_bytes(b[:len(b)//2] if how == 'cut' else b)
    if how == 'gone': f.unlink()
    with pytest.warns(UserWarning, match='runs again'): assert get() == expected

# 11. Sentences

@pytest.mark.parametrize('meta', [dict(scores=dict(edc=dict(mean=None))), dict(scores=dict(edc=dict(mean=[1]))), dict(scores=[1]), dict(ipc='two'), dict(ipc=10**12), dict(parameters=[1]), dict(parameters='x'), dict(machine=3),
    dict(regime=7), dict(method=['edc']), dict(data={}), dict(seed='x'), dict(recipe=3), dict(choices=3), dict(source=1), dict(student=1), dict(classes=[1, 2]), dict(run=[1])], ids=str)
@pytest.mark.parametrize('command', ['show', 'verify', 'verify --again', 'evaluate --seeds 1 --epochs 1'])
def test_cards_of_wrong_types(made, tmp_path, monkeypatch, meta, command):
    from dc_nb.tables import save_parts
    monkeypatch.chdir(tmp_path)
    cs = CondensedSet.load(made[1])
    save_parts(tmp_path/'x.safetensors', dict(x=cs.x, labels=None), kind='CondensedSet', factor=1, meta={**cs.meta, **meta})
    r = CliRunner().invoke(main, [*command.split(), 'x.safetensors', '--dataset', made[0].p.dataset], prog_name='dc_nb')
    assert r.exception is None or isinstance(r.exception, SystemExit), repr(r.exception)

def test_std_beyond_floats(made, tmp_path, monkeypatch):
    from dc_nb.tables import save_parts
    cs = CondensedSet.load(made[1])
    save_parts(tmp_path/'x.safetensors', dict(x=cs.x, labels=None), kind='CondensedSet', factor=1, meta={**cs.meta, 'std':[10**400]*3})
    for c in ('show', 'verify'): said([c, str(tmp_path/'x.safetensors')])

@pytest.mark.parametrize('content', [b'\xff\xfe\x00lib_name = dc_nb', None, b'lib_name = dc_nb\xff'])
def test_settings_that_are_no_text(tmp_path, monkeypatch, content):
    from dc_nb.experiments import home
    (tmp_path/'settings.ini').mkdir() if content is None else (tmp_path/'settings.ini').write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert isinstance(home(), Path)

def kernel(folder, **spec):
    d = folder/'share'/'kernels'/'python3'
    d.mkdir(parents=True)
    (d/'kernel.json').write_text(json.dumps(dict(argv=['/no/such/python', '-m', 'ipykernel_launcher', '-f', '{connection_file}'], display_name='x', language='python') | spec))
    return str(folder/'share')

def test_a_foreign_kernelspec_is_not_used(tmp_path, monkeypatch):
    "The kernel is this Python, whatever a kernelspec of somebody else says"
    from dc_nb.kernel import executed
    monkeypatch.setenv('JUPYTER_PATH', kernel(tmp_path))
    monkeypatch.chdir(tmp_path)
    _,target = executed('edc', dict(plan=True, out=str(tmp_path/'out'), **{k:v for k,v in QUICK.items() if k in ('ipc', 'observers', 'student')}))
    assert target == tmp_path/'out'/'run_edc.ipynb' and target.exists(), 'a plan is no run: its notebook lies beside their folders'

def test_a_killed_kernel(tmp_path, monkeypatch):
    "As the out-of-memory killer does it: a sentence, and what to lower"
    monkeypatch.chdir(tmp_path)
    (tmp_path/'killer.py').write_text('import os, signal\ndef net(classes, channels, size): os.kill(os.getpid(), signal.SIGKILL)\n')
    assert 'memory' in said('run edc -p student killer:net --out out')

@pytest.mark.parametrize('missing', ['ipykernel', 'papermill', 'nbclient'])
def test_what_running_needs_is_missing(tmp_path, monkeypatch, missing):
    for k in [k for k in sys.modules if k.split('.')[0] == missing]: monkeypatch.delitem(sys.modules, k)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.chdir(tmp_path)
    out = said('run edc --out out')
    assert missing in out and 'pip install' in out, out

def test_a_folder_in_the_place_of_the_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from dc_nb.kernel import tried
    (Path(tried('edc', dict(out=str(tmp_path/'out')))['folder'])/'run_edc.ipynb').mkdir(parents=True)
    assert 'is a folder' in said('run edc --out out')

@pytest.mark.parametrize('place', ['latest', 'progress.txt', 'progress.log', 'row.json', 'set', 'images.png', 'folder', 'cache'])
def test_things_in_the_place_of_results(tmp_path, place):
    "Found before the first stage, or no obstacle"
    folder = edc(tmp_path).folder
    where = dict(latest=folder.with_name('latest'), set=folder/f'{folder.name}.safetensors', folder=folder, **{k:tmp_path/k for k in ('progress.txt', 'progress.log')}).get(place, folder/place)
    if place == 'cache':
        (tmp_path/'cache').rmdir()
        where = tmp_path/'cache'
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text('x') if place in ('folder', 'cache') else (where.mkdir(), (where/'mine').write_text('x'))
    try: run = edc(tmp_path)
    except ParameterError: return
    found = edc_runs.edc_results(run)
    keep(run, signed(found['condensed'], run, found['row'], 'scores'), found['row'])
    assert (where/'mine').exists(), 'nothing of somebody else is removed'

def test_full_disk_when_rows_are_appended(tmp_path):
    r = python(f"""
        import resource
        from dc_nb.experiments import append_row
        from dc_nb.core import Unwritable
        import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        open({str(tmp_path/'r.jsonl')!r}, 'w').write('{{"a": 1}}\\n')
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try: append_row({str(tmp_path/'r.jsonl')!r}, dict(x='y'*1000))
        except Unwritable as e: print(e)
        """, tmp_path)
    assert 'free some space' in r.stdout and (tmp_path/'r.jsonl').read_text() == '{"a": 1}\n', r.stderr

# 12. What a late stage needs is tried before the first

@pytest.mark.parametrize('name', ['$\\frac$', '$x_{$', 'a$b$c', '\\alpha', '<b>', 'nul\0', 'n'*235, '日本', '\udcff', '', '\n\n'], ids=ascii)
def test_class_names(tmp_path, name):
    "In the figure, the set and the row of a run; or refused before a stage"
    from dc_nb.data import ImageSet
    try: data = tuple(ImageSet(o.x, o.y, [name, 'b', 'c'], o.mean, o.std, 'named') for o in DATA)
    except ValueError: return
    run = edc(tmp_path, data=data)
    rehearse(run)
    assert not left(tmp_path), 'a rehearsal leaves nothing'
    made = run.get(synthesis(run))
    report.save_figure(report.grid({'start':made.x}, run.train.classes), tmp_path/'x.png')
    report.save_figure(made.plot(), tmp_path/'y.png')
    made.save(tmp_path/'x.safetensors')
    assert list(CondensedSet.load(tmp_path/'x.safetensors').names) == list(data[0].classes)
    said(['show', str(tmp_path/'x.safetensors')], 0)

@pytest.mark.parametrize('name', ['n'*235, 'a/b', '..', 'x\0y', '日'*80, '$\\frac$', 'new\nline', '~', '-rf'], ids=ascii)
def test_data_names(tmp_path, name):
    "The run's folder is one below out, whatever the data is called"
    from dataclasses import replace
    try: data = tuple(replace(o, name=name) for o in DATA)
    except ValueError: return
    try: run = edc(tmp_path, data=data)
    except ParameterError: return
    found = edc_runs.edc_results(run)
    keep(run, signed(found['condensed'], run, found['row'], 'scores'), found['row'])
    assert run.folder.parent == tmp_path and len(list(run.folder.glob('*.safetensors'))) == 1

@pytest.mark.parametrize('seed', [2**31, 2**31+1, 10**40, -1, 1.5, True, 'x', '1'], ids=str)
def test_seeds(tmp_path, seed):
    try: p = check(dict(QUICK, seed=seed, out=str(tmp_path)), Edc)
    except ParameterError as e: assert 'seed' in str(e)
    else: assert p.seed in (2**31, 1) and EdcRun(p, None, DATA).get(runs.subset(EdcRun(p, None, DATA), 1, p.seed)) is not None

@pytest.mark.parametrize('name', named)
def test_every_recipe_is_rehearsed(tmp_path, name):
    "No false alarm, nothing left, for any recipe that can run"
    if isinstance(named[name], Study): run = edc(tmp_path, method=name, observers='wrn_16_2', iterations=None)
    else: run = (mtt if isinstance(named[name], TrajectoryStudy) else mdc)(tmp_path, method=name)
    rehearse(run)
    assert not left(tmp_path) and not run.folder.exists()

@pytest.mark.parametrize('kind,name', [*(('edc', k) for k in ablations), *(('mdc', k) for k in mdc_ablations)])
def test_every_ablation_is_rehearsed(tmp_path, kind, name):
    rehearse(AblationRun(check(dict(ablation=name, ipc=1, out=str(tmp_path)), Ablation)) if kind == 'edc' else mdc(tmp_path, ablation=name))
    assert not left(tmp_path)

@pytest.mark.parametrize('bad,says', [(dict(method='sre2l'), 'none of the layers BatchNorm2d'), (dict(method='rded', iterations=3), 'has no terms to follow')], ids=str)
def test_choices_that_do_not_go_together(tmp_path, bad, says):
    "Terms that watch layers which no observer has, steps without a term: found before the observers train"
    with pytest.raises(ParameterError, match=says): rehearse(edc(tmp_path, **bad))
    assert not left(tmp_path)

def breaks(*a, **kw): raise RuntimeError('broken')

@pytest.mark.parametrize('module,name', [('report', 'verdict'), ('report', 'grid'), ('edc_runs', 'row'), ('edc_runs', 'with_labels'), ('students', 'accuracy')])
def test_what_fails_late_fails_first(tmp_path, monkeypatch, module, name):
    "Whatever breaks at the end of a run breaks before its first stage"
    import dc_nb
    run = edc(tmp_path)
    monkeypatch.setattr(f'dc_nb.{module}.{name}', breaks)
    with pytest.raises(ParameterError, match='before its first stage: RuntimeError: broken'): rehearse(run)
    assert not left(tmp_path)

@pytest.mark.parametrize('answer', ['x.mean((1, 2, 3))', '(x, x)', 'x.flatten(1)'])
def test_a_network_that_gives_no_logits(tmp_path, monkeypatch, answer):
    (tmp_path/'odd_nets.py').write_text(f'from torch import nn\nclass Odd(nn.Module):\n    def forward(self, x): return {answer}\ndef net(classes, channels, size): return Odd()\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop('odd_nets', None)
    with pytest.raises(ParameterError, match='odd_nets:net answers .* a network gives a number for each class'): edc(tmp_path, student='odd_nets:net')

def test_folders_whose_names_are_no_text(tmp_path):
    "Not UTF-8: read, condensed, drawn and saved, or refused before a stage"
    from PIL import Image
    for part in ('train', 'test'):
        for i,c in enumerate((b'caf\xe9', b'$\\frac$')):
            d = os.fsencode(tmp_path/'data'/part)+b'/'+c
            os.makedirs(d)
            for k in range(4): Image.new('RGB', (8, 8), (40*k+20*i,)*3).save(os.fsdecode(d+b'/%d.png' % k))
    rehearse(EdcRun(check(dict(QUICK, dataset=str(tmp_path/'data'), out=str(tmp_path/'out')), Edc)))

# 15. Words

def test_waiting_is_seen_in_the_terminal(tmp_path, capsys):
    "A line of progress.log, which `dc_nb run` shows"
    from filelock import FileLock
    run = edc(tmp_path)
    stage = runs.subset(run, 1, 0)
    lock = FileLock(run.store.folder/f'{stage.id}.lock')
    with ThreadPoolExecutor(1) as pool:
        lock.acquire()
        made = pool.submit(run.get, stage)
        while not ((log := tmp_path/'progress.log').exists() and 'waiting' in log.read_text()) and not made.done(): time.sleep(.05)
        lock.release()
        made.result()
    assert 'waiting for another run' in (tmp_path/'progress.log').read_text()

WORDS = [
    ('ablation', dict(ceiling=False), None), ('ablation', dict(ceiling=True), 'ceiling'), ('mdc', dict(sizes=2), None), ('mdc', dict(sizes='2'), None), ('mdc', dict(sizes=True), 'sizes'),
    ('edc', dict(ipc=True), 'ipc'), ('edc', dict(seed=False), 'seed'), ('edc', dict(epochs=True), 'epochs'), ('edc', dict(iterations=True), 'iterations'), ('mdc', dict(curve=101), 'curve'), ('mdc', dict(curve=-1), 'curve'),
    ('mdc', dict(learn=10**12), 'learn'), ('mdc', dict(learn=0), 'learn'), ('edc', dict(observers='convnet_d1,convnet_d1'), 'once'), ('edc', dict(labellers='convnet_d1, convnet_d1'), 'once'), ('edc', dict(alpha=float('nan')), 'alpha'),
    ('edc', dict(flatness_weight=float('inf')), 'flatness_weight'), ('edc', dict(zeta=float('nan')), 'zeta'), ('edc', dict(alpha=True), 'alpha'), ('edc', dict(dataset=''), 'dataset'), ('edc', dict(dataset=3), 'dataset'), ('edc', dict(observers=''), 'observers'),
    ('edc', dict(every=float('nan')), 'every'), ('edc', dict(seeds=10**9), 'seeds'), ('mdc', dict(seeds=10**9), 'seeds'), ('edc', dict(iterations=10**12), 'iterations'), ('mdc', dict(rate=True), 'rate'), ('edc', dict(download='maybe'), 'download'), ('edc', dict(out=''), 'out'), ('mdc', dict(rate=float('inf')), 'rate'), ('mdc', dict(compare=''), 'compare'),
]

@pytest.mark.parametrize('what,given,says', WORDS, ids=lambda o: str(o)[:40])
def test_words(what, given, says):
    from dc_nb.experiments import families
    import dc_nb.ablation_runs
    if says is None: return check(given, families[what].parameters)
    with pytest.raises(ParameterError) as e: check(given, families[what].parameters)
    assert says in str(e.value) and len(str(e.value)) < 700, str(e.value)

@pytest.mark.parametrize('bad,says', [(dict(ipc=13), '13 is more than'), (dict(epochs=10**9, seeds=9999, regime='live'), 'free')], ids=str)
def test_runs_that_are_too_large(tmp_path, bad, says):
    with pytest.raises(ParameterError, match=says): edc(tmp_path, **bad)

def test_a_set_without_metadata(made, tmp_path, monkeypatch):
    "Nobody knows of which data it is: said, and no digits assumed"
    monkeypatch.chdir(tmp_path)
    CondensedSet(torch.rand(10, 1, 1, 8, 8)).save(tmp_path/'x.safetensors')
    assert '--dataset' in said('evaluate x.safetensors --seeds 1 --epochs 1')
    assert not (tmp_path/'out').exists()

@pytest.mark.parametrize('coding', ['latin-1', pytest.param('ascii', marks=pytest.mark.slow)])
def test_a_narrow_terminal(made, coding):
    r = python(f"from dc_nb.cli import main; main(['show', {str(made[1])!r}])", made[0].out, PYTHONIOENCODING=coding)
    assert r.returncode == 0 and 'checksum' in r.stdout, r.stderr[-500:]

def test_what_a_killed_process_left(tmp_path):
    "Killed between the file of a stage and its tidying: the next run takes lock, checkpoint and clock away"
    run = edc(tmp_path)
    run.get(synthesis(run))
    for f in (tmp_path/'cache').glob('*.safetensors'):
        for end in ('.lock', '.seconds', '-abcdef.part', '-abcdef.pass'): f.with_name(f.stem+end).write_text('')
    run = edc(tmp_path)
    run.get(synthesis(run))
    assert {f.suffix for f in (tmp_path/'cache').iterdir()} == {'.safetensors'}

def test_words_of_a_file_command_no_terminal(made, trap):
    run,path,_ = made
    mine = CondensedSet.load(path).meta['parameters']
    for meta in (dict(parameters={**mine, 'observers':'a\x1b[2J:b\nok  all'}), dict(parameters={**mine, 'student':'\x1b[2J'}), dict(source='\x1b[2J\nok')):
        file = altered(path, trap/'x.safetensors', **meta)
        for command in ('verify --again', 'evaluate --seeds 1', 'show'):
            out = CliRunner().invoke(main, [*command.split(), file, '--dataset', run.p.dataset], prog_name='dc_nb').output
            assert '\x1b' not in out and not any(l.startswith('ok  all') or l == 'ok' for l in out.splitlines()), out

def test_nothing_stays_behind(made):
    assert not [f.name for f in made[0].store.folder.iterdir() if f.suffix not in ('.safetensors', '.npy')]

def test_killed_between_a_label_table_and_its_card(tmp_path, monkeypatch):
    "The table is in its place, its card is not: the next run does not take an empty table for a finished one"
    expected = edc_runs.edc_results(edc(tmp_path/'whole', regime='live'))['row']['scores']
    from dc_nb.stages import Job
    save = Job.save
    def stop(self, state, stage=None, **card):
        if self.stage.kind == 'labels': raise KeyboardInterrupt
        save(self, state, stage, **card)
    with monkeypatch.context() as m:
        m.setattr(Job, 'save', stop)
        with pytest.raises(KeyboardInterrupt): edc_runs.edc_results(edc(tmp_path, regime='live'))
    run = edc(tmp_path, regime='live')
    assert edc_runs.edc_results(run)['row']['scores'] == expected
    a,b = [[(p/'cache'/f).read_bytes() for f in left(p, 'labels-*.npy')] for p in (tmp_path/'whole', tmp_path)]
    assert a == b
