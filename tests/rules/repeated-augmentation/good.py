"""torch seeds its own generator in each worker."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader

from tests.models import small_data


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    return DataLoader(small_data.Noisy(own_generator=False), batch_size=32, shuffle=True, num_workers=2)
