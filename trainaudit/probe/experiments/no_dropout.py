"""Dropout off in a model that otherwise trains. torch is imported inside functions only."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

_FUNCTIONS = ("dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout")


def without_dropout(model: Any, forward: Any) -> AbstractContextManager[Any]:
    """Sets the dropout of the model's layers to 0, for good (it is a copy). Dropout that its code asks of torch's functions is off inside the
    context that is returned; whether there is any shows `forward()`, which runs the model once."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, (torch.nn.RNNBase, torch.nn.MultiheadAttention)):
            module.dropout = 0.0
    passing = _passing()
    with passing, torch.no_grad():
        forward()
    return _passing() if passing.seen else nullcontext()


def _passing() -> Any:
    """A mode in which torch's dropout functions give back what they are given."""
    import torch
    from torch.overrides import TorchFunctionMode

    dropping = {getattr(torch.nn.functional, name) for name in _FUNCTIONS} | {
        torch.dropout,
        torch.dropout_,
        torch.alpha_dropout,
    }
    attention = torch.nn.functional.scaled_dot_product_attention

    class Passing(TorchFunctionMode):
        seen = False

        def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if function in dropping:
                Passing.seen = Passing.seen or _share(args, kwargs) > 0
                return args[0] if args else kwargs["input"]
            if function is attention and (kwargs.get("dropout_p") or (len(args) > 4 and args[4])):
                Passing.seen = True
                args, kwargs = (
                    args[:4] + ((0.0, *args[5:]) if len(args) > 4 else ()),
                    {**kwargs, **({"dropout_p": 0.0} if len(args) <= 4 else {})},
                )
            return function(*args, **kwargs)

    return Passing()


def _share(args: Any, kwargs: Any) -> float:
    share = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    return float(share)
