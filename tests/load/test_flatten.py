"""Functions and control flow inlined, names unique, nodes sorted; and the bounds of all that."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.load.onnx_files import model, saved, value
from trainaudit.errors import TrainauditError
from trainaudit.load.onnx_file import read_raw_graph
from trainaudit.load.raw import RawGraph, RawNode

node = helper.make_node


def read(proto: Any, folder: Path) -> RawGraph:
    graph = read_raw_graph(saved(proto, folder))
    check_single_assignment(graph)
    return graph


def check_single_assignment(graph: RawGraph) -> None:
    defined = [*graph.inputs, *graph.tensors]
    for raw in graph.nodes:
        assert set(defined).issuperset(name for name in raw.inputs if name), raw
        defined += [name for name in raw.outputs if name]
    assert len(defined) == len(set(defined))
    assert set(defined).issuperset(graph.outputs)


def referring(name: str, source: str, kind: int) -> Any:
    """An attribute that stands for one of the function's."""
    return onnx.AttributeProto(name=name, ref_attr_name=source, type=kind)


def only(graph: RawGraph, op: str) -> RawNode:
    (found,) = (raw for raw in graph.nodes if raw.op == op)
    return found


def refused(proto: Any, folder: Path) -> TrainauditError:
    with pytest.raises(TrainauditError) as caught:
        read_raw_graph(saved(proto, folder))
    assert caught.value.what.endswith(".")
    return caught.value


def constant(name: str, number: float) -> Any:
    return numpy_helper.from_array(np.array(number, np.float32), name)


# -- order


def test_nodes_out_of_order_are_sorted_stably(tmp_path: Path) -> None:
    nodes = [node("C", ["b"], ["y"]), node("Side", ["x"], ["s"]), node("B", ["a"], ["b"]), node("A", ["x"], ["a"])]
    assert [raw.op for raw in read(model(nodes), tmp_path).nodes] == ["Side", "A", "B", "C"]


def test_a_long_chain_backwards(tmp_path: Path) -> None:
    count = 100_000
    nodes = [node("Relu", [f"h{index}"], [f"h{index + 1}"]) for index in range(count)][::-1]
    graph = read_raw_graph(saved(model(nodes, inputs=["h0"], outputs=[f"h{count}"]), tmp_path))
    assert [raw.outputs[0] for raw in graph.nodes] == [f"h{index + 1}" for index in range(count)]


@pytest.mark.parametrize("length", [1, 2, 50])
def test_cycle(tmp_path: Path, length: int) -> None:
    nodes = [node("Add", [f"h{index}", "x"], [f"h{(index + 1) % length}"]) for index in range(length)]
    assert refused(model([*nodes, node("Relu", ["h0"], ["y"])]), tmp_path).slug == "cyclic-graph"


@pytest.mark.parametrize(
    ("nodes", "slug"),
    [
        ([node("A", ["x"], ["y"]), node("B", ["x"], ["y"])], "duplicate-name"),
        ([node("A", ["x"], ["y", "y"])], "duplicate-name"),
        ([node("A", ["x"], ["x"]), node("A", ["x"], ["y"])], "duplicate-name"),
        ([node("A", ["x"], ["w"]), node("A", ["x"], ["y"])], "duplicate-name"),
        ([node("A", ["missing"], ["y"])], "undefined-value"),
        ([node("A", ["x"], ["z"])], "undefined-value"),
    ],
)
def test_names_that_are_defined_twice_or_never(tmp_path: Path, nodes: list[Any], slug: str) -> None:
    assert refused(model(nodes, [constant("w", 1)]), tmp_path).slug == slug


def test_two_initializers_of_one_name(tmp_path: Path) -> None:
    proto = model([node("A", ["x", "w"], ["y"])], [constant("w", 1), constant("w", 2)])
    assert refused(proto, tmp_path).slug == "duplicate-name"


def test_duplicate_node_names_are_allowed(tmp_path: Path) -> None:
    nodes = [node("A", ["x"], ["h"], name="same"), node("B", ["h"], ["y"], name="same")]
    assert [raw.name for raw in read(model(nodes), tmp_path).nodes] == ["same", "same"]


