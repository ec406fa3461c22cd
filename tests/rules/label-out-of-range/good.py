"""Labels of 0 to 3 for four outputs."""

from __future__ import annotations

from typing import Any

from tests.models import small_data


def build_model() -> Any:
    return small_data.classifier()


def make_data() -> Any:
    return small_data.clusters()
