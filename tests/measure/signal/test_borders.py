"""Padding at borders: against the same convolutions done to random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.measure.signal.test_propagation import conv, everything_known, kernel
from tests.measure.structure_graphs import Sketch
from trainaudit.measure.signal.borders import passed_on, window
from trainaudit.measure.signal.propagation import predict


def convolved(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """3 × 3 with padding 1, (samples, channels, height, width)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    size = x.shape[-1]
    result = np.zeros((len(x), len(weight), size, size))
    for i in range(3):
        for j in range(3):
            result += np.einsum("ncij,oc->noij", padded[:, :, i : i + size, j : j + size], weight[:, :, i, j])
    return result


@pytest.mark.parametrize("size", [3, 4, 8])
def test_the_middle_of_small_images_does_not_fade(size: int) -> None:
    weights = [kernel(64, 64, 3) for _ in range(6)]
    g = Sketch({"x": ("N", 64, size, size)})
    h, x = "x", np.random.default_rng(1).standard_normal((40, 64, size, size))
    for k, weight in enumerate(weights):
        h, x = conv(g, f"conv{k}", h, weight, size), convolved(x, weight)
    prediction = everything_known(predict(g.graph(h)))
    signal = prediction.signals[h]
    assert signal.rms == pytest.approx(math.sqrt(float((x * x).mean())), rel=0.1)
    assert signal.profile is not None
    rows = (x * x).mean(axis=(0, 1, 3))
    assert signal.profile[0] == pytest.approx(rows / rows.mean(), rel=0.15)
    backward = np.random.default_rng(2).standard_normal((40, 64, size, size))
    for weight in reversed(weights):
        backward = convolved(backward, weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
    assert prediction.gradients["x"] == pytest.approx(math.sqrt(float((backward * backward).mean())), rel=0.1)


def test_what_is_gathered_and_scattered() -> None:
    along = window(windows=4, size=4, kernel=3, stride=1, begin=1, dilation=1)
    shares, (profile,) = passed_on((along,), None, to_places=False)
    assert shares == pytest.approx([3 / 4, 1, 3 / 4])
    assert profile == pytest.approx(np.array([2, 3, 3, 2]) / 2.5)
    shares, (profile,) = passed_on((along,), (np.array([0.0, 2.0, 2.0, 0.0]),), to_places=True)
    assert shares == pytest.approx([1.0, 1.0, 1.0])
    assert profile == pytest.approx(np.array([2, 4, 4, 2]) / 3)
