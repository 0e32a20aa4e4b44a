"One name, one thing: what two modules export under the same name. The list may only get shorter"
from collections import defaultdict
from importlib import import_module
from pkgutil import iter_modules

import dc_nb

LEFT = {
    'begin': {'gradient_matching', 'synthesis'}, 'condensed': {'edc_runs', 'gradient_matching'}, 'results': {'edc_runs', 'report'}, 'student': {'evaluation', 'runs'},
    'load': {'data', 'zoo'}, 'judged': {'door', 'recipes'}, 'fitted': {'models', 'sources'},
    'measure': {'continual', 'robustness', 'slimming'}, 'figure': {'continual', 'robustness', 'slimming'}, 'summary': {'continual', 'robustness', 'slimming'}}      # the same three parts of each application

def test_no_name_is_exported_twice():
    owners = defaultdict(set)
    for o in iter_modules(dc_nb.__path__):
        if o.name[0] == '_': continue
        m = import_module(f'dc_nb.{o.name}')
        for name in set(getattr(m, '__all__', ()))-set(getattr(m, '_all_', ())): owners[name].add(o.name)        # `_all_`: handed on
    assert {k:v for k,v in owners.items() if len(v) > 1} == LEFT
