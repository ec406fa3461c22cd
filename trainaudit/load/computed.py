"""What a tensor that the graph computes from stored ones is called: the parameter that it shows, where it shows one. Stdlib, ir and load only."""

from __future__ import annotations

import math

from trainaudit.load.known import ComputedData, Stored
from trainaudit.load.raw import RawNode
from trainaudit.load.wiring import Wiring, number

_SCALING = frozenset({"Mul", "Div", "Sub"})


def computed(wiring: Wiring, node: RawNode, operands: list[Stored], data: ComputedData) -> Stored:
    """The result of a node over stored tensors.

    All of a tensor's parts in another order are that tensor; a weight that is multiplied, divided or shifted by something smaller is that
    weight, reparametrized; and tensors that are put together a second time in the same way (for another call of the same
    module) are what they were the first time.
    """
    name = node.outputs[0]
    parts = {operand.name for operand in operands if operand.part}
    scaled = _scaled(wiring, node, operands, data.shape)
    if len(parts) == 1 and math.prod(data.shape) == math.prod(operands[0].data.shape):
        name = parts.pop()
    elif scaled is not None:
        name = scaled.name + scaled.part
    elif node.op == "Concat":
        pieces = tuple((operand.name, operand.part, operand.shape, type(operand.data)) for operand in operands)
        name = wiring.copies.setdefault((number(node, "axis", 0), pieces), name)
    return Stored(
        name, data, data.shape, quantized=any(operand.quantized for operand in operands),
        generated=next((operand.generated for operand in operands if operand.generated), ""),
        depth=1 + max(operand.depth for operand in operands), reparametrized=scaled is not None,
    )  # fmt: skip


def _scaled(wiring: Wiring, node: RawNode, operands: list[Stored], shape: tuple[int, ...]) -> Stored | None:
    """The weight that a node only scales or shifts: weight normalization (Salimans & Kingma 2016) and standardization (Qiao et al. 2019), spectral
    normalization (Miyato et al. 2018), a learning rate equalized by a fixed factor (Karras et al. 2018)."""
    if node.op not in _SCALING or len(operands) != 2:
        return None
    first, second = operands
    if second.size > first.size and node.op == "Mul":
        first, second = second, first
    is_weight = first.is_floating and len(shape) > 1 and first.shape == shape
    return first if is_weight and (second.size < first.size or _is_expanded(wiring, node.inputs[1])) else None


def _is_expanded(wiring: Wiring, name: str) -> bool:
    """A smaller tensor that an Expand brings to the weight's size, as torch spells the length of each row."""
    maker = wiring.producer.get(name)
    if maker is None or wiring.nodes[maker].op != "Expand":
        return False
    before, after = wiring.stored(wiring.nodes[maker].inputs[0]), wiring.stored(name)
    return before is not None and after is not None and before.size < after.size
