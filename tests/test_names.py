"One name, one thing: what two modules export under the same name. The list may only get shorter"
from collections import defaultdict
from importlib import import_module
from pkgutil import iter_modules

import dc_nb

LEFT = {
    'load': {'data', 'zoo'}, 'judged': {'door', 'matching_recipes'}, 'fitted': {'layers', 'sources'}, 'results': {'edc_runs', 'report'},
    'student': {'evaluation', 'students'},
    # the same parts of each loop
    'begin': {'gradient_matching', 'synthesis', 'trajectory_matching'}, 'advance': {'gradient_matching', 'trajectory_matching'},
    'condensed': {'edc_stages', 'gradient_matching', 'trajectory_matching'},
    # of the two families that serve several sizes
    **{k:{'matching_runs', 'trajectory_runs'} for k in ('compared', 'gathered', 'student_of', 'students')},
    # of each application
    **{k:{'continual', 'robustness', 'slimming'} for k in ('measure', 'figure')},
    'summary': {'continual', 'robustness', 'slimming', 'trajectory_runs'}}

def test_no_name_is_exported_twice():
    owners = defaultdict(set)
    for o in iter_modules(dc_nb.__path__):
        if o.name[0] == '_': continue
        m = import_module(f'dc_nb.{o.name}')
        for name in set(getattr(m, '__all__', ()))-set(getattr(m, '_all_', ())): owners[name].add(o.name)        # `_all_`: handed on
    assert {k:v for k,v in owners.items() if len(v) > 1} == LEFT
