"""Runs all stages of small runs in children of one process that has imported everything: they start in milliseconds and can be killed.

Reads commands as JSON lines, answers each with a line. A child works on the caches in FOLDER and writes FOLDER.set and FOLDER.set.json;
or it does what somebody types in FOLDER (`words`)."""
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import torch

torch.set_num_threads(1)

from dc_nb import ablation_runs, edc_runs, matching_runs, trajectory_runs       # they register their families
from dc_nb.cli import main
from dc_nb.edc_runs import synthesis
from dc_nb.experiments import append_row, check, families
from dc_nb.rehearsal import family_of


def work(kind, parameters, folder):
    run = families[kind](check(dict(parameters, out=folder), families[kind].parameters))
    _,results,_,signs,_ = family_of(run)
    row = results(run)['row']
    if signs: made = run.main_set()
    else:
        last,*_ = list(run.trials().values())[-1]
        made = last.get(synthesis(last))
    made.save(folder+'.set')
    Path(folder+'.set.json').write_text(json.dumps(row['scores']))
    append_row(f'{folder}/rows.jsonl', row)


def typed(words, folder):
    "What a person types in `folder`; of what lies beside this file it knows nothing"
    os.chdir(folder)
    sys.path.pop(0)
    os.environ['PYTHONPATH'] = str(Path(__file__).resolve().parents[1])
    main(words, prog_name='dc_nb')


def child(act, folder, largest=None):
    "Fork and act; the child leaves its output in FOLDER.PID.log; `largest` file in bytes that it may write"
    pid = os.fork()
    if pid: return pid
    log = os.open(f'{folder}.{os.getpid()}.log', os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)           # a shell's background jobs are born deaf to it
    if largest: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    code = 1
    try:
        act()
        code = 0
    except SystemExit as e: code = e.code or 0
    except BaseException: traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid, folder):
    start = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return dict(code=code, seconds=time.monotonic()-start, log=Path(f'{folder}.{pid}.log').read_text()[-20000:])


def killed(pid, folder, pattern, delay):
    "SIGKILL up to `delay` seconds after a file of the pattern is there; whether the child was still at work"
    cache = Path(folder)/'cache'
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if list(cache.glob(pattern)):
            time.sleep(random.uniform(0, delay))
            os.kill(pid, signal.SIGKILL)
            return dict(killed=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL)
        time.sleep(.0005)
    return dict(killed=False)


def signalled(pid, folder, name, after):
    """The signal `name` after so many seconds (STOP is followed by CONT); whether the child was at work then, its exit
    code, its seconds, and what it left running"""
    start = time.monotonic()
    found = lambda: os.waitpid(pid, os.WNOHANG)
    while (gone := found())[0] == 0 and time.monotonic()-start < after: time.sleep(.001)
    at_work,family = gone[0] == 0, []
    if at_work:
        with suppress(psutil.Error): family = psutil.Process(pid).children(recursive=True)
        os.kill(pid, getattr(signal, f'SIG{name}'))
        if name == 'STOP':
            time.sleep(.3)
            os.kill(pid, signal.SIGCONT)
        gone = os.waitpid(pid, 0)
    return dict(hit=at_work, code=os.waitstatus_to_exitcode(gone[1]), seconds=time.monotonic()-start,
        left=[o.pid for o in psutil.wait_procs(family, 5)[1]], log=Path(f'{folder}.{pid}.log').read_text()[-20000:])


for line in sys.stdin:
    c = json.loads(line)
    act = partial(typed, c['words'], c['folder']) if 'words' in c else partial(work, c['kind'], c['parameters'], c['folder'])
    start = lambda: child(act, c['folder'], c.get('largest'))
    if 'pattern' in c: out = killed(start(), c['folder'], c['pattern'], c['delay'])
    elif 'signal' in c: out = signalled(start(), c['folder'], c['signal'], c['after'])
    else: out = [ended(pid, c['folder']) for pid in [start() for _ in range(c.get('copies', 1))]]
    print(json.dumps(out), flush=True)
