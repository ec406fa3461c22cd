"""Every test draws the same numbers, whichever tests ran before it."""

from __future__ import annotations

import pytest

from tests.measure.signal.test_propagation import RANDOM

_START = RANDOM.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    RANDOM.bit_generator.state = _START
