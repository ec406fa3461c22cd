"""Sizes of maps and how widths and kernels go on: hand-built graphs."""

from __future__ import annotations

import pytest

from tests.measure.structure_graphs import Sketch, facts
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Unmeasured

IMAGE = ("batch", 3, 32, 32)


def test_windows_and_maps() -> None:
    g = Sketch({"x": IMAGE})
    h = g.layer(
        Op.MAX_POOL, "pool", g.conv("conv", "x", 8, 5), shape=("batch", 8, 16, 16), kernel_size=(2, 2), stride=(2, 2)
    )
    columns = facts(g.graph(g.conv("next", h, 8, 3, stride=2)))
    assert columns["layer.kernel_size"] == {"conv": 5, "pool": 2, "next": 3}
    assert columns["layer.stride"] == {"conv": 1, "pool": 2, "next": 2}
    assert columns["layer.map_side"] == {"conv": 32, "pool": 32, "next": 16}


def test_a_map_of_unknown_size() -> None:
    g = Sketch({"x": ("batch", 3, "height", "width")})
    assert isinstance(facts(g.graph(g.conv("conv", "x", 8)))["layer.map_side"]["conv"], Unmeasured)


@pytest.mark.parametrize(
    ("perm", "axis"), [((0, 2, 3, 1), "map-channels"), (None, "map-width"), ((0, 1, 3, 2), "features")]
)
def test_what_a_dense_layer_sums_over(perm: tuple[int, ...] | None, axis: str) -> None:
    g = Sketch({"x": IMAGE})
    h = g.layer(Op.RELU, "relu", g.conv("conv", "x", 8, stride=4))
    h = h if perm is None else g.transpose("transpose", h, *perm)
    columns = facts(g.graph(g.dense("dense", h, 10)))
    assert columns["layer.dense_axis"]["dense"] == axis
    assert columns["layer.map_share"] == ({"dense": 64 / 1024} if axis == "map-channels" else {})


def test_a_flattened_map_is_plain_features() -> None:
    g = Sketch({"x": IMAGE})
    h = g.layer(Op.FLATTEN, "flatten", g.conv("conv", "x", 8, stride=4), shape=("batch", 512), start_dim=1)
    assert facts(g.graph(g.dense("dense", h, 10)))["layer.dense_axis"]["dense"] == "features"


def test_a_map_that_is_enlarged_behind_its_head_is_no_final_map() -> None:
    g = Sketch({"x": IMAGE})
    h = g.dense("dense", g.transpose("last", g.conv("conv", "x", 8, stride=4), 0, 2, 3, 1), 10)
    h = g.layer(Op.RESIZE, "resize", g.transpose("first", h, 0, 3, 1, 2), shape=("batch", 10, 32, 32))
    assert facts(g.graph(h))["layer.map_share"] == {}


def test_widths_and_kernels_of_a_plain_stack() -> None:
    g = Sketch({"x": IMAGE})
    h = g.layer(Op.RELU, "relu", g.norm("bn", g.conv("first", "x", 32, 7)))
    h = g.layer(Op.MAX_POOL, "pool", h, shape=("batch", 32, 16, 16), kernel_size=(2, 2), stride=(2, 2))
    columns = facts(g.graph(g.conv("third", g.conv("second", h, 16, 3), 16, 3, stride=2)))
    assert columns["layer.previous_width"] == {"second": 32, "third": 16}
    assert columns["layer.previous_kernel_size"] == {"second": 7, "third": 3}
    assert columns["layer.is_coarsened"] == {"second": True, "third": True}


def test_the_window_of_a_stem_is_left_out() -> None:
    g = Sketch({"x": IMAGE})
    columns = facts(g.graph(g.conv("second", g.conv("stem", "x", 32, 7, stride=2), 32, 3)))
    assert columns["layer.previous_kernel_size"] == {}
    assert columns["layer.is_coarsened"] == {"second": False}


def test_branches_are_no_plain_stack() -> None:
    g = Sketch({"x": IMAGE})
    stem = g.conv("stem", "x", 32)
    h = g.layer(Op.ADD, "sum", stem, g.conv("branch", stem, 32))
    assert facts(g.graph(g.conv("after", h, 32)))["layer.previous_width"] == {}


