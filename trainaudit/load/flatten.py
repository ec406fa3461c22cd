"""From bodies to one flat list of nodes in topological order. Imports the rest of load."""

from __future__ import annotations

from trainaudit.load.bodies import Body
from trainaudit.load.inlining import Flat, FunctionKey, Inliner
from trainaudit.load.ordering import in_order


def flatten(body: Body, functions: dict[FunctionKey, Body]) -> Flat:
    """The main graph, flat and in topological order. Raises `TrainauditError` for cycles, names that are defined twice or never,
    functions that call themselves, and graphs that grow past all bounds."""
    flat = Flat(tensors=body.tensors, constants=body.constants, shapes=body.shapes, dtypes=body.dtypes)
    inputs = [name for name in body.inputs if name not in body.tensors]
    if functions or body.bodies or body.references:
        flat.node_count = body.node_count
        Inliner(flat, functions, _names(body)).inline_main(body)
    else:
        flat.nodes, flat.node_count = body.nodes, body.node_count
    flat.nodes = in_order(flat.nodes, (*inputs, *flat.tensors), body.outputs)
    return flat


def _names(body: Body) -> set[str]:
    names = {*body.inputs, *body.tensors}
    for node in body.nodes:
        names.update(node.outputs)
    return names
