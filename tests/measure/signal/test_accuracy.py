"""The prediction against autograd on the same weights, on a handful of the cells of `benchmarks.signal`: the required bounds hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from benchmarks.signal import BACKWARD, FORWARD, REQUIRED, Cell, run_cell

CELLS = [
    ("mlp relu 64×10", "default"),
    ("mlp tanh 64×10", "he"),
    ("mlp gelu 64×10", "small"),
    ("mlp relu batch-norm 64×15", "default"),
    ("mlp relu layer-norm 64×15", "orthogonal"),
    ("plain cnn", "large"),
    ("transformer, pre-norm", "default"),
    ("transformer, pre-norm", "large"),
    ("transformer, post-norm", "glorot"),
    ("decoder, rms-norm, swiglu", "he"),
    ("vit", "default"),
    ("mixer", "default"),
    ("lstm", "default"),
    ("gru", "orthogonal"),
    ("rnn", "small"),
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Cell]:
    folder: Path = tmp_path_factory.mktemp("signal")
    return {key: run_cell(*key, folder) for key in CELLS}


@pytest.mark.parametrize("key", CELLS, ids=lambda key: " ".join(key))
@pytest.mark.parametrize("kinds", [FORWARD, BACKWARD], ids=["forward", "backward"])
def test_each_network_is_within_the_required_bounds(
    cells: dict[tuple[str, str], Cell], key: tuple[str, str], kinds: tuple[str, ...]
) -> None:
    errors = cells[key].errors(*kinds)
    assert len(errors) >= 4
    median, high = np.median(errors), np.quantile(errors, 0.95)
    assert median <= REQUIRED[0]
    assert high <= REQUIRED[1]


@pytest.mark.parametrize("key", CELLS, ids=lambda key: " ".join(key))
def test_every_layer_and_parameter_is_predicted(cells: dict[tuple[str, str], Cell], key: tuple[str, str]) -> None:
    cell = cells[key]
    assert [q.name for q in cell.quantities if q.predicted is None] == []
    assert cell.uncovered == ()


def test_the_bounds_see_the_prediction_of_another_network(cells: dict[tuple[str, str], Cell]) -> None:
    other = {(q.kind, q.name): q.predicted for q in cells["mlp tanh 64×10", "he"].quantities}
    measured = cells["mlp relu 64×10", "default"].quantities
    swapped = [replace(q, predicted=other[q.kind, q.name]).error for q in measured]
    assert np.median(swapped) > REQUIRED[0]
    assert np.quantile(swapped, 0.95) > REQUIRED[1]
