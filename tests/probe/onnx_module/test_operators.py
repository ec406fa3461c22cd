"""Every operator of the table against the onnx package's own node tests: one test each here, all of them in `benchmarks.conversion_nodes`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import onnx
from onnx.backend.test.case.test_case import TestCase

from benchmarks.conversion_nodes import Node, node_tests, try_node
from trainaudit.probe.onnx_module.casting import RANDOM
from trainaudit.probe.onnx_module.table import TABLE

WITHOUT_NODE_TEST = {
    "ConcatFromSequence", "FakeQuantize", "GlobalLpPool", "MaxRoiPool", "Not", "SequenceErase", "SimplifiedLayerNormalization",
}  # fmt: skip
"""Those that `test_opsets` and `test_quantization` try: onnx has no test of them, or of opset 1 only."""


@functools.cache
def _first_tests() -> dict[str, TestCase]:
    """Operator → the first node test of that operator alone, else the first that has it somewhere."""
    alone: dict[str, TestCase] = {}
    anywhere: dict[str, TestCase] = {}
    for test in node_tests():
        nodes = list(_nodes(test.model.graph))
        for node in nodes:
            anywhere.setdefault(node.op_type, test)
        if len(nodes) == 1:
            alone.setdefault(nodes[0].op_type, test)
    return {**anywhere, **alone}


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


@pytest.mark.parametrize("op", sorted(TABLE.keys() - RANDOM - WITHOUT_NODE_TEST))
def test_agrees_with_the_node_test(op: str, tmp_path: Path) -> None:
    node: Node = try_node(_first_tests()[op], tmp_path)
    assert node.state == "passed", node


@pytest.mark.parametrize("op", ["If", "Loop", "Scan", "SequenceMap"])
def test_control_flow_agrees_with_its_node_tests(op: str, tmp_path: Path) -> None:
    tests = [test for test in node_tests() if any(node.op_type == op for node in test.model.graph.node)]
    states = {test.name: try_node(test, tmp_path).state for test in tests}
    assert len(states) >= 6
    assert set(states.values()) == {"passed"}, states
