"""The framework-free graph that every stage after loading reads. Stdlib and numpy only.

Invariants (checked by `ir.verify`): layers stand in topological order; layer names, value names and parameter names are
unique; every value that a layer reads is a graph input, a parameter or the output of an earlier layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.ir.ops import Op

Dimension = int | str | None
"""A known size, a symbolic size (its name), or unknown."""

Shape = tuple[Dimension, ...]

Attribute = int | float | str | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


class TensorData(Protocol):
    """Weights that stay in their file until they are asked for.

    `dtype` is the stored type's name ("float32", "float16", "bfloat16", "float64", "int8", …).
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...

    @property
    def nbytes(self) -> int:
        """Stored size in bytes."""
        ...

    def blocks(self, elements: int) -> Iterator[npt.NDArray[np.generic]]:
        """The flat stored values in order, at most `elements` at a time. A block may be a view of a buffer that the next block
        overwrites. bfloat16 arrives as uint16 bits; every other type as numpy's own."""
        ...

    def read(self) -> npt.NDArray[np.generic]:
        """The whole tensor in its shape, as numpy's own type (bfloat16 and the float8 types as float32; quantised as stored)."""
        ...


class Role(StrEnum):
    """What a parameter does in the layer that owns it."""

    WEIGHT = "weight"
    BIAS = "bias"
    SCALE = "scale"
    """γ of a normalization, or a learnt per-channel factor."""
    SHIFT = "shift"
    """β of a normalization."""
    RUNNING_MEAN = "running_mean"
    RUNNING_VARIANCE = "running_variance"
    EMBEDDING = "embedding"
    POSITION = "position"
    """A learnt tensor added to activations (positional embedding, class token)."""
    INPUT_WEIGHT = "input_weight"
    """W of a recurrent layer, shape (directions, gates·hidden, input)."""
    RECURRENT_WEIGHT = "recurrent_weight"
    """R of a recurrent layer, shape (directions, gates·hidden, hidden)."""
    SLOPE = "slope"
    """Of PReLU."""
    CONSTANT = "constant"
    """A fixed tensor: mask, table of indices, scalar factor; not trained."""


TRAINABLE_ROLES = frozenset(
    {
        Role.WEIGHT, Role.BIAS, Role.SCALE, Role.SHIFT, Role.EMBEDDING, Role.POSITION, Role.INPUT_WEIGHT,
        Role.RECURRENT_WEIGHT, Role.SLOPE,
    }
)  # fmt: skip


@frozen
class Source:
    """Where layers come from. `module` is the dotted module path ("encoder.layers.0.fc1"), `file` and `line` the user's own
    Python, as far as the file tells."""

    module: str | None = None
    module_class: str | None = None
    file: str | None = None
    line: int | None = None


@frozen
class Value:
    """A tensor on an edge. `producer` is an index into `Graph.layers` (None for graph inputs), `consumers` likewise."""

    name: str
    shape: Shape | None
    dtype: str | None
    producer: int | None
    consumers: tuple[int, ...]


ON_META = "meta device"
"""`Parameter.generated` of a tensor that torch keeps without values."""


@frozen
class Parameter:
    """A stored tensor that a layer owns.

    `owners` are layer indices; more than one means tied. `unit_axis` is the axis that counts output units (None where there
    is none), so that a Linear spelled MatMul (in, out) and one spelled Gemm (out, in) read alike. `fan_in` and `fan_out`
    count groups, kernel size and transposes as torch.nn.init does. `gates` is 4 for LSTM, 3 for GRU, else 1.
    `generated` says that these values are not stored: the graph itself makes them (a constant fill, a random op), or `ON_META`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    trainable: bool
    owners: tuple[int, ...]
    data: TensorData
    unit_axis: int | None = None
    fan_in: int | None = None
    fan_out: int | None = None
    groups: int = 1
    gates: int = 1
    quantized: bool = False
    generated: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


@frozen
class Layer:
    """One computation. `inputs` and `outputs` name values (activations), `parameters` maps a role's word to parameter names.

    `node` is the name of the node in the file, `raw_op` the spelling there, fused nodes joined by "+" ("MatMul+Add"); `nodes` counts the raw
    nodes it stands for.
    `attributes` are typed and named as in torch where torch has the word; see `load.canonical` for what each op carries.
    """

    index: int
    name: str
    op: Op
    raw_op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    source: Source = Source()
    nodes: int = 1
    node: str = ""
    scope: str = ""
    """Path of the If / Loop / Scan bodies that the layer was inlined from, "" at the top."""


@frozen
class Origin:
    """What a graph was read from. `leaked_paths` are absolute paths of the exporting machine found in the metadata.

    `capture` says in one clause how the graph was had from a module or from a file of weights ("torch.export in training mode"), ""
    where the file is the graph. `notes` are sentences that a report prints about it: an input shape that was inferred, a fallback. Of a
    module `path` and `line` are the user's Python that makes it, "" and None where that is not known.
    """

    path: str
    format: str
    size: int
    opset: int | None = None
    producer: str = ""
    leaked_paths: tuple[str, ...] = ()
    capture: str = ""
    notes: tuple[str, ...] = ()
    line: int | None = None


@frozen
class Graph:
    """A model. `form` is "training" (dropout or unfused batch statistics are there), "inference" or "unknown".

    `folded_normalizations` names the layers whose weights absorbed a BatchNorm; `folded_evidence` says how that was seen: "metadata" (a
    note of the exporter), "weights" (the trace that folding leaves in names and values) or "none". `node_count` and `unrecognized` (raw op, how
    often) count raw nodes, so that recognition coverage is `1 - sum(unrecognized) / node_count`. `is_connected` is False for a graph
    made of weights alone: it holds the layers that own parameters, and neither edges nor the layers between them.
    """

    layers: tuple[Layer, ...]
    values: Mapping[str, Value]
    parameters: Mapping[str, Parameter]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    origin: Origin
    form: str = "unknown"
    folded_normalizations: tuple[str, ...] = ()
    folded_evidence: str = "none"
    node_count: int = 0
    unrecognized: tuple[tuple[str, int], ...] = ()
    is_connected: bool = True

    def parameter_of(self, layer: Layer, role: Role) -> Parameter | None:
        """The layer's parameter in that role, or None."""
        name = layer.parameters.get(role)
        return None if name is None else self.parameters[name]

    def maker_of(self, value: str) -> Layer | None:
        """The layer that computes a value; None for what no layer computes."""
        found = self.values.get(value)
        return None if found is None or found.producer is None else self.layers[found.producer]
