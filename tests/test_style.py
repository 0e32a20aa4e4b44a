"The few rules of pyproject.toml hold: nothing unused or undefined, one statement a line, lines that fit"
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

def test_ruff_has_nothing_to_say():
    folders = [o for o in ('dc_nb', 'tests', 'benchmarks', 'docs') if (ROOT/o).is_dir()]
    r = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'concise', *folders],
        cwd=ROOT, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout+r.stderr
