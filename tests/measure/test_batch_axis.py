"""The batch axis: views that mix samples are found, the usual merging and taking apart is not held against anyone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.measure.structure_graphs import Sketch, facts
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import FactValue, Unmeasured


def mixing(sketch: Sketch, output: str) -> dict[str, FactValue]:
    return dict(facts(sketch.graph(output))["layer.is_batch_mixing"])


@pytest.mark.parametrize("batch", ["N", 5])
def test_view_where_a_permutation_was_meant(batch: int | str) -> None:
    """(time, batch, features) viewed as (batch, time·features)."""
    g = Sketch({"x": (7, batch, 4)})
    h = g.view("flat", "x", batch, 28)
    assert mixing(g, g.dense("head", h, 3)) == {"flat": True}


@pytest.mark.parametrize("batch", ["N", 5])
def test_permutation_before_the_view_is_fine(batch: int | str) -> None:
    g = Sketch({"x": (7, batch, 4)})
    h = g.view("flat", g.transpose("swap", "x", 1, 0, 2), batch, 28)
    assert mixing(g, g.dense("head", h, 3)) == {"flat": False}


@pytest.mark.parametrize("time, batch", [(7, "N"), ("T", "N"), (7, 5), (6, 2), (2, 6), (3, 3 * 3)])
def test_view_to_batch_first(time: int | str, batch: int | str) -> None:
    """(time, batch, features) viewed, not transposed, to (batch, time, features)."""
    g = Sketch({"x": (time, batch, 4)})
    h = g.layer(Op.LSTM, "lstm", "x", shape=(time, batch, 8), hidden_size=8)
    h = g.view("samples", h, batch, time, 8)
    h = g.layer(Op.REDUCE_MEAN, "mean", h, shape=(batch, 8), axes=(1,), keepdim=False)
    assert mixing(g, g.dense("head", h, 3)) == {"samples": True}


@pytest.mark.parametrize("time, batch", [(7, "N"), ("T", "N"), (7, 5), (6, 2), (2, 6)])
def test_transposition_to_batch_first(time: int | str, batch: int | str) -> None:
    """The same with the axes exchanged; the view behind it changes nothing."""
    g = Sketch({"x": (time, batch, 4)})
    h = g.layer(Op.LSTM, "lstm", "x", shape=(time, batch, 8), hidden_size=8)
    h = g.view("samples", g.transpose("swap", h, 1, 0, 2), batch, time, 8)
    h = g.layer(Op.REDUCE_MEAN, "mean", h, shape=(batch, 8), axes=(1,), keepdim=False)
    assert mixing(g, g.dense("head", h, 3)) == {"samples": False}


def test_view_to_batch_first_in_two_steps() -> None:
    """By way of (time·batch, features)."""
    g = Sketch({"x": ("T", "N", 4)})
    h = g.view("rows", "x", "T*N", 4)
    h = g.view("samples", g.dense("fc", h, 8), "N", "T", 8)
    assert mixing(g, g.dense("head", h, 3)) == {"rows": False, "samples": True}


def test_view_of_what_was_transposed_to_sequence_first() -> None:
    """x.transpose(0, 1).reshape(N, -1, F)."""
    g = Sketch({"x": ("N", 7, 4)})
    h = g.view("back", g.transpose("swap", "x", 1, 0, 2), "N", 7, 4)
    assert mixing(g, g.dense("head", h, 3)) == {"back": True}


def test_uneven_cut_through_the_batch_is_not_called_clean() -> None:
    g = Sketch({"x": (8, "N", 4)})
    h = g.view("cut", "x", "2*N", 4, 4)
    h = g.view("samples", g.dense("fc", h, 8), "N", 64)
    verdicts = mixing(g, g.dense("head", h, 3))
    assert isinstance(verdicts["cut"], Unmeasured)
    assert isinstance(verdicts["samples"], Unmeasured)


def test_fixed_sizes_that_allow_two_readings() -> None:
    """(2, 6, 4) viewed as (6, 2, 4): three chunks of each sample, or a missing transposition."""
    g = Sketch({"x": (2, 6, 4)})
    h = g.view("odd", "x", 6, 2, 4)
    h = g.view("undone", g.dense("fc", h, 4), 2, 6, 4)
    verdicts = mixing(g, g.dense("head", h, 3))
    assert isinstance(verdicts["odd"], Unmeasured)


def test_heads_of_as_many_steps_as_samples_are_fine() -> None:
    """(time·batch, features) to (time, batch·heads, size), with fixed and equal numbers of steps and samples."""
    g = Sketch({"x": (4, 4, 32)})
    h = g.view("rows", g.transpose("steps", "x", 1, 0, 2), 16, 32)
    h = g.view("heads", g.dense("value", h, 32), 4, 16, 8)
    h = g.view("whole", h, 4, 4, 32)
    assert set(mixing(g, g.dense("head", g.transpose("back", h, 1, 0, 2), 3)).values()) == {False}


def test_view_to_sequence_first() -> None:
    """(batch, time, features) viewed, not transposed, to (time, batch, features)."""
    g = Sketch({"x": ("N", 7, 4)})
    h = g.view("to_steps", "x", 7, "N", 4)
    h = g.dense("fc", h, 8)
    h = g.layer(Op.REDUCE_MEAN, "mean", h, shape=("N", 8), axes=(0,), keepdim=False)
    assert mixing(g, g.dense("head", h, 3)) == {"to_steps": True}


def test_last_states_of_both_directions_viewed() -> None:
    """An LSTM's (2, batch, hidden) viewed as (batch, 2·hidden)."""
    g = Sketch({"x": ("N", 7, 4)})
    h = g.transpose("swap", "x", 1, 0, 2)
    states = g.layer(Op.LSTM, "lstm", h, shape=(2, "N", 8), hidden_size=8, bidirectional=True)
    flat = g.view("flat", states, "N", 16)
    assert mixing(g, g.dense("head", flat, 3)) == {"flat": True}


