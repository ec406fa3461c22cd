"""`wire`: the index of a `RawGraph`, without the nodes that do nothing to a value. Stdlib and the rest of load only."""

from __future__ import annotations

from trainaudit.load.datatypes import TYPE_NAMES
from trainaudit.load.raw import RawGraph, RawNode
from trainaudit.load.shapes.inference import Inferred
from trainaudit.load.wiring import Wiring, real


def wire(raw: RawGraph, inferred: Inferred) -> Wiring:
    """Index a raw graph. Identity nodes, casts to the type that a value has already, dropout that drops nothing, and
    quantise/dequantise pairs on activations are skipped over: their readers are rewired in place."""
    wiring = Wiring(
        raw,
        raw.nodes,
        inferred.shapes,
        inferred.dtypes,
        inferred.numbers,
        frozenset(raw.outputs),
        taken=bytearray(len(raw.nodes)),
    )
    producer, consumers, outputs = wiring.producer, wiring.consumers, wiring.outputs
    tensors, dtypes = raw.tensors, wiring.dtypes
    alias: dict[str, str] = {}
    rounded: list[int] = []
    read: set[str] = set()
    for number, node in enumerate(raw.nodes):
        if alias:
            node.inputs = [alias.get(name, name) for name in node.inputs]
        op = node.op
        if op in _RENAMING and _is_simple(node) and node.outputs[0] not in outputs and node.inputs[0] not in tensors:
            if op == "Identity" or _keeps_type(node, dtypes):
                alias[node.outputs[0]] = node.inputs[0]
                wiring.taken[number] = 1
                continue
        elif op == "Dropout" and _drops_nothing(wiring, node, read):
            alias[node.outputs[0]] = node.inputs[0]
            wiring.taken[number] = 1
            continue
        elif op == "DequantizeLinear" and _is_simple(node) and node.outputs[0] not in outputs:
            maker = producer.get(node.inputs[0])
            if maker is not None and raw.nodes[maker].op == "QuantizeLinear" and raw.nodes[maker].inputs[0]:
                # A quantise/dequantise pair simulates rounding of an activation: its straight-through derivative is 1.
                alias[node.outputs[0]] = raw.nodes[maker].inputs[0]
                wiring.taken[number] = 1
                rounded.append(maker)
                continue
        for name in node.inputs:
            if name:
                readers = consumers.get(name)
                if readers is None:
                    consumers[name] = [number]
                else:
                    readers.append(number)
        for name in node.outputs:
            if name:
                producer[name] = number
    for number in rounded:
        node = raw.nodes[number]
        if (
            not wiring.taken[number]
            and len(node.outputs) == 1
            and node.outputs[0] not in consumers
            and node.outputs[0] not in outputs
        ):
            wiring.taken[number] = 1
            for name in node.inputs:
                if name in consumers:
                    consumers[name] = [reader for reader in consumers[name] if reader != number]
    return wiring


_RENAMING = frozenset({"Identity", "Cast", "CastLike"})


def _is_simple(node: RawNode) -> bool:
    return bool(node.inputs) and bool(node.inputs[0]) and len(node.outputs) == 1


def _drops_nothing(wiring: Wiring, node: RawNode, read: set[str]) -> bool:
    """Dropout with a chance of zero, whose mask nobody reads. Fills `read` with all that nodes read when that is first asked."""
    if not node.outputs or node.outputs[0] in wiring.outputs or not node.inputs or wiring.is_stored(node.inputs[0]):
        return False
    given = len(node.inputs) > 1 and node.inputs[1]
    if (wiring.scalar(node.inputs[1]) if given else real(node, "ratio", 0.5)) != 0:
        return False
    masks = [name for name in node.outputs[1:] if name]
    if masks and not read:
        read.update(wiring.outputs, *(reader.inputs for reader in wiring.nodes))
    return read.isdisjoint(masks)


def _keeps_type(node: RawNode, dtypes: dict[str, str]) -> bool:
    before = dtypes.get(node.inputs[0])
    if node.op == "CastLike":
        return before is not None and before == dtypes.get(node.outputs[0])
    target = node.attributes.get("to")
    return isinstance(target, int) and TYPE_NAMES.get(target, "") == before
