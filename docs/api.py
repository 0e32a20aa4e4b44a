"One page a module from its exported names: signature, docments with shapes, the errors it raises, where its source is."
import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from pathlib import Path

from fastcore.docments import docments

from stage import label, unlinked

PACKAGE = 'dc_nb'

def modules(package=PACKAGE)->dict:
    "{name: module} of the modules that a notebook exports"
    root = importlib.import_module(package)
    names = [o.name for o in pkgutil.iter_modules(root.__path__) if o.name[0] != '_']
    found = {k:importlib.import_module(f'{package}.{k}') for k in names}
    return {k:m for k,m in found.items() if hasattr(m, '__all__')}

def exported(module)->dict:
    "{name: object} of what the module itself defines, in the order of its source"
    source = Path(module.__file__).read_text(encoding='utf-8')
    order = {n:i for i,n in enumerate(names_in_order(source))}
    # `_all_`: handed on from another module, which documents them
    names = [n for n in module.__all__ if n not in getattr(module, '_all_', ())]
    own = {n:getattr(module, n) for n in names if n in order and not callback(getattr(module, n))}
    return dict(sorted(own.items(), key=lambda kv: order[kv[0]]))

def names_in_order(source:str)->list:
    "Names that the statements of a module bind, imports left out"
    out = []
    for o in ast.parse(source).body:
        if isinstance(o, (ast.FunctionDef, ast.ClassDef)): out.append(o.name)
        if isinstance(o, (ast.Assign, ast.AnnAssign)):
            out += [n.id for n in ast.walk(o) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return list(dict.fromkeys(out))

def callback(o)->bool:
    "A command of the terminal: it has its own page"
    return any(c.__module__.startswith('click.') for c in type(o).__mro__) and not isinstance(o, type)

def behind(v):
    "The function of a property, class method or cached property"
    if isinstance(v, property): return v.fget
    return getattr(v, '__func__', getattr(v, 'func', v)) if not isinstance(v, partial) else v

def members(cls)->dict:
    "{name: function or property} of the public methods that a class of ours defines, patched ones included"
    out,choices = {}, vars(cls).get('__annotations__', {})          # a field whose default is a function is no method
    for k,v in vars(cls).items():
        if k in choices: continue
        f = behind(v)
        said = k[0] != '_' or k == '__call__' and getattr(f, '__doc__', None)
        if said and inspect.isfunction(f) and f.__module__.startswith(PACKAGE): out[k] = v
    return out

def all_names(found:dict)->dict:
    "{module: names and Class.methods that have an entry}"
    def of(m):
        for k,o in exported(m).items():
            yield k
            if inspect.isclass(o): yield from (f'{k}.{n}' for n in members(o))
    return {k:set(of(m)) for k,m in found.items()}

# --- text of values and types

def said(v)->str:
    "A default value as a reader would write it; valid Python, since Sphinx reads it"
    if v is None or isinstance(v, (bool, int, float, str)): return repr(v)
    if isinstance(v, partial):
        args = [*map(said, v.args), *(f'{k}={said(o)}' for k,o in v.keywords.items())]
        return f"{said(v.func)}({', '.join(args)})"
    if isinstance(v, (tuple, list)):
        inner = ', '.join(map(said, v)) + (',' if isinstance(v, tuple) and len(v) == 1 else '')
        return f'({inner})' if isinstance(v, tuple) else f'[{inner}]'
    if isinstance(v, dict): return '{' + ', '.join(f'{said(k)}: {said(o)}' for k,o in v.items()) + '}'
    if callable(v) and '<' not in getattr(v, '__qualname__', '<'): return v.__qualname__
    if is_dataclass(v): return f'{type(v).__name__}(...)'
    return f'{type(v).__name__}(...)' if type(v).__name__.isidentifier() else '...'

def short(v, most=60)->str:
    t = said(v)
    return t if len(t) <= most else '...'

def typed(a)->str:
    "An annotation without module names"
    if a is inspect.Parameter.empty: return ''
    t = a if isinstance(a, str) else 'None' if a is None else inspect.formatannotation(a)
    t = re.sub(r"ForwardRef\('([^']+)'[^)]*\)", r'\1', t)
    t = re.sub(r'\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])', '', t)
    return t if len(t) <= 90 and '<' not in t else t.split('[')[0] if '<' not in t else ''

def valid(text:str, fallback='...')->str:
    try: ast.parse(text, mode='eval')
    except SyntaxError: return fallback
    return text

def signature(f, skip_first=False)->str:
    "(a: int, b: Tensor = None) -> Tensor"
    try: s = inspect.signature(f)
    except (TypeError, ValueError): return '()'
    ps = list(s.parameters.values())[1 if skip_first else 0:]
    out,star = [], False
    for p in ps:
        if p.kind is p.KEYWORD_ONLY and not star:
            out.append('*')
            star = True
        if p.kind is p.VAR_POSITIONAL: star = True
        mark = {p.VAR_POSITIONAL:'*', p.VAR_KEYWORD:'**'}.get(p.kind, '')
        t = valid(typed(p.annotation), '')
        d = '' if p.default is p.empty else valid(short(p.default))
        out.append(mark + p.name + (f': {t}' if t else '') + ((' = ' if t else '=')+d if d else ''))
    back = valid(typed(s.return_annotation), '')
    return f"({', '.join(out)})" + (f' -> {back}' if back else '')

# --- errors

def tree_of(f):
    "Syntax tree of a function or class, None where there is no source"
    try: return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(f))))
    except (OSError, TypeError, SyntaxError): return None

