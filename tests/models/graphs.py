"""Builds small `ir.Graph` objects by hand, with NumPy weights. No files, no ONNX.

g = GraphBuilder({"x": ("N", 8)})
h = g.layer(Op.LINEAR, "fc1", "x", shape=("N", 4), weight=np.ones((4, 8)), in_features=8, out_features=4)
h = g.layer(Op.RELU, "relu1", h)
graph = g.graph(h)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainaudit.ir.graph import TRAINABLE_ROLES, Graph, Layer, Origin, Parameter, Role, Shape, Value
from trainaudit.ir.ops import Op
from trainaudit.ir.tensor import ArrayData

_ROLES = {role.value: role for role in Role}


class GraphBuilder:
    """A graph in the making. Layers are given in topological order; each method returns the name of the result."""

    def __init__(self, inputs: Mapping[str, Shape], dtype: str = "float32") -> None:
        self.inputs = tuple(inputs)
        self.dtype = dtype
        self.layers: list[Layer] = []
        self.parameters: dict[str, Parameter] = {}
        self.values = {name: Value(name, shape, dtype, None, ()) for name, shape in inputs.items()}

    def layer(self, op: Op, name: str, *inputs: str, shape: Shape | None = None, **details: Any) -> str:
        """A layer with one output, shaped as its first input unless told. Arrays named by a role become parameters (a text names a
        parameter that is there already: a tied one), everything else attributes."""
        return self.layer_with_outputs(op, name, *inputs, shapes=(shape,), **details)[0]

    def layer_with_outputs(
        self, op: Op, name: str, *inputs: str, shapes: tuple[Shape | None, ...], **details: Any
    ) -> list[str]:
        """A layer with one output for each of `shapes`."""
        index = len(self.layers)
        parameters: dict[str, str] = {}
        attributes: dict[str, Any] = {}
        for key, detail in details.items():
            role = _ROLES.get(key)
            if role is None:
                attributes[key] = detail
            elif isinstance(detail, str):
                known = self.parameters[detail]
                self.parameters[detail] = dataclasses.replace(known, owners=(*known.owners, index))
                parameters[key] = detail
            else:
                parameters[key] = self._parameter(f"{name}.{key}", role, detail, index)
        for value in dict.fromkeys(inputs):
            known_value = self.values[value]
            self.values[value] = dataclasses.replace(known_value, consumers=(*known_value.consumers, index))
        outputs = [f"{name}:{slot}" if slot else name for slot in range(len(shapes))]
        default = self.values[inputs[0]].shape if inputs else None
        for output, shape in zip(outputs, shapes, strict=True):
            self.values[output] = Value(output, default if shape is None else shape, self.dtype, index, ())
        raw_op = op.value.title().replace("_", "")
        self.layers.append(Layer(index, name, op, raw_op, tuple(inputs), tuple(outputs), parameters, attributes))
        return outputs

    def graph(self, *outputs: str, form: str = "unknown") -> Graph:
        """What has been built so far."""
        return Graph(
            tuple(self.layers), dict(self.values), dict(self.parameters), self.inputs, outputs,
            Origin("model.onnx", "onnx", 0, 17), form, node_count=len(self.layers),
        )  # fmt: skip

    def _parameter(self, name: str, role: Role, array: Any, owner: int) -> str:
        data = ArrayData(np.asarray(array, dtype=self.dtype))
        self.parameters[name] = Parameter(name, data.shape, data.dtype, role, role in TRAINABLE_ROLES, (owner,), data)
        return name
