"""Synthetic targets: drawn by chance, or a fixed random function of the inputs (a teacher), so that there is something to learn.

torch is imported inside functions only.
"""

from __future__ import annotations

import math
from typing import Any

from trainaudit.frozen import frozen
from trainaudit.probe.heads import Head
from trainaudit.probe.losses import CLASSIFYING, MEASURING, class_axis
from trainaudit.probe.synthetic import Example, is_tensor

_FEATURES = 1024
_CLASSES = 64
"""A teacher tells at most so many classes apart: more would not be learnt from a few hundred examples."""
_TABLE = 1 << 17


@frozen
class Goal:
    """What targets are to be: "classes" (indices along `axis`), "binary" (0 and 1), "signs" (−1 and 1), "shares" (of classes along `axis`) or
    "values", squashed where the output is ("sigmoid", "tanh", "softmax"), for an output of `shape` without its batch axis.

    `axis` is that of the classes, counted without the batch axis. `is_copy` says that the model is to give back its input.
    """

    kind: str
    shape: tuple[int, ...]
    axis: int = 0
    squash: str = ""
    is_copy: bool = False

    @property
    def target_shape(self) -> tuple[int, ...]:
        return tuple(size for place, size in enumerate(self.shape) if self.kind != "classes" or place != self.axis)


def goal_of(output: Any, loss: str, head: Head, *, is_token_model: bool) -> Goal:
    """What a loss of that name, or the head where none is named (""), wants as targets for `output`, of shape (batch, …)."""
    if output.ndim <= 2 or is_token_model:
        axis = max(1, int(output.ndim) - 1)
    else:
        axis = 1 if output.ndim >= 4 else class_axis(output, output)
    kind = _kind(output, loss, head, axis, is_token_model)
    squash = (
        head.activation if kind == "values" and head.activation in ("sigmoid", "tanh", "hard_tanh", "softmax") else ""
    )
    return Goal(kind, tuple(output.shape[1:]), axis - 1, squash, head.is_like_input)


def _kind(output: Any, loss: str, head: Head, axis: int, is_token_model: bool) -> str:
    if loss in CLASSIFYING:
        return "classes"
    if loss in ("bce", "bce-with-logits"):
        return "binary"
    if loss == "hinge":
        return "classes" if output.ndim == 2 and output.shape[1] > 1 else "signs"
    if loss == "kl":
        return "shares"
    if loss in MEASURING or output.ndim < 2:
        return "values"
    if head.activation in ("softmax", "log_softmax"):
        return "classes"
    if head.activation == "sigmoid":
        return "binary"
    if head.activation in ("tanh", "hard_tanh", "softsign"):
        return "values"
    if output.shape[axis] < 2 or head.is_trunk or head.is_like_input:
        return "values"
    return "classes" if output.ndim == 2 or output.ndim >= 4 or is_token_model else "values"


def random_targets(goal: Goal, size: int, seed: int) -> Any:
    """Targets for `size` examples that have nothing to do with the inputs."""
    import torch

    shape, generator = (size, *goal.target_shape), torch.Generator().manual_seed(seed)
    if goal.kind == "classes":
        return torch.randint(0, goal.shape[goal.axis], shape, generator=generator)
    if goal.kind in ("binary", "signs"):
        ones = torch.randint(0, 2, shape, generator=generator).float()
        return ones if goal.kind == "binary" else 2 * ones - 1
    drawn = torch.randn(shape, generator=generator)
    return drawn.softmax(goal.axis + 1) if goal.kind == "shares" else _squashed(drawn, goal)


