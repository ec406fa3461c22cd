"""Symbolic shape inference on small graphs written as ONNX text."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.load.raw_graphs import raw_graph
from trainaudit.ir.graph import Origin, Shape
from trainaudit.ir.tensor import ArrayData
from trainaudit.load.raw import RawGraph, RawNode
from trainaudit.load.shapes import inference as shapes_module
from trainaudit.load.shapes.inference import RULES, Inferred, infer_shapes


def infer(text: str, opset: int = 17, domains: str = "") -> Inferred:
    """What is inferred of a graph in ONNX's textual syntax."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}{domains}]>\n{text}')
    return infer_shapes(raw_graph(model))


def graph_of(nodes: list[RawNode], shapes: dict[str, Shape], tensors: dict[str, Any] | None = None) -> RawGraph:
    data = {name: ArrayData(np.asarray(values)) for name, values in (tensors or {}).items()}
    return RawGraph(
        nodes=nodes, tensors=dict(data), constants=set(), inputs=list(shapes), outputs=[], shapes=dict(shapes),
        dtypes=dict.fromkeys(shapes, "float32"), origin=Origin("m.onnx", "onnx", 0), opset=17,
    )  # fmt: skip


def test_view_by_size_of_the_batch() -> None:
    """x.view(x.size(0), -1), as torch's TorchScript exporter writes it."""
    known = infer(
        """view (float[N,128,2,2] x) => (float[a,b] y) <int64 zero = {0}, int64[1] first = {0}, int64[1] rest = {-1}> {
            shape = Shape(x)
            size = Gather<axis = 0>(shape, zero)
            sizes = Unsqueeze(size, first)
            target = Concat<axis = 0>(sizes, rest)
            y = Reshape(x, target)
        }"""
    )
    assert known.shapes["y"] == ("N", 512)
    assert known.integers["target"] == ("N", -1)
    assert known.dtypes["target"] == "int64"


def test_attention_with_dynamic_batch_and_sequence() -> None:
    known = infer(
        """attention (float[batch,sequence,768] x, float[768,768] w, float[1,1,1024,1024] mask) => (float[a,b,c] y)
        <int64 zero = {0}, int64 one = {1}, int64[1] first = {0}, int64[1] heads = {12}, int64[1] rest = {-1}, int64[1] axis2 = {2}, int64[1] axis3 = {3}, int64[1] unit = {1}> {
            q = MatMul(x, w)
            shape = Shape(x)
            batch = Gather(shape, zero)
            length = Gather(shape, one)
            batch1 = Unsqueeze(batch, first)
            length1 = Unsqueeze(length, first)
            split = Concat<axis = 0>(batch1, length1, heads, rest)
            q4 = Reshape(q, split)
            qt = Transpose<perm = [0, 2, 1, 3]>(q4)
            kt = Transpose<perm = [0, 2, 3, 1]>(q4)
            scores = MatMul(qt, kt)
            rows = Slice(mask, first, length1, axis2, unit)
            square = Slice(rows, first, length1, axis3, unit)
            masked = Add(square, scores)
            p = Softmax(masked)
            o = MatMul(p, qt)
            ot = Transpose<perm = [0, 2, 1, 3]>(o)
            joined = Concat<axis = 0>(batch1, length1, rest)
            y = Reshape(ot, joined)
        }"""
    )
    assert known.shapes["square"] == (1, 1, "min(1024, sequence)", "min(1024, sequence)")
    assert known.shapes["p"] == ("batch", 12, "sequence", "sequence")
    assert known.shapes["y"] == ("batch", "sequence", 768)


def test_cache_of_keys_grows_by_the_new_ones_and_the_expand_idiom_is_seen_through() -> None:
    known = infer(
        """cache (float[B,8,past,64] old, float[B,8,new,64] more) => (float[] y)
        <int64[4] shape = {-1, 1, -1, 64}, int64[4] fill = {1, 1, 1, 1}, int64[4] minus = {-1, -1, -1, -1}, int64[1] two = {2},
         int64[1] three = {3}, int64 zero = {0}, int64 count = {7}, int64 one = {1}> {
            all = Concat<axis = 2>(old, more)
            sizes = Shape(all)
            is_free = Equal(shape, minus)
            target = Where(is_free, fill, shape)
            wide = Expand(all, target)
            total = Slice(sizes, two, three)
            ids = Range(zero, count, one)
        }"""
    )
    assert known.shapes["all"] == ("B", 8, "new + past", 64)
    assert known.integers["target"] == (1, 1, 1, 64)
    assert known.shapes["wide"] == ("B", 8, "new + past", 64)
    assert known.integers["total"] == ("new + past",)
    assert known.integers["ids"] == (0, 1, 2, 3, 4, 5, 6)


