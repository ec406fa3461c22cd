"""Roles of weighted layers, linear layers in a row with the designs that mean it, and zero weights that are meant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.measure.structure_graphs import IMAGE, Sketch, facts
from trainaudit.ir.ops import Op


def stacked(sketch: Sketch, output: str, layer: str) -> tuple[object, object]:
    columns = facts(sketch.graph(output))
    return columns["layer.linear_predecessor"][layer], columns["layer.linear_idiom"][layer]


def relu(g: Sketch, x: str) -> str:
    return g.layer(Op.RELU, f"relu_{x}", x)


# The fault


def test_two_linear_layers() -> None:
    g = Sketch({"x": ("N", 32)})
    h = g.dense("fc2", g.dense("fc1", "x", 64), 64)
    out = g.dense("head", relu(g, h), 10)
    assert stacked(g, out, "fc2") == ("fc1", "none")
    assert stacked(g, out, "fc1") == ("none", "none")
    assert stacked(g, out, "head") == ("none", "none")


@pytest.mark.parametrize("between", [Op.DROPOUT, Op.AVERAGE_POOL, Op.IDENTITY, Op.RESIZE, Op.BATCH_NORM])
def test_linear_things_between_do_not_help(between: Op) -> None:
    g = Sketch({"x": IMAGE})
    h = g.layer(between, "between", g.conv("a", "x", 32))
    out = g.conv("c", relu(g, g.conv("b", h, 32)), 10)
    assert stacked(g, out, "b") == ("a", "none")


def test_convolution_flattened_into_a_linear_layer() -> None:
    g = Sketch({"x": IMAGE})
    h = g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", g.conv("conv", "x", 64), shape=("batch", 64, 1, 1))
    h = g.layer(Op.FLATTEN, "flat", h, shape=("batch", 64), start_dim=1)
    assert stacked(g, g.dense("head", h, 10), "head") == ("conv", "none")


@pytest.mark.parametrize("is_normalized", [True, False])
def test_convolutions_without_activation_functions(is_normalized: bool) -> None:
    """Batch normalization between them makes no difference: with it folded or not, each layer but the first is reported."""
    g = Sketch({"x": IMAGE})
    h = "x"
    for k in (1, 2, 3):
        h = g.conv(f"conv{k}", h, 32)
        h = g.norm(f"bn{k}", h) if is_normalized else h
    h = g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", h, shape=("batch", 32, 1, 1))
    h = g.layer(Op.FLATTEN, "flat", h, shape=("batch", 32), start_dim=1)
    columns = facts(g.graph(g.dense("head", h, 10)))
    assert columns["layer.linear_predecessor"] == {"conv1": "none", "conv2": "conv1", "conv3": "conv2", "head": "conv3"}
    assert set(columns["layer.linear_idiom"].values()) == {"none"}


@pytest.mark.parametrize("is_normalized", [True, False])
def test_convolutions_with_max_pools_alone_between(is_normalized: bool) -> None:
    """A pool in front of a dense layer is not counted: there is no second convolution."""
    g = Sketch({"x": IMAGE})
    h = "x"
    for k in (1, 2, 3):
        h = g.conv(f"conv{k}", h, 32)
        h = g.norm(f"bn{k}", h) if is_normalized else h
        h = g.layer(Op.MAX_POOL, f"pool{k}", h)
    h = g.layer(Op.FLATTEN, "flat", h, shape=("batch", 512), start_dim=1)
    columns = facts(g.graph(g.dense("head", h, 10)))
    predecessors, idioms = columns["layer.linear_predecessor"], columns["layer.linear_idiom"]
    assert predecessors == {"conv1": "none", "conv2": "conv1", "conv3": "conv2", "head": "none"}
    assert idioms == {"conv1": "none", "conv2": "max-pooled", "conv3": "max-pooled", "head": "none"}


@pytest.mark.parametrize("is_pooled_first", [True, False])
def test_activation_function_beside_a_max_pool(is_pooled_first: bool) -> None:
    g = Sketch({"x": IMAGE})
    h = g.conv("conv1", "x", 32)
    if is_pooled_first:
        h = relu(g, g.norm("bn", g.layer(Op.MAX_POOL, "pool", h)))
    else:
        h = g.layer(Op.MAX_POOL, "pool", relu(g, g.norm("bn", h)))
    assert stacked(g, g.conv("conv2", h, 32), "conv2") == ("none", "none")


def test_pooled_stream_of_a_residual_network() -> None:
    """Pre-activation: stem, max-pool, then a block with a projected skip that reads the pooled values as they are."""
    g = Sketch({"x": IMAGE})
    h = g.layer(Op.MAX_POOL, "pool", g.conv("stem", "x", 32))
    branch = g.conv("end", relu(g, g.conv("inner", relu(g, g.norm("bn", h)), 32)), 64)
    h = g.layer(Op.ADD, "sum", g.conv("skip", h, 64), branch)
    assert stacked(g, g.conv("next", relu(g, h), 10), "skip") == ("stem", "residual")


def test_two_heads_on_a_linear_trunk() -> None:
    g = Sketch({"x": ("N", 8)})
    h = g.dense("trunk", "x", 64)
    policy, value = g.dense("policy", h, 4), g.dense("value", h, 1)
    columns = facts(g.graph(policy, value))
    assert columns["layer.linear_idiom"]["policy"] == "none"
    assert columns["layer.linear_predecessor"]["policy"] == "trunk"


@pytest.mark.parametrize("op", [Op.RELU, Op.MAX_POOL, Op.LAYER_NORM, Op.ATTENTION])
def test_what_is_not_linear_ends_the_chain(op: Op) -> None:
    g = Sketch({"x": ("N", 6, 32)})
    h = g.dense("fc1", "x", 64)
    h = (
        g.norm("between", h, op)
        if op is Op.LAYER_NORM
        else g.layer(op, "between", *[h] * (3 if op is Op.ATTENTION else 1))
    )
    assert stacked(g, g.dense("fc2", h, 64), "fc2")[0] == "none"


# The known designs


def low_rank(g: Sketch) -> str:
    return g.dense("second", g.dense("first", "x", 4), 32)


def depthwise_separable(g: Sketch) -> str:
    g.conv("first", "picture", 3, groups=3)
    return g.layer(Op.FLATTEN, "flat", g.conv("second", "first", 32, 1), shape=("N", 99), start_dim=1)


def embedded(g: Sketch) -> str:
    return g.dense("second", g.embed("first", "ids", 50, 16), 32)


def linear_bottleneck(g: Sketch) -> str:
    wide = relu(g, g.conv("wide", "picture", 96, 1))
    return g.layer(
        Op.FLATTEN, "flat", g.conv("second", g.conv("first", wide, 24, 1), 144, 1), shape=("N", 99), start_dim=1
    )


def residual_stream(g: Sketch) -> str:
    h = relu(g, g.dense("stem", "x", 32))
    h = g.layer(Op.ADD, "sum", h, g.dense("first", relu(g, g.dense("inner", h, 32)), 32))
    return g.dense("second", h, 32)


def stream_that_forks(g: Sketch) -> str:
    h = g.dense("first", "x", 32)
    return g.layer(Op.ADD, "sum", h, g.dense("end", relu(g, g.dense("second", h, 32)), 32))


def projected_skip(g: Sketch) -> str:
    h = g.dense("first", "x", 32)
    branch = g.dense("end", relu(g, g.dense("a", relu(g, h), 32)), 16)
    return g.layer(Op.ADD, "sum", g.dense("second", h, 16), branch)


def patches(g: Sketch) -> str:
    h = g.layer(
        Op.CONV,
        "first",
        "picture",
        shape=("N", 96, 4, 4),
        weight=np.ones((96, 3, 8, 8)),
        kernel_size=(8, 8),
        stride=(8, 8),
    )
    return g.layer(Op.FLATTEN, "flat", g.conv("second", h, 128), shape=("N", 99), start_dim=1)


def attention(g: Sketch) -> str:
    h = g.dense("first", "steps", 32)
    q, k, v = g.dense("second", h, 32), g.dense("k", h, 32), g.dense("v", h, 32)
    return g.layer(Op.ATTENTION, "attention", q, k, v)


def mixing_positions(g: Sketch) -> str:
    h = g.dense("first", "steps", 32)
    return g.dense("second", g.transpose("swap", h, 0, 2, 1), 24)


def parallel(g: Sketch) -> str:
    h = g.layer(Op.CONCAT, "cat", g.dense("first", "x", 16), g.dense("other", "x", 16), shape=("N", 32), dim=1)
    return g.dense("second", h, 64)


def pyramid(g: Sketch) -> str:
    """A lateral convolution that is smoothed, and upsampled into the next level."""
    top = g.conv("first", "picture", 64, 1)
    second = g.conv("second", top, 64)
    up = g.layer(Op.RESIZE, "up", top, shape=("N", 64, 64, 64))
    return g.layer(Op.CONCAT, "cat", second, relu(g, up), shape=("N", 99), dim=1)


def project_and_reshape(g: Sketch) -> str:
    h = g.layer(Op.RESHAPE, "spread", g.dense("first", "x", 512), shape=("N", 32, 4, 4))
    details = {"weight": np.ones((32, 16, 4, 4)), "kernel_size": (4, 4), "stride": (2, 2)}
    return g.layer(Op.CONV_TRANSPOSE, "second", h, shape=("N", 16, 8, 8), **details)


@pytest.mark.parametrize(
    "build, idiom",
    [
        (low_rank, "low-rank"),
        (depthwise_separable, "depthwise-separable"),
        (embedded, "embedding"),
        (linear_bottleneck, "bottleneck-projection"),
        (residual_stream, "residual"),
        (stream_that_forks, "residual"),
        (projected_skip, "residual"),
        (patches, "patch-embedding"),
        (attention, "attention"),
        (mixing_positions, "position-mixing"),
        (parallel, "parallel-branches"),
        (pyramid, "parallel-branches"),
        (project_and_reshape, "latent"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_known_designs(build: Callable[[Sketch], str], idiom: str) -> None:
    g = Sketch({"x": ("N", 32), "steps": ("N", 8, 32), "picture": ("N", 3, 32, 32), "ids": ("N", 8)})
    assert stacked(g, build(g), "second") == ("first", idiom)


@pytest.mark.parametrize("is_normalized", [True, False])
def test_embedding_that_is_an_output_too(is_normalized: bool) -> None:
    """Features for retrieval, a classifier behind them for training: the two cannot be merged."""
    g = Sketch({"x": ("N", 64)})
    h = g.dense("embedding", "x", 32)
    h = g.norm("neck", h) if is_normalized else h
    out = g.dense("classifier", h, 10)
    columns = facts(g.graph(out, h))
    assert columns["layer.linear_predecessor"]["classifier"] == "embedding"
    assert columns["layer.linear_idiom"]["classifier"] == ("normalized" if is_normalized else "latent")


# Roles and zeros


def transformer_block(g: Sketch, name: str, x: str, width: int) -> str:
    h = g.norm(f"{name}.norm1", x, Op.LAYER_NORM)
    q, k, v = (g.dense(f"{name}.{part}", h, width) for part in "qkv")
    h = g.dense(f"{name}.out", g.layer(Op.ATTENTION, f"{name}.attention", q, k, v), width)
    x = g.layer(Op.ADD, f"{name}.add1", x, g.layer(Op.DROPOUT, f"{name}.drop", h, p=0.1))
    h = g.norm(f"{name}.norm2", x, Op.LAYER_NORM)
    gate = g.layer(Op.SILU, f"{name}.silu", g.dense(f"{name}.gate", h, 2 * width))
    h = g.layer(Op.MUL, f"{name}.mul", gate, g.dense(f"{name}.up", h, 2 * width))
    return g.layer(Op.ADD, f"{name}.add2", x, g.dense(f"{name}.down", h, width))


def test_roles_in_a_transformer() -> None:
    g = Sketch({"ids": ("N", 8)})
    h = g.embed("tokens", "ids", 50, 16)
    for name in ("a", "b"):
        h = transformer_block(g, name, h, 16)
    out = g.dense("head", g.norm("norm", h, Op.LAYER_NORM), 50, weight="tokens.embedding", bias=False)
    columns = facts(g.graph(out))
    roles = columns["layer.role"]
    assert {key.removeprefix("b."): role for key, role in roles.items() if not key.startswith("a.")} == {
        "tokens": "embedding",
        "q": "attention-query",
        "k": "attention-key",
        "v": "attention-value",
        "out": "attention-out",
        "gate": "gate",
        "up": "hidden",
        "down": "residual-branch-end",
        "head": "output-head",
    }
    assert columns["parameter.is_tied_to_head"] == {"tokens.embedding": True}
    zero = columns["parameter.zero_init_idiom"]
    assert zero["a.down.weight"] == zero["a.out.weight"] == "residual-branch-end"
    assert zero["a.gate.weight"] == "gate"
    assert zero["a.up.weight"] == zero["a.q.weight"] == "none"
    # Nothing in a healthy block is a linear stack, and the dropout before the residual sum is not on the output.
    assert set(columns["layer.linear_idiom"].values()) == {"none"}
    assert set(columns["layer.linear_predecessor"].values()) == {"none"}


def test_attention_that_was_not_fused() -> None:
    g = Sketch({"x": ("N", 8, 16)})
    q, k, v = (g.dense(part, "x", 16) for part in "qkv")
    scores = g.layer(Op.MATMUL, "scores", q, g.transpose("turn", k, 0, 2, 1), shape=("N", 8, 8))
    scores = g.layer(Op.DIV, "scale", scores, scalar=4.0, scalar_side="right")
    weights = g.layer(Op.SOFTMAX, "softmax", scores, dim=2)
    h = g.dense("out", g.layer(Op.MATMUL, "mixed", weights, v, shape=("N", 8, 16)), 16)
    columns = facts(g.graph(g.dense("head", relu(g, h), 4)))
    assert columns["layer.role"] == {
        "q": "attention-query", "k": "attention-key", "v": "attention-value", "out": "attention-out", "head": "output-head",
    }  # fmt: skip
    assert columns["layer.softmax_use"] == {"softmax": "attention"}


def test_roles_in_a_residual_network() -> None:
    g = Sketch({"x": IMAGE})
    h = relu(g, g.norm("bn0", g.conv("stem", "x", 16)))
    for name, width, stride in (("a", 16, 1), ("b", 32, 2), ("c", 32, 1)):
        skip = h
        inner = relu(g, g.norm(f"{name}.bn1", g.conv(f"{name}.conv1", h, width, stride=stride)))
        inner = g.norm(f"{name}.bn2", g.conv(f"{name}.conv2", inner, width))
        if stride > 1:
            skip = g.norm(f"{name}.bn3", g.conv(f"{name}.skip", h, width, 1, stride=stride))
        h = relu(g, g.layer(Op.ADD, f"{name}.add", inner, skip))
    h = g.layer(Op.GLOBAL_AVERAGE_POOL, "pool", h, shape=("batch", 32, 1, 1))
    h = g.layer(Op.FLATTEN, "flat", h, shape=("batch", 32), start_dim=1)
    columns = facts(g.graph(g.dense("fc", h, 10)))
    roles = columns["layer.role"]
    assert [roles[n] for n in ("stem", "b.conv1", "b.conv2", "b.skip", "fc")] == [
        "hidden", "hidden", "residual-branch-end", "downsample", "output-head",
    ]  # fmt: skip
    zero = columns["parameter.zero_init_idiom"]
    assert zero["a.bn2.scale"] == "residual-branch-end"
    assert zero["a.bn1.scale"] == "none"
    assert columns["model.is_convolutional"] == {"model": True}
    assert columns["model.depth"] == {"model": 8}


def test_low_rank_adapter_and_modulation() -> None:
    g = Sketch({"x": ("N", 16), "time": ("N", 8)})
    base, update = g.dense("base", "x", 32), g.dense("b", g.dense("a", "x", 4), 32)
    h = relu(g, g.layer(Op.ADD, "adapted", base, update))
    condition = g.dense("modulation", g.layer(Op.SILU, "silu", g.dense("embed", "time", 16)), 64)
    scale, shift = g.layer_with_outputs(Op.SPLIT, "split", condition, shapes=(("N", 32), ("N", 32)), dim=1)
    normal = g.layer(Op.LAYER_NORM, "norm", h, axes=(-1,), eps=1e-6)
    h = g.layer(Op.MUL, "scaled", normal, g.layer(Op.ADD, "plus1", scale, scalar=1.0))
    h = g.layer(Op.ADD, "shifted", h, shift)
    columns = facts(g.graph(g.dense("head", relu(g, h), 4)))
    assert columns["parameter.zero_init_idiom"]["b.weight"] == "low-rank-adapter"
    assert columns["layer.role"]["modulation"] == "modulation"
    assert columns["parameter.zero_init_idiom"]["modulation.weight"] == "modulation"
    assert columns["layer.linear_idiom"]["b"] == "low-rank"


def test_recurrence_written_out() -> None:
    g = Sketch({"x0": ("N", 8), "x1": ("N", 8), "x2": ("N", 8), "x3": ("N", 8)})
    h = g.layer(Op.TANH, "tanh0", g.dense("in0", "x0", 16))
    for t in (1, 2, 3):
        known: dict[str, object] = {"weight": "in0.weight", "bias": "in0.bias"}
        inner = g.dense(f"in{t}", f"x{t}", 16, **known)
        again = g.dense(f"hh{t}", h, 16, bias=False, **({} if t == 1 else {"weight": "hh1.weight"}))
        h = g.layer(Op.TANH, f"tanh{t}", g.layer(Op.ADD, f"add{t}", inner, again))
    roles = facts(g.graph(g.dense("head", h, 3)))["layer.role"]
    assert roles["hh1"] == roles["hh3"] == roles["in2"] == "recurrent-cell"
    assert roles["head"] == "output-head"


# Zero weights behind which something else carries the signal


def alignment(g: Sketch) -> str:
    """PointNet: a matrix around the identity."""
    matrix = g.view("matrix", g.dense("zero", "x", 9), "N", 3, 3)
    matrix = g.layer(Op.ADD, "plus_eye", matrix, constant=np.eye(3))
    return g.layer(Op.MATMUL, "aligned", "points", matrix)


def offsets(g: Sketch) -> str:
    """Positions around a regular grid."""
    moved = g.transpose("last", g.conv("zero", "picture", 2), 0, 2, 3, 1)
    moved = g.layer(Op.ADD, "around", moved, constant=np.ones((32, 32, 2)))
    sampled = g.layer(Op.GRID_SAMPLE, "sampled", "picture", moved, shape=IMAGE)
    return relu(g, g.conv("next", sampled, 8))


def spatial_gate(g: Sketch) -> str:
    """gMLP: a bias of one lets everything through."""
    zero = g.layer(
        Op.LINEAR,
        "zero",
        "x",
        shape=("N", 8),
        weight=np.zeros((8, 16)),
        bias=np.ones(8),
        in_features=16,
        out_features=8,
    )
    return g.layer(Op.MUL, "gated", relu(g, g.dense("wide", "x", 8)), zero)


def closed_gate(g: Sketch) -> str:
    return g.layer(Op.MUL, "gated", relu(g, g.dense("wide", "x", 8)), g.dense("zero", "x", 8))


def score(g: Sketch) -> str:
    """A fully convolutional network's scores, upsampled."""
    scores = g.conv("zero", relu(g, g.conv("features", "picture", 16)), 5, 1)
    return g.layer(
        Op.CONV_TRANSPOSE, "up", scores, shape=("N", 5, 64, 64), weight=np.ones((5, 5, 4, 4)), stride=(2, 2),
        kernel_size=(4, 4),
    )  # fmt: skip


