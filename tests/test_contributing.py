"What CONTRIBUTING.md shows works as it stands"
import re
from pathlib import Path

from dc_nb.ablations import ablations,mdc_ablations
from dc_nb.data import datasets
from dc_nb.models import models
from dc_nb.recipes import named,small,study

def test_every_block_runs():
    text = (Path(__file__).resolve().parents[1]/'CONTRIBUTING.md').read_text()
    registries = named, ablations, mdc_ablations, datasets, models
    scope,before = {}, {id(r):set(r) for r in registries}
    try:
        for block in re.findall(r'```python\n(.*?)```', text, re.S): exec(compile(block, 'CONTRIBUTING.md', 'exec'), scope)
        assert len(ablations['tv'](small(study('digits', 1), 1))) == 3 and list(mdc_ablations['slower'](named['mdc'].matching.extra)) == ['period 200', 'period 400']
    finally:
        for r in registries:
            for k in set(r)-before[id(r)]: del r[k]
