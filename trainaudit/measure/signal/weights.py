"""The graph and its weights, as the rules of signal propagation read them. Imports ir and numpy only.

Up to `BUDGET` weights of a model are used one by one; of what is beyond it, in the order of the layers, a bounded sample gives the moments, and
the means of units are drawn from a normal distribution with a seed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import field

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph, Layer, Parameter, Role
from trainaudit.measure.signal.matrices import AnyMatrix, DrawnMatrix, GroupedMatrix, Matrix
from trainaudit.measure.signal.prediction import Floats, NotCovered
from trainaudit.measure.static.stored_blocks import widened

BUDGET = 32 * 1024 * 1024
"""Weights that are read one by one: 128 MB of float32, more than a ResNet-50 has."""
ASSUMED = 64
"""Pixels along an axis, or tokens, where the file does not say."""
_BATCH = 1_000_003
"""Stands for an unknown number of samples: a prime, so that it is found again in products of sizes."""
_SAMPLE = 65_536
_SMALL = 4096
_FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})


@frozen(eq=False)
class Model:
    """A graph, the symbolic sizes with the number that is assumed for each, and the names of the parameters that are read whole."""

    graph: Graph
    assumed: Mapping[str, int]
    whole: frozenset[str]
    held: dict[tuple[str, int, int, int, bool], AnyMatrix] = field(default_factory=dict)
    """Small matrices that were read before: backward asks for them again, and layers share them."""

    def sizes(self, value: str) -> tuple[int, ...] | None:
        """The shape of a value in numbers; a size that is neither known nor assumed is 0. None where the rank is not known."""
        found = self.graph.values.get(value)
        if found is None or found.shape is None:
            return None
        return tuple(
            [size if isinstance(size, int) else self._assumed_size(size) if size else 0 for size in found.shape]
        )

    def _assumed_size(self, size: str) -> int:
        """The number that stands for a symbol, or for a product such as "4*batch"."""
        known = self.assumed.get(size)
        if known is not None:
            return known
        count = 1
        for factor in size.split("*"):
            word = factor.strip()
            count *= int(word) if word.isdecimal() else self.assumed.get(word, 0)
        return count

    def parameter(self, layer: Layer, role: Role) -> Parameter | None:
        name = layer.parameters.get(role)
        return None if name is None else self.graph.parameters.get(name)

    def vector(self, layer: Layer, role: Role) -> Floats | None:
        """The values of a layer's parameter, flat, in float64; None where it has none. Non-finite values count as zero."""
        parameter = self.parameter(layer, role)
        return None if parameter is None else self.values(parameter).reshape(-1)

    def values(self, parameter: Parameter) -> Floats:
        """The values of a parameter in its shape, in float64. Raises NotCovered where they are no numbers to reckon with."""
        return finite(self._stored(parameter).astype(np.float64))

    def matrix(
        self, parameter: Parameter, outputs: int, inputs: int, *, groups: int = 1, is_turned: bool = False
    ) -> AnyMatrix:
        """A weight as a matrix, stored as (outputs, inputs / groups) with the groups along the outputs; where it `is_turned`, as
        (inputs, outputs / groups) with the groups along the inputs."""
        if outputs * inputs != parameter.size * groups or outputs % groups or inputs % groups:
            raise NotCovered("the shape of its weight does not fit")
        if parameter.size > _SMALL and parameter.name in self.whole:
            return self._read(parameter, outputs, inputs, groups, is_turned)
        key = (parameter.name, outputs, inputs, groups, is_turned)
        found = self.held.get(key)
        if found is None:
            found = self.held[key] = self._read(parameter, outputs, inputs, groups, is_turned)
        return found

    def _read(self, parameter: Parameter, outputs: int, inputs: int, groups: int, is_turned: bool) -> AnyMatrix:
        if parameter.name not in self.whole:
            mean, std = self.moments(parameter)
            return DrawnMatrix(outputs, inputs, mean, std, zlib.crc32(parameter.name.encode()), groups, is_turned)
        array = np.ascontiguousarray(self._stored(parameter), np.float32)
        flat = array.reshape(-1)
        if not math.isfinite(float(flat @ flat)):
            array = np.where(np.isfinite(array), array, np.float32(0.0))
        if groups > 1:
            return GroupedMatrix(array.reshape(groups, (inputs if is_turned else outputs) // groups, -1), is_turned)
        return Matrix(array.reshape((inputs, outputs) if is_turned else (outputs, inputs)), is_turned)

    def moments(self, parameter: Parameter) -> tuple[float, float]:
        """Mean and standard deviation of a parameter's elements, from its first ones where it is large."""
        _readable(parameter)
        block = next(iter(widened(parameter.data.blocks(_SAMPLE), _SAMPLE)), None)
        if block is None:
            return 0.0, 0.0
        sample = finite(block.astype(np.float64))
        return float(sample.mean()), float(sample.std())

    def _stored(self, parameter: Parameter) -> npt.NDArray[np.generic]:
        _readable(parameter)
        return parameter.data.read()


def model_of(graph: Graph, budget: int = BUDGET) -> Model:
    """Decides which parameters are read whole, and the sizes that stand for symbols: the first axis of an input is the batch."""
    whole: set[str] = set()
    for name, parameter in graph.parameters.items():
        if parameter.size <= budget:
            budget -= parameter.size
            whole.add(name)
    assumed: dict[str, int] = {}
    for name in graph.inputs:
        value = graph.values.get(name)
        for axis, size in enumerate((value.shape or ()) if value is not None else ()):
            if isinstance(size, str):
                assumed.setdefault(size, _BATCH if axis == 0 else ASSUMED)
    return Model(graph, assumed, frozenset(whole))


def finite(values: Floats) -> Floats:
    """Values with zeros for what is not finite."""
    good = np.isfinite(values)
    return values if good.all() else np.where(good, values, 0.0)


def _readable(parameter: Parameter) -> None:
    if parameter.quantized or parameter.dtype not in _FLOATS:
        raise NotCovered("its weights are no floating-point numbers")
