"""The loss that equal inputs with different targets force. torch is imported inside functions only."""

from __future__ import annotations

from typing import Any

from trainaudit.probe.batches import batch_axis, inputs
from trainaudit.probe.experiments.answers import best_constant
from trainaudit.probe.trainee import Batch


def label_conflict(loss: str, output: Any, batch: Batch) -> float | None:
    """Mean over the examples of what the best answer costs that is one for all examples with the same inputs, bit for bit: 0 where each input
    has one target. None where it cannot be said: other losses, or a batch that cannot be taken apart."""
    import torch

    if (
        output is None
        or not isinstance(batch.target, torch.Tensor)
        or batch.target.shape[:1] != (batch.size,)
        or output.shape[:1] != (batch.size,)
    ):
        return None
    groups: dict[bytes, list[int]] = {}
    for place, key in enumerate(_keys(batch)):
        groups.setdefault(key, []).append(place)
    total = 0.0
    for places in groups.values():
        if len(places) > 1 and not bool((batch.target[places] == batch.target[places[0]]).all()):
            found = best_constant(loss, output[places], batch.target[places])
            if found is None:
                return None
            total += found * len(places) / batch.size
    return total


def _keys(batch: Batch) -> list[bytes]:
    """For each example the bytes of its inputs."""
    import torch

    parts = [b""] * batch.size
    for tensor in inputs(batch):
        axis = batch_axis(tensor, batch.size)
        if axis is not None:
            rows = tensor.detach().movedim(axis, 0).reshape(batch.size, -1).contiguous().cpu().view(torch.uint8).numpy()
            parts = [part + row.tobytes() for part, row in zip(parts, rows, strict=True)]
    return parts