def test_scale_of_exported_scaled_dot_product_attention_is_folded() -> None:
    known = infer(
        """scale (float[N,4,s,64] q) => (float y) <int64[1] start = {-1}, int64[1] end = {9223372036854775807}, float one = {1}> {
            shape = Shape(q)
            last = Slice(shape, start, end)
            width = Cast<to = 1>(last)
            root = Sqrt(width)
            inverse = Div(one, root)
            y = Sqrt(inverse)
        }"""
    )
    assert known.numbers["y"] == pytest.approx((64**-0.25,))
    assert "y" not in known.integers


def test_declared_and_inferred_shapes_complete_each_other() -> None:
    known = infer(
        """merge (float[N,d] x, float[4,8] w) => (float[N,8] y) <float[5,4] h, float[M,7] s> {
            h = NoSuchOperator(x)
            y = MatMul(h, w)
            s = Add(y, x)
        }"""
    )
    assert known.shapes["h"] == (5, 4)  # only the declaration knows
    assert known.shapes["y"] == (
        5,
        8,
    )  # a number says more than the declared symbol, and inference wins a contradiction
    assert known.shapes["s"] == (5, 8)


@pytest.mark.parametrize("label", ["", "?", "None", "unknown"])
def test_labels_for_any_unknown_size_are_not_equal_to_themselves(label: str) -> None:
    known = infer_shapes(graph_of([RawNode("Add", "", "", ["a", "b"], ["y"])], {"a": (label, 3), "b": (label, 1)}))
    assert known.shapes["a"] == (None, 3)
    assert known.shapes["y"] == (None, 3)


def test_broadcast_of_two_symbols_is_unknown() -> None:
    known = infer_shapes(graph_of([RawNode("Add", "", "", ["a", "b"], ["y"])], {"a": ("M", 3), "b": ("N", 3)}))
    assert known.shapes["y"] == (None, 3)


def test_stored_sizes_of_terabytes_cost_nothing() -> None:
    huge = 2**62
    known = infer(
        f"""huge (float[{huge},{huge}] x) => (float[] y)
        <int64[2] shape = {{{huge}, {huge}}}, int64 zero = {{0}}, int64 limit = {{{huge}}}, int64 one = {{1}}, int64[1] many = {{{huge}}},
         int64[2] pair = {{3, 4}}> {{
            zeros = ConstantOfShape(shape)
            ids = Range(zero, limit, one)
            tiled = Tile(pair, many)
            sum = Add(ids, ids)
            flat = Flatten(x)
            all = Size(x)
            twice = Concat<axis = 0>(x, x)
            square = Mul(shape, shape)
        }}"""
    )
    assert known.shapes["zeros"] == (huge, huge)
    assert known.shapes["ids"] == (huge,)
    assert known.shapes["sum"] == (huge,)
    assert known.shapes["twice"][1] == huge
    assert known.integers["all"] == (None,)
    assert known.integers["square"] == (None, None)
    assert not {"ids", "tiled", "zeros"} & known.numbers.keys()


def test_numbers_agree_with_their_shape_and_stay_small() -> None:
    known = infer(
        """folds (float[N,3,4] x) => (float[] y)
        <int64[2,3] m = {1, 2, 3, 4, 5, 6}, int64[2] flip = {1, 0}, int64[1] rest = {-1}, int64[3] three = {1, 2, 3},
         int64[1] two = {2}, int64[1] thirty = {30}> {
            t = Transpose(m)
            picked = Gather<axis = 0>(m, flip)
            flat = Reshape(m, rest)
            many = Tile(three, thirty)
            s = Shape(x)
            d = Mul(s, two)
            p = ReduceProd<keepdims = 0>(s)
        }"""
    )
    assert known.integers["t"] == (1, 4, 2, 5, 3, 6)
    assert known.integers["picked"] == (4, 5, 6, 1, 2, 3)
    assert known.integers["flat"] == (1, 2, 3, 4, 5, 6)
    assert known.integers["d"] == ("2*N", 6, 8)
    assert known.integers["p"] == ("12*N",)
    assert known.shapes["p"] == ()
    assert known.shapes["many"] == (90,)
    assert "many" not in known.integers


def test_strided_convolutions_of_unknown_images_agree_with_each_other() -> None:
    """The two branches of a residual block with stride 2 have one size, whatever the image's."""
    known = infer(
        """block (float[N,3,H,W] x, float[8,3,3,3] w3, float[8,3,1,1] w1) => (float[] y) {
            a = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w3)
            b = Conv<strides = [2, 2]>(x, w1)
            y = Add(a, b)
            same = Conv<pads = [1, 1, 1, 1]>(x, w3)
        }"""
    )
    assert known.shapes["y"] == ("N", 8, "((H + 1)//2)", "((W + 1)//2)")
    assert known.shapes["same"] == ("N", 8, "H", "W")


