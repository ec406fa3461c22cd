"""Names that a person knows: module paths, classes, lines of the user's own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.load.canonical_models import loaded, random, text_model
from trainaudit.ir.graph import Graph, Source
from trainaudit.load.naming import Namer, layer_names, path_of_parameter
from trainaudit.load.raw import RawNode


@pytest.mark.parametrize(("name", "path"), [
    ("/encoder/layers.0/fc1/MatMul", "encoder.layers.0.fc1"), ("/fc/Gemm", "fc"), ("/net/mlp/mlp.0/mlp.0.1/Gemm", "net.mlp.0.1"), ("/Relu", None), ("Relu_3", None), ("", None),
    ("StatefulPartitionedCall/net/dense/MatMul", "net.dense"), ("net/conv2d/Conv2D", "net.conv2d"),
])  # fmt: skip
def test_module_path_in_a_node_name(name: str, path: str | None) -> None:
    (source,) = Namer().sources_of([RawNode("MatMul", "", name, [], [])])
    assert source.module == path


@pytest.mark.parametrize(("name", "path"), [
    ("encoder.layers.0.fc1.weight", "encoder.layers.0.fc1"), ("conv1.weight_bias", "conv1"), ("lstm.weight_ih_l0", "lstm"),
    ("attn.in_proj_weight", "attn"), ("weight", None), ("onnx::MatMul_12", None), ("encoder.cls_token", None),
])  # fmt: skip
def test_module_path_in_a_parameters_name(name: str, path: str | None) -> None:
    assert path_of_parameter(name) == path


def node_with(trace: str = "", scopes: str = "", classes: str = "") -> RawNode:
    metadata = {
        "pkg.torch.onnx.stack_trace": trace, "pkg.torch.onnx.name_scopes": scopes, "pkg.torch.onnx.class_hierarchy": classes,
    }  # fmt: skip
    return RawNode("MatMul", "", "node", [], [], metadata={key: value for key, value in metadata.items() if value})


def origin(node: RawNode) -> Source:
    return Namer().sources_of([node])[0]


TORCH = '  File "/opt/env/lib/python3.11/site-packages/torch/nn/modules/linear.py", line 134, in forward\n    return F.linear(x)\n'


@pytest.mark.parametrize(("trace", "expected"), [
    ('File "/home/ada/project/model.py", line 12, in forward\n    x = self.fc(x)\n' + TORCH, ("project/model.py", 12)),
    (
        'File "/home/ada/project/train.py", line 3, in forward\n  File "/home/ada/project/net/block.py", line 44, in forward\n' + TORCH,
        ("net/block.py", 44),
    ),
    ('File "/opt/env/lib/python3.11/site-packages/timm/vit.py", line 7, in forward\n' + TORCH, ("timm/vit.py", 7)),
    (TORCH, (None, None)),
    ('File "C:\\\\Users\\\\ada\\\\net.py", line 9, in forward', ("ada/net.py", 9)),
    ("no frames here", (None, None)),
])  # fmt: skip
def test_innermost_frame_of_the_users_own_code(trace: str, expected: tuple[str | None, int | None]) -> None:
    source = origin(node_with(trace))
    assert (source.file, source.line) == expected


def test_a_file_inside_the_working_directory_is_shown_relative_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    source = origin(node_with(f'File "{tmp_path}/a/b/c/model.py", line 5, in forward'))
    assert source.file == "a/b/c/model.py"


def test_module_and_class_from_the_newer_exporter() -> None:
    node = node_with(
        scopes="['', 'enc', 'enc.layers.0', 'enc.layers.0.self_attn', 'linear']",
        classes="['__main__.Net', 'torch.nn.TransformerEncoder', 'torch.nn.TransformerEncoderLayer', 'torch.nn.MultiheadAttention', 'aten.linear.default']",
    )
    source = origin(node)
    assert (source.module, source.module_class) == ("enc.layers.0.self_attn", "torch.nn.MultiheadAttention")


def test_metadata_is_read_and_never_evaluated() -> None:
    source = origin(node_with(scopes="__import__('os').system('false')", classes="[1/0]"))
    assert source.module is None or "import" not in source.module


words = st.sampled_from([None, "fc", "enc.0", "enc.1"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(words, st.sampled_from(["linear", "relu"]), st.sampled_from(["", "fc", "fc_1", "n"]), st.booleans()),
        max_size=12,
    )
)
def test_layer_names_are_unique_and_stable(rows: list[tuple[str | None, str, str, bool]]) -> None:
    columns = ([row[place] for row in rows] for place in range(4))
    names = layer_names(*columns)  # type: ignore[arg-type]
    assert len(set(names)) == len(names) == len(rows)
    for (module, _, _, _), name in zip(rows, names, strict=True):
        if module:
            assert name.startswith(module)


def named_graph(folder: Path, names: list[str]) -> Graph:
    body = "h = MatMul(x, w) a = Add(h, b) r = Relu(a) s = Softmax(r) y = MatMul(s, u)"
    weights = {"w": random(8, 4), "b": random(4), "u": random(4, 3)}
    model = text_model(body, "float[n, 8] x", "float y", weights)
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    return loaded(folder, model)


def test_names_from_the_older_exporter(tmp_path: Path) -> None:
    graph = named_graph(tmp_path, ["/net/fc1/MatMul", "/net/fc1/Add", "/net/Relu", "/net/Softmax", "/head/MatMul"])
    assert [layer.name for layer in graph.layers] == ["net.fc1", "net.relu", "net.softmax", "head"]
    assert graph.layers[0].source.module == "net.fc1"
    assert graph.layers[0].raw_op == "MatMul+Add"
    assert graph.layers[0].nodes == 2


def test_names_without_modules(tmp_path: Path) -> None:
    graph = named_graph(tmp_path, ["", "", "act", "", "act"])
    assert [layer.name for layer in graph.layers] == ["linear", "act", "softmax", "act_1"]


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    graph = named_graph(tmp_path, ["\x1b[31mred", "", "<script>", "::error::x", "a\nb"])
    assert [layer.name for layer in graph.layers] == ["\x1b[31mred", "<script>", "::error::x", "a\nb"]


def test_the_weight_names_the_module_where_the_node_does_not(tmp_path: Path) -> None:
    model = text_model("y = MatMul(x, w)", "float[n, 8] x", "float y", {"w": random(8, 4)})
    model.graph.initializer[0].name = "blocks.3.mlp.fc1.weight"
    model.graph.node[0].input[1] = "blocks.3.mlp.fc1.weight"
    graph = loaded(tmp_path, model)
    assert graph.layers[0].name == "blocks.3.mlp.fc1"
    assert np.allclose(graph.parameters["blocks.3.mlp.fc1.weight"].data.read(), random(8, 4))
