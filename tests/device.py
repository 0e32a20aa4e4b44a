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
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=f'{NAME}:0', requires_grad=requires_grad)
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
_blocking = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.bincount.default, aten.equal.default, aten._unique2.default, aten.unique_consecutive.default,
    aten.unique_dim.default, aten.is_nonzero.default, aten.repeat_interleave.Tensor, aten.histc.default, aten._linalg_eigh.default, aten.linalg_eig.default, aten._linalg_svd.default}

def _where():
    "file:function of the innermost frame of dc_nb"
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

def _mixes(op, tensors):
    "Refuse a CPU tensor among those of the device, where CUDA would"
    cpu = [t for t in tensors if type(t) is not Emulated and t.device.type == 'cpu']
    if torch.Tag.pointwise in op.tags or op in (aten.lerp.Scalar, aten.fill_.Tensor): cpu = [t for t in cpu if t.dim()]
    if op.overloadpacket in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
        _wait('index from the host') if any(t.dtype in (torch.long, torch.int, torch.bool) for t in cpu) else None
        cpu = [t for t in cpu if t.dtype not in (torch.long, torch.int, torch.bool)]
    if cpu: raise RuntimeError(f'Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! ({op})')

def _counted(op, args, kwargs, tensors):
    mask = op.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    if op in _blocking or mask: _wait(op.overloadpacket._qualified_op_name.split('::')[1] + (' of a mask' if mask else ''))

def _tensors(args, kwargs):
    out = []
    tree_map(lambda v: out.append(v) if isinstance(v, torch.Tensor) else None, (args, kwargs))
    return out

def _inner(v): return v.inner if isinstance(v, Emulated) else torch.device('cpu') if isinstance(v, torch.device) and v.type == NAME else v

def _run(op, args, kwargs):
    if (out := op.decompose(*args, **kwargs)) is not NotImplemented: return out      # inference mode leaves that to the tensor
    tensors = _tensors(args, kwargs)
    here = any(type(t) is Emulated for t in tensors)
    asked = kwargs.get('device')
    target = asked.type if asked is not None else NAME if here else NAME
    if op is aten._to_copy.default and (target == NAME) != here:
        if not kwargs.get('non_blocking'): _wait('copy to the device' if target == NAME else 'copy to the host')
    elif op is aten.copy_.default:
        to,of = args[:2]
        if (type(to) is Emulated) != (type(of) is Emulated) and not (len(args) > 2 and args[2] or kwargs.get('non_blocking')): _wait('copy to the device' if type(to) is Emulated else 'copy to the host')
    else:
        if here: _mixes(op, tensors)
        if kwargs.get('generator') is not None or any(isinstance(a, torch.Generator) for a in args): raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
    _counted(op, args, kwargs, tensors)
    out = op(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if target != NAME: return out
    known = {id(t.inner):t for t in tensors if type(t) is Emulated}                # operations in place give back the tensor that they were given
    return tree_map(lambda v: v if not isinstance(v, torch.Tensor) or isinstance(v, Emulated) else known[id(v)] if id(v) in known else Emulated(v), out)


def available():
    "Register the device, once in a process"
    if hasattr(torch, NAME): return
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    lib = torch.library.Library('_', 'IMPL')
    lib.fallback(lambda op, *args, **kwargs: _run(op, args, kwargs), 'PrivateUse1')
    copies = torch.library.Library('aten', 'IMPL')
    copies.impl('_copy_from', lambda of, to, non_blocking=False: _run(aten.copy_.default, (to, of, non_blocking), {}), 'PrivateUse1')
    available.libs = lib,copies
