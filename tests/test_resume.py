"A killed run continues to the same bytes; the same seed gives the same bytes in another process"
import time

import pytest


def outcome(tmp_path, name): return (tmp_path/f'{name}.set').read_bytes(), (tmp_path/f'{name}.set.json').read_text()

def finish(process):
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out

def kill_when(process, folder, pattern, timeout=120):
    "SIGKILL as soon as a checkpoint of the stage exists"
    end = time.monotonic()+timeout
    while time.monotonic() < end:
        if process.poll() is not None: pytest.fail(f'the run ended before a {pattern} checkpoint was seen: {process.stdout.read()}')
        if list(folder.glob(pattern)): process.kill(); process.wait(); return
        time.sleep(.002)
    pytest.fail(f'no {pattern} within {timeout} s')

def test_killed_in_each_stage(tmp_path, start_run):
    finish(start_run('whole'))
    for stage in ('observer', 'set', 'student'):                     # one run, killed three times
        kill_when(start_run('killed'), tmp_path/'killed'/'cache', f'{stage}-*.part')
        assert not (tmp_path/'killed.set').exists()
    finish(start_run('killed'))
    assert outcome(tmp_path, 'killed') == outcome(tmp_path, 'whole')
    assert not list((tmp_path/'killed'/'cache').glob('*.part')), 'a finished stage leaves no checkpoint'

def test_mdc_killed_in_each_stage(tmp_path, start_run):
    finish(start_run('whole', 'mdc'))
    for stage in ('sets', 'student'):
        kill_when(start_run('killed', 'mdc'), tmp_path/'killed'/'cache', f'{stage}-*.part')
        assert not (tmp_path/'killed.set').exists()
    finish(start_run('killed', 'mdc'))
    assert outcome(tmp_path, 'killed') == outcome(tmp_path, 'whole')

def test_another_seed_is_another_set(tmp_path, start_run):
    for r in [start_run('a', seed=1), start_run('b', seed=2)]: finish(r)           # the tests around this one compare equal seeds
    assert outcome(tmp_path, 'a')[0] != outcome(tmp_path, 'b')[0]

def test_damaged_caches_are_made_again(tmp_path, start_run):
    finish(start_run('a'))
    before = outcome(tmp_path, 'a')
    for i,f in enumerate(sorted((tmp_path/'a'/'cache').glob('*.safetensors'))):
        b = bytearray(f.read_bytes())
        if i%3 == 0: b = b[:len(b)//2]                               # truncated
        elif i%3 == 1: b[-1] ^= 1                                    # one bit
        else: b = b'not a state file'                                # foreign
        f.write_bytes(bytes(b))
    finish(start_run('a'))
    assert outcome(tmp_path, 'a') == before