def test_heads_windows_and_patches_are_fine() -> None:
    g = Sketch({"x": ("N", 16, 32)})
    h = g.dense("qkv", "x", 32)
    h = g.view("heads", h, "N", 16, 4, 8)
    h = g.transpose("front", h, 0, 2, 1, 3)
    h = g.view("merged", h, "4*N", 16, 8)
    h = g.view("apart", h, "N", 4, 16, 8)
    h = g.transpose("back", h, 0, 2, 1, 3)
    h = g.view("joined", h, "N", 16, 32)
    h = g.view("windows", h, "4*N", 4, 32)
    h = g.view("undone", h, "N", 16, 32)
    assert set(mixing(g, g.dense("head", h, 3)).values()) == {False}


def test_sequence_first_heads_merged_with_the_batch_are_fine() -> None:
    """torch.nn.MultiheadAttention: (time, batch, features) to (time, batch·heads, size)."""
    g = Sketch({"x": ("N", 7, 32)})
    h = g.transpose("steps", "x", 1, 0, 2)
    h = g.view("heads", h, 7, "4*N", 8)
    h = g.transpose("front", h, 1, 0, 2)
    h = g.layer(Op.ATTENTION, "attention", h, h, h)
    h = g.view("rows", g.transpose("back", h, 1, 0, 2), "7*N", 32)
    h = g.view("again", g.dense("out", h, 32), 7, "N", 32)
    h = g.transpose("samples", h, 1, 0, 2)
    assert set(mixing(g, g.dense("head", h, 3)).values()) == {False}


def test_mixing_that_is_undone_before_use_is_fine() -> None:
    g = Sketch({"x": (7, "N", 4)})
    h = g.view("odd", "x", "N", 28)
    h = g.layer(Op.RELU, "relu", h)
    h = g.view("undone", h, 7, "N", 4)
    h = g.layer(Op.REDUCE_MEAN, "mean", h, shape=("N", 4), axes=(0,), keepdim=False)
    assert set(mixing(g, g.dense("head", h, 3)).values()) == {False}