def message(node)->str:
    "The text of an error as the source has it, expressions in braces"
    if isinstance(node, ast.Constant): return str(node.value)
    if isinstance(node, ast.JoinedStr):
        said = lambda v: str(v.value) if isinstance(v, ast.Constant) else f'{{{ast.unparse(v.value)}}}'
        return ''.join(map(said, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add): return message(node.left) + message(node.right)
    return '...'

def raised(f, module, deep=2)->dict:
    "{error: [its messages]} of a function and of the private ones that it calls"
    out,tree = {}, tree_of(f)
    if tree is None: return out
    def add(kind, text):
        out.setdefault(kind, [])
        text and text not in out[kind] and out[kind].append(text)
    for n in ast.walk(tree):
        if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call):
            kind = ast.unparse(n.exc.func).split('.')[-1]
            texts = [message(a) for a in n.exc.args if isinstance(a, (ast.Constant, ast.JoinedStr, ast.BinOp))]
            add(kind, max(texts, key=len, default=''))
        if not isinstance(n, ast.Call) or not isinstance(n.func, ast.Name): continue
        if n.func.id == 'fits' and len(n.args) == 2: add('DataError', message(n.args[1]))
        other = getattr(module, n.func.id, None)
        if deep and n.func.id[0] == '_' and inspect.isfunction(other):
            for kind,texts in raised(other, module, deep-1).items():
                for t in texts or ['']: add(kind, t)
    return {k:v for k,v in out.items() if k[0].isupper() and k not in ('SystemExit', 'StopIteration')}

# --- entries

def comments(o)->dict:
    "{argument: its comment} by fastcore's docments"
    try: found = docments(o, full=True)
    except (OSError, TypeError, ValueError, SyntaxError, AttributeError): return {}     # no source, no comments
    return {k:' '.join(str(v['docment']).split()) for k,v in found.items() if isinstance(v, dict) and v.get('docment')}

def fields_of(o)->list:
    "`:param x: ...` lines from the comments; a type that the signature has is not said again"
    found = comments(o)
    back = found.pop('return', None)
    given = [f':param {k}: {plain(v)}' for k,v in found.items() if k != 'self']
    return given + ([f':returns: {plain(back)}'] if back else [])

def plain(comment:str)->str:
    "A comment as Markdown: what Markdown would take for markup stays text"
    return re.sub(r'([*_<\[\]$|])', r'\\\1', comment) if '`' not in comment else comment

def errors_of(o, module)->list:
    def one(texts):
        said = ' '.join(f'“{plain(t)}”' for t in texts[:4]) + ' ...'*(len(texts) > 4)
        return said or 'see the source'
    return [f':raises {k}: {one(v)}' for k,v in raised(o, module).items()]

def doc(o)->str: return inspect.cleandoc(o.__doc__) if isinstance(o.__doc__, str) else ''

def lines(o)->tuple|None:
    "(file, first line, last line)"
    try:
        o = inspect.unwrap(o)
        source,start = inspect.getsourcelines(o)
        return (Path(inspect.getsourcefile(o)),start,start+len(source)-1) if o.__module__.startswith(PACKAGE) else None
    except (OSError, TypeError, AttributeError): return None

def where(name, o, module, labels, git)->str:
    "The line of links: the notebook's cell, the file"
    here = label(module, name)
    out = [f'[in its notebook](#{here})'] if here in labels else []
    if at := lines(o): out.append(f'[source]({git}/{PACKAGE}/{at[0].name}#L{at[1]}-L{at[2]})')
    return '{.where}\n' + ' · '.join(out) if out else ''

def directive(kind, head, body, fence=':::', options=())->str:
    "A directive of Sphinx's Python domain; without the empty line a field would be read as an option"
    return '\n'.join([f'{fence}{{py:{kind}}} {head}', *options, '', body.strip(), fence, ''])

def body(*parts)->str: return '\n\n'.join(p for p in parts if p)

