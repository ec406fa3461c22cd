"""Small ONNX files for the tests of loading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

TEST_DATA = Path(onnx.__path__[0]) / "backend" / "test" / "data"


def value(name: str, shape: Sequence[int | str | None] | None = ("batch", 4), kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Iterable[Any],
    initializers: Iterable[Any] = (),
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    functions: Sequence[Any] = (),
    opset: int = 18,
    **rest: Any,
) -> Any:
    """A ModelProto; `rest` goes to make_graph."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        list(initializers),
        **rest,
    )
    domains = sorted({function.domain for function in functions} - {""})
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def saved(proto: Any, folder: Path, name: str = "model.onnx") -> str:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return str(path)
