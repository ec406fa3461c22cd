"""The graph and its weights, as the rules of signal propagation read them. Imports ir and numpy only.

Up to `BUDGET` weights of a model are used one by one; of what is beyond it, in the order of the layers, a bounded sample gives the moments, and
the means of units are drawn from a normal distribution with a seed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph, Layer, Parameter, Role
from trainaudit.measure.signal.prediction import NONE, Floats, NotCovered
from trainaudit.measure.static.stored_blocks import widened

Float32s = npt.NDArray[np.float32]

BUDGET = 32 * 1024 * 1024
"""Weights that are read one by one: 128 MB of float32, more than a ResNet-50 has."""
ASSUMED = 64
"""Pixels along an axis, or tokens, where the file does not say."""
_BATCH = 1_000_003
"""Stands for an unknown number of samples: a prime, so that it is found again in products of sizes."""
_BLOCK = 65_536
_SAMPLE = 65_536
_FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})


@frozen(eq=False)
class Matrix:
    """A weight matrix W, (outputs, inputs), as it acts on independent inputs. Stored the other way round where it `is_turned`."""

    array: Float32s
    is_turned: bool = False

    @property
    def outputs(self) -> int:
        return int(self.array.shape[self.is_turned])

    @property
    def inputs(self) -> int:
        return int(self.array.shape[not self.is_turned])

    def forward(self, mean: Floats, squares: Floats) -> tuple[Floats, Floats]:
        """W·mean, (outputs,), and W²·squares for the columns of `squares`, (inputs, n) → (outputs, n). Where the mean is NONE, so is W·mean."""
        squares32, scale = _scaled(squares)
        seconds = np.multiply(
            (_into_columns if self.is_turned else _into_rows)(self.array, squares32), scale, dtype=np.float64
        )
        if mean is NONE:
            return NONE, seconds
        mean32, scale = _scaled(mean)
        means = mean32 @ self.array if self.is_turned else self.array @ mean32
        return np.multiply(means, scale, dtype=np.float64), seconds

    def turned(self) -> Matrix:
        """The transpose."""
        return Matrix(self.array, not self.is_turned)

    def summed(self, shares: Floats) -> Matrix:
        """Neighboring columns as stored (the taps of a kernel) added with these factors."""
        rows, columns = self.array.shape
        taps = shares.size
        return Matrix(
            (self.array.reshape(-1, taps) @ shares.astype(np.float32)).reshape(rows, columns // taps), self.is_turned
        )


@frozen(eq=False)
class GroupedMatrix:
    """Several equal matrices side by side, (groups, outputs, inputs), each for its own units: a grouped or depthwise kernel."""

    array: Float32s
    is_turned: bool = False

    @property
    def outputs(self) -> int:
        return int(self.array.shape[0] * self.array.shape[2 if self.is_turned else 1])

    @property
    def inputs(self) -> int:
        return int(self.array.shape[0] * self.array.shape[1 if self.is_turned else 2])

    def forward(self, mean: Floats, squares: Floats) -> tuple[Floats, Floats]:
        groups = len(self.array)
        array = self.array.swapaxes(1, 2) if self.is_turned else self.array
        means = NONE if mean is NONE else np.matmul(array, mean.reshape(groups, -1, 1)).reshape(-1)
        columns = squares.shape[1]
        return means, np.matmul(_squared(array), squares.reshape(groups, -1, columns)).reshape(-1, columns)

    def turned(self) -> GroupedMatrix:
        return GroupedMatrix(self.array, not self.is_turned)

    def summed(self, shares: Floats) -> GroupedMatrix:
        groups, rows, columns = self.array.shape
        taps = shares.size
        added = self.array.reshape(-1, taps) @ shares.astype(np.float32)
        return GroupedMatrix(added.reshape(groups, rows, columns // taps), self.is_turned)


def _into_rows(array: Float32s, squares: Float32s) -> Floats:
    """A²·squares, block by block so that the squares stay in the cache."""
    rows, columns = array.shape
    step = max(1, _BLOCK // max(columns, 1))
    if step >= rows:
        return _squared(array) @ squares
    result = np.empty((rows, squares.shape[1]))
    for start in range(0, rows, step):
        result[start : start + step] = _squared(array[start : start + step]) @ squares
    return result


def _into_columns(array: Float32s, squares: Float32s) -> Floats:
    """(A²)ᵀ·squares."""
    rows, columns = array.shape
    step = max(1, _BLOCK // max(columns, 1))
    if step >= rows:
        return (squares.T @ _squared(array)).T
    result = np.zeros((squares.shape[1], columns))
    for start in range(0, rows, step):
        result += squares[start : start + step].T @ _squared(array[start : start + step])
    return result.T


@frozen
class DrawnMatrix:
    """What stands for a weight matrix that is too large to be read: independent elements of that mean and standard deviation. An output sees
    one group of the inputs."""

    outputs: int
    inputs: int
    mean: float
    std: float
    seed: int
    groups: int = 1
    is_turned: bool = False

    def forward(self, mean: Floats, squares: Floats) -> tuple[Floats, Floats]:
        seconds = (self.mean**2 + self.std**2) / self.groups * squares.sum(axis=0)
        seconds = np.broadcast_to(seconds, (self.outputs, squares.shape[1]))
        if mean is NONE:
            return NONE, seconds
        draws = np.random.default_rng(self.seed).standard_normal(self.outputs)
        means = (
            self.mean * float(mean.sum()) / self.groups + self.std * math.sqrt(float(mean @ mean) / self.groups) * draws
        )
        return means, seconds

    def turned(self) -> DrawnMatrix:
        return replace(self, outputs=self.inputs, inputs=self.outputs, is_turned=not self.is_turned)

    def summed(self, shares: Floats) -> DrawnMatrix:
        count, norm = float(shares.sum()), math.sqrt(float(shares @ shares))
        outputs, inputs = (
            (self.outputs // shares.size, self.inputs) if self.is_turned else (self.outputs, self.inputs // shares.size)
        )
        return replace(self, outputs=outputs, inputs=inputs, mean=self.mean * count, std=self.std * norm)


AnyMatrix = Matrix | GroupedMatrix | DrawnMatrix


@frozen(eq=False)
class Model:
    """A graph, the symbolic sizes with the number that is assumed for each, and the names of the parameters that are read whole."""

    graph: Graph
    assumed: Mapping[str, int]
    whole: frozenset[str]

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
        name = layer.parameters.get(role.value)
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


def _scaled(values: Floats) -> tuple[Float32s, float]:
    """Values in float32 with the factor that was taken out, so that neither they nor their products leave its range."""
    largest = (
        max(float(np.maximum.reduce(values, axis=None)), -float(np.minimum.reduce(values, axis=None)))
        if values.size
        else 0.0
    )
    if largest == 0.0:
        return np.zeros(values.shape, np.float32), 0.0
    if 1e-12 < largest < 1e12:
        return values.astype(np.float32), 1.0
    return (values / largest).astype(np.float32), largest


def _squared(array: Float32s) -> npt.NDArray[np.floating]:
    """Squares; in float64 where those of float32 would leave its range."""
    squares = array * array
    if squares.size and not 1e-30 < float(np.maximum.reduce(squares[0], axis=None)) < 1e30:
        wide = array.astype(np.float64)
        return wide * wide
    return squares
