"""`saved`: a model, its optimizer and the generators are afterwards what they were. torch is imported inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainaudit.load.torch.restore import left_as_found


@contextmanager
def saved(model: Any, optimizer: Any = None) -> Iterator[None]:
    """Around code that trains `model`: whatever happens inside (also exceptions and interrupts), afterwards its parameters, buffers, gradients,
    submodules, hooks, mode, requires_grad and plain attributes, the optimizer's state, groups and hooks, and the generators of Python, numpy and torch
    (CPU and CUDA) are bit for bit what they were, in the same tensors. Lazy parameters that were initialized inside are lazy again."""
    lazy = _lazy_parts(model)
    own = {id(item) for item in model.parameters()}
    kept = None if optimizer is None else {key: _kept(value, own) for key, value in vars(optimizer).items()}
    try:
        with left_as_found(model, computes=True):
            yield
    finally:
        for part, kind, wanted in lazy:
            _make_lazy(part, kind, wanted)
        if kept is not None:
            now = vars(optimizer)
            for key in [key for key in now if key not in kept]:
                del now[key]
            now.update({key: _put_back(value) for key, value in kept.items()})


def _kept(value: Any, own: set[int]) -> tuple[Any, Any]:
    """An object, and what was in it. The model's own tensors are kept elsewhere."""
    import torch

    if isinstance(value, torch.Tensor):
        return value, None if id(value) in own else value.detach().clone()
    if isinstance(value, dict):
        return value, {key: _kept(item, own) for key, item in value.items()}
    if isinstance(value, list):
        return value, [_kept(item, own) for item in value]
    if isinstance(value, set):
        return value, copy.copy(value)
    return value, None


def _put_back(kept: tuple[Any, Any]) -> Any:
    import torch

    value, content = kept
    if isinstance(value, torch.Tensor):
        if content is not None:
            with torch.no_grad():
                value.copy_(content)
    elif isinstance(value, dict):
        restored = {key: _put_back(item) for key, item in content.items()}
        value.clear()
        value.update(restored)
    elif isinstance(value, list):
        value[:] = [_put_back(item) for item in content]
    elif isinstance(value, set):
        value.clear()
        value.update(content)
    return value


def _lazy_parts(model: Any) -> list[tuple[Any, type, bool]]:
    """Modules, parameters and buffers that get another class when they are initialized."""
    import torch

    parts: list[Any] = [part for part in model.modules() if isinstance(part, torch.nn.modules.lazy.LazyModuleMixin)]
    tensors = [item for part in parts for item in (*part._parameters.values(), *part._buffers.values())]
    parts += [item for item in tensors if item is not None and torch.nn.parameter.is_lazy(item)]
    return [(part, type(part), getattr(part, "requires_grad", None) is True) for part in parts]


def _make_lazy(part: Any, kind: type, wanted: bool) -> None:
    import torch

    if isinstance(part, torch.Tensor):
        part.__class__ = torch.nn.Parameter if issubclass(kind, torch.nn.Parameter) else torch.Tensor
        part.data = torch.empty(0, dtype=part.dtype, device=part.device)
        part.grad = None
        part.requires_grad_(wanted)
    part.__class__ = kind
