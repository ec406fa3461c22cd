"""Facts that are read off the prediction, against closed forms; and why they are missing where they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models import initial
from tests.models.network import Network
from trainaudit.load.from_onnx import load_onnx
from trainaudit.measure.facts import FactTable, Unmeasured
from trainaudit.measure.measuring import measure


def measured(net: Network, folder: Path) -> FactTable:
    path = folder / "model.onnx"
    net.save(str(path))
    return measure(load_onnx(str(path)), loss=None, expects={})


def one(table: FactTable, fact: str) -> Any:
    """The only value of a fact."""
    (value,) = table.columns[fact].values()
    return value


def dense(width: int, std: float, activation: str = "Relu", bias: Any = None, **more: Any) -> Network:
    net = Network({"x": ("N", width)})
    h = net.linear("fc", "x", width, weight=initial.normal(std), bias_values=bias)
    h = net.activation(activation, "act", h)
    net.output(net.linear("head", h, 10, **more), "logits")
    return net


@pytest.mark.parametrize("std", [0.5, 2.0, 8.0])
def test_saturated_share_is_the_tail_of_a_normal(std: float, tmp_path: Path) -> None:
    width = 256
    table = measured(dense(width, std / math.sqrt(width), "Tanh", initial.constant(0.0)), tmp_path)
    tail = math.erfc(math.atanh(0.97) / std / math.sqrt(2))
    assert one(table, "layer.predicted_saturated_share") == pytest.approx(tail, abs=0.02)
    assert table.columns["layer.predicted_std"]["fc"] == pytest.approx(std, rel=0.05)


def test_units_shut_by_their_bias_and_by_their_weights(tmp_path: Path) -> None:
    bias = np.repeat([-4.0, -2.0, 0.0], [64, 64, 128])
    table = measured(dense(256, 1 / 16, "Relu", bias), tmp_path)
    assert one(table, "layer.predicted_dead_share") == pytest.approx(0.25, abs=0.01)
    assert one(table, "layer.rarely_firing_share") == pytest.approx(0.25, abs=0.01)
    assert one(table, "layer.shut_by_bias_share") == pytest.approx(0.25, abs=0.01)
    net = Network({"x": ("N", 64)})
    h = net.activation("Sigmoid", "sigmoid", net.linear("fc", "x", 64))
    h = net.activation("Relu", "relu", net.linear("shut", h, 64, weight=initial.uniform(0.0, low=-0.3)))
    net.output(net.linear("head", h, 10), "logits")
    table = measured(net, tmp_path)
    assert table.columns["layer.predicted_dead_share"]["shut"] == 1.0
    assert table.columns["layer.rarely_firing_share"]["shut"] == 0.0


@pytest.mark.parametrize(("bias", "shut"), [(-0.1, 0.0), (-0.9, 0.0), (-1.5, 1.0)])
def test_a_bias_is_no_cause_where_the_signal_has_collapsed(bias: float, shut: float, tmp_path: Path) -> None:
    """Behind a layer that lets a hundredth through any bias shuts units; only one below their response to a standardised input, 1 here, is at fault."""
    net = Network({"x": ("N", 64)})
    h = net.linear("faint", "x", 64, weight=initial.normal(1e-3), bias_values=initial.constant(0.0))
    rows = initial.normal(1.0)(np.random.default_rng(0), (64, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    h = net.linear("fc", net.activation("Relu", "first", h), 64, weight=rows, bias_values=initial.constant(bias))
    net.output(net.linear("head", net.activation("Relu", "second", h), 10), "logits")
    columns = measured(net, tmp_path).columns
    assert columns["layer.rarely_firing_share"]["fc"] == 1.0
    assert columns["layer.shut_by_bias_share"]["fc"] == shut


def test_spread_of_the_logits_is_that_of_the_head(tmp_path: Path) -> None:
    table = measured(dense(256, 1 / 16, "Tanh", initial.constant(0.0), weight=initial.normal(0.3)), tmp_path)
    second = table.columns["layer.predicted_input_rms"]["head"]
    assert table.columns["layer.predicted_logit_std"] == {"head": pytest.approx(0.3 * 16 * second, rel=0.1)}


def test_a_tied_head_has_no_spread_of_its_own(tmp_path: Path) -> None:
    net = Network({"ids": ("N", 8)}, integers=("ids",))
    h = net.embedding("tokens", "ids", 50, 32)
    turned = net.transpose("head", "tokens.weight", (1, 0))
    net.output(net.node("MatMul", "head", [h, turned], ("N", 8, 50)), "logits")
    assert "layer.predicted_logit_std" not in measured(net, tmp_path).columns


def test_changes_of_a_segment_multiply_gains(tmp_path: Path) -> None:
    """Identity activations: each layer multiplies the standard deviation, and the gradient's norm, by its gain."""
    net = Network({"x": ("N", 128)})
    h = "x"
    for k in range(4):
        h = net.linear(f"fc{k}", h, 128, weight=initial.normal(0.3 / math.sqrt(128)), bias_values=initial.constant(0.0))
    net.output(net.linear("head", h, 10), "logits")
    table = measured(net, tmp_path)
    assert one(table, "segment.predicted_forward_change") == pytest.approx(0.3**4, rel=0.1)
    assert one(table, "segment.predicted_backward_change") == pytest.approx(0.3**4, rel=0.1)
    assert one(table, "segment.predicted_change") == pytest.approx(0.3**4, rel=0.1)
    assert one(table, "segment.predicted_end_std") == pytest.approx(0.3**4, rel=0.1)
    assert one(table, "segment.worst_layer") == "fc0"
    assert one(table, "model.signal_coverage") == 1.0


