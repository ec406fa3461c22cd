"""The file's graph, flattened but not yet understood: what `load.onnx_file` hands to shape inference and canonicalisation.

Functions are inlined; bodies of If, Loop and Scan are inlined under a scope (see `flatten`); Constant nodes and initializers
are `tensors`; nodes stand in topological order and every value name is unique. Stdlib, numpy and ir only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from trainaudit.frozen import slotted
from trainaudit.ir.graph import Origin, Shape, TensorData

RawAttribute = int | float | str | list[int] | list[float] | list[str] | TensorData
"""A node's attribute: tensors stay lazy, lists of more than 65,536 numbers are tensors too, bytes are decoded (errors replaced), subgraphs are gone (inlined)."""


@slotted
class RawNode:
    """One ONNX node. `op` is the operator's name, `domain` "" for ai.onnx; an absent optional input is "".

    `scope` is the path of inlined bodies ("" at the top). Control flow that was inlined leaves `If`, `LoopEntry` and `LoopExit`
    nodes: `If` reads the condition and then each branch's results and gives the joined results; `LoopEntry` reads the initial
    carried values and scanned inputs and gives the body's inputs; `LoopExit` reads the body's results and gives the loop's.
    The back edge of a loop is not drawn, so the graph stays acyclic. LoopEntry and LoopExit keep the attributes of their Loop or
    Scan node and its kind as `control`. Any other operator that holds graphs (SequenceMap, BeamSearch …) stays as it is, preceded by
    a LoopEntry and the nodes of each graph, whose results it reads besides its own inputs.
    `functions` names the functions it was inlined from, outermost first; a node without metadata of its own has its call's. A
    documentation string stands in `metadata` under "doc_string".
    """

    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: Mapping[str, RawAttribute] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    scope: str = ""
    functions: tuple[str, ...] = ()


@slotted
class RawGraph:
    """The flattened model. `shapes` and `dtypes` hold what the file declares for inputs, outputs and intermediate values.

    `opset` is that of ai.onnx, 0 where the model neither imports nor uses it. `metadata` is the model's and the graph's.
    `constants` are the names of those tensors that came from Constant nodes rather than initializers. `node_count` counts the file's
    nodes before inlining of control flow and after inlining of functions.
    """

    nodes: list[RawNode]
    tensors: dict[str, TensorData]
    constants: set[str]
    inputs: list[str]
    outputs: list[str]
    shapes: dict[str, Shape]
    dtypes: dict[str, str]
    origin: Origin
    opset: int
    metadata: dict[str, str] = field(default_factory=dict)
    node_count: int = 0
