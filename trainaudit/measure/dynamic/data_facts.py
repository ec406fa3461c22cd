"""Facts of the data that a probe read, from the trace's sample of them. May import `measure.facts` and `trace`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from math import prod

from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.trace.data import DataSample, InputStatistics, TargetStatistics
from trainaudit.trace.trace import Trace

_NO_HELD = Unmeasured("no validation data were given: --validation")
_REDRAWN = Unmeasured(
    "examples are drawn with replacement or come from a stream, which may give one of them twice: give the dataset itself to have it looked at"
)
_NO_INDEX = Unmeasured("the data have no index by which one example could be fetched twice")


def measure_data(trace: Trace) -> Columns:
    """Columns of `data.…`; none where the trace holds no sample. Facts that do not apply (classes of a regression) are left out."""
    sample = trace.data
    if sample is None:
        return {}
    facts: dict[str, FactValue | None] = {
        "sample_count": sample.sample_count,
        "batch_size": sample.batch_size,
        "is_whole": sample.is_whole,
        "duplicate_share": _REDRAWN if sample.may_repeat else sample.duplicate_share,
        "overlap_share": _NO_HELD if not sample.validation_count else sample.overlap_share,
        "label_entropy_ratio": sample.batch_label_entropy_ratio,
        "is_same_order": sample.is_same_order,
        "is_augmented": _NO_INDEX if sample.is_augmented is None else sample.is_augmented,
        "repeated_augmentation_share": sample.repeated_augmentation_share,
        "non_finite_input_count": sum(item.non_finite_count for item in sample.inputs),
        "element_count": sum(prod(item.shape[1:]) for item in sample.inputs),
    }
    facts |= _inputs([item for item in sample.inputs if item.std is not None])
    if sample.target is not None:
        facts |= _target(sample.target, sample)
    return {f"data.{name}": {"data": value} for name, value in facts.items() if value is not None}


def _inputs(numeric: list[InputStatistics]) -> dict[str, FactValue | None]:
    if not numeric:
        return {}
    worst = max(numeric, key=_off_scale)
    return {
        "input": worst.name,
        "input_mean": worst.mean,
        "input_std": worst.std,
        "input_absmax": _absmax(worst),
        "feature_count": max(item.feature_count for item in numeric),
        "feature_scale_ratio": _largest(item.largest_feature_scale_ratio for item in numeric),
        "constant_feature_share": _largest(item.constant_feature_share for item in numeric),
        "largest_z": _largest(item.largest_z for item in numeric),
        "largest_reach": _largest(_reach(item) for item in numeric),
        "outlier_share": _largest(item.outlier_share for item in numeric),
    }


def _off_scale(item: InputStatistics) -> float:
    """|log₁₀| of the root mean square: how far the input's scale is from 1."""
    size = math.hypot(item.mean or 0.0, item.std or 0.0)
    return abs(math.log10(size)) if size > 0.0 and math.isfinite(size) else 0.0


def _absmax(item: InputStatistics) -> float:
    return max(abs(item.least or 0.0), abs(item.most or 0.0))


def _reach(item: InputStatistics) -> float | None:
    if not item.std or item.mean is None or item.least is None or item.most is None:
        return None
    return max(item.most - item.mean, item.mean - item.least) / item.std


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _target(target: TargetStatistics, sample: DataSample) -> dict[str, FactValue | None]:
    facts: dict[str, FactValue | None] = {
        "target_kind": target.kind,
        "non_finite_target_count": target.non_finite_count,
    }
    if target.kind in ("values", "binary", "probabilities"):
        facts |= {"target_least": target.least, "target_most": target.most}
    if target.kind == "binary" and target.mean is not None and len(target.shape) > 1 and target.shape[-1] > 1:
        facts["is_one_hot"] = abs(target.mean * target.shape[-1] - 1.0) < 1e-6
    if target.kind == "values":
        facts |= {"target_mean": target.mean, "target_std": target.std}
    if target.kind in ("classes", "binary"):
        count = 2 if target.kind == "binary" else target.class_count
        facts["class_count"] = count
        if count:
            facts["samples_per_class"] = sample.sample_count / count
            facts["out_of_range_label_count"] = target.out_of_range_count
            facts["missing_class_count"] = target.missing_class_count
        facts |= _balance(target)
    return facts


def _balance(target: TargetStatistics) -> dict[str, FactValue | None]:
    """Of all classes that there are; where more exist than are listed, the rarest is not known."""
    seen = dict(target.class_counts)
    listed = len(seen)
    present = None if target.class_count is None else target.class_count - (target.missing_class_count or 0)
    if listed < 2 or (target.kind == "classes" and present is not None and present > listed):
        return {}
    rarest = min(seen, key=lambda label: seen[label])
    return {"imbalance_ratio": max(seen.values()) / seen[rarest], "rarest_class": rarest}
