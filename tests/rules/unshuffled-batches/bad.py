"""Sorted by class, and in that order."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, TensorDataset

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    x, y = small_data.clusters()
    order = y.argsort()
    return DataLoader(TensorDataset(x[order], y[order]), batch_size=32)
