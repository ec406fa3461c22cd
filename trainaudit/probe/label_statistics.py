"""What targets are like: classes and how often each comes, ranges of numbers, labels that no output stands for. torch is imported inside functions only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainaudit.probe.losses import CLASSIFYING, TWO_VALUED
from trainaudit.probe.structures import rows_of_bytes
from trainaudit.probe.trainee import Batch, Trainee
from trainaudit.trace.data import TargetStatistics

_MOST_SHOWN = 64
_MOST_CLASSES = 1 << 16
_SHUFFLES = 8


def describe_targets(trainee: Trainee, batches: Sequence[Batch]) -> TargetStatistics | None:
    """None where the batches have no targets that are tensors."""
    import torch

    tensors = [batch.label if batch.label is not None else batch.target for batch in batches]
    tensors = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor)]
    if len(tensors) != len(batches) or not tensors:
        return None
    first = tensors[0]
    dtype, shape = str(first.dtype).removeprefix("torch."), tuple(first.shape)
    flat = torch.cat([tensor.detach().cpu().reshape(-1) for tensor in tensors])
    if first.is_complex():
        return TargetStatistics("other", dtype, shape)
    good = flat[flat.isfinite()] if first.is_floating_point() else flat
    numbers = good.double()
    kind = _kind(trainee, tensors, numbers)
    found = TargetStatistics(kind, dtype, shape, non_finite_count=flat.numel() - good.numel())
    if numbers.numel():
        mean, std, least, most = (
            float(one) for one in (numbers.mean(), numbers.std(correction=0), numbers.min(), numbers.max())
        )
        found = replace(found, mean=mean, std=std, least=least, most=most)
    if kind not in ("classes", "binary"):
        return found
    labels = torch.cat([labels_of(tensor, kind).reshape(-1) for tensor in tensors])
    return replace(found, **_classes(trainee, labels, kind, _width(first) if first.is_floating_point() else None))


def _kind(trainee: Trainee, tensors: Sequence[Any], numbers: Any) -> str:
    """See `trace.data.TargetStatistics`."""
    if not numbers.numel():
        return "other"
    two_valued = bool(((numbers == 0) | (numbers == 1)).all())
    first = tensors[0]
    if not first.is_floating_point():
        if trainee.loss in TWO_VALUED or (two_valued and trainee.class_count is None):
            return "binary"
        if trainee.loss and trainee.loss not in CLASSIFYING and trainee.class_count is None:
            return "values"
        return "classes"
    if first.ndim > 1 and _width(first) > 1 and float(numbers.min()) >= 0 and all(map(_sums_to_one, tensors)):
        return "classes" if two_valued else "probabilities"
    if two_valued:
        return "binary"
    if trainee.class_count is not None and trainee.loss in CLASSIFYING and bool((numbers == numbers.round()).all()):
        return "classes"
    return "values"


def _sums_to_one(tensor: Any) -> bool:
    return bool(((tensor.sum(_axis(tensor)) - 1).abs() < 1e-4).all())


def _axis(tensor: Any) -> int:
    """The axis of one-hot rows that counts classes."""
    return 1 if tensor.ndim != 3 else 2


def _width(tensor: Any) -> int:
    return int(tensor.shape[_axis(tensor)]) if tensor.ndim > 1 else 1


def labels_of(tensor: Any, kind: str) -> Any:
    """Class indices (int64): one-hot rows by their 1."""
    tensor = tensor.detach().cpu()
    is_one_hot = kind == "classes" and tensor.is_floating_point() and tensor.ndim > 1 and _width(tensor) > 1
    return (
        tensor.argmax(_axis(tensor))
        if is_one_hot
        else tensor.nan_to_num(0).long()
        if tensor.is_floating_point()
        else tensor.long()
    )


def _classes(trainee: Trainee, labels: Any, kind: str, width: int | None) -> dict[str, Any]:
    import torch

    ignored = labels == trainee.ignore_index
    seen, counts = torch.unique(labels[~ignored], return_counts=True)
    count = 2 if kind == "binary" else trainee.class_count or (width if width is not None and width > 1 else None)
    pairs = sorted(zip(seen.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    found: dict[str, Any] = {
        "class_count": None if kind == "binary" else count,
        "class_counts": {str(label): times for label, times in pairs[:_MOST_SHOWN]},
        "ignored_count": int(ignored.sum()),
    }
    if count is not None:
        inside = [label for label, _ in pairs if 0 <= label < count]
        found["missing_class_count"] = count - len(inside) if count <= _MOST_CLASSES else None
        found["out_of_range_count"] = sum(times for label, times in pairs if not 0 <= label < count)
    return found


def keys_of_targets(targets: Sequence[Any], sizes: Sequence[int]) -> list[bytes]:
    """The bytes of each example's target; none where a batch has no target by example."""
    import torch

    keys: list[bytes] = []
    for target, size in zip(targets, sizes, strict=True):
        if not isinstance(target, torch.Tensor) or not target.ndim or target.shape[0] != size or not target.numel():
            return []
        keys += [row.tobytes() for row in rows_of_bytes(target, size)]
    return keys


def batch_entropy_ratio(trainee: Trainee, batches: Sequence[Batch], seed: int) -> float | None:
    """Mean entropy of the labels in a batch over what it is when the same labels are dealt to the same batches by chance: 1 for shuffled data of any
    batch size, near 0 where batches hold one class each. None where the targets are no classes, or batches are too small or too few to tell."""
    import torch

    described = describe_targets(trainee, batches)
    sizes = [batch.size for batch in batches]
    if described is None or described.kind not in ("classes", "binary") or len(batches) < 2 or max(sizes) < 4:
        return None
    each = [labels_of(batch.target, described.kind).reshape(-1) for batch in batches]
    if any(len(labels) != size for labels, size in zip(each, sizes, strict=True)):
        return None
    labels = torch.cat(each)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [
        _mean_entropy(labels[torch.randperm(len(labels), generator=generator)], sizes) for _ in range(_SHUFFLES)
    ]
    expected = sum(shuffled) / len(shuffled)
    return _mean_entropy(labels, sizes) / expected if expected > 1e-6 else None


def _mean_entropy(labels: Any, sizes: Sequence[int]) -> float:
    """Of the labels of each batch in turn, in nats."""
    import math

    total, start = 0.0, 0
    for size in sizes:
        counts = Counter(labels[start : start + size].tolist()).values()
        total -= sum(count / size * math.log(count / size) for count in counts)
        start += size
    return total / len(sizes)
