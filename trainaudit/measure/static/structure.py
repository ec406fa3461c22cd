"""All facts that the graph tells without its weights, and the subjects that facts are about. May import `ir`, `measure.facts` and siblings.

The graph is indexed by one pass forward and one backward; every measurement then reads those lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainaudit.ir.graph import Graph, Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Columns, Subject
from trainaudit.measure.static.attention import measure_attention
from trainaudit.measure.static.batch_axis import follow_batch
from trainaudit.measure.static.blocks import Block, find_blocks, measure_blocks
from trainaudit.measure.static.flow import trace_uses
from trainaudit.measure.static.index import Index, build_index
from trainaudit.measure.static.layer_facts import measure_layers
from trainaudit.measure.static.linear_chains import measure_linear_chains
from trainaudit.measure.static.maps import measure_maps
from trainaudit.measure.static.model_facts import measure_model
from trainaudit.measure.static.neighbors import measure_neighbors
from trainaudit.measure.static.normalization import measure_normalization
from trainaudit.measure.static.outputs import measure_ends
from trainaudit.measure.static.parameters import audited_parameters, measure_parameters, trainable_sizes
from trainaudit.measure.static.places import measure_places
from trainaudit.measure.static.progressions import measure_progressions
from trainaudit.measure.static.roles import layer_roles, measure_roles
from trainaudit.measure.static.softmax import measure_softmax

Subjects = dict[str, Mapping[str, Subject]]


class SubjectsByPosition(Mapping[str, Subject]):
    """Blocks, layers or parameters as subjects, each made when it is asked for: a large model has many, and few are reported on.

    `positions` maps their names to the index of their first layer, one past the last where they have none."""

    def __init__(self, kind: str, positions: dict[str, int], layers: tuple[Layer, ...]) -> None:
        self._kind = kind
        self._positions = positions
        self._layers = layers

    def __getitem__(self, name: str) -> Subject:
        position = self._positions[name]
        owner = self._layers[position].name if position < len(self._layers) else None
        return Subject(self._kind, name, owner, position)

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


def measure_structure(graph: Graph, index: Index | None = None) -> tuple[Subjects, Columns]:
    """Every fact of the catalog whose source is the graph, and all subjects. Linear in layers and edges. `index` is the graph's, where it is at
    hand."""
    index = index or build_index(graph)
    flow = trace_uses(index)
    roles = layer_roles(index, flow)
    trainable = trainable_sizes(graph)
    blocks = find_blocks(index, roles)
    batch = follow_batch(index)
    linear = measure_linear_chains(index, roles)
    codes: dict[str, str] = {}
    columns: Columns = {}
    for measured in (
        measure_model(index, flow, trainable),
        measure_layers(index, flow, trainable, codes),
        measure_ends(index, flow, roles),
        measure_neighbors(index),
        linear,
        measure_roles(index, flow, roles, linear["layer.linear_idiom"]),
        measure_softmax(index, flow, batch),
        {"layer.is_batch_mixing": batch.verdicts},
        measure_normalization(index),
        measure_attention(index),
        measure_parameters(index, flow, trainable, codes),
        measure_blocks(blocks),
        measure_maps(index),
        measure_progressions(index, linear),
    ):
        for fact, column in measured.items():
            if fact in columns:
                columns[fact].update(column)
            else:
                columns[fact] = column
    columns.update(measure_places(graph, index, columns))
    return subjects_of(graph, blocks), columns


def subjects_of(graph: Graph, blocks: Mapping[str, Block]) -> Subjects:
    """Everything that facts can be about: the model, its inputs, outputs, blocks, layers and parameters; segments only once the signal is predicted."""
    layers = graph.layers
    last = len(layers)
    outputs: dict[str, Subject] = {}
    for name in graph.outputs:
        value = graph.values.get(name)
        producer = None if value is None else value.producer
        owner = None if producer is None else layers[producer].name
        outputs[name] = Subject("output", name, owner, last if producer is None else producer)
    owners = {p.name: p.owners[0] if p.owners else last for p in audited_parameters(graph)}
    return {
        "model": {"model": Subject("model", "model", None, 0)},
        "input": {name: Subject("input", name, None, 0) for name in graph.inputs},
        "output": outputs,
        "block": SubjectsByPosition("block", {name: block.first for name, block in blocks.items()}, layers),
        "segment": {},
        "layer": SubjectsByPosition("layer", {layer.name: layer.index for layer in layers}, layers),
        "parameter": SubjectsByPosition("parameter", owners, layers),
    }


def loss_in_graph(graph: Graph) -> str | None:
    """The loss that the graph itself computes (its last loss layer), or None."""
    ops = [layer.op for layer in graph.layers]
    for layer in reversed(graph.layers) if Op.LOSS in ops else ():
        name = layer.attributes.get("name") if layer.op is Op.LOSS else None
        if isinstance(name, str):
            return name
    return None


__all__ = ["Subjects", "loss_in_graph", "measure_structure", "subjects_of"]
