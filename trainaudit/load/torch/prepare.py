"""What is done before a module is captured: wrappers taken off, lazy parameters given shapes, the example brought to the module's device.
torch is imported inside functions only."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.load.torch.restore import left_as_found

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
"""Classes of torch that run another module, and where they keep it."""

_QUANTIZED = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.nn.quantized",
    "torch.ao.nn.sparse.quantized",
)


@dataclass(frozen=True, slots=True)
class Example:
    """What a module is called with."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def mapped(self, change: Callable[[Any], Any]) -> Example:
        """The same with every tensor changed."""
        import torch
        from torch.utils._pytree import tree_map

        args, kwargs = tree_map(
            lambda leaf: change(leaf) if isinstance(leaf, torch.Tensor) else leaf, (self.args, dict(self.kwargs))
        )
        return Example(args, kwargs)


def example_of(given: Any) -> Example:
    """A mapping goes by name, a tuple or list by place, anything else is the one argument."""
    if isinstance(given, Mapping):
        return Example(kwargs=given)
    return Example(args=tuple(given) if isinstance(given, (tuple, list)) else (given,))


def unwrapped(module: Any) -> Any:
    """The module inside torch.compile's, DataParallel's and DistributedDataParallel's wrappers."""
    while (place := _WRAPPERS.get(type(module).__name__)) and type(module).__module__.startswith("torch."):
        module = getattr(module, place)
    return module


def refuse_quantized(module: Any, name: str) -> None:
    """Raises `TrainauditError` for modules whose weights torch has packed for integer kernels."""
    for path, part in module.named_modules():
        if type(part).__module__.startswith(_QUANTIZED):
            where = f"{path} ({type(part).__name__})" if path else type(part).__name__
            raise TrainauditError(
                "quantized-module",
                f"{name} holds {where}, whose quantized weights cannot be read.",
                "Audit the module before it is quantized.",
            )


def materialized(module: Any, example: Example, *, training: bool) -> Any:
    """The module, or where parameters have no shape yet (lazy modules) a copy of it that ran once on the example.

    Raises `TrainauditError` where that run fails.
    """
    import copy

    import torch

    if not any(torch.nn.parameter.is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        return module
    with left_as_found(module, computes=False):
        ready = copy.deepcopy(module).train(training)
        try:
            with torch.no_grad():
                ready(*example.args, **example.kwargs)
        except Exception as error:
            what = "The model has lazy parameters, and running a copy of it on the example input to give them shapes failed"
            said = str(error).strip().splitlines()
            raise TrainauditError("lazy-module", f"{what} ({said[0] if said else type(error).__name__}).") from error
    return ready


def on_device(module: Any, example: Example) -> Example:
    """The example on the device of the module's first parameter (meta among them)."""
    first = next(module.parameters(), None)
    if first is None or first.device.type == "cpu":
        return example
    return example.mapped(lambda tensor: tensor.to(first.device))


def made_ready(module: Any, *, training: bool) -> None:
    """Training mode as `module.train()` sets it; the fused kernels of nn.MultiheadAttention, which no training uses, are off; of what the
    module returns, tensors alone. Called within `left_as_found`, which undoes all of it."""
    import torch

    module.train(training)
    torch.backends.mha.set_fastpath_enabled(False)
    forward = module.forward

    @functools.wraps(forward)
    def tensors_alone(*args: Any, **kwargs: Any) -> Any:
        return returned_tensors(forward(*args, **kwargs))

    module.forward = tensors_alone


def returned_tensors(result: Any) -> Any:
    """The tensors in mappings, dataclasses, named and plain tuples and lists; what else a module returns (a cache, a number) is left out."""
    import torch

    if isinstance(result, torch.Tensor):
        return result
    if dataclasses.is_dataclass(result) and not isinstance(result, (Mapping, type)):
        result = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    elif isinstance(result, tuple) and hasattr(result, "_asdict"):
        result = result._asdict()
    if isinstance(result, Mapping):
        items = {str(key): returned_tensors(value) for key, value in result.items()}
        return {key: value for key, value in items.items() if value is not None} or None
    if isinstance(result, (tuple, list)):
        parts = [returned_tensors(value) for value in result]
        return tuple(part for part in parts if part is not None) or None
    return None