# -- functions


def function(name: str, inputs: list[str], outputs: list[str], nodes: list[Any], **rest: Any) -> Any:
    return helper.make_function(
        "local", name, inputs, outputs, nodes, [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)], **rest
    )


def test_functions_are_inlined_with_unique_names(tmp_path: Path) -> None:
    inner = function("Inner", ["a"], ["b"], [node("Relu", ["a"], ["b"], name="relu")])
    outer = function(
        "Outer",
        ["a", "w"],
        ["c"],
        [node("Inner", ["a"], ["t"], domain="local", name="act"), node("Mul", ["t", "w"], ["c"], name="mul")],
    )
    nodes = [
        node("Outer", ["x", "w"], ["h"], domain="local", name="one"),
        node("Outer", ["h", "w"], ["y"], domain="local", name="two"),
    ]
    graph = read(model(nodes, [constant("w", 2)], functions=[outer, inner]), tmp_path)
    assert [(raw.op, raw.name, raw.functions) for raw in graph.nodes] == [
        ("Relu", "one/act/relu", ("Outer", "Inner")),
        ("Mul", "one/mul", ("Outer",)),
        ("Relu", "two/act/relu", ("Outer", "Inner")),
        ("Mul", "two/mul", ("Outer",)),
    ]
    assert graph.nodes[0].inputs == ["x"]
    assert graph.nodes[1].inputs == [graph.nodes[0].outputs[0], "w"]
    assert graph.nodes[1].outputs == ["h"]
    assert graph.nodes[3].outputs == ["y"]
    assert graph.node_count == 4


def test_function_attributes_given_defaulted_and_absent(tmp_path: Path) -> None:
    leaky = helper.make_node("LeakyRelu", ["a"], ["t"])
    leaky.attribute.append(referring("alpha", "slope", 1))
    scale = helper.make_node("Constant", [], ["s"])
    scale.attribute.append(referring("value_float", "scale", 1))
    clip = helper.make_node("Foo", ["t", "s"], ["b"])
    clip.attribute.append(referring("limit", "limit", 2))
    called = function(
        "F", ["a"], ["b"], [leaky, scale, clip], attributes=["slope", "limit"],
        attribute_protos=[helper.make_attribute("scale", 3.0)],
    )  # fmt: skip
    forward = helper.make_node("F", ["a"], ["b"], domain="local")
    forward.attribute.append(referring("slope", "steepness", 1))
    outer = function("G", ["a"], ["b"], [forward], attributes=["steepness"])
    nodes = [
        node("F", ["x"], ["h"], domain="local", slope=0.25, scale=5.0, limit=7),
        node("G", ["h"], ["y"], domain="local", steepness=0.5),
    ]
    graph = read(model(nodes, functions=[called, outer]), tmp_path)
    first, second = (raw for raw in graph.nodes if raw.op == "LeakyRelu")
    assert first.attributes == {"alpha": 0.25}
    assert second.attributes == {"alpha": 0.5}
    given, absent = (raw for raw in graph.nodes if raw.op == "Foo")
    assert given.attributes == {"limit": 7}
    assert absent.attributes == {}
    assert [float(graph.tensors[raw.inputs[1]].read()) for raw in (given, absent)] == [5.0, 3.0]
    assert {raw.inputs[1] for raw in (given, absent)} == graph.constants


def test_function_with_absent_inputs_and_outputs_passed_through(tmp_path: Path) -> None:
    called = function("F", ["a", "b", "c"], ["a", "t", "u", "t"], [node("Foo", ["b", "c"], ["t", "u"])])
    nodes = [node("F", ["x", ""], ["p", "", "q", "r"], domain="local"), node("Bar", ["p", "q", "r"], ["y"])]
    graph = read(model(nodes, functions=[called]), tmp_path)
    assert only(graph, "Foo").inputs == ["", ""]
    assert only(graph, "Foo").outputs[1] == "q"
    copies = {raw.outputs[0]: raw.inputs[0] for raw in graph.nodes if raw.op == "Identity"}
    assert copies == {"p": "x"}
    assert only(graph, "Foo").outputs[0] == "r"


