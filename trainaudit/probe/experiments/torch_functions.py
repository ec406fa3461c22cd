"""Dropout and batch normalization wherever a model asks for them: in layers of torch, in its own code and in modules made of ONNX files, all of which
end in a few functions of torch. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_DROPOUTS = ("dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout")


def without_dropout(model: Any, run: Callable[[], object]) -> AbstractContextManager[Any]:
    """Sets the dropout of torch's layers to 0, for good (the model is a copy). Dropout that its code asks of torch's functions is off inside the
    context that is returned; `run()` runs the model once, to see whether there is any."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, (torch.nn.RNNBase, torch.nn.MultiheadAttention)):
            module.dropout = 0.0
    changing = _changing(drops=False)
    with changing, torch.no_grad():
        run()
    return _changing(drops=False) if changing.dropout_count else nullcontext()


def calibrate(run: Callable[[], object]) -> None:
    """Makes the running statistics of batch normalizations those of the one batch that `run()` runs the model on, in training mode."""
    import torch

    with _changing(momentum=1.0), torch.no_grad():
        run()


def counted(run: Callable[[], object]) -> tuple[int, int]:
    """Dropouts that drop and batch normalizations that one pass in training mode asks for."""
    import torch

    counting = _changing()
    with counting, torch.no_grad():
        run()
    return counting.dropout_count, counting.norm_count


def _changing(*, drops: bool = True, momentum: float | None = None) -> Any:
    """A mode that counts calls of dropout and of batch normalization. Without `drops` dropouts give back what they are given; a `momentum` is used
    by all batch normalizations with running statistics."""
    import torch
    from torch.overrides import TorchFunctionMode

    functional = torch.nn.functional
    dropouts = {getattr(functional, name) for name in _DROPOUTS} | {torch.dropout, torch.dropout_, torch.alpha_dropout}

    class Changing(TorchFunctionMode):
        dropout_count = norm_count = 0

        def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if function in dropouts and _argument(args, kwargs, 1, "p", 0.5) > 0:
                self.dropout_count += 1
                if not drops:
                    return _argument(args, kwargs, 0, "input", None)
            elif (
                function is functional.scaled_dot_product_attention and _argument(args, kwargs, 4, "dropout_p", 0.0) > 0
            ):
                self.dropout_count += 1
                if not drops:
                    args, kwargs = _with(args, kwargs, 4, "dropout_p", 0.0)
            elif function is functional.batch_norm:
                self.norm_count += 1
                if momentum is not None:
                    args, kwargs = _with(args, kwargs, 6, "momentum", momentum)
            return function(*args, **kwargs)

    return Changing()


def _argument(args: Any, kwargs: Any, place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _with(args: Any, kwargs: Any, place: int, name: str, value: Any) -> tuple[Any, Any]:
    if len(args) > place:
        return (*args[:place], value, *args[place + 1 :]), kwargs
    return args, {**kwargs, name: value}
