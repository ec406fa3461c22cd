"""The same data, shuffled."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, TensorDataset

from tests.models import small_data


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    x, y = small_data.clusters()
    order = y.argsort()
    return DataLoader(TensorDataset(x[order], y[order]), batch_size=32, shuffle=True)
