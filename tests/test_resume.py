"A killed run continues to the same bytes; two runs at once and a full disk damage nothing"
import shutil

import pytest

from conftest import ALL

STAGES = dict(edc=('network-*.part', 'observer-*.part', 'batch-*.part', 'labels-*.part', 'student-*.part'), mdc=('sets-*.part', 'student-*.part'), mtt=('expert-*.part', 'set-*.part', 'student-*.part'), ablation=('batch-*.part', 'labels-*.part', 'student-*.part'))

def outcome(tmp_path, name): return (tmp_path/f'{name}.set').read_bytes(), (tmp_path/f'{name}.set.json').read_text()

def whole(tmp_path, runs, name, kind='edc', **kw):
    for r in runs(name, kind, **kw): assert r['code'] == 0, r['log']
    return outcome(tmp_path, name)

MANY = dict(edc=12, mdc=8, mtt=6, ablation=3) if ALL else {k:len(v) for k,v in STAGES.items()}

STUDIES = [pytest.param(k, marks=[pytest.mark.slow]*(k == 'ablation')) for k in STAGES]              # whose stages are EDC's

@pytest.mark.parametrize('kind', STUDIES)
def test_killed_in_every_stage(tmp_path, runs, undisturbed, kind):
    "Kill at random moments of every stage, go on, compare; from the beginning, until so many have hit a run at work"
    expected,hits,kills = outcome(undisturbed(kind).parent, kind), {}, MANY[kind]
    while sum(hits.values()) < kills:
        for stage in STAGES[kind]:
            if runs('killed', kind, pattern=stage)['killed']: hits[stage] = hits.get(stage, 0) + 1
        assert whole(tmp_path, runs, 'killed', kind) == expected, f'after kills in {hits}'
        left = [f.name for f in (tmp_path/'killed'/'cache').iterdir() if f.suffix not in ('.safetensors', '.npy')]
        assert not left, 'a finished run leaves whole files only'
        shutil.rmtree(tmp_path/'killed')
    assert set(hits) == set(STAGES[kind]), hits

def test_another_seed_is_another_set(tmp_path, runs, undisturbed):
    assert whole(tmp_path, runs, 'a', seed=1)[0] != undisturbed().with_suffix('.set').read_bytes()

def spoil(folder, pattern):
    for i,f in enumerate(sorted(folder.glob(pattern))):
        b = bytearray(f.read_bytes())
        if i%3 == 0: b = b[:len(b)//2]                               # truncated
        elif i%3 == 1: b[-1] ^= 1                                    # one bit
        else: b = b'not a state file'                                # foreign
        f.write_bytes(bytes(b))

def test_damaged_caches_are_made_again(tmp_path, runs, undisturbed):
    before = outcome(undisturbed().parent, 'edc')
    shutil.copytree(undisturbed(), tmp_path/'a')
    spoil(tmp_path/'a'/'cache', '*.safetensors')
    r, = runs('a')
    assert r['code'] == 0 and outcome(tmp_path, 'a') == before
    assert 'this stage runs again' in r['log'] and 'the checksum does not fit its content' in r['log']

def whole_file(part):
    "What this checkpoint leads to is there already: the kill came between the two, and nobody reads the checkpoint"
    return any(f.suffix in ('.safetensors', '.npy') for f in part.parent.glob(part.name.rsplit('-', 1)[0] + '.*'))

def test_damaged_checkpoints_are_refused(tmp_path, runs, undisturbed):
    "Cut short, with a flipped bit, or that of another run: not used, said, and the result is the same"
    expected,cache,spoilt = outcome(undisturbed().parent, 'edc'), tmp_path/'a'/'cache', 0
    for stage in STAGES['edc']:
        if not runs('a', pattern=stage, delay=0)['killed']: continue
        found = [f for f in cache.glob(stage) if not whole_file(f)]
        spoilt += len(found)
        if stage == 'student-*.part': [shutil.copy(next(cache.glob('network-*.safetensors')), f) for f in found]       # a whole file, of another stage
        else: spoil(cache, stage)
    assert whole(tmp_path, runs, 'a') == expected and spoilt >= 3
    said = sum(f.read_text().count('this stage starts from the beginning') for f in tmp_path.glob('a.*.log'))
    assert said >= spoilt, (said, spoilt)

def test_two_runs_with_the_same_key(tmp_path, runs, undisturbed):
    expected = outcome(undisturbed().parent, 'edc')
    for r in (both := runs('both', copies=2)): assert r['code'] == 0, r['log']
    assert outcome(tmp_path, 'both') == expected and len((tmp_path/'both'/'rows.jsonl').read_text().splitlines()) == 2
    assert any('waiting for another run' in r['log'] for r in both)

def test_full_disk(tmp_path, runs, undisturbed):
    "A file that does not fit: one error that says so, no half files, what was computed before is used again"
    expected = outcome(undisturbed().parent, 'edc')
    r, = runs('full', largest=60_000)                                # an observer is larger
    assert r['code'] == 1 and 'free some space and run again' in r['log'].splitlines()[-1], r['log']
    assert not [f for f in (tmp_path/'full'/'cache').iterdir() if f.suffix == '.safetensors' or f.name[0] == '.']
    sizes = {f.name:f.stat().st_size for f in (undisturbed()/'cache').glob('*.safetensors')}
    largest = max(s for n,s in sizes.items() if n.startswith('network'))
    small = next(n for n,s in sizes.items() if n.startswith('network') and s < largest)
    r, = runs('full', largest=largest-1)                             # the first observer fits, the second does not
    kept = {f.name for f in (tmp_path/'full'/'cache').glob('network-*.safetensors')}
    assert r['code'] == 1 and kept <= {small}
    assert whole(tmp_path, runs, 'full') == expected
