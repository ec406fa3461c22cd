"""No graph that keeps the invariants may break a prediction, and nothing that is predicted is less than nothing or no number."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings

from tests.measure.structure_graphs import Sketch
from tests.measure.test_any_graph import sketches
from trainaudit.measure.signal.propagation import predict


@given(sketches())
@settings(max_examples=300, deadline=None)
def test_any_graph_is_predicted_as_far_as_it_is_covered(drawn: tuple[Sketch, list[str], dict[str, str]]) -> None:
    g, outputs, _ = drawn
    graph = g.graph(*outputs)
    prediction = predict(graph)
    for signal in prediction.signals.values():
        assert np.isfinite(signal.mean).all()
        assert (signal.own >= 0.0).all()
        assert (signal.shared >= 0.0).all()
        assert signal.positions >= 1
    for size in (*prediction.gradients.values(), *prediction.parameter_gradients.values()):
        assert math.isfinite(size)
        assert size >= 0.0
    names = {layer.name for layer in graph.layers}
    assert set(prediction.uncovered) <= names