def test_overloads(tmp_path: Path) -> None:
    functions = [function("F", ["a"], ["b"], [node(op, ["a"], ["b"])]) for op in ("Relu", "Tanh")]
    functions[1].overload = "second"
    call = node("F", ["h"], ["y"], domain="local")
    call.overload = "second"
    proto = model([node("F", ["x"], ["h"], domain="local"), call], functions=functions)
    assert [raw.op for raw in read(proto, tmp_path).nodes] == ["Relu", "Tanh"]


def test_metadata_of_a_call_reaches_the_nodes_in_it(tmp_path: Path) -> None:
    own = node("Tanh", ["t"], ["b"])
    own.metadata_props.add(key="namespace", value="inner")
    call = node("F", ["x"], ["y"], domain="local")
    call.metadata_props.add(key="namespace", value="outer")
    graph = read(model([call], functions=[function("F", ["a"], ["b"], [node("Relu", ["a"], ["t"]), own])]), tmp_path)
    assert [raw.metadata for raw in graph.nodes] == [{"namespace": "outer"}, {"namespace": "inner"}]


def test_recursive_function(tmp_path: Path) -> None:
    functions = [
        function("F", ["a"], ["b"], [node("G", ["a"], ["b"], domain="local")]),
        function("G", ["a"], ["b"], [node("F", ["a"], ["b"], domain="local")]),
    ]
    proto = model([node("F", ["x"], ["y"], domain="local")], functions=functions)
    assert refused(proto, tmp_path).slug == "recursive-function"


def test_too_many_arguments(tmp_path: Path) -> None:
    called = function("F", ["a"], ["b"], [node("Relu", ["a"], ["b"])])
    proto = model([node("F", ["x", "x"], ["y"], domain="local")], functions=[called])
    assert refused(proto, tmp_path).slug == "invalid-function-call"


@pytest.mark.parametrize("leaf", [[], [node("Relu", ["a"], ["b"])]], ids=["empty", "relu"])
def test_functions_that_multiply_without_end(tmp_path: Path, leaf: list[Any]) -> None:
    """Ten calls in each of twenty levels: 10^20 nodes in a few kilobytes."""
    functions = [function("F0", ["a"], ["b"], leaf)]
    for level in range(1, 20):
        calls = [node(f"F{level - 1}", ["a"], [f"t{index}"], domain="local") for index in range(10)]
        functions.append(function(f"F{level}", ["a"], ["b"], [*calls, node("Relu", ["a"], ["b"])]))
    start = time.process_time()
    assert (
        refused(model([node("F19", ["x"], ["y"], domain="local")], functions=functions), tmp_path).slug == "too-large"
    )
    assert time.process_time() - start < 20


def test_long_names_that_multiply(tmp_path: Path) -> None:
    long = "n" * 500_000
    called = function("F", ["a"], ["b"], [node("Relu", ["a"], [long]), node("Relu", [long], ["b"])])
    calls = [node("F", [f"h{index}"], [f"h{index + 1}"], domain="local") for index in range(2000)]
    proto = model(calls, inputs=["h0"], outputs=["h2000"], functions=[called])
    assert refused(proto, tmp_path).slug == "too-large"


def test_functions_nested_too_deeply(tmp_path: Path) -> None:
    functions = [function("F0", ["a"], ["b"], [node("Relu", ["a"], ["b"])])]
    functions += [
        function(f"F{level}", ["a"], ["b"], [node(f"F{level - 1}", ["a"], ["b"], domain="local")])
        for level in range(1, 300)
    ]
    proto = model([node("F299", ["x"], ["y"], domain="local")], functions=functions)
    assert refused(proto, tmp_path).slug == "too-deep"


# -- control flow


def body(name: str, nodes: list[Any], inputs: list[str], outputs: list[str], tensors: list[Any] | None = None) -> Any:
    return helper.make_graph(
        nodes, name, [value(item) for item in inputs], [value(item) for item in outputs], tensors or []
    )


