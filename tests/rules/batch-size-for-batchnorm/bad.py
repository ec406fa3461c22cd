"""Batch normalization over batches of two images."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, TensorDataset

from tests.models import small_data

VIOLATES = ("norm",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.convolutional()


def make_data() -> Any:
    return DataLoader(TensorDataset(*small_data.images(64)), batch_size=2, shuffle=True)