@pytest.mark.parametrize("opset, nodes", [
    (7, "a = Unsqueeze<axes = [0, 3]>(x) b = ReduceSum<axes = [1], keepdims = 0>(a) c = Slice<axes = [1], starts = [0], ends = [2]>(b)"),
    (17, "a = Unsqueeze(x, ends) b = ReduceSum<keepdims = 0>(a, one) c = Slice(b, zero, two, one)"),
])  # fmt: skip
def test_arguments_as_attributes_and_as_inputs(opset: int, nodes: str) -> None:
    known = infer(
        "g (float[N,5] x) => (float[] c) <int64[2] ends = {0, 3}, int64[1] one = {1}, int64[1] zero = {0}, int64[1] two = {2}> {"
        + nodes + "}",
        opset,
    )  # fmt: skip
    assert known.shapes["a"] == (1, "N", 5, 1)
    assert known.shapes["b"] == (1, 5, 1)
    assert known.shapes["c"] == (1, 2, 1)


@pytest.mark.parametrize(
    "node, shapes, expected",
    [
        ("Attention<num_heads = 12>", {"x": ("B", "S", 768), "w": (768, 2304), "b": (2304,)}, ("B", "S", 768)),
        ("MultiHeadAttention<num_heads = 8>", {"q": ("B", "S", 512), "k": ("B", "T", 512), "v": ("B", "T", 256)}, ("B", "S", 256)),
        ("SkipLayerNormalization", {"x": ("B", "S", 768), "s": ("B", "S", 768), "g": (768,)}, ("B", "S", 768)),
        ("EmbedLayerNormalization", {"i": ("B", "S"), "t": ("B", "S"), "w": (30000, 128)}, ("B", "S", 128)),
        ("FusedMatMul<transB = 1>", {"a": ("B", "S", 64), "b": ("B", "T", 64)}, ("B", "S", "T")),
        ("RotaryEmbedding", {"x": ("B", "S", 64), "p": ("B", "S"), "c": (512, 32)}, ("B", "S", 64)),
        ("GroupQueryAttention<num_heads = 8, kv_num_heads = 2>", {"qkv": ("B", "S", 768)}, ("B", "S", 512)),
        ("MatMulNBits<K = 64, N = 100, bits = 4>", {"x": ("B", "S", 64), "w": (100, 2, 16)}, ("B", "S", 100)),
        ("QGemm<transB = 1>", {"a": ("B", 64), "s": (), "z": (), "w": (10, 64)}, ("B", 10)),
        ("QLinearAdd", {"a": ("B", 64), "s": (), "z": (), "b": (64,)}, ("B", 64)),
        ("QLinearConcat<axis = 1>", {"s": (), "z": (), "a": ("B", 2), "as": (), "az": (), "b": ("B", 3)}, ("B", 5)),
        ("NhwcMaxPool<kernel_shape = [2, 2], strides = [2, 2]>", {"x": ("B", 8, 8, 3)}, ("B", 4, 4, 3)),
        ("BiasSplitGelu", {"x": ("B", "S", 64), "b": (64,)}, ("B", "S", 32)),
        ("FastGelu", {"x": ("B", "S", 64)}, ("B", "S", 64)),
    ],
)  # fmt: skip
def test_fused_layers_of_onnx_runtime(node: str, shapes: dict[str, Shape], expected: Shape) -> None:
    name, _, rest = node.partition("<")
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g () => () {{ y = com.microsoft.{name}{"<" + rest if rest else ""}({", ".join(shapes)}) }}'
    )
    raw = raw_graph(model)
    raw.shapes.update(shapes)
    assert infer_shapes(raw).shapes["y"] == expected


def test_classical_estimators() -> None:
    nodes = [
        RawNode("Scaler", "ai.onnx.ml", "", ["x"], ["scaled"]),
        RawNode("LinearClassifier", "ai.onnx.ml", "", ["scaled"], ["label", "scores"], {"classlabels_ints": [0, 1, 2]}),
        RawNode("LinearClassifier", "ai.onnx.ml", "", ["scaled"], ["l2", "binary"], {"classlabels_ints": [0, 1]}),
        RawNode("TreeEnsembleRegressor", "ai.onnx.ml", "", ["x"], ["r"], {"n_targets": 2}),
        RawNode("ZipMap", "ai.onnx.ml", "", ["scores"], ["map"]),
    ]
    known = infer_shapes(graph_of(nodes, {"x": ("N", 4)}))
    assert known.shapes["label"] == ("N",)
    assert known.shapes["scores"] == ("N", 3)
    assert known.shapes["binary"] == ("N", None)  # one column or two
    assert known.shapes["r"] == ("N", 2)
    assert "map" not in known.shapes


_WITHOUT_SHAPES = frozenset({"Adagrad", "Adam", "Gradient", "Momentum", "Loop", "Scan"})
"""Optimizers, and control flow that the loader has inlined."""


