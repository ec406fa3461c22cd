"""Each value defined once and before it is read: topological order and static single assignment. Imports the rest of load."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from trainaudit.errors import TrainauditError
from trainaudit.load.bodies import Body
from trainaudit.load.raw import RawNode
from trainaudit.load.tensors import shown


def in_order(nodes: list[RawNode], given: Iterable[str], outputs: Iterable[str]) -> list[RawNode]:
    """`nodes` in topological order: as they stand where that is one, else sorted stably (Kahn 1962).

    Raises `TrainauditError` where a value is defined twice, where a node or an output reads one that nothing defines, and where
    the nodes form a cycle.
    """
    defined = {""}
    for name in given:
        if name in defined and name:
            raise _defined_twice(name)
        defined.add(name)
    sorted_already = True
    for node in nodes:
        if sorted_already:
            sorted_already = defined.issuperset(node.inputs)
        for name in node.outputs:
            if name in defined and name:
                raise _defined_twice(name)
            defined.add(name)
    if not sorted_already:
        _check_reads(nodes, defined)
        nodes = _sorted(nodes)
    for name in outputs:
        if name not in defined:
            raise TrainauditError(
                "undefined-value",
                f"The model's output {shown(name)} is computed by no node.",
                "Export the model again.",
            )
    return nodes


def check_definitions(body: Body) -> None:
    """Raise `TrainauditError` where a body or function defines a name twice."""
    defined = set(body.tensors)
    for name in (*(name for name in body.inputs if name not in body.tensors), *_outputs(body.nodes)):
        if name in defined and name:
            raise _defined_twice(name)
        defined.add(name)


def _outputs(nodes: list[RawNode]) -> Iterable[str]:
    for node in nodes:
        yield from node.outputs


def _defined_twice(name: str) -> TrainauditError:
    return TrainauditError(
        "duplicate-name",
        f"The value {shown(name)} is defined more than once.",
        "ONNX allows one definition per name: export the model again.",
    )


def _check_reads(nodes: list[RawNode], defined: set[str]) -> None:
    for node in nodes:
        for name in node.inputs:
            if name not in defined:
                label = shown(node.name or next(iter(node.outputs), ""))
                raise TrainauditError(
                    "undefined-value",
                    f"The node {label} ({shown(node.op)}) reads {shown(name)}, which nothing defines.",
                    "Export the model again.",
                )


def _sorted(nodes: list[RawNode]) -> list[RawNode]:
    """Sort by dependency; among nodes that are ready, the one that stands first in the file goes first."""
    producer = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    waiting = [0] * len(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        for name in node.inputs:
            source = producer.get(name)
            if source is not None:
                waiting[index] += 1
                readers[source].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    ordered: list[RawNode] = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append(nodes[index])
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(ordered) != len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting, strict=True) if count)
        label = shown(stuck.name or next(iter(stuck.outputs), ""))
        raise TrainauditError(
            "cyclic-graph",
            f"The graph has a cycle: the node {label} ({shown(stuck.op)}) waits for its own result.",
            "ONNX graphs are acyclic: export the model again.",
        )
    return ordered