def test_if_joins_its_branches(tmp_path: Path) -> None:
    then = body("t", [node("Mul", ["x", "w"], ["r"], name="mul")], [], ["r"], [constant("w", 2)])
    otherwise = body("e", [node("Add", ["h", "w"], ["r"], name="add")], [], ["r"], [constant("w", 3)])
    nodes = [
        node("Relu", ["x"], ["h"]),
        node("If", ["c"], ["y"], name="choose", then_branch=then, else_branch=otherwise),
    ]
    graph = read(model(nodes, inputs=["x", "c"]), tmp_path)
    joined = only(graph, "If")
    multiplied, added = only(graph, "Mul"), only(graph, "Add")
    assert joined.inputs == ["c", multiplied.outputs[0], added.outputs[0]]
    assert joined.outputs == ["y"]
    assert joined.scope == ""
    assert (multiplied.scope, added.scope) == ("choose/then_branch", "choose/else_branch")
    assert multiplied.inputs[0] == "x"
    assert added.inputs[0] == "h"
    assert [float(graph.tensors[raw.inputs[1]].read()) for raw in (multiplied, added)] == [2, 3]
    assert graph.node_count == 4


def test_if_in_a_file_that_is_not_sorted_and_branches_that_only_pass_on(tmp_path: Path) -> None:
    then, otherwise = body("t", [], [], ["h"]), body("e", [], [], ["w"], [constant("w", 3)])
    nodes = [node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise), node("Relu", ["x"], ["h"])]
    graph = read(model(nodes, inputs=["x", "c"]), tmp_path)
    assert [raw.op for raw in graph.nodes] == ["Relu", "If"]
    assert graph.nodes[1].inputs == ["c", "h", "w"]


def test_inner_names_may_shadow_outer_ones(tmp_path: Path) -> None:
    inner = [node("Relu", ["x"], ["h"]), node("Tanh", ["h"], ["y"])]
    branch = body("t", inner, [], ["y"])
    nodes = [
        node("Relu", ["x"], ["h"]),
        node("If", ["c"], ["z"], then_branch=branch, else_branch=branch),
        node("Add", ["z", "h"], ["y"]),
    ]
    graph = read(model(nodes, inputs=["x", "c"]), tmp_path)
    assert len(graph.nodes) == 7
    assert only(graph, "Add").inputs == ["z", "h"]
    assert graph.outputs == ["y"]


def loop_body() -> Any:
    return body(
        "b",
        [
            node("Identity", ["go"], ["go_on"]),
            node("MatMul", ["state", "w"], ["next"]),
            node("Relu", ["next"], ["seen"]),
        ],
        ["step", "go", "state"],
        ["go_on", "next", "seen"],
    )


def test_loop_has_an_entry_and_an_exit(tmp_path: Path) -> None:
    proto = model(
        [node("Loop", ["trips", "", "x"], ["y", "all"], name="unroll", body=loop_body())],
        [constant("w", 1)],
        inputs=["x", "trips"],
        outputs=["y", "all"],
    )
    graph = read(proto, tmp_path)
    entry, exit_ = only(graph, "LoopEntry"), only(graph, "LoopExit")
    product, seen = only(graph, "MatMul"), only(graph, "Relu")
    assert entry.inputs == ["trips", "", "x"]
    assert product.inputs == [entry.outputs[2], "w"]
    assert exit_.inputs == [only(graph, "Identity").outputs[0], product.outputs[0], seen.outputs[0]]
    assert exit_.outputs == ["y", "all"]
    assert entry.attributes == exit_.attributes == {"control": "Loop"}
    assert (entry.scope, exit_.scope, product.scope) == ("unroll/body", "", "unroll/body")
    assert graph.node_count == 4


@pytest.mark.parametrize("opset", [8, 18])
def test_scan(tmp_path: Path, opset: int) -> None:
    scanned = body("b", [node("Add", ["state", "item"], ["sum"])], ["state", "item"], ["sum", "sum"])
    inputs = ["", "w", "x"] if opset == 8 else ["w", "x"]
    scan = node("Scan", inputs, ["last", "y"], body=scanned, num_scan_inputs=1)
    graph = read(model([scan], [constant("w", 0)], opset=opset), tmp_path)
    entry, exit_ = only(graph, "LoopEntry"), only(graph, "LoopExit")
    assert entry.inputs == ["w", "x"]
    assert entry.attributes == {"num_scan_inputs": 1, "control": "Scan"}
    assert exit_.inputs == [only(graph, "Add").outputs[0]] * 2