def scores_of_two_scales(g: Sketch) -> str:
    fine = relu(g, g.conv("fine", "picture", 16))
    coarse = g.conv("coarse_score", relu(g, g.conv("coarse", fine, 16)), 5, 1)
    return relu(g, g.layer(Op.ADD, "sum", g.conv("zero", fine, 5, 1), coarse))


def scaled_only(g: Sketch) -> str:
    return relu(g, g.layer(Op.ADD, "plus", g.dense("zero", "x", 8), constant=np.ones(8)))


def product_without_shift(g: Sketch) -> str:
    return g.layer(Op.MATMUL, "product", "points", g.view("matrix", g.dense("zero", "x", 9), "N", 3, 3))


def read_twice(g: Sketch) -> str:
    h = g.dense("zero", "x", 8)
    return relu(g, g.layer(Op.MUL, "product", h, g.layer(Op.SIGMOID, "sigmoid", g.dense("other", h, 8))))


@pytest.mark.parametrize(
    "design, idiom",
    [
        (alignment, "modulation"),
        (offsets, "modulation"),
        (spatial_gate, "gate"),
        (closed_gate, "none"),
        (score, "output-head"),
        (scores_of_two_scales, "residual-branch-end"),
        (scaled_only, "none"),
        (product_without_shift, "none"),
        (read_twice, "none"),
    ],
)
def test_zero_weights_that_are_meant(design: Callable[[Sketch], str], idiom: str) -> None:
    g = Sketch({"x": ("N", 16), "points": ("N", 7, 3), "picture": IMAGE})
    h = design(g)
    if design is not score:
        h = g.layer(Op.REDUCE_MEAN, "mean", h, shape=("N", 3), axes=(1,))
        h = g.dense("head", relu(g, g.dense("fc", h, 8)), 4)
    assert facts(g.graph(h))["parameter.zero_init_idiom"]["zero.weight"] == idiom