def test_batch_merged_into_the_features_of_a_linear_layer() -> None:
    g = Sketch({"x": (6, 7, 4)})
    h = g.view("flat", g.transpose("swap", "x", 1, 0, 2), 7, 24)
    h = g.dense("fc", h, 8)
    h = g.layer(Op.REDUCE_MEAN, "mean", h, shape=(1, 8), axes=(0,), keepdim=True)
    h = g.layer(Op.EXPAND, "expand", h, shape=(6, 8))
    assert mixing(g, g.dense("head", h, 3))["flat"] is True


def test_groups_of_samples_on_axes_of_their_own_are_no_fault() -> None:
    """Minibatch statistics: (12, features) viewed as (4, 3, features)."""
    g = Sketch({"x": (12, 8)})
    h = g.dense("fc", "x", 8)
    h = g.view("groups", h, 4, 3, 8)
    h = g.view("undone", h, 12, 8)
    assert mixing(g, g.dense("head", h, 3))["groups"] is False


def test_one_sample_tells_nothing() -> None:
    g = Sketch({"x": (7, 1, 4)})
    h = g.view("flat", "x", 1, 28)
    verdict = mixing(g, g.dense("head", h, 3))["flat"]
    assert isinstance(verdict, Unmeasured)
    assert "1" in verdict.reason


def test_without_a_batch_nothing_is_claimed() -> None:
    """An unbatched model: the output shares no size with the input."""
    g = Sketch({"x": (6, 4)})
    h = g.view("flat", "x", 1, 24)
    verdict = mixing(g, g.dense("head", h, 3))["flat"]
    assert isinstance(verdict, Unmeasured)


def test_softmax_over_the_batch() -> None:
    g = Sketch({"x": ("N", 4)})
    h = g.dense("fc", "x", 10)
    g.layer(Op.SOFTMAX, "wrong", h, dim=0)
    out = g.layer(Op.SOFTMAX, "right", h, dim=1)
    column = facts(g.graph(out, "wrong"))["layer.softmax_over_batch"]
    assert column == {"wrong": True, "right": False}


def test_softmax_over_time_first_is_not_over_the_batch() -> None:
    g = Sketch({"x": ("N", 7, 4)})
    h = g.transpose("steps", "x", 1, 0, 2)
    w = g.layer(Op.SOFTMAX, "weights", g.dense("score", h, 1), dim=0)
    h = g.layer(Op.MUL, "weigh", h, w, shape=(7, "N", 4))
    h = g.layer(Op.REDUCE_SUM, "sum", h, shape=("N", 4), axes=(0,), keepdim=False)
    columns = facts(g.graph(g.dense("head", h, 3)))
    assert columns["layer.softmax_over_batch"] == {"weights": False}
    assert columns["layer.softmax_use"]["weights"] == "gate"


@pytest.mark.parametrize("dim, expected", [(0, True), (1, False), (2, False)])
def test_batch_through_sums_that_are_spelled_out(dim: int, expected: bool) -> None:
    """An Einsum that makes two axes of one moves the batch one place further from the end."""
    g = Sketch({"x": ("batch", 16, 32)})
    h = g.layer(
        Op.LINEAR, "slots", "x", shape=("batch", 16, 4, 2), weight=np.ones((32, 4, 2)), equation="bnd,dep->bnep",
        in_features=32, out_features=8,
    )  # fmt: skip
    shares = g.layer(Op.SOFTMAX, "shares", h, dim=dim)
    mixed = g.layer(Op.EINSUM, "mixed", "x", shares, shape=("batch", 4, 2, 32), equation="bnd,bnep->bepd")
    again = g.layer(Op.SOFTMAX, "again", mixed, dim=dim)
    over_batch = facts(g.graph(g.dense("head", again, 3)))["layer.softmax_over_batch"]
    assert over_batch == {"shares": expected, "again": expected}