@pytest.mark.parametrize(
    ("widths", "runs"), [((64, 128, 256), [0, 1, 2]), ((256, 128, 64), [0, 0, 0]), ((64, 128, 64), [0, 1, 0])]
)
def test_runs_of_growing_layers(widths: tuple[int, ...], runs: list[int]) -> None:
    g = Sketch({"x": ("batch", 16)})
    h = "x"
    for number, width in enumerate(widths):
        h = g.layer(Op.RELU, f"relu{number}", g.dense(f"fc{number}", h, width))
    assert facts(g.graph(h))["layer.growth_run"] == {f"fc{number}": run for number, run in enumerate(runs) if number}


def trunk(code: int, *, skip: bool, factor: bool = False) -> dict[str, object]:
    g = Sketch({"x": ("batch", 16)})
    wide = g.layer(Op.RELU, "relu", g.dense("wide", "x", 64))
    h = g.dense("code", wide, code)
    h = h if factor else g.layer(Op.RELU, "bend", h)
    h = g.dense("back", h, 64)
    h = g.layer(Op.ADD, "sum", wide, h) if skip else h
    return dict(facts(g.graph(g.dense("head", h, 10)))["layer.trunk_width_ratio"])


def test_the_trunk_is_what_all_paths_cross() -> None:
    assert trunk(2, skip=False) == {"code": 1 / 32, "head": 10 / 64}
    assert trunk(2, skip=True) == {"head": 10 / 64}


def test_the_stream_is_as_wide_as_its_sums() -> None:
    g = Sketch({"x": ("batch", 3, 32, 32)})
    h = g.conv("stem", "x", 8)
    branch = g.conv("second", g.layer(Op.RELU, "relu", g.conv("first", h, 64)), 64)
    h = g.layer(Op.ADD, "sum", g.conv("projection", h, 64, 1), branch, shape=("batch", 64, 32, 32))
    columns = facts(g.graph(g.conv("code", g.layer(Op.RELU, "relu2", h), 2)))
    assert columns["layer.trunk_width_ratio"] == {"code": 2 / 64}


def test_a_low_rank_factor_is_no_bottleneck() -> None:
    assert "code" not in trunk(2, skip=False, factor=True)


def test_the_primary_output_and_what_it_is_like() -> None:
    g = Sketch({"x": ("batch", 16)})
    columns = facts(g.graph(g.dense("out", g.layer(Op.RELU, "relu", g.dense("code", "x", 4)), 16)))
    assert columns["model.output_unit_count"] == {"model": 16}
    assert columns["model.is_output_like_input"] == {"model": True}


@pytest.mark.parametrize(("width", "narrowed"), [(10, True), (64, False)])
def test_a_normalized_head(width: int, narrowed: bool) -> None:
    g = Sketch({"x": ("batch", 64)})
    graph = g.graph(g.norm("bn", g.dense("head", "x", width, bias=False)))
    assert facts(graph)["output.is_normalized_head"] == {"bn": narrowed}


def test_how_much_of_the_image_is_flattened() -> None:
    g = Sketch({"x": ("batch", 3, 32, 32)})
    h = g.layer(Op.FLATTEN, "flatten", g.conv("conv", "x", 8, stride=2), shape=("batch", 2048), start_dim=1)
    columns = facts(g.graph(g.dense("head", g.layer(Op.RELU, "relu", g.dense("first", h, 16)), 10)))
    assert columns["layer.flattened_share"] == {"first": 0.25}


@pytest.mark.parametrize("pooled", [True, False])
def test_a_dropout_before_a_max_pooling(pooled: bool) -> None:
    g = Sketch({"x": ("batch", 3, 32, 32)})
    h = g.layer(Op.DROPOUT, "drop", g.conv("conv", "x", 8), p=0.5)
    op = Op.MAX_POOL if pooled else Op.AVERAGE_POOL
    h = g.layer(op, "pool", h, shape=("batch", 8, 16, 16), kernel_size=(2, 2), stride=(2, 2))
    assert facts(g.graph(h))["layer.is_before_max_pool"] == {"drop": pooled}