def test_a_head_that_levels_share_is_no_stack() -> None:
    g = Sketch({"x": IMAGE})
    low = relu(g, g.conv("low", "x", 16))
    high = relu(g, g.conv("high", low, 16, stride=2))
    outputs = []
    for name, level in (("a", low), ("b", high)):
        smooth = g.conv(f"smooth_{name}", level, 16)
        weight = np.ones((16, 16, 3, 3)) if name == "a" else "head_a.weight"
        shared = g.layer(Op.CONV, f"head_{name}", smooth, weight=weight)
        outputs.append(g.conv(f"score_{name}", relu(g, shared), 4, 1))
    idioms = facts(g.graph(*outputs))["layer.linear_idiom"]
    assert (idioms["head_a"], idioms["head_b"]) == ("parallel-branches", "parallel-branches")


def test_two_layers_that_are_shared_together_are_a_stack() -> None:
    """Both towers of a Siamese network."""
    g = Sketch({"a": ("N", 16), "b": ("N", 16)})
    first, second = np.ones((32, 16)), np.ones((32, 32))
    towers = []
    for name in "ab":
        h = g.dense(f"first_{name}", name, 32, bias=False, weight=first if name == "a" else "first_a.weight")
        h = g.dense(f"second_{name}", h, 32, bias=False, weight=second if name == "a" else "second_a.weight")
        towers.append(relu(g, h))
    h = g.layer(Op.CONCAT, "both", *towers, shape=("N", 64), dim=1)
    columns = facts(g.graph(g.dense("head", h, 1)))
    assert columns["layer.linear_idiom"]["second_a"] == columns["layer.linear_idiom"]["second_b"] == "none"
    assert columns["layer.linear_predecessor"]["second_b"] == "first_b"
