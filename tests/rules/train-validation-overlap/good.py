"""Training and validation are apart."""

from __future__ import annotations

from typing import Any

from tests.models import small_data


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    x, y = small_data.clusters()
    return {"train": (x[:512], y[:512]), "val": (x[512:], y[512:])}
