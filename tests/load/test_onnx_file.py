"""Reading real and made files: what comes out is what onnx itself reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.load.onnx_files import TEST_DATA, model, saved, value
from trainaudit.load.onnx_file import read_raw_graph

FILES = sorted(TEST_DATA.rglob("*.onnx"))


def test_there_are_files_to_compare_with() -> None:
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TEST_DATA).parent / path.stem))
def test_agrees_with_onnx(path: Path) -> None:
    proto = onnx.load(path)
    graph = read_raw_graph(str(path))
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for name, array in initializers.items():
        assert graph.tensors[name].shape == array.shape
        assert graph.tensors[name].dtype == array.dtype.name
        np.testing.assert_array_equal(graph.tensors[name].read(), array)
        for block in graph.tensors[name].blocks(7):
            np.testing.assert_array_equal(block, array.reshape(-1)[:7])
            break
    assert graph.inputs == [item.name for item in proto.graph.input if item.name not in initializers]
    assert graph.outputs == [item.name for item in proto.graph.output]
    if not any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        kept = [node for node in proto.graph.node if node.op_type != "Constant"]
        assert [node.op for node in graph.nodes] == [node.op_type for node in kept]
        assert [node.inputs for node in graph.nodes] == [list(node.input) for node in kept]
        assert [node.outputs for node in graph.nodes] == [list(node.output) for node in kept]
        assert graph.constants == {node.output[0] for node in proto.graph.node if node.op_type == "Constant"}
        for raw, node in zip(graph.nodes, kept, strict=True):
            for attribute in node.attribute:
                if attribute.type in (1, 2, 6, 7):
                    assert raw.attributes[attribute.name] == helper.get_attribute_value(attribute)
    assert graph.node_count == len(proto.graph.node)
    defined = {*graph.inputs, *graph.tensors, ""}
    for raw in graph.nodes:
        assert defined.issuperset(raw.inputs)
        defined.update(raw.outputs)
    assert defined.issuperset(graph.outputs)


def test_origin_and_declared_types(tmp_path: Path) -> None:
    proto = model([helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Cast", ["h"], ["y"], to=10)])
    proto.graph.value_info.append(value("h", ("batch", 4)))
    proto.graph.output[0].CopyFrom(value("y", (None, 4), TensorProto.FLOAT16))
    proto.producer_name, proto.producer_version = "pytorch", "2.13.0"
    proto.metadata_props.add(key="author", value="someone")
    path = saved(proto, tmp_path)
    graph = read_raw_graph(path)
    assert graph.origin.path == path
    assert graph.origin.size == Path(path).stat().st_size
    assert graph.origin.producer == "pytorch 2.13.0"
    assert (graph.opset, graph.origin.opset) == (18, 18)
    assert graph.shapes == {"x": ("batch", 4), "h": ("batch", 4), "y": (None, 4)}
    assert graph.dtypes == {"x": "float32", "h": "float32", "y": "float16"}
    assert graph.metadata == {"author": "someone"}
    assert graph.nodes[1].attributes == {"to": 10}


def test_initializer_that_is_also_an_input_is_a_tensor(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], [weight], inputs=("x", "w"))
    graph = read_raw_graph(saved(proto, tmp_path))
    assert graph.inputs == ["x"]
    assert list(graph.tensors) == ["w"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": numpy_helper.from_array(np.arange(6, dtype=np.int8).reshape(2, 3))}, np.arange(6).reshape(2, 3)),
        ({"value_float": 1.5}, np.array(1.5)),
        ({"value_floats": [1.5, 2.5]}, np.array([1.5, 2.5])),
        ({"value_int": -3}, np.array(-3)),
        ({"value_ints": [1, 2, 3]}, np.array([1, 2, 3])),
        ({"value_string": "a"}, np.array("a", object)),
        ({"value_strings": ["a", "b"]}, np.array(["a", "b"], object)),
        (
            {
                "sparse_value": helper.make_sparse_tensor(
                    numpy_helper.from_array(np.array([5.0, 7.0], np.float32)),
                    numpy_helper.from_array(np.array([1, 4], np.int64)),
                    [2, 3],
                )
            },
            np.array([[0, 5, 0], [0, 7, 0]]),
        ),
    ],
    ids=lambda item: next(iter(item)) if isinstance(item, dict) else "",
)
def test_constant_nodes_become_tensors(tmp_path: Path, attributes: dict[str, object], expected: np.ndarray) -> None:
    nodes = [helper.make_node("Constant", [], ["c"], **attributes), helper.make_node("Foo", ["x", "c"], ["y"])]
    graph = read_raw_graph(saved(model(nodes), tmp_path))
    assert [node.op for node in graph.nodes] == ["Foo"]
    assert graph.constants == {"c"}
    assert graph.tensors["c"].shape == expected.shape
    np.testing.assert_array_equal(np.asarray(graph.tensors["c"].read()).astype(expected.dtype), expected)
    assert graph.node_count == 2


def test_attributes_of_every_kind(tmp_path: Path) -> None:
    node = helper.make_node("Foo", ["x", ""], ["y", ""], domain="my", i=3, f=0.5, s="text", ints=[1, 2], floats=[0.5])
    node.attribute.append(helper.make_attribute("strings", ["a", "b"]))
    node.attribute.append(helper.make_attribute("t", numpy_helper.from_array(np.arange(3))))
    node.attribute.append(helper.make_attribute("bad", b"\xff\xfe"))
    node.doc_string = "said"
    node.metadata_props.add(key="namespace", value="layer.0")
    graph = read_raw_graph(saved(model([node]), tmp_path))
    (raw,) = graph.nodes
    assert (raw.op, raw.domain, raw.inputs, raw.outputs) == ("Foo", "my", ["x", ""], ["y", ""])
    tensor = raw.attributes.pop("t")
    np.testing.assert_array_equal(tensor.read(), np.arange(3))
    assert raw.attributes.pop("bad") == "\ufffd\ufffd"
    assert raw.attributes == {"i": 3, "f": 0.5, "s": "text", "ints": [1, 2], "floats": [0.5], "strings": ["a", "b"]}
    assert raw.metadata == {"namespace": "layer.0", "doc_string": "said"}


def test_leaked_paths(tmp_path: Path) -> None:
    nodes = []
    for index in range(300):
        node = helper.make_node("Relu", [f"h{index}"], [f"h{index + 1}"])
        trace = f'File "/home/anna/net.py", line {index}, in forward\n    x = a/home/b; see https://a.b/tmp/x'
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
        nodes.append(node)
    proto = model(nodes, inputs=("h0",), outputs=("h300",))
    proto.doc_string = r"made in C:\Users\Anna\net.py."
    proto.metadata_props.add(key="checkpoint", value="/mnt/disk/run 3/best.pt")
    proto.graph.doc_string = "relative/home/path and /usr/lib/python"
    graph = read_raw_graph(saved(proto, tmp_path))
    assert set(graph.origin.leaked_paths) == {"/mnt/disk/run", r"C:\Users\Anna\net.py", "/home/anna/net.py"}
    assert graph.nodes[7].metadata["pkg.torch.onnx.stack_trace"].startswith('File "/home/anna/net.py", line 7,')


def _modules(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(*sys.modules)"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_neither_torch_nor_the_onnx_package_is_imported() -> None:
    path = str(TEST_DATA / "light" / "light_squeezenet.onnx")
    modules = _modules(f"from trainaudit.load.onnx_file import read_raw_graph; read_raw_graph({path!r})")
    assert "google.protobuf.message" in modules
    assert not modules & {"torch", "onnx", "onnx.onnx_cpp2py_export", "ml_dtypes", "onnxruntime", "scipy"}
    assert "onnx.onnx_cpp2py_export" in _modules("import onnx")  # the test can fail


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_real_onnx_works_in_the_same_process(order: str) -> None:
    path = str(TEST_DATA / "light" / "light_squeezenet.onnx")
    read = f"from trainaudit.load.onnx_file import read_raw_graph; read_raw_graph({path!r})"
    check = f"import onnx; onnx.checker.check_model(onnx.load({path!r})); onnx.helper.make_graph([], 'g', [], [])"
    _modules(f"{check}\n{read}" if order == "before" else f"{read}\n{check}\n{read}")
