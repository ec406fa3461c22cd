"""Every operator of the ONNX standard has a kind, and every model of the onnx package's own tests becomes a sound graph."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx.defs
import pytest

from tests.load.canonical_models import graph_of, loaded, ops
from tests.load.onnx_files import TEST_DATA
from trainaudit.load.canonical import convert
from trainaudit.load.raw import RawGraph, RawNode
from trainaudit.load.wiring import Wiring


def empty_wiring() -> Wiring:
    from trainaudit.ir.graph import Origin

    raw = RawGraph([], {}, set(), [], [], {}, {}, Origin("", "onnx", 0), 18)
    return Wiring(raw, [], {}, {}, {}, frozenset(), taken=bytearray())


SCHEMAS = {(schema.domain, schema.name): schema for schema in onnx.defs.get_all_schemas()}


@pytest.mark.parametrize(("domain", "name"), sorted(SCHEMAS))
def test_every_standard_operator_has_a_kind(domain: str, name: str) -> None:
    schema = SCHEMAS[domain, name]
    count = max(schema.min_input, min(len(schema.inputs), 12))
    node = RawNode(
        name,
        domain,
        "",
        [f"i{place}" for place in range(count)],
        [f"o{place}" for place in range(max(schema.min_output, 1))],
    )
    drafts = convert(empty_wiring(), 0, node)
    assert drafts
    assert all(draft.op.value != "other" for draft in drafts)


def test_common_operators_of_onnxruntime_have_a_kind() -> None:
    common = (
        "Attention BiasGelu BiasSoftmax BiasSplitGelu DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul "
        "Gelu GroupNorm GroupQueryAttention LayerNormalization MatMulIntegerToFloat MatMulNBits MoE MultiHeadAttention NhwcConv "
        "PackedAttention QAttention QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu "
        "QLinearMul QLinearSigmoid QLinearSoftmax QuickGelu RotaryEmbedding SimplifiedLayerNormalization SkipGroupNorm "
        "SkipLayerNormalization SkipSimplifiedLayerNormalization"
    )
    for name in common.split():
        node = RawNode(name, "com.microsoft", "", [f"i{place}" for place in range(9)], ["o"])
        assert all(draft.op.value != "other" for draft in convert(empty_wiring(), 0, node)), name


def node_cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return [case for case in collect_testcases(None) if case.model is not None]


def test_every_model_of_onnxs_operator_tests(tmp_path: Path) -> None:
    """Some two thousand models, the functions behind operators written out among them."""
    seen: dict[str, list[str]] = {}
    for case in node_cases():
        opset = max((entry.version for entry in case.model.opset_import if entry.domain == ""), default=18)
        if opset >= 7:
            graph = loaded(tmp_path, case.model)
            assert graph.unrecognized == (), case.name
            seen[case.name] = ops(graph)
    assert len(seen) > 1000
    # An operator and the function it stands for are the same layer.
    for name in ("gelu_default_1", "gelu_tanh_1", "mish", "softplus", "softsign", "hardswish", "swish", "softmax_axis_1", "logsoftmax_axis_1",
                 "leakyrelu", "elu", "attention_4d", "attention_3d_gqa_scaled", "attention_4d_attn_mask_bool"):  # fmt: skip
        whole = seen[f"test_{name}"]
        written_out = next(ops_ for other, ops_ in seen.items() if other.startswith(f"test_{name}_expanded"))
        assert whole[0] in written_out, name


@pytest.mark.parametrize(
    "path", sorted(TEST_DATA.glob("*/**/*.onnx")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_models_that_come_with_onnx(path: Path) -> None:
    from trainaudit.ir.verify import verify
    from trainaudit.load.from_onnx import load_onnx

    graph = load_onnx(str(path))
    assert verify(graph) == ()
    assert graph.unrecognized == ()


def test_the_light_models_say_that_the_graph_makes_their_weights() -> None:
    from trainaudit.load.from_onnx import load_onnx

    graph = load_onnx(str(TEST_DATA / "light" / "light_resnet50.onnx"))
    assert ops(graph).count("conv") == ops(graph).count("batch_norm") == 53
    weights = [item for item in graph.parameters.values() if item.role.value == "weight"]
    assert {item.generated for item in weights} == {"ConstantOfShape"}
    assert all(item.trainable and item.data.nbytes == 0 for item in weights)
    assert sum(layer.nodes for layer in graph.layers) <= graph.node_count


def test_rotary_positions_turn_and_do_not_copy(tmp_path: Path) -> None:
    """A turned value has the length of the value, not its numbers: what bounds one does not bound the other."""
    tables = {"c": np.ones((32, 4), np.float32), "s": np.zeros((32, 4), np.float32)}
    body = "y = com.microsoft.RotaryEmbedding(x, p, c, s)"
    graph = graph_of(tmp_path, body, tables, inputs="float[n, 5, 8] x, int64[n, 5] p")
    assert ops(graph) == ["rotary"]
