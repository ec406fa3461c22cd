"""`DataSample`: what the examples that a probe saw look like. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from trainaudit.frozen import frozen


@frozen
class InputStatistics:
    """One input over the examples that were read (moments over the first 16 million values). Numbers are None for inputs that are no numbers."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Of one batch."""
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    most: float | None = None
    non_finite_count: int = 0
    feature_count: int = 0
    constant_feature_share: float | None = None
    """Features (channels of images) with one and the same value on all examples."""
    largest_feature_scale_ratio: float | None = None
    """Largest standard deviation of a feature over the lower quartile, of the features that vary: pixels that hardly ever vary do not count."""
    outlier_share: float | None = None
    """Share of the values further than 6 standard deviations of their feature from its mean."""
    largest_z: float | None = None


@frozen
class TargetStatistics:
    """`kind`: "classes" (integers), "binary" (0 and 1 as numbers), "probabilities", "values" or "other"."""

    kind: str
    dtype: str
    shape: tuple[int, ...]
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    most: float | None = None
    class_count: int | None = None
    """Outputs that the model gives, where it is a classifier."""
    class_counts: Mapping[str, int] = field(default_factory=dict)
    """Examples by class, the 64 most frequent."""
    missing_class_count: int | None = None
    out_of_range_count: int = 0
    """Labels that are negative (and not the loss's ignore index) or not below `class_count`."""
    ignored_count: int = 0
    non_finite_count: int = 0


@frozen
class DataSample:
    """`kind` is "real", "random" or "teacher": data rules are judged on real data alone."""

    kind: str
    sample_count: int
    batch_count: int
    batch_size: int
    inputs: tuple[InputStatistics, ...] = ()
    target: TargetStatistics | None = None
    duplicate_share: float | None = None
    """Share of examples that equal an earlier one, inputs bit for bit."""
    may_repeat: bool = False
    """One example may come twice in a pass: it is drawn with replacement, or comes from a stream."""
    conflicting_share: float | None = None
    """Share of examples whose input equals that of an example with another target."""
    validation_count: int = 0
    overlap_share: float | None = None
    """Share of the validation examples that are also among the training examples read."""
    batch_label_entropy_ratio: float | None = None
    """Mean entropy of the labels in a batch over what it is when the same labels are dealt to the batches by chance: 1 for shuffled data, near 0
    where batches hold one class each."""
    is_same_order: bool | None = None
    """Two passes gave the same examples in the same order."""
    is_augmented: bool | None = None
    """The same index fetched twice gave different inputs."""
    repeated_augmentation_share: float | None = None
    """Share of the draws of the same examples, by each worker in each of two epochs, that are equal to another one."""
    is_whole: bool = False
    """All examples of the data were read."""
    notes: tuple[str, ...] = ()
