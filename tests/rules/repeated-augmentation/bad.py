"""Each worker copies the generator that the dataset holds."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader

from tests.models import small_data

VIOLATES = ("data",)
"""Subjects on which the rule is violated."""


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    return DataLoader(small_data.Noisy(own_generator=True), batch_size=32, shuffle=True, num_workers=2)