def test_unknown_operator_with_a_graph_keeps_its_weights_in_sight(tmp_path: Path) -> None:
    decoder = body("d", [node("MatMul", ["ids", "w"], ["logits"])], ["ids"], ["logits"], [constant("w", 1)])
    proto = model([node("BeamSearch", ["x"], ["y"], domain="com.microsoft", decoder=decoder, beams=4)])
    graph = read(proto, tmp_path)
    assert [raw.op for raw in graph.nodes] == ["LoopEntry", "MatMul", "BeamSearch"]
    assert graph.nodes[2].inputs == ["x", graph.nodes[1].outputs[0]]
    assert graph.nodes[2].attributes == {"beams": 4}
    assert graph.node_count == 2


def test_control_flow_in_a_function_that_is_called_twice(tmp_path: Path) -> None:
    branch = body("t", [node("Mul", ["a", "w"], ["r"])], [], ["r"], [constant("w", 2)])
    called = function(
        "F", ["a", "c"], ["b"], [node("If", ["c"], ["b"], name="if", then_branch=branch, else_branch=branch)]
    )
    nodes = [
        node("F", ["x", "c"], ["h"], domain="local", name="1"),
        node("F", ["h", "c"], ["y"], domain="local", name="2"),
    ]
    graph = read(model(nodes, inputs=["x", "c"], functions=[called]), tmp_path)
    assert [raw.op for raw in graph.nodes] == ["Mul", "Mul", "If"] * 2
    assert len(graph.tensors) == 4
    assert graph.nodes[3].inputs[0] == "h"
    assert graph.nodes[3].scope == "2/if/then_branch"
    assert graph.node_count == 6


@pytest.mark.parametrize(
    "broken",
    [
        node("If", ["c"], ["y"], then_branch=body("t", [], [], ["x"])),
        node("If", ["c"], ["y"], then_branch=body("t", [], [], ["x"]), else_branch=body("e", [], [], [])),
        node("Loop", ["c", "c", "x", "x"], ["y"], body=loop_body()),
        node("Loop", ["c", "c", "x"], ["y"], other=loop_body()),
    ],
)
def test_invalid_control_flow(tmp_path: Path, broken: Any) -> None:
    proto = model([broken], [constant("w", 1)], inputs=["x", "c"])
    assert refused(proto, tmp_path).slug == "invalid-control-flow"


def nested(depth: int) -> Any:
    inner = body("leaf", [node("Relu", ["x"], ["r"])], [], ["r"])
    for _ in range(depth):
        inner = body(
            "level", [node("If", ["c"], ["r"], then_branch=inner, else_branch=body("e", [], [], ["x"]))], [], ["r"]
        )
    return inner


def test_bodies_in_bodies(tmp_path: Path) -> None:
    proto = model(
        [node("If", ["c"], ["y"], then_branch=nested(20), else_branch=body("e", [], [], ["x"]))], inputs=["x", "c"]
    )
    graph = read(proto, tmp_path)
    assert only(graph, "Relu").scope.count("then_branch") == 21
    assert graph.node_count == 22


@pytest.mark.parametrize("padding", [0, 3000])
def test_bodies_nested_too_deeply(tmp_path: Path, padding: int) -> None:
    """Built by hand: the protobuf classes themselves refuse to."""

    def field(number: int, content: bytes) -> bytes:
        length, octets = len(content), bytearray()
        while length > 127:
            octets.append(length & 127 | 128)
            length >>= 7
        return bytes([number << 3 | 2, *octets, length]) + content

    graph = field(1, node("Relu", ["x"], ["r"], name="n" * padding).SerializeToString())
    for _ in range(3000):
        branch = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
        graph = field(1, field(4, b"If") + field(5, branch))
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x0a" + field(7, graph))
    with pytest.raises(TrainauditError) as caught:
        read_raw_graph(str(path))
    assert caught.value.slug == "too-deep"


# -- size


