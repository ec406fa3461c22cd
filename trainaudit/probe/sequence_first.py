"""Models whose inputs hold time before the batch, as torch's recurrent layers and transformers take them by default. torch is imported inside functions
only."""

from __future__ import annotations

from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.probe import objectives
from trainaudit.probe.trainee import Batch


def is_sequence_first(model: Any, batch: Batch, run: Any, shown: str) -> bool:
    """A layer that takes (time, batch, …) gets the model's own first input, or what was looked up for it, as it stands: `run(model, batch)` is one
    forward pass. Where both sizes are equal this cannot be told, and the batch is taken to come first, as everywhere else."""
    import torch

    layers = [part for part in model.modules() if _takes_time_first(part)]
    given = next((value for value in (*batch.args, *batch.kwargs.values()) if isinstance(value, torch.Tensor)), None)
    if not layers or given is None or given.ndim < 2 or given.shape[0] == given.shape[1]:
        return False
    seen: list[tuple[int, ...]] = []

    def note(_part: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if first is not None and first.ndim == 3:
            seen.append(tuple(first.shape))

    handles = [part.register_forward_pre_hook(note, with_kwargs=True) for part in layers]
    try:
        objectives.tried(model, batch, run, shown)
    except TrainauditError:  # what is wrong will be told where the loss is computed
        return False
    finally:
        for handle in handles:
            handle.remove()
    return bool(seen) and seen[0][:2] == tuple(given.shape[:2])


def _takes_time_first(part: Any) -> bool:
    import torch

    kinds = (torch.nn.RNNBase, torch.nn.MultiheadAttention)
    return isinstance(part, kinds) and not getattr(part, "batch_first", True)
