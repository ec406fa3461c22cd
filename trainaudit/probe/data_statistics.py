"""`describe`: what the examples that a probe read look like, as a `DataSample`. torch is imported inside functions only.

Everything is counted over the batches that were read, which are bounded; a second pass over a source, and single examples of a dataset, are read
within a few seconds. Of synthetic data only sizes are said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from trainaudit.probe.batches import inputs
from trainaudit.probe.calling import signature_of
from trainaudit.probe.data_order import order_of
from trainaudit.probe.feature_statistics import features_of
from trainaudit.probe.label_statistics import batch_entropy_ratio, describe_targets, keys_of_targets
from trainaudit.probe.structures import rows_of_bytes, tensors_in
from trainaudit.probe.trainee import Batch, Trainee
from trainaudit.trace.data import DataSample, InputStatistics

_MOST_EXAMPLES = 1 << 17
"""More are not compared with each other."""
_MOST_ELEMENTS = 1 << 24
"""Moments are taken of as many values of an input; all are looked at for NaN."""


def describe(trainee: Trainee, *, seed: int, seconds: float = math.inf) -> DataSample:
    """The data of a trainee. `seconds` bounds what is read besides the batches that are there."""
    ends = time.perf_counter() + seconds
    train = trainee.train
    sizes = [batch.size for batch in train]
    if trainee.data != "real":
        return DataSample(trainee.data, sum(sizes), len(train), sizes[0] if sizes else 0)
    keys = _keys(train)
    held = _keys(trainee.validation)
    targets = keys_of_targets([batch.target for batch in train], sizes)
    duplicates, conflicts = _repeated(keys, targets)
    order = order_of(trainee.source, seed=seed, ends=ends)
    return DataSample(
        kind="real",
        sample_count=sum(sizes),
        batch_count=len(train),
        batch_size=max(sizes, default=0),
        inputs=_inputs(trainee, train),
        target=describe_targets(trainee, train),
        duplicate_share=duplicates,
        may_repeat=trainee.source is not None and trainee.source.may_repeat,
        conflicting_share=conflicts,
        validation_count=sum(batch.size for batch in trainee.validation),
        overlap_share=_overlap(keys, held),
        batch_label_entropy_ratio=None if order.is_drawn_here else batch_entropy_ratio(trainee, train, seed),
        is_same_order=order.is_same,
        is_augmented=order.is_augmented,
        repeated_augmentation_share=order.repeated_share,
        is_whole=trainee.is_whole,
        notes=order.notes,
    )


def _inputs(trainee: Trainee, batches: Sequence[Batch]) -> tuple[InputStatistics, ...]:
    """Each tensor that the model is given, by the name of forward's parameter."""
    found = []
    for place, name in enumerate(_names(trainee, batches[0])):
        values = [read[place] for batch in batches if len(read := inputs(batch)) > place]
        found.append(_described(name, values))
    return tuple(found)


def _names(trainee: Trainee, batch: Batch) -> list[str]:
    """Names for `inputs(batch)`, in their order."""
    try:
        parameters = signature_of(trainee.model).names
    except (TypeError, ValueError):
        parameters = ()
    named = {id(tensor): name for name, tensor in (*tensors_in(batch.args), *tensors_in(batch.kwargs))}
    words = []
    for tensor in inputs(batch):
        first, dot, rest = named[id(tensor)].partition(".")
        if first.isdigit() and int(first) < len(parameters):
            first = parameters[int(first)]
        words.append(f"{first}{dot}{rest}" or "input")
    return words


def _described(name: str, values: Sequence[Any]) -> InputStatistics:
    first = values[0]
    dtype = str(first.dtype).removeprefix("torch.")
    if not _is_numbers(first):
        return InputStatistics(name, dtype, tuple(first.shape))
    features = features_of(_bounded(values))
    return InputStatistics(
        name=name,
        dtype=dtype,
        shape=tuple(first.shape),
        mean=features.mean,
        std=features.std,
        least=features.least,
        most=features.most,
        non_finite_count=sum(value.numel() - int(value.isfinite().sum()) for value in values),
        feature_count=features.count,
        constant_feature_share=features.constant_share,
        largest_feature_scale_ratio=features.scale_ratio,
        outlier_share=features.outlier_share,
        largest_z=features.largest_z,
    )


def _bounded(values: Sequence[Any]) -> Sequence[Any]:
    """The first batches, as far as moments are taken of them."""
    total, count = 0, 0
    for value in values:
        if total and total + value.numel() > _MOST_ELEMENTS:
            break
        total, count = total + value.numel(), count + 1
    return values[:count]


def _is_numbers(tensor: Any) -> bool:
    """Numbers to compute with: floats, and bytes of images; token ids, masks and categories are none."""
    import torch

    return bool(tensor.is_floating_point() or (tensor.dtype == torch.uint8 and tensor.ndim >= 3))


# --- the same examples again ---------------------------------------------------------------------------------------------


def _keys(batches: Sequence[Batch]) -> list[bytes]:
    """A fingerprint of the inputs of each example, bit for bit; none where they cannot be told apart by example."""
    keys: list[bytes] = []
    for batch in batches:
        found = example_keys(inputs(batch), batch.size)
        if found is None or len(keys) > _MOST_EXAMPLES:
            break
        keys += found
    return keys


def example_keys(tensors: Sequence[Any], size: int) -> list[bytes] | None:
    """16 bytes for each of `size` examples of a batch; None where no tensor has that first axis."""
    import hashlib

    import torch

    rows = [
        rows_of_bytes(tensor, size)
        for tensor in tensors
        if tensor.ndim and tensor.shape[0] == size and tensor.numel() and tensor.layout is torch.strided
    ]
    if not rows:
        return None
    keys = []
    for place in range(size):
        digest = hashlib.blake2b(digest_size=16)
        for row in rows:
            digest.update(row[place].data)
        keys.append(digest.digest())
    return keys


def _repeated(keys: list[bytes], targets: list[bytes]) -> tuple[float | None, float | None]:
    """Share of the examples that equal an earlier one, and share of those that have the inputs of one with another target."""
    if len(keys) < 2:
        return None, None
    answers: dict[bytes, set[bytes]] = {}
    repeats = 0
    for place, key in enumerate(keys):
        repeats += key in answers
        answers.setdefault(key, set()).update(targets[place : place + 1])
    conflicts = sum(len(answers[key]) > 1 for key in keys) / len(keys) if len(targets) >= len(keys) else None
    return repeats / len(keys), conflicts


def _overlap(train: list[bytes], held: list[bytes]) -> float | None:
    if not train or not held:
        return None
    known = set(train)
    return sum(key in known for key in held) / len(held)
