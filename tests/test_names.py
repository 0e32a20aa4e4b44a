"One name, one thing: what two modules export under the same name. The list may only get shorter"
from collections import defaultdict
from importlib import import_module
from pkgutil import iter_modules

import dc_nb

# of the modules that `dc_nb` offers, functions are called with the module's name
LEFT = {'load': {'data', 'zoo'}, 'judged': {'door', 'matching_recipes'}}

def test_no_name_is_exported_twice():
    owners = defaultdict(set)
    for o in iter_modules(dc_nb.__path__):
        if o.name[0] == '_': continue
        m = import_module(f'dc_nb.{o.name}')
        for name in set(getattr(m, '__all__', ()))-set(getattr(m, '_all_', ())): owners[name].add(o.name)        # `_all_`: handed on
    assert {k:v for k,v in owners.items() if len(v) > 1} == LEFT