def entry(name, o, module, labels, git)->str:
    "One exported name as Markdown for Sphinx"
    short_name = module.__name__.split('.')[-1]
    link = where(name, o, short_name, labels, git)
    full = f'{module.__name__}.{name}'
    if inspect.isclass(o): return class_entry(full, name, o, module, labels, git, link)
    f = inspect.unwrap(o) if callable(o) else o
    if inspect.isfunction(f) and f.__module__.startswith(PACKAGE):
        about = '\n'.join([*fields_of(f), *errors_of(f, module)])
        return directive('function', full+signature(o), body(doc(f), about, link))
    return directive('data', full, body(value(o), link))

def class_entry(full, name, o, module, labels, git, link)->str:
    kind = 'exception' if issubclass(o, BaseException) else 'class'
    own = doc(o) if o.__doc__ and not o.__doc__.startswith(f'{o.__name__}(') else ''
    about = [*class_fields(o), *(errors_of(o.__post_init__, module) if '__post_init__' in vars(o) else [])]
    parts = [method(full, f'{name}.{k}', k, v, o, module, labels, git) for k,v in members(o).items()]
    head = full + class_signature(o)
    return directive(kind, head, body(own, extended(o), '\n'.join(about), link, '\n'.join(parts)), '::::')

def class_fields(o)->list:
    "Comments of a class's fields, or of the arguments of its `__init__`"
    if own_init(o) and not is_dataclass(o):
        return [f for f in fields_of(own_init(o)) if not f.startswith(':returns')]
    own = comments(o) if is_dataclass(o) or hasattr(o, 'model_fields') else {}
    names = list(getattr(o, 'model_fields', ())) or ([f.name for f in fields(o)] if is_dataclass(o) else [])
    return [f':param {k}: {plain(own[k])}' for k in names if k in own]

def class_signature(o)->str:
    "Fields with types and defaults of a dataclass or model; arguments of an `__init__` of ours; nothing else"
    if is_dataclass(o):
        def one(f):
            d = f.default if f.default_factory is MISSING else f.default_factory()
            t = valid(typed(f.type), '')
            return f.name + (f': {t}' if t else '') + ('' if d is MISSING else (' = ' if t else '=') + valid(short(d)))
        return f"({', '.join(one(f) for f in fields(o) if f.init)})"
    if hasattr(o, 'model_fields'):
        own = [k for k in o.model_fields if k in vars(o).get('__annotations__', ())]
        return f"({', '.join(f'{k}={valid(short(o.model_fields[k].default))}' for k in own)})"
    init = own_init(o)
    return signature(init, True) if init else ''

def own_init(o):
    "The `__init__` of ours that makes an object, this class's or that of one it extends; None without one"
    made = next((vars(b)['__init__'] for b in o.__mro__ if '__init__' in vars(b)), None)
    return made if inspect.isfunction(made) and made.__module__.startswith(PACKAGE) else None

def extended(o)->str:
    "The classes of ours whose methods are its own, too"
    bases = [b.__name__ for b in o.__bases__ if b.__module__.startswith(PACKAGE)]
    return f"Extends {', '.join(f'`{b}`' for b in bases)}: their methods are its own, too." if bases else ''

def method(full, name, k, v, cls, module, labels, git)->str:
    "A method or property"
    f = behind(v)
    link = where(name, f, module.__name__.split('.')[-1], labels, git)
    if isinstance(v, property) or type(v).__name__ == 'cached_property':
        back = valid(typed(inspect.signature(f).return_annotation), '')
        return directive('property', f'{full}.{k}', body(doc(f), link), options=[f':type: {back}'] if back else [])
    options = {classmethod:[':classmethod:'], staticmethod:[':staticmethod:']}.get(type(v), [])
    text = body(doc(f), '\n'.join([*fields_of(f), *errors_of(f, module)]), link)
    return directive('method', f'{full}.{k}{signature(f, not isinstance(v, staticmethod))}', text, options=options)

def value(o)->str:
    "What a constant or registry holds"
    if isinstance(o, dict) and o:
        names = ', '.join(f'`{k}`' for k in list(o)[:60])
        return f"{type(o).__name__} of {len(o)}: {names}{' ...' if len(o) > 60 else ''}"
    t = said(o)
    return f'`{t}`' if t != '...' and '`' not in t and len(t) < 300 else f'A `{type(o).__name__}`.'

def page(name, module, title, summary, docname, labels, git)->str:
    "The page of a module"
    entries = '\n'.join(entry(k, o, module, labels, git) for k,o in exported(module).items())
    source = f'[{title}](/{docname}.ipynb) is the notebook of this module.' if docname else ''
    return f"""(module-{name})=
# {PACKAGE}.{name}

> {summary or unlinked(doc(module)) or 'Exported names.'}

{source}

:::{{py:module}} {PACKAGE}.{name}
:::

{entries}
"""
