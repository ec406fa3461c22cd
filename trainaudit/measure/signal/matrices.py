"""Weight matrices as they act on means and variances, whether they are read, grouped, or stood for by their moments. numpy only."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.measure.signal.prediction import NONE, Floats

Float32s = npt.NDArray[np.float32]

_BLOCK = 65_536


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
