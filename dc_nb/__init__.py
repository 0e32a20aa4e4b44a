"Dataset condensation as notebooks: EDC and MDC. What most users need is here; it is imported when it is first asked for."
__version__ = "0.2.0"

_names = dict(condense='door', load='data', CondensedSet='condensed', ImageSet='sets', evaluate='evaluation', Protocol='evaluation', named='recipes',
    Study='recipes', create='models', fit='train', observe='observers', synthesize='synthesis', match_gradients='gradient_matching')
_modules = ('recipes', 'data', 'models', 'ledger', 'zoo')
__all__ = [*_names, *_modules]


def __getattr__(name):
    from importlib import import_module
    if name in _names: return getattr(import_module(f'dc_nb.{_names[name]}'), name)
    if name in _modules: return import_module(f'dc_nb.{name}')
    raise AttributeError(f"module 'dc_nb' has no attribute {name!r}")


def __dir__(): return sorted([*globals(), *__all__])