@pytest.mark.parametrize("bad", range(4))
def test_the_segment_stands_at_its_one_bad_layer(bad: int, tmp_path: Path) -> None:
    net = Network({"x": ("N", 64)})
    h = "x"
    for k in range(4):
        h = net.linear(f"fc{k}", h, 64, weight=initial.normal(1e-4) if k == bad else initial.he_normal, bias=False)
        h = net.activation("Relu", f"relu{k}", h)
    net.output(net.linear("head", h, 10), "logits")
    (segment,) = measured(net, tmp_path).subjects["segment"].values()
    assert (segment.id, segment.layer) == ("fc0 … fc3", f"fc{bad}")


@pytest.mark.parametrize("activation", ["Sigmoid", "Tanh"])
def test_the_gradient_ratio_falls_with_depth_and_stands_at_one_layer(activation: str, tmp_path: Path) -> None:
    ratios = []
    for depth in (2, 6):
        net = Network({"x": ("N", 64)})
        h = "x"
        for k in range(depth):
            h = net.activation(activation, f"act{k}", net.linear(f"fc{k}", h, 64))
        net.output(net.linear("head", h, 10), "logits")
        table = measured(net, tmp_path)
        assert table.columns["layer.predicted_end_to_end_ratio"] == {
            "fc0": one(table, "model.predicted_gradient_ratio")
        }
        assert table.columns["layer.predicted_gradient_ratio"]["head"] == 1.0
        ratios.append(one(table, "model.predicted_gradient_ratio"))
    assert ratios[1] < 0.5 * ratios[0]


def test_a_pooling_does_not_move_the_place_where_the_gradient_changes(tmp_path: Path) -> None:
    """A global average divides the gradient among the places, whose sum every weight gets back."""
    net = Network({"x": ("N", 8, 16, 16)})
    h = "x"
    for k in range(6):
        h = net.activation(
            "Relu", f"relu{k}", net.conv(f"conv{k}", h, 8, 3, padding=1, weight=initial.normal(0.05), bias=False)
        )
    net.output(net.linear("head", net.pool("pool", h), 10), "logits")
    assert list(measured(net, tmp_path).columns["layer.predicted_end_to_end_ratio"]) == ["conv0"]


def test_folded_normalizations_leave_nothing_to_predict(tmp_path: Path) -> None:
    net = dense(16, 0.2)
    model = net.model()
    model.graph.node[0].metadata_props.add(key="pkg.onnxscript.rewriter.rule_name", value="FuseBatchNormIntoGemm")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    graph = load_onnx(str(path))
    assert graph.folded_normalizations
    table = measure(graph, loss=None, expects={})
    value = table.columns["segment.predicted_change"]["(not predicted)"]
    assert isinstance(value, Unmeasured)
    assert "folded" in value.reason
    assert isinstance(table.columns["layer.predicted_std"]["fc"], Unmeasured)


def test_initializers_are_named_in_words(tmp_path: Path) -> None:
    net = Network({"x": ("N", 128)})
    h = net.activation("Relu", "relu", net.linear("fc", "x", 128))
    h = net.activation("Relu", "relu1", net.linear("he", h, 128, weight=initial.he_normal))
    net.output(net.linear("head", h, 10, weight=initial.normal(0.001)), "logits")
    words = measured(net, tmp_path).columns["layer.initializer"]
    assert words["fc"] == "uniform, bound 1/√fan_in: PyTorch's default"
    assert "He normal" in words["he"]
    assert words["head"] == "normal, std 0.001"


@pytest.mark.parametrize(("gain", "direction"), [(0.58, -1), (4.6, 1)])
def test_what_leaves_the_range_of_numbers_is_no_reason_for_silence(gain: float, direction: int, tmp_path: Path) -> None:
    """1,000 layers multiply to 1e-400 and to 1e500; a double holds variances from 1e-324 to 1e308."""
    width = 16
    net = Network({"x": ("N", width)})
    h = "x"
    for number in range(1000):
        h = net.linear(f"fc{number}", h, width, weight=initial.normal(gain / math.sqrt(width)))
        h = net.activation("Relu", f"act{number}", h)
    net.output(net.linear("head", h, 10), "logits")
    table = measured(net, tmp_path)
    assert math.log10(one(table, "segment.predicted_forward_change")) * direction > 90
    if direction < 0:
        assert 0.0 < one(table, "layer.predicted_end_to_end_ratio") < 1e-90
