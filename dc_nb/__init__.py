"""Dataset condensation as notebooks: EDC and MDC.

What most users need is here; it is imported when it is first asked for.

- condense: a small set from your images, in one call
- CondensedSet: what comes out: first, evaluate, save, load, plot
- UnequalSet: what comes out where `ipc` is a list: classes of unequal size
- load, ImageSet: images of a name, a folder or a .npz, and what they become
- evaluate, Protocol: students that are trained on a set, and how
- named, Study: the methods, and what one is made of
- create, fit: a network and its training
- synthesize, match_gradients: the loops of EDC and of MDC
- recipes, data, models, ledger, zoo: modules

`help(dc_nb.condense)` says what each parameter is.
"""
__version__ = "0.2.0"

_names = dict(condense='door', load='data', CondensedSet='condensed', UnequalSet='unequal_sets', ImageSet='sets',
    evaluate='evaluation', Protocol='evaluation', named='recipes', Study='recipes', create='models', fit='train',
    synthesize='synthesis', match_gradients='gradient_matching')
_modules = ('recipes', 'data', 'models', 'ledger', 'zoo')
__all__ = [*_names, *_modules]


def __getattr__(name):
    from importlib import import_module
    if name in _names:
        from dc_nb.help_text import explained
        return explained(getattr(import_module(f'dc_nb.{_names[name]}'), name))
    if name in _modules: return import_module(f'dc_nb.{name}')
    raise AttributeError(f"module 'dc_nb' has no attribute {name!r}")


def __dir__(): return sorted([*globals(), *__all__])
