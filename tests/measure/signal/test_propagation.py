"""Predictions against closed forms: what is known of networks that are simple enough to reckon by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.measure.structure_graphs import Sketch
from trainaudit.ir.graph import Parameter
from trainaudit.ir.ops import Op
from trainaudit.ir.tensor import ArrayData
from trainaudit.measure.signal.curves import rectifier
from trainaudit.measure.signal.elementwise import through_slope
from trainaudit.measure.signal.prediction import NONE, Gradient, Prediction, Signal
from trainaudit.measure.signal.propagation import predict

RANDOM = np.random.default_rng(11)


def orthogonal(size: int) -> np.ndarray:
    return np.linalg.qr(RANDOM.standard_normal((size, size)))[0]


def gaussian(outputs: int, inputs: int, gain: float = 1.0) -> np.ndarray:
    return RANDOM.standard_normal((outputs, inputs)) * gain / math.sqrt(inputs)


def kernel(outputs: int, inputs: int, size: int, gain: float = 1.0) -> np.ndarray:
    return RANDOM.standard_normal((outputs, inputs, size, size)) * gain / math.sqrt(inputs * size * size)


def linear(g: Sketch, name: str, x: str, weight: np.ndarray, **details: object) -> str:
    return g.dense(name, x, len(weight), weight=weight, bias=False, **details)


def conv(g: Sketch, name: str, x: str, weight: np.ndarray, size: int, **details: object) -> str:
    count, _, height, width = weight.shape
    return g.layer(
        Op.CONV, name, x, shape=("N", count, size, size), weight=weight, kernel_size=(height, width),
        **{"stride": (1, 1), "padding": (height // 2,) * 4, "groups": 1, **details},
    )  # fmt: skip


def everything_known(prediction: Prediction) -> Prediction:
    assert not prediction.uncovered
    return prediction


# --- dense ---------------------------------------------------------------------------------------------------------------


def test_orthogonal_layers_keep_everything() -> None:
    g = Sketch({"x": ("N", 64)})
    h = "x"
    for k in range(30):
        h = linear(g, f"fc{k}", h, orthogonal(64))
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].rms == pytest.approx(1.0, rel=1e-4)
    assert prediction.gradients["x"] == pytest.approx(1.0, rel=1e-4)
    assert prediction.parameter_gradients["fc0.weight"] == pytest.approx(1.0, rel=1e-4)


def test_variances_are_those_of_the_very_weights() -> None:
    weight, bias = RANDOM.standard_normal((3, 5)), RANDOM.standard_normal(3)
    g = Sketch({"x": ("N", 5)})
    h = g.dense("fc", "x", 3, weight=weight)
    array = ArrayData(bias.astype(np.float32))
    g.parameters["fc.bias"] = dataclasses.replace(g.parameters["fc.bias"], data=array, shape=(3,))
    signal = predict(g.graph(h)).signals[h]
    assert signal.mean == pytest.approx(bias, rel=1e-5)
    assert signal.variance == pytest.approx((weight**2).sum(axis=1), rel=1e-5)


def test_he_keeps_the_second_moment_through_relu() -> None:
    g = Sketch({"x": ("N", 512)})
    h = "x"
    for k in range(8):
        h = linear(g, f"fc{k}", h, gaussian(512, 512, math.sqrt(2.0)))
        h = g.layer(Op.RELU, f"relu{k}", h)
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals["relu0"].rms == pytest.approx(1.0, rel=0.05)
    assert prediction.signals[h].rms == pytest.approx(1.0, rel=0.25)
    assert prediction.gradients["x"] == pytest.approx(1.0 / math.sqrt(2.0) * math.sqrt(2.0), rel=0.25)


def test_samples_become_alike_in_a_deep_relu_network() -> None:
    """The correlation between samples goes to one (Schoenholz et al. 2017): the mean over the batch takes over."""
    g = Sketch({"x": ("N", 256)})
    h = "x"
    shares = []
    for k in range(20):
        h = g.layer(Op.RELU, f"relu{k}", linear(g, f"fc{k}", h, gaussian(256, 256, math.sqrt(2.0))))
    prediction = predict(g.graph(h))
    for k in (0, 5, 19):
        signal = prediction.signals[f"relu{k}"]
        shares.append(float((signal.mean**2).mean() / signal.second.mean()))
    assert shares[0] == pytest.approx(1 / math.pi, abs=0.02)
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.9


def test_a_sigmoid_stack_shrinks_gradients_by_a_quarter_at_most() -> None:
    g = Sketch({"x": ("N", 128)})
    h = "x"
    for k in range(6):
        h = g.layer(Op.SIGMOID, f"act{k}", linear(g, f"fc{k}", h, orthogonal(128)))
    prediction = everything_known(predict(g.graph(h)))
    assert 0.2**6 < prediction.gradients["x"] <= 0.25**6 * 1.0001


def test_layers_spelled_matmul_and_gemm_are_the_same() -> None:
    weight = gaussian(24, 16)
    signals = []
    for array, axis in ((weight, 0), (weight.T, 1)):
        g = Sketch({"x": ("N", 16)})
        h = g.layer(Op.LINEAR, "fc", "x", shape=("N", 24), weight=array, in_features=16, out_features=24)
        g.parameters["fc.weight"] = dataclasses.replace(g.parameters["fc.weight"], unit_axis=axis)
        prediction = everything_known(predict(g.graph(g.layer(Op.RELU, "act", h))))
        signals.append((prediction.signals["act"].mean, prediction.gradients["x"]))
    assert signals[0][0] == pytest.approx(signals[1][0], rel=1e-5)
    assert signals[0][1] == pytest.approx(signals[1][1], rel=1e-5)


def test_beyond_the_budget_moments_stand_for_weights() -> None:
    g = Sketch({"x": ("N", 256)})
    h = "x"
    for k in range(4):
        h = g.layer(Op.RELU, f"relu{k}", linear(g, f"fc{k}", h, gaussian(256, 256, math.sqrt(2.0))))
    graph = g.graph(h)
    whole, sampled = predict(graph), everything_known(predict(graph, budget=0))
    assert sampled.signals[h].rms == pytest.approx(whole.signals[h].rms, rel=0.3)
    assert sampled.gradients["x"] == pytest.approx(whole.gradients["x"], rel=0.3)
    assert predict(graph, budget=0).signals[h].rms == sampled.signals[h].rms


# --- sums, products and normalizations ------------------------------------------------------------------------------------


def test_a_residual_block_doubles_the_variance() -> None:
    g = Sketch({"x": ("N", 256)})
    h = "x"
    for k in range(5):
        h = g.layer(Op.ADD, f"sum{k}", h, linear(g, f"fc{k}", h, gaussian(256, 256)))
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].rms == pytest.approx(2**2.5, rel=0.1)
    assert prediction.gradients["x"] == pytest.approx(2**2.5, rel=0.1)


def test_a_value_added_to_itself_is_doubled() -> None:
    g = Sketch({"x": ("N", 8)})
    prediction = predict(g.graph(g.layer(Op.ADD, "sum", "x", "x")))
    assert prediction.signals["sum"].rms == pytest.approx(2.0)
    assert prediction.gradients["x"] == pytest.approx(2.0)
    g = Sketch({"x": ("N", 8)})
    prediction = predict(g.graph(g.layer(Op.SUB, "difference", "x", "x")))
    assert prediction.signals["difference"].rms == 0.0
    assert prediction.gradients["x"] == 0.0


def test_batch_norm_behind_relu_makes_gradients_explode() -> None:
    """Yang et al. 2019: by √(π / (π − 1)) a layer in ReLU networks."""
    g = Sketch({"x": ("N", 512)})
    h = "x"
    depth = 12
    for k in range(depth):
        h = g.norm(f"norm{k}", linear(g, f"fc{k}", h, orthogonal(512)))
        h = g.layer(Op.RELU, f"relu{k}", h)
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals["norm5"].rms == pytest.approx(1.0, rel=1e-3)
    growth = (prediction.gradients["relu1"] / prediction.gradients[f"relu{depth - 1}"]) ** (1 / (depth - 2))
    assert growth == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.01)


def test_a_bias_before_batch_norm_learns_nothing() -> None:
    g = Sketch({"x": ("N", 32)})
    h = g.norm("norm", g.dense("fc", "x", 32, weight=gaussian(32, 32)))
    prediction = predict(g.graph(g.layer(Op.RELU, "act", h)))
    assert prediction.parameter_gradients["fc.bias"] == 0.0
    assert prediction.parameter_gradients["fc.weight"] > 0.1


@pytest.mark.parametrize("op", [Op.LAYER_NORM, Op.RMS_NORM])
def test_layer_norm_brings_every_scale_to_one(op: Op) -> None:
    g = Sketch({"x": ("N", 10, 64)})
    h = linear(g, "fc", "x", gaussian(64, 64, 30.0))
    h = g.layer(op, "norm", h, scale=np.full(64, 2.0), shift=np.zeros(64), eps=1e-5, axes=(2,))
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].rms == pytest.approx(2.0, rel=0.01)
    assert prediction.gradients["fc"] == pytest.approx(2.0 / 30.0, rel=0.1)
    assert prediction.parameter_gradients["norm.shift"] == pytest.approx(math.sqrt(10), rel=0.01)


def test_group_norm_with_one_group_and_instance_norm() -> None:
    for op, details in ((Op.GROUP_NORM, {"num_groups": 4}), (Op.INSTANCE_NORM, {})):
        g = Sketch({"x": ("N", 16, 8, 8)})
        h = conv(g, "conv", "x", kernel(16, 16, 3, 5.0), 8)
        h = g.layer(op, "norm", h, scale=np.ones(16), shift=np.zeros(16), eps=1e-5, **details)
        prediction = everything_known(predict(g.graph(h)))
        assert prediction.signals[h].rms == pytest.approx(1.0, rel=0.02)


def test_dropout_keeps_the_mean_and_adds_variance() -> None:
    g = Sketch({"x": ("N", 4)})
    h = g.layer(
        Op.DROPOUT, "drop", g.layer(Op.ADD, "shift", "x", scalar=3.0, scalar_side="right"), p=0.5, training=True
    )
    signal = predict(g.graph(h)).signals[h]
    assert signal.mean[0] == pytest.approx(3.0)
    assert signal.second[0] == pytest.approx(20.0)


def test_stored_factors_and_offsets() -> None:
    g = Sketch({"x": ("N", 6, 4)})
    factor, table = np.array([1.0, 2.0, 3.0, 4.0]), RANDOM.standard_normal((6, 4))
    h = g.layer(Op.ADD, "sum", g.layer(Op.MUL, "mul", "x", scale=factor), position=table)
    signal = everything_known(predict(g.graph(h))).signals[h]
    assert signal.mean == pytest.approx(table.mean(axis=0), rel=1e-5)
    assert signal.variance == pytest.approx(factor**2 + table.var(axis=0), rel=1e-5)


# --- images --------------------------------------------------------------------------------------------------------------


def test_a_convolution_with_padding() -> None:
    """A 3 × 3 kernel on 8 × 8 pixels meets padding at 2 of 3 · 8 places along an axis."""
    g = Sketch({"x": ("N", 1, 8, 8)})
    h = conv(g, "conv", "x", np.ones((1, 1, 3, 3)), 8)
    prediction = everything_known(predict(g.graph(h)))
    share = (22 / 24) ** 2
    assert prediction.signals[h].rms ** 2 == pytest.approx(9 * share, rel=1e-5)
    assert prediction.gradients["x"] ** 2 == pytest.approx(9 * share, rel=1e-5)
    assert prediction.parameter_gradients["conv.weight"] ** 2 == pytest.approx(64 * share, rel=1e-5)


def test_strides_thin_gradients_out() -> None:
    g = Sketch({"x": ("N", 64, 8, 8)})
    h = conv(g, "conv", "x", kernel(64, 64, 2), 4, stride=(2, 2), padding=(0, 0, 0, 0))
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].rms == pytest.approx(1.0, rel=0.05)
    assert prediction.gradients["x"] == pytest.approx(0.5, rel=0.05)


def test_a_transposed_convolution_is_the_convolution_backward() -> None:
    weight = kernel(16, 8, 4)
    g = Sketch({"x": ("N", 16, 4, 4)})
    h = g.layer(
        Op.CONV_TRANSPOSE, "up", "x", shape=("N", 8, 8, 8), weight=weight, kernel_size=(4, 4), stride=(2, 2), padding=(1,) * 4, groups=1,
    )  # fmt: skip
    up = everything_known(predict(g.graph(h)))
    g = Sketch({"x": ("N", 8, 8, 8)})
    down = predict(g.graph(conv(g, "down", "x", weight, 4, stride=(2, 2), padding=(1,) * 4)))
    assert up.signals[h].rms == pytest.approx(down.gradients["x"], rel=1e-5)
    assert up.gradients["x"] == pytest.approx(down.signals["down"].rms, rel=1e-5)
    assert up.parameter_gradients["up.weight"] == pytest.approx(down.parameter_gradients["down.weight"], rel=1e-5)


def test_average_pooling_divides_the_variance_by_the_window() -> None:
    g = Sketch({"x": ("N", 4, 8, 8)})
    h = g.layer(
        Op.AVERAGE_POOL, "pool", "x", shape=("N", 4, 4, 4), kernel_size=(2, 2), stride=(2, 2), padding=(0,) * 4
    )  # fmt: skip
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].rms ** 2 == pytest.approx(1 / 4)
    assert prediction.gradients["x"] ** 2 == pytest.approx(1 / 16)


def test_global_pooling_and_the_gradient_that_all_positions_share() -> None:
    g = Sketch({"x": ("N", 64, 4, 4)})
    h = g.layer(Op.RELU, "act", conv(g, "conv", "x", kernel(64, 64, 1), 4, padding=(0, 0, 0, 0)))
    h = g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", h, shape=("N", 64, 1, 1))
    h = g.layer(Op.FLATTEN, "flat", h, shape=("N", 64), start_dim=1)
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].second.mean() == pytest.approx(0.5 / math.pi + (0.5 - 0.5 / math.pi) / 16, rel=0.05)
    assert prediction.gradients["act"] == pytest.approx(1 / 16)
    assert prediction.gradients["conv"] == pytest.approx(math.sqrt(0.5) / 16, rel=0.01)
    # Σ over 16 positions of g·x: independent inputs, so that their squares add
    assert prediction.parameter_gradients["conv.weight"] == pytest.approx(math.sqrt(16 * 0.5) / 16, rel=0.02)


def test_max_pooling_of_normals() -> None:
    g = Sketch({"x": ("N", 4, 8, 8)})
    h = g.layer(Op.MAX_POOL, "pool", "x", shape=("N", 4, 4, 4), kernel_size=(2, 2), stride=(2, 2), padding=(0,) * 4)
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].mean[0] == pytest.approx(1.0294, abs=1e-3)  # the largest of four
    assert prediction.gradients["x"] == pytest.approx(0.5)


# --- movement ------------------------------------------------------------------------------------------------------------


def test_heads_and_back() -> None:
    g = Sketch({"x": ("N", 10, 32)})
    h = linear(g, "fc", "x", gaussian(32, 32))
    before = h
    h = g.transpose("swap", g.view("split", h, "N", 10, 4, 8), 0, 2, 1, 3)
    assert predict(g.graph(h)).signals[h].axes == (-3, -1)
    h = g.view("join", g.transpose("back", h, 0, 2, 1, 3), "N", 10, 32)
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals[h].mean.shape == prediction.signals[before].mean.shape
    assert prediction.signals[h].own == pytest.approx(prediction.signals[before].own)
    assert prediction.gradients[before] == pytest.approx(1.0)


def test_a_flattened_image_feeds_a_linear_layer() -> None:
    g = Sketch({"x": ("N", 3, 8, 8)})
    h = conv(g, "conv", "x", kernel(16, 3, 3), 8)
    h = g.layer(Op.RELU, "act", h)
    h = g.layer(Op.FLATTEN, "flat", h, shape=("N", 1024), start_dim=1)
    h = linear(g, "fc", h, gaussian(32, 1024))
    prediction = everything_known(predict(g.graph(h)))
    assert prediction.signals["flat"].rms == pytest.approx(prediction.signals["act"].rms, rel=1e-6)
    assert prediction.signals[h].rms == pytest.approx(prediction.signals["act"].rms, rel=0.15)
    assert prediction.gradients["flat"] == pytest.approx(prediction.gradients["act"], rel=1e-6)


def test_concatenation_and_split_undo_each_other() -> None:
    g = Sketch({"x": ("N", 16)})
    first, second = linear(g, "a", "x", gaussian(8, 16)), linear(g, "b", "x", gaussian(24, 16, 2.0))
    h = g.layer(Op.CONCAT, "both", first, second, shape=("N", 32), dim=1)
    parts = g.layer_with_outputs(Op.SPLIT, "parts", h, shapes=(("N", 8), ("N", 24)), dim=1, sizes=(8, 24))
    signals = everything_known(predict(g.graph(parts[1]))).signals
    assert signals[parts[0]].own == pytest.approx(signals[first].own)
    assert signals[parts[1]].own == pytest.approx(signals[second].own)
    prediction = predict(g.graph(parts[1]))
    assert prediction.gradients[first] == 0.0
    assert prediction.gradients[second] == pytest.approx(1.0)


# --- what is not covered --------------------------------------------------------------------------------------------------


def test_nothing_is_claimed_behind_a_layer_without_a_rule() -> None:
    g = Sketch({"x": ("N", 8)})
    h = linear(g, "fc1", "x", gaussian(8, 8))
    h = g.layer(Op.SPECTRAL, "odd", h)
    h = g.layer(Op.RELU, "act", h)
    prediction = predict(g.graph(linear(g, "fc2", h, gaussian(8, 8))))
    assert prediction.uncovered == {"odd": "no rule for Spectral"}
    assert set(prediction.signals) == {"x", "fc1"}
    assert not prediction.gradients
    assert not prediction.parameter_gradients


def test_a_gradient_that_partly_comes_from_an_uncovered_layer_is_not_claimed() -> None:
    """The branch whose rule cannot say what it hands back hides all that is above it, not what is beside it."""
    g = Sketch({"x": ("N", 8, 4)})
    h = linear(g, "fc1", "x", gaussian(4, 4))
    table = np.ones((1, 8, 4))
    other = g.layer(Op.EXPAND, "token", shape=("N", 8, 4), position=table)
    h = g.layer(Op.ADD, "sum", h, other)
    prediction = predict(g.graph(h))
    assert prediction.gradients["fc1"] == pytest.approx(1.0)
    assert prediction.parameter_gradients["token.position"] == pytest.approx(1.0)


def test_weights_that_are_no_numbers_to_reckon_with() -> None:
    g = Sketch({"x": ("N", 4)})
    h = linear(g, "fc", "x", np.ones((4, 4)))
    stored: Parameter = g.parameters["fc.weight"]
    g.parameters["fc.weight"] = dataclasses.replace(stored, quantized=True)
    assert predict(g.graph(h)).uncovered == {"fc": "its weights are no floating-point numbers"}


def test_an_exploding_network_is_followed_to_the_end_of_numbers() -> None:
    g = Sketch({"x": ("N", 16)})
    h = "x"
    for k in range(40):
        h = linear(g, f"fc{k}", h, gaussian(16, 16, 1e9))
    prediction = predict(g.graph(h))
    assert prediction.signals["fc3"].rms == pytest.approx(1e36, rel=1.0)
    assert list(prediction.uncovered.values()) == ["the predicted signal leaves the range of numbers"]


# --- properties ----------------------------------------------------------------------------------------------------------


@given(st.floats(1e-4, 1e4), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_relu_networks_are_homogeneous(factor: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = [random.standard_normal((12, 12)) / 3 for _ in range(3)]

    def built(first: float) -> Prediction:
        g = Sketch({"x": ("N", 12)})
        h = linear(g, "fc0", "x", weights[0] * first)
        for k in (1, 2):
            h = linear(g, f"fc{k}", g.layer(Op.RELU, f"act{k}", h), weights[k])
        return predict(g.graph(h))

    plain, changed = built(1.0), built(factor)
    assert changed.signals["fc2"].rms == pytest.approx(plain.signals["fc2"].rms * factor, rel=1e-3)
    assert changed.gradients["x"] == pytest.approx(plain.gradients["x"] * factor, rel=1e-3)
    assert changed.parameter_gradients["fc0.weight"] == pytest.approx(plain.parameter_gradients["fc0.weight"], rel=1e-3)


def test_what_positions_share_stays_silent_behind_an_activation_function() -> None:
    """A gradient that sums to zero over the samples and is the same at all positions meets slopes that average out over the positions:
    E[φ'(z₁)φ'(z₂)] = E[φ']² where positions are independent. One that differs from position to position keeps what varies of φ'."""
    z = Signal(np.zeros(1), np.ones(1), NONE, positions=64)
    common = through_slope(rectifier(0.0), z, Gradient(NONE, np.ones(1), silent=1.0))
    assert common.silent == pytest.approx(0.5)
    assert common.common_silence == pytest.approx(1.0, abs=1e-6)
    half = Signal(np.zeros(1), np.full(1, 0.5), np.full(1, 0.5), positions=64)
    pair = 0.25 + math.asin(0.5) / (2.0 * math.pi)  # both open, at a correlation of one half
    part = through_slope(rectifier(0.0), half, Gradient(NONE, np.ones(1), silent=1.0))
    assert part.common_silence == pytest.approx(0.25 / pair, rel=1e-3)


@pytest.mark.parametrize("op", [Op.RELU, Op.HARD_SWISH])
def test_the_shift_of_a_batch_norm_before_a_depthwise_convolution_and_another(op: Op) -> None:
    """Against autograd: behind a mean over all pixels its gradient is a small part of what the positions' common gradient would add up to."""
    torch = pytest.importorskip("torch")
    units, size, batch = 32, 8, 32
    taps = RANDOM.standard_normal((units, 1, 3, 3)) / 3.0
    g = Sketch({"x": ("N", units, size, size)})
    more = {"scale": np.ones(units), "shift": np.zeros(units), "mean": np.zeros(units), "variance": np.ones(units)}
    shape = ("N", units, size, size)
    h = g.layer(op, "act", g.layer(Op.BATCH_NORM, "first", "x", shape=shape, **more))
    h = conv(g, "conv", h, taps, size, groups=units)
    h = g.layer(Op.BATCH_NORM, "second", h, shape=shape, **more)
    h = g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", h, shape=("N", units, 1, 1))
    predicted = everything_known(predict(g.graph(h))).parameter_gradients["first.shift"]
    torch.manual_seed(0)
    weight = torch.tensor(taps, dtype=torch.float32)
    act = torch.nn.functional.relu if op is Op.RELU else torch.nn.functional.hardswish
    norm = torch.nn.functional.batch_norm
    squares = []
    for _ in range(10):
        shift = torch.zeros(units, requires_grad=True)
        x = norm(torch.randn(batch, units, size, size), None, None, torch.ones(units), shift, training=True)
        y = norm(torch.conv2d(act(x), weight, padding=1, groups=units), None, None, training=True).mean((2, 3))
        (y * torch.randn_like(y)).sum().backward()
        squares.append(float((shift.grad**2).mean()) / batch)
    measured = math.sqrt(sum(squares) / len(squares))
    assert measured / 2.5 < predicted < measured * 2.5
