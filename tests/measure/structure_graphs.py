"""Weighted layers for hand-built graphs, and the facts of a graph by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tests.models.graphs import GraphBuilder
from trainaudit.ir.graph import Graph, Shape, Source
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Columns
from trainaudit.measure.static.structure import measure_structure


class Sketch(GraphBuilder):
    """A builder that knows linear layers, convolutions and reshapes."""

    def dense(self, name: str, x: str, width: int, *, bias: bool = True, **details: Any) -> str:
        shape = self.values[x].shape
        assert shape is not None
        inside = shape[-1]
        assert isinstance(inside, int)
        if bias:
            details["bias"] = np.zeros(width)
        details.setdefault("weight", np.ones((width, inside)))
        result = self.layer(
            Op.LINEAR, name, x, shape=(*shape[:-1], width), in_features=inside, out_features=width, **details
        )
        self._fan(name, inside)
        return result

    def conv(
        self, name: str, x: str, channels: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> str:
        shape = self.values[x].shape
        assert shape is not None
        batch, inside, *space = shape
        assert isinstance(inside, int)
        details: dict[str, Any] = {"weight": np.ones((channels, inside // groups, kernel, kernel))}
        if bias:
            details["bias"] = np.zeros(channels)
        smaller = [size // stride if isinstance(size, int) else size for size in space]
        result = self.layer(
            Op.CONV, name, x, shape=(batch, channels, *smaller), kernel_size=(kernel, kernel), stride=(stride, stride), groups=groups,
            **details,
        )  # fmt: skip
        self._fan(name, inside // groups * kernel * kernel, groups)
        return result

    def norm(self, name: str, x: str, op: Op = Op.BATCH_NORM, **details: Any) -> str:
        shape = self.values[x].shape
        assert shape is not None
        width = shape[-1] if op is Op.LAYER_NORM else shape[1]
        if op is Op.LAYER_NORM:
            details.setdefault("axes", (-1,))
        return self.layer(op, name, x, scale=np.ones(width), shift=np.zeros(width), eps=1e-5, **details)

    def embed(self, name: str, x: str, vocabulary: int, width: int) -> str:
        shape = self.values[x].shape
        assert shape is not None
        return self.layer(Op.EMBEDDING, name, x, shape=(*shape, width), embedding=np.ones((vocabulary, width)))

    def view(self, name: str, x: str, *shape: int | str) -> str:
        return self.layer(Op.RESHAPE, name, x, shape=shape)

    def transpose(self, name: str, x: str, *perm: int) -> str:
        shape = self.values[x].shape
        assert shape is not None
        return self.layer(Op.TRANSPOSE, name, x, shape=tuple(shape[p] for p in perm), perm=perm)

    def _fan(self, name: str, fan_in: int, groups: int = 1) -> None:
        for key in (f"{name}.weight",):
            if key in self.parameters:
                self.parameters[key] = dataclasses.replace(
                    self.parameters[key], unit_axis=0, fan_in=fan_in, groups=groups
                )


def placed(graph: Graph, modules: dict[str, str]) -> Graph:
    """The graph with module paths: layer name → path."""
    layers = tuple(
        dataclasses.replace(layer, node=layer.name, source=Source(modules.get(layer.name))) for layer in graph.layers
    )
    return dataclasses.replace(graph, layers=layers)


def typed(graph: Graph, dtypes: dict[str, str]) -> Graph:
    """The graph with other types for some of its values."""
    values = {
        name: dataclasses.replace(value, dtype=dtypes.get(name, value.dtype)) for name, value in graph.values.items()
    }
    return dataclasses.replace(graph, values=values)


def facts(graph: Graph) -> Columns:
    return measure_structure(graph)[1]


IMAGE: Shape = ("batch", 3, 32, 32)
