"""Layers that move, repeat, choose or make values: against the same thing done to random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.measure.signal.test_propagation import everything_known, linear, orthogonal
from tests.measure.structure_graphs import Sketch, typed
from trainaudit.ir.ops import Op
from trainaudit.measure.signal.movement import pieces
from trainaudit.measure.signal.prediction import NotCovered, Prediction
from trainaudit.measure.signal.propagation import predict

SAMPLES = 2000
WEIGHT, OFFSET = orthogonal(12), np.random.default_rng(3).standard_normal(12)

Array = np.ndarray


def check(
    add: Callable[[Sketch, str], str],
    of_numpy: Callable[[Array], Array],
    *,
    rel: float = 0.05,
    shape: tuple[int, ...] = (6, 12),
) -> Prediction:
    """Behind a linear layer with an offset, whose units differ in mean and variance."""
    g = Sketch({"x": ("N", *shape)})
    h = g.layer(Op.ADD, "shift", linear(g, "fc", "x", WEIGHT * np.arange(1, 13)[:, None]), shift=OFFSET * 3)
    h = add(g, h)
    prediction = everything_known(predict(g.graph(h)))
    x = np.random.default_rng(4).standard_normal((SAMPLES, *shape))
    values = of_numpy(x @ (WEIGHT * np.arange(1, 13)[:, None]).T + OFFSET * 3)
    signal = prediction.signals[h]
    assert signal.rms == pytest.approx(math.sqrt(float((values * values).mean())), rel=rel)
    assert signal.std == pytest.approx(float(values.std()), rel=rel)
    expected_positions = values[0].size // max(1, math.prod(values.shape[axis] for axis in signal.axes))
    assert signal.positions == expected_positions
    if signal.mean.size > 1:
        over = tuple(axis for axis in range(values.ndim) if axis - values.ndim not in signal.axes)
        assert signal.mean == pytest.approx(values.mean(axis=over).reshape(-1), abs=max(0.1, rel) * float(values.std()))
        assert signal.second == pytest.approx(
            (values**2).mean(axis=over).reshape(-1), rel=max(0.25, 2.5 * rel), abs=0.01
        )
    assert all(math.isfinite(size) for size in prediction.gradients.values())
    return prediction


def test_slices_of_units_and_of_positions() -> None:
    prediction = check(
        lambda g, h: g.layer(Op.SLICE, "cut", h, shape=("N", 6, 5), axes=(2,), starts=(2,), ends=(12,), steps=(2,)),
        lambda x: x[:, :, 2:12:2],
    )  # fmt: skip
    assert prediction.gradients["shift"] == pytest.approx(math.sqrt(5 / 12))
    prediction = check(
        lambda g, h: g.layer(Op.SLICE, "cut", h, shape=("N", 2, 12), axes=(1,), starts=(-2,), ends=(2**63 - 1,)),
        lambda x: x[:, -2:],
    )  # fmt: skip
    assert prediction.gradients["shift"] == pytest.approx(math.sqrt(2 / 6))


def test_one_token() -> None:
    prediction = check(lambda g, h: g.layer(Op.GATHER, "first", h, shape=("N", 12), dim=1, index=0), lambda x: x[:, 0])
    assert prediction.gradients["shift"] == pytest.approx(math.sqrt(1 / 6))
    assert prediction.signals["first"].axes == (-1,)


def test_one_unit() -> None:
    prediction = check(
        lambda g, h: g.layer(Op.GATHER, "one", h, shape=("N", 6), dim=2, index=-3), lambda x: x[:, :, -3]
    )
    assert prediction.gradients["shift"] == pytest.approx(math.sqrt(1 / 12))


def test_units_in_another_order() -> None:
    order = np.array([3, 1, 11, 1])

    def add(g: Sketch, h: str) -> str:
        h = g.layer(Op.GATHER, "some", h, shape=("N", 6, 4), dim=2, constant=order)
        g.parameters["some.constant"] = g.parameters["some.constant"].__class__(
            **{
                **{
                    f: getattr(g.parameters["some.constant"], f)
                    for f in g.parameters["some.constant"].__dataclass_fields__
                },
                "dtype": "int64",
            }
        )
        return h

    prediction = check(add, lambda x: x[:, :, order])
    assert prediction.gradients["shift"] == pytest.approx(math.sqrt(4 / 12))  # one of them counts twice


def test_split_along_positions() -> None:
    check(
        lambda g, h: g.layer_with_outputs(Op.SPLIT, "part", h, shapes=(("N", 2, 12), ("N", 4, 12)), dim=1, sizes=(2, 4))[1],
        lambda x: x[:, 2:],
    )  # fmt: skip


def test_concatenation_with_a_stored_token() -> None:
    token = np.random.default_rng(5).standard_normal((1, 1, 12))
    prediction = check(
        lambda g, h: g.layer(Op.CONCAT, "both", h, shape=("N", 7, 12), dim=1, position=token),
        lambda x: np.concatenate([x, np.broadcast_to(token, (SAMPLES, 1, 12))], axis=1),
    )  # fmt: skip
    assert prediction.parameter_gradients["both.position"] == pytest.approx(1.0)


def test_expansion_padding_and_resizing() -> None:
    check(lambda g, h: g.layer(Op.EXPAND, "wide", g.view("view", h, "N", 6, 1, 12), shape=("N", 6, 5, 12)),
          lambda x: np.broadcast_to(x[:, :, None], (SAMPLES, 6, 5, 12)))  # fmt: skip
    check(lambda g, h: g.layer(Op.PAD, "pad", h, shape=("N", 8, 12), pads=(0, 1, 0, 0, 1, 0), mode="constant"),
          lambda x: np.pad(x, ((0, 0), (1, 1), (0, 0))))  # fmt: skip
    prediction = check(
        lambda g, h: g.layer(Op.RESIZE, "up", g.transpose("swap", h, 0, 2, 1), shape=("N", 12, 12)),
        lambda x: x.transpose(0, 2, 1).repeat(2, axis=2),
    )
    assert prediction.gradients["swap"] == pytest.approx(math.sqrt(2.0))


def test_views_that_merge_and_split() -> None:
    check(lambda g, h: g.view("view", h, "N", 6, 3, 4), lambda x: x.reshape(SAMPLES, 6, 3, 4))
    check(lambda g, h: g.view("view", h, "N", 72), lambda x: x.reshape(SAMPLES, 72))
    check(
        lambda g, h: g.transpose("swap", g.view("view", h, "N", 6, 3, 4), 0, 3, 1, 2),
        lambda x: x.reshape(SAMPLES, 6, 3, 4).transpose(0, 3, 1, 2),
    )  # fmt: skip


def test_heads_beside_the_batch() -> None:
    """(batch · heads, tokens, width): heads become samples, so that what is known of each is folded."""
    check(
        lambda g, h: g.view(
            "merge", g.transpose("swap", g.view("view", h, "N", 6, 3, 4), 0, 2, 1, 3), "3*N", 6, 4
        ),
        lambda x: x.reshape(SAMPLES, 6, 3, 4).transpose(0, 2, 1, 3).reshape(-1, 6, 4).reshape(SAMPLES, 3, 6, 4),
    )  # fmt: skip


def test_uneven_pieces_are_not_covered() -> None:
    assert pieces((2, 12), (4, 6)) == ((2, -2, -2), (2, -1, -2), (6, -1, -1))
    with pytest.raises(NotCovered):
        pieces((4, 6), (3, 8))


def test_reductions() -> None:
    for axes, size in (((1,), 6), ((2,), 12), ((1, 2), 72)):
        shape = ("N", *(n for axis, n in ((1, 6), (2, 12)) if axis not in axes))
        for op, factor in ((Op.REDUCE_MEAN, 1.0), (Op.REDUCE_SUM, float(size))):
            prediction = check(
                lambda g, h, op=op, axes=axes, shape=shape: g.layer(
                    op, "reduce", h, shape=shape, axes=axes, keepdim=False
                ),
                lambda x, axes=axes, factor=factor: x.mean(axis=axes) * factor,
            )
            assert prediction.gradients["shift"] == pytest.approx(factor / size)


def test_norms() -> None:
    check(
        lambda g, h: g.layer(Op.REDUCE_L2, "norm", h, shape=("N", 6, 1), axes=(2,), keepdim=True),
        lambda x: np.sqrt((x * x).sum(axis=2, keepdims=True)), rel=0.1,
    )  # fmt: skip


def test_powers_roots_and_quotients() -> None:
    """An RMS normalization, written out."""

    def add(g: Sketch, h: str) -> str:
        square = g.layer(Op.POW, "square", h, scalar=2.0, scalar_side="right")
        mean = g.layer(Op.REDUCE_MEAN, "mean", square, shape=("N", 6, 1), axes=(2,), keepdim=True)
        root = g.layer(Op.SQRT, "root", g.layer(Op.ADD, "more", mean, scalar=1e-6, scalar_side="right"))
        return g.layer(Op.DIV, "quotient", h, root)

    check(add, lambda x: x / np.sqrt((x * x).mean(axis=2, keepdims=True)), rel=0.15)


def test_a_root_of_what_may_be_negative_is_not_covered() -> None:
    for op in (Op.SQRT, Op.LOG, Op.RECIPROCAL):
        g = Sketch({"x": ("N", 4)})
        assert predict(g.graph(g.layer(op, op.value, "x"))).uncovered == {
            op.value: "it is taken of what may be zero or negative"
        }


def test_random_numbers_and_stochastic_depth() -> None:
    """floor(uniform + 0.8) / 0.8 · x (Huang et al. 2016)."""

    def add(g: Sketch, h: str) -> str:
        r = g.layer(Op.RANDOM, "random", shape=("N", 1, 1))
        g.layers[-1] = g.layers[-1].__class__(
            **{**{f: getattr(g.layers[-1], f) for f in g.layers[-1].__dataclass_fields__}, "raw_op": "RandomUniform"}
        )
        r = g.layer(Op.FLOOR, "floor", g.layer(Op.ADD, "more", r, scalar=0.8, scalar_side="right"))
        return g.layer(Op.MUL, "product", h, g.layer(Op.DIV, "scale", r, scalar=0.8, scalar_side="right"))

    kept = (np.random.default_rng(9).random((SAMPLES, 1, 1)) < 0.8) / 0.8
    check(add, lambda x: x * kept, rel=0.1)


def test_integer_inputs_that_are_cast() -> None:
    """One for each position is a mask without a gap, one for each sample a time step."""
    g = Sketch({"x": ("N", 6, 4), "mask": ("N", 6, 1), "time": ("N",)})
    h = g.layer(Op.MUL, "masked", "x", g.layer(Op.CAST, "cast", "mask", shape=("N", 6, 1), to="float32"))
    g.layer(Op.CAST, "step", "time", shape=("N",), to="float32")
    prediction = predict(typed(g.graph(h), {"mask": "int64", "time": "int64"}))
    assert prediction.signals[h].rms == pytest.approx(1.0)
    assert prediction.signals["step"].mean[0] == pytest.approx(500.0)


def test_filled_tensors() -> None:
    g = Sketch({"x": ("N", 4)})
    h = g.layer(Op.ADD, "sum", "x", g.layer(Op.CONSTANT, "two", shape=("N", 4), value=2.0))
    assert predict(g.graph(h)).signals[h].second[0] == pytest.approx(5.0)


def test_sums_over_broadcast_operands_go_back_summed() -> None:
    g = Sketch({"x": ("N", 8, 4, 4), "y": ("N", 8, 1, 1)})
    prediction = predict(g.graph(g.layer(Op.ADD, "sum", "x", "y")))
    assert prediction.signals["sum"].shared == pytest.approx(np.ones(1))
    assert prediction.gradients["x"] == pytest.approx(1.0)
    assert prediction.gradients["y"] == pytest.approx(4.0)


def test_a_quotient_by_a_number_and_of_a_number() -> None:
    check(lambda g, h: g.layer(Op.DIV, "half", h, scalar=2.0, scalar_side="right"), lambda x: x / 2)
    g = Sketch({"x": ("N", 4)})
    h = g.layer(Op.ADD, "far", "x", scalar=50.0, scalar_side="right")
    prediction = predict(g.graph(g.layer(Op.DIV, "inverse", h, scalar=100.0, scalar_side="left")))
    assert prediction.signals["inverse"].rms == pytest.approx(2.0, rel=0.01)
    assert prediction.gradients["x"] == pytest.approx(100 / 50**2, rel=0.01)


def test_a_part_without_elements() -> None:
    """Rotary embeddings turn the first part of each head and append the rest, of which there may be none."""

    def add(g: Sketch, h: str) -> str:
        first = g.layer(Op.SLICE, "first", h, shape=("N", 6, 12), axes=(2,), starts=(0,), ends=(12,), steps=(1,))
        rest = g.layer(Op.SLICE, "rest", h, shape=("N", 6, 0), axes=(2,), starts=(12,), ends=(1 << 62,), steps=(1,))
        return g.layer(Op.CONCAT, "both", g.layer(Op.NEG, "turned", first), rest, shape=("N", 6, 12), dim=2)

    assert check(add, lambda x: -x).gradients["shift"] == pytest.approx(1.0)


def test_positions_taken_out_are_other_numbers() -> None:
    """Two tokens of one value, behind one function, are not the same number."""

    def add(g: Sketch, h: str) -> str:
        h = g.layer(Op.RELU, "relu", h)
        parts = [
            g.layer(Op.SLICE, f"part{k}", h, shape=("N", 3, 12), axes=(1,), starts=(k,), ends=(k + 3,), steps=(1,))
            for k in (0, 3)
        ]
        return g.layer(Op.MUL, "product", *parts)

    check(add, lambda x: np.maximum(x[:, :3], 0) * np.maximum(x[:, 3:], 0), rel=0.1)


def test_a_stored_table_that_is_resized() -> None:
    """Position embeddings for another size of images; how they are interpolated is not looked at."""
    table = np.random.default_rng(8).standard_normal((1, 12, 6))
    table -= table.mean(axis=2, keepdims=True)  # its moments are those of the whole table, not of each unit

    def add(g: Sketch, h: str) -> str:
        places = g.layer(Op.RESIZE, "resized", shape=(1, 12, 6), position=table)
        return g.layer(Op.ADD, "sum", h, g.transpose("turned", places, 0, 2, 1))

    check(add, lambda x: x + table.transpose(0, 2, 1))


def test_a_table_of_relative_positions_learns_from_every_use() -> None:
    """32 rows for 4 heads of 10 × 10 pairs: an element is used 100/32 times on average."""
    table = np.random.default_rng(8).standard_normal((32, 4))
    g = Sketch({"x": ("N", 4, 10, 10)})
    h = g.layer(Op.ADD, "sum", "x", g.layer(Op.EXPAND, "bias", shape=("N", 4, 10, 10), position=table))
    prediction = predict(g.graph(h))
    assert prediction.parameter_gradients["bias.position"] == pytest.approx(math.sqrt(100 / 32))


def test_a_mask_made_of_inputs_has_no_gaps() -> None:
    """Attention scores that are filled in where a mask says so stay as they are; a mask that is computed otherwise ends the prediction."""
    g = Sketch({"x": ("N", 6, 4), "mask": ("N", 6, 1)})
    closed = g.layer(Op.LOGICAL, "not", "mask", shape=("N", 6, 1))
    h = g.layer(Op.WHERE, "filled", closed, g.layer(Op.MUL, "double", "x", scalar=2.0), fill=-1e9)
    prediction = everything_known(predict(typed(g.graph(h), {"mask": "bool", "not": "bool"})))
    assert prediction.signals[h].rms == pytest.approx(2.0)
    assert prediction.gradients["double"] == pytest.approx(1.0)
    for op in (Op.COMPARE, Op.LOGICAL):
        g = Sketch({"x": ("N", 6, 4)})
        h = g.layer(Op.WHERE, "filled", g.layer(op, "computed", "x"), "x", fill=-1e9)
        assert predict(typed(g.graph(h), {"computed": "bool"})).uncovered["filled"] == "its mask is not known"