def taught_targets(goal: Goal, inputs: Example, size: int, seed: int) -> Any:
    """Targets that the teacher of that seed gives to `size` inputs: the same function for every batch.

    Token ids go through a random table; other inputs through a random linear map of their features (averages over space and time), or, where
    the targets have places of their own (pixels, time steps), through the local average of the input there.
    """
    import torch

    values = [value for _, value in inputs.items if is_tensor(value) and value.ndim and value.shape[0] == size]
    varying = [value for value in values if not bool((value == value[:1]).all())] or values
    if not varying:
        return random_targets(goal, size, seed)
    shape = (size, *goal.target_shape)
    whole = [value for value in varying if not value.is_floating_point() and not value.is_complex()]
    ids = next((value for value in whole if tuple(value.shape) == shape), whole[0] if whole else None)
    if goal.kind == "classes":
        count = min(goal.shape[goal.axis], _CLASSES)
        if ids is not None and tuple(ids.shape) == shape:
            table = torch.randint(0, count, (_TABLE,), generator=torch.Generator().manual_seed(seed + 1))
            return table[ids.long() % _TABLE]
        features = _features(varying, ids, seed)
        if len(shape) == 1 and features.shape[1] >= 4:
            return _projected(features, count, seed).argmax(1)
        return _intervals(_scores(varying, ids, shape, seed), count)
    copied = next(
        (value for value in varying if goal.is_copy and value.is_floating_point() and tuple(value.shape) == shape), None
    )
    scores = _scores(varying, ids, shape, seed) if copied is None else copied.float().clone()
    if goal.kind in ("binary", "signs"):
        ones = (scores > 0).float()
        return ones if goal.kind == "binary" else 2 * ones - 1
    return (2 * scores).softmax(goal.axis + 1) if goal.kind == "shares" else _squashed(scores, goal)


def _squashed(scores: Any, goal: Goal) -> Any:
    if goal.squash == "softmax":
        return (2 * scores).softmax(goal.axis + 1)
    return {"sigmoid": scores.sigmoid, "tanh": scores.tanh, "hard_tanh": scores.tanh}.get(goal.squash, lambda: scores)()


def _intervals(scores: Any, count: int) -> Any:
    """Standard normal scores as `count` equally frequent classes."""
    import torch

    shares = torch.arange(1, count, dtype=torch.float64) / count
    return torch.bucketize(scores, (math.sqrt(2) * torch.erfinv(2 * shares - 1)).float())


def _scores(varying: list[Any], ids: Any, shape: tuple[int, ...], seed: int) -> Any:
    """A score of about standard normal size for each place of the targets."""
    import torch

    places = math.prod(shape[1:])
    spatial = next((value for value in varying if value.is_floating_point() and value.ndim >= 3), None)
    if places > 1 and len(shape) > 2 and ids is None and spatial is not None:
        axis = 1 if spatial.ndim >= 4 else 2
        local = spatial.float().mean(axis).reshape(shape[0], 1, -1)
        local = torch.nn.functional.adaptive_avg_pool1d(local, places)
        return (local / local.std().clamp_min(1e-6)).reshape(shape)
    features = _features(varying, ids, seed)
    columns = min(places, _FEATURES)
    scores = _projected(features, columns, seed)
    if columns < places:
        scores = scores[:, torch.arange(places) * columns // places]
    return scores.reshape(shape)


def _projected(features: Any, columns: int, seed: int) -> Any:
    import torch

    weights = torch.randn(features.shape[1], columns, generator=torch.Generator().manual_seed(seed + 2))
    return features @ (weights / weights.norm(dim=0))


def _features(varying: list[Any], ids: Any, seed: int) -> Any:
    """(examples, at most 1024 features) of about unit variance: averages over space and time, neighbours of long vectors averaged."""
    import torch

    if ids is not None:
        table = torch.randn(_TABLE, 16, generator=torch.Generator().manual_seed(seed + 3))
        looked_up = table[ids.long().reshape(ids.shape[0], -1)[:, :_FEATURES] % _TABLE]
        return looked_up.sum(1) / math.sqrt(looked_up.shape[1])
    columns = []
    for value in varying:
        value = (value.real if value.is_complex() else value).float()
        if value.ndim >= 3:
            kept = 1 if value.ndim >= 4 else 2
            value = value.mean(tuple(axis for axis in range(1, value.ndim) if axis != kept))
            value = value / value.std().clamp_min(1e-6)
        value = value.reshape(value.shape[0], -1)
        if value.shape[1] > _FEATURES:
            width = value.shape[1] // _FEATURES
            value = value[:, : width * _FEATURES].reshape(value.shape[0], _FEATURES, width).mean(2) * math.sqrt(width)
        columns.append(torch.nan_to_num(value))
    return torch.cat(columns, dim=1)