def test_a_million_nodes_are_refused_early(tmp_path: Path) -> None:
    relu = helper.make_graph([node("Relu", ["x"], ["x"])], "g", [], []).SerializeToString().split(b"\x12\x01g")[0]
    path = tmp_path / "million.onnx"
    content = relu * 1_000_000
    length, octets = len(content), bytearray()
    while length > 127:
        octets.append(length & 127 | 128)
        length >>= 7
    path.write_bytes(b"\x08\x0a\x3a" + bytes([*octets, length]) + content)
    start = time.process_time()
    with pytest.raises(TrainauditError, match="more than 500,000 nodes") as caught:
        read_raw_graph(str(path))
    assert caught.value.slug == "too-large"
    assert time.process_time() - start < 30


def test_two_hundred_thousand_nodes_are_read(tmp_path: Path) -> None:
    count = 200_000
    nodes = [onnx.NodeProto(op_type="Relu", input=[f"h{i}"], output=[f"h{i + 1}"]) for i in range(count)]
    graph = read_raw_graph(saved(model(nodes, inputs=["h0"], outputs=[f"h{count}"]), tmp_path))
    assert len(graph.nodes) == graph.node_count == count


def test_declared_types_of_inlined_values(tmp_path: Path) -> None:
    branch = body("t", [node("Cast", ["x"], ["r"], to=10)], [], ["r"])
    branch.output[0].CopyFrom(value("r", (2, "n"), TensorProto.FLOAT16))
    nodes = [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    graph = read(model(nodes, inputs=["x", "c"]), tmp_path)
    for raw in graph.nodes[:2]:
        assert graph.shapes[raw.outputs[0]] == (2, "n")
        assert graph.dtypes[raw.outputs[0]] == "float16"


def random_functions(seed: int) -> Any:
    """A model of functions that call functions, with attributes passed on and values used more than once. (Every call passes the
    attribute: onnx's inliner forgets defaults.)"""
    source = np.random.default_rng(seed)
    functions: list[Any] = []
    for level in range(4):
        known, nodes = ["a", "b"], []
        for index in range(int(source.integers(2, 6))):
            picked = [str(name) for name in source.choice(known, 2)]
            if functions and source.integers(2):
                callee = functions[int(source.integers(len(functions)))]
                nodes.append(node(callee.name, picked, [f"t{index}"], domain="local"))
                if source.integers(2):
                    nodes[-1].attribute.append(helper.make_attribute("slope", float(index)))
                else:
                    nodes[-1].attribute.append(referring("slope", "slope", 1))
            else:
                nodes.append(node("LeakyRelu", picked[:1], [f"u{index}"]))
                nodes[-1].attribute.append(referring("alpha", "slope", 1))
                nodes.append(node("Add", [f"u{index}", picked[1]], [f"t{index}"]))
            known.append(f"t{index}")
        functions.append(function(f"F{level}", ["a", "b"], [known[-1]], nodes, attributes=["slope"]))
    calls = [
        node("F3", ["x", "w"], ["h"], domain="local", slope=0.125),
        node("F2", ["h", "x"], ["y"], domain="local", slope=0.75),
    ]
    return model(calls, [numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")], functions=functions)


@pytest.mark.parametrize("seed", range(12))
def test_inlined_functions_compute_the_same(tmp_path: Path, seed: int) -> None:
    """Against onnx's own inliner and its reference evaluator."""
    from onnx.inliner import inline_local_functions
    from onnx.reference import ReferenceEvaluator

    proto = random_functions(seed)
    graph = read(proto, tmp_path)
    inlined = inline_local_functions(proto)
    assert [raw.op for raw in graph.nodes] == [item.op_type for item in inlined.graph.node]
    assert graph.node_count == len(inlined.graph.node)
    nodes = [node(raw.op, raw.inputs, raw.outputs, **raw.attributes) for raw in graph.nodes]
    flat = model(nodes, proto.graph.initializer)
    feed = {"x": np.linspace(-2, 2, 4, dtype=np.float32).reshape(1, 4)}
    (expected,) = ReferenceEvaluator(inlined).run(None, feed)
    (found,) = ReferenceEvaluator(flat).run(None, feed)
    np.testing.assert_array_equal(found, expected)
