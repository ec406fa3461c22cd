"""Small models in ONNX's text form, loaded into canonical graphs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from trainaudit.ir.graph import Graph, Layer, Parameter
from trainaudit.ir.ops import Op
from trainaudit.ir.verify import verify
from trainaudit.load.from_onnx import load_onnx

Weights = Mapping[str, Any]


def random(*shape: int) -> Any:
    """Fixed normal numbers of a shape."""
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(np.float32)


def text_model(body: str, inputs: str, outputs: str, weights: Weights, opset: int = 18) -> Any:
    domains = f'"" : {opset}, "com.microsoft" : 1, "ai.onnx.ml" : 3, "somebody.else" : 1'
    model = onnx.parser.parse_model(
        f"<ir_version: 9, opset_import: [{domains}]> g ({inputs}) => ({outputs}) {{ {body} }}"
    )
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items())
    return model


def loaded(folder: Path, model: Any) -> Graph:
    """The canonical graph of a model, which must be sound."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    graph = load_onnx(str(path))
    assert verify(graph) == ()
    return graph


def graph_of(
    folder: Path,
    body: str,
    weights: Weights | None = None,
    inputs: str = "float[n, 8] x",
    outputs: str = "float[] y",
    opset: int = 18,
) -> Graph:
    return loaded(folder, text_model(body, inputs, _free(outputs), weights or {}, opset))


def _free(outputs: str) -> str:
    return outputs.replace("float[]", "float")


def ops(graph: Graph) -> list[str]:
    return [layer.op.value for layer in graph.layers]


def only(graph: Graph, op: Op) -> Layer:
    """The graph's single layer of that kind."""
    found = [layer for layer in graph.layers if layer.op is op]
    assert len(found) == 1, ops(graph)
    return found[0]


def parameter(graph: Graph, layer: Layer, word: str) -> Parameter:
    return graph.parameters[layer.parameters[word]]
