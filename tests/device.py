"""A second device without a card: `emulated`, whose tensors keep their numbers in CPU tensors and behave like CUDA's towards the rest.

PyTorch sees a device of its own (PrivateUse1 implemented in Python), so nothing of dc_nb knows of it. As with CUDA
- tensors of two devices do not mix, except that a 0-dim CPU tensor may stand in an elementwise operation and CPU indices may index;
- a CPU generator cannot fill a tensor of the device, and `.numpy()` refuses;
- whatever makes the host wait for the device is written down in `waits`, with the line of dc_nb that asked for it.
"""
import contextlib
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_map

NAME = 'emulated'
aten = torch.ops.aten
PACKAGE = str(Path(__file__).resolve().parents[1]/'dc_nb')


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self): return [torch.bfloat16, torch.float16]
    def get_device_properties(self, device=None): return None


class Emulated(torch.Tensor):
    "A tensor of the device; `inner` holds its numbers"
    @staticmethod
    def __new__(cls, inner, requires_grad=False):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride(),
            storage_offset=inner.storage_offset(), dtype=inner.dtype, device=f'{NAME}:0', requires_grad=requires_grad)
    def __init__(self, inner, requires_grad=False): self.inner = inner
    def __tensor_flatten__(self): return ['inner'], None                          # `Module.to` then exchanges whole tensors
    @staticmethod
    def __tensor_unflatten__(parts, context, size, stride): return Emulated(parts['inner'])
    def __deepcopy__(self, memo):
        if id(self) not in memo:
            new = Emulated(self.inner.clone(), self.requires_grad)
            if isinstance(self, torch.nn.Parameter): new._is_param = True
            memo[id(self)] = new
        return memo[id(self)]
    def __repr__(self): return f'Emulated({self.detach().cpu()!r})'
    def tolist(self): return self.detach().cpu().tolist()
    def __format__(self, spec): return format(self.detach().cpu(), spec)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None): return _run(op, args, kwargs or {})


# --- what the host waits for, as torch.cuda.set_sync_debug_mode sees it

waits = None                          # a Counter of (what, where) inside `watched`
_blocking = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.bincount.default,
    aten.equal.default, aten._unique2.default, aten.unique_consecutive.default,
    aten.unique_dim.default, aten.is_nonzero.default, aten.repeat_interleave.Tensor, aten.histc.default,
    aten._linalg_eigh.default, aten.linalg_eig.default, aten._linalg_svd.default}

def _where():
    "module.function of the innermost frame of dc_nb"
    f = sys._getframe(1)
    while f is not None:
        if f.f_code.co_filename.startswith(PACKAGE): return f'{Path(f.f_code.co_filename).stem}.{f.f_code.co_qualname.replace("<locals>.", "")}'
        f = f.f_back
    return 'elsewhere'

def _wait(what):
    if waits is not None: waits[what, _where()] += 1

@contextlib.contextmanager
def watched():
    "Inside, `Counter` of (what the host waited for, 'module.function' of dc_nb)"
    global waits
    before,waits = waits, Counter()
    try: yield waits
    finally: waits = before


# --- running an operation

_indexing = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
_whole = (torch.long, torch.int, torch.bool, torch.uint8)

def _refuse_mixture(op, tensors):
    "A CPU tensor among those of the device, where CUDA refuses it; CPU indices are copied"
    cpu = [t for t in tensors if type(t) is not Emulated]
    if torch.Tag.pointwise in op.tags or op is aten.fill_.Tensor: cpu = [t for t in cpu if t.dim()]
    if op.overloadpacket in _indexing:
        if any(t.dtype in _whole for t in cpu): _wait('index from the host')
        cpu = [t for t in cpu if t.dtype not in _whole]
    if cpu: raise RuntimeError(f'Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! ({op})')

def _note(op, args, kwargs, here, there):
    "Write down what the host waits for"
    name = op.overloadpacket._qualified_op_name.split('::')[1]
    if op is aten._to_copy.default: crosses,later = here != there, kwargs.get('non_blocking')
    elif op is aten.copy_.default: crosses,later = type(args[0]) is not type(args[1]), len(args) > 2 and args[2] or kwargs.get('non_blocking')
    else: crosses = later = False
    to_device = type(args[0]) is Emulated if op is aten.copy_.default else there
    if crosses and later and not to_device: raise RuntimeError('a copy to the host that nobody waits for: its numbers may not be there when they are read')
    if crosses and not later: _wait('copy to the device' if to_device else 'copy to the host')
    if op in _blocking: _wait(name)
    if op.overloadpacket in _indexing and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]): _wait(f'{name} of a mask')

def _tensors(args, kwargs):
    out = []
    tree_map(lambda v: out.append(v) if isinstance(v, torch.Tensor) else None, (args, kwargs))
    return out

def _inner(v): return v.inner if isinstance(v, Emulated) else torch.device('cpu') if isinstance(v, torch.device) and v.type == NAME else v

def _run(op, args, kwargs):
    if (out := op.decompose(*args, **kwargs)) is not NotImplemented: return out      # inference mode leaves that to the tensor
    tensors = _tensors(args, kwargs)
    here,asked = any(type(t) is Emulated for t in tensors), kwargs.get('device')
    there = asked is None or asked.type == NAME                                      # where the result goes
    if here and op not in (aten._to_copy.default, aten.copy_.default): _refuse_mixture(op, tensors)
    if any(isinstance(a, torch.Generator) for a in (*args, *kwargs.values())):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
    _note(op, args, kwargs, here, there)
    out = op(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if not there: return out
    known = {id(t.inner):t for t in tensors if type(t) is Emulated}                  # operations in place give back the tensor that they were given
    return tree_map(lambda v: v if not isinstance(v, torch.Tensor) else known[id(v)] if id(v) in known else Emulated(v), out)


def available():
    "Register the device, once in a process"
    if hasattr(torch, NAME): return
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    everything,copies = torch.library.Library('_', 'IMPL'), torch.library.Library('aten', 'IMPL')
    everything.fallback(lambda op, *args, **kwargs: _run(op, args, kwargs), 'PrivateUse1')
    copies.impl('_copy_from', lambda of, to, non_blocking=False: _run(aten.copy_.default, (to, of, non_blocking), {}), 'PrivateUse1')
    available.libraries = everything,copies                     # they are taken back when nobody holds them
