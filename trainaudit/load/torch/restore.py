"""Leaves a module as it was found, whatever happens meanwhile. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def left_as_found(module: Any, *, computes: bool) -> Iterator[None]:
    """Around code that traces `module`: afterwards its parameters, buffers, submodules, hooks, mode, requires_grad, .grad and plain
    attributes, the generators of torch, numpy and Python, and torch's grad mode and default type are what they were.

    `computes` says that the code computes with the module's own tensors: their values are copied and put back. Otherwise the tracer
    works on stand-ins, and only buffers (small) are copied.
    """
    import random

    import numpy as np
    import torch

    python_state, numpy_state = random.getstate(), np.random.get_state()
    states = [torch.get_rng_state()]
    on_devices = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if on_devices:
        states += torch.cuda.get_rng_state_all()
    grad_mode, dtype, fast = (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.backends.mha.get_fastpath_enabled(),
    )
    kept = [(owner, {key: _held(value) for key, value in vars(owner).items()}) for owner in module.modules()]
    tensors = _tensors(module)
    about = [(tensor, tensor.requires_grad, tensor.grad if tensor.is_leaf else None) for tensor in tensors]
    copied = tensors if computes else [tensor for tensor in tensors if not isinstance(tensor, torch.nn.Parameter)]
    copies = [(tensor, tensor.detach().clone()) for tensor in copied if _has_values(tensor)]
    gradients = [(grad, grad.detach().clone()) for _, _, grad in about if computes and grad is not None]
    try:
        yield
    finally:
        torch.set_grad_enabled(grad_mode)
        torch.set_default_dtype(dtype)
        torch.backends.mha.set_fastpath_enabled(fast)
        for owner, attributes in kept:
            _put_back(owner, attributes)
        with torch.no_grad():
            for tensor, values in (*copies, *gradients):
                if not _equal(tensor, values):
                    tensor.copy_(values)
        for tensor, wanted, grad in about:
            if tensor.is_leaf:
                tensor.grad = grad
                if tensor.requires_grad != wanted:
                    tensor.requires_grad_(wanted)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(states[0])
        if on_devices:
            torch.cuda.set_rng_state_all(states[1:])


def _held(value: Any) -> tuple[Any, Any]:
    """A value, and for a container of torch's or a plain one what was in it."""
    return value, value.copy() if isinstance(value, (dict, list, set)) else None


def _put_back(owner: Any, attributes: dict[str, tuple[Any, Any]]) -> None:
    now = vars(owner)
    for key in [key for key in now if key not in attributes]:
        del now[key]
    for key, (value, content) in attributes.items():
        if content is not None:
            if isinstance(value, list):
                value[:] = content
            elif content is not value:
                value.clear()
                value.update(content)
        now[key] = value


def _tensors(module: Any) -> list[Any]:
    """Parameters, buffers, and tensors that are plain attributes, each once."""
    import torch

    found = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    for owner in module.modules():
        for value in vars(owner).values():
            if isinstance(value, torch.Tensor):
                found.setdefault(id(value), value)
    return [tensor for tensor in found.values() if not torch.nn.parameter.is_lazy(tensor)]


def _has_values(tensor: Any) -> bool:
    return not tensor.is_meta


def _equal(tensor: Any, values: Any) -> bool:
    """Bit for bit, so that an unchanged tensor is not written to (its version would count)."""
    import torch

    if tensor.shape != values.shape or tensor.dtype != values.dtype or tensor.layout is not torch.strided:
        return False  # the bits of a sparse tensor do not lie in one piece
    left, right = (side.detach().reshape(-1).contiguous().view(torch.uint8) for side in (tensor, values))
    return bool(torch.equal(left, right))