def test_every_operator_of_the_standard_has_a_rule() -> None:
    missing = {
        f"{schema.domain}.{schema.name}"
        for schema in onnx.defs.get_all_schemas()
        if schema.name not in RULES.get(schema.domain, {}) and schema.name not in _WITHOUT_SHAPES
    }
    assert not missing


def test_deep_chains_do_not_recurse() -> None:
    nodes = [RawNode("Relu", "", "", [f"v{i}"], [f"v{i + 1}"]) for i in range(100_000)]
    assert infer_shapes(graph_of(nodes, {"v0": ("N", 3)})).shapes["v100000"] == ("N", 3)


_OPERATORS = sorted((domain, op) for domain, rules in RULES.items() for op in rules)
_ATTRIBUTES = ["axis", "axes", "perm", "keepdims", "kernel_shape", "pads", "strides", "to", "equation", "auto_pad", "num_heads",
               "split", "starts", "ends", "group", "blocksize", "shape", "dtype", "scales", "value", "control", "num_scan_inputs"]  # fmt: skip
_VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 4),
    st.lists(st.integers(-2, 6), max_size=5),
    st.text(max_size=4),
    st.floats(),
    st.lists(st.floats(), max_size=3),
    st.just(ArrayData(np.zeros(2, np.float32))),
)
_NAMES = ["", "x", "y", "i", "empty", "scalar", "f", "absent", "h0", "h1", "h2"]
_NODES = st.lists(
    st.builds(
        lambda op, inputs, outputs, attributes: (op, inputs, outputs, attributes),
        st.sampled_from(_OPERATORS),
        st.lists(st.sampled_from(_NAMES), max_size=5),
        st.integers(0, 3),
        st.dictionaries(st.sampled_from(_ATTRIBUTES), _VALUES, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=400, deadline=None)
@given(_NODES)
def test_nodes_that_break_their_operators_contract_never_end_inference(drawn: list[Any]) -> None:
    nodes = [
        RawNode(op, domain, f"n{k}", inputs, [f"h{k}" if slot == 0 else f"h{k}_{slot}" for slot in range(outputs)], attributes)
        for k, ((domain, op), inputs, outputs, attributes) in enumerate(drawn)
    ]  # fmt: skip
    raw = graph_of(
        nodes,
        {"x": ("N", 3, 8, 8), "y": (None, 2**62)},
        {"i": [3, -1, 0], "empty": np.zeros(0, np.int64), "scalar": np.int64(2), "f": np.array([1.5, np.inf])},
    )
    known = infer_shapes(raw)
    for shape in known.shapes.values():
        assert all(size is None or isinstance(size, str) or 0 <= size < 2**63 for size in shape)
    for name, values in known.numbers.items():
        assert len(values) <= 64
        assert np.prod([size for size in known.shapes[name] if isinstance(size, int)], dtype=float) == len(values)


def test_a_malformed_node_is_what_the_guard_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard the same graphs do raise: the test above can fail."""
    monkeypatch.setattr(shapes_module, "MALFORMED", ())
    with pytest.raises(IndexError):
        infer_shapes(graph_of([RawNode("Concat", "", "", ["x"], ["y"], {"axis": 9})], {"x": ("N", 3)}))


def test_ranks_stay_bounded() -> None:
    """Each Gather would double the rank: a hundred of them would need more axes than there are atoms."""
    nodes = [RawNode("Gather", "", "", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(100)]
    nodes.append(RawNode("Relu", "", "", ["wide"], ["y"]))
    known = infer_shapes(graph_of(nodes, {"v0": ("N", 3, 4), "wide": (1,) * 100_000}))
    assert max(map(len, known.shapes.values())) <= 64
    assert "v100" not in known.shapes
    assert "y" not in known.shapes


@pytest.mark.parametrize(
    "op, attributes",
    [
        ("RandomNormal", {"shape": [-3, 2]}),
        ("TopK", {"k": -1}),
        ("Split", {"split": [-5]}),
        ("LSTM", {"hidden_size": -4}),
        ("MaxRoiPool", {"pooled_shape": [-1, 2**62]}),
        ("Upsample", {"scales": [1e30, 1e30, 1.0, 1.0]}),
        ("ConvTranspose", {"output_shape": [-1, -7], "kernel_shape": [1, 1]}),
    ],
)
def test_sizes_that_no_tensor_has_are_unknown(op: str, attributes: dict[str, Any]) -> None:
    node = RawNode(op, "", "", ["x", "w", "w"], ["y", "z"], attributes)
    known = infer_shapes(graph_of([node], {"x": (2, 3, 8, 8), "w": (3, 3, 3)}))
    assert all(size is None or (isinstance(size, int) and 0 <= size < 2**63) for size in known.shapes["y"])
    assert None in known.shapes["y"]
