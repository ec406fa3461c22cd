"""Reading fused operators: inputs that may be absent, values that they do not show. Stdlib, ir and load's index only."""

from __future__ import annotations

from trainaudit.ir.graph import Role
from trainaudit.load.raw import RawNode
from trainaudit.load.recognize_weights import bias_use
from trainaudit.load.wiring import Draft, Use, Wiring


def given(node: RawNode, position: int) -> str:
    return node.inputs[position] if len(node.inputs) > position else ""


def inner_value(wiring: Wiring, node: RawNode, what: str) -> str:
    """A name for a value that the fused operator does not show, with the shape and type of its result."""
    name = f"{node.outputs[0]}:{what}"
    for table in (wiring.shapes, wiring.dtypes):
        if node.outputs[0] in table:
            table[name] = table[node.outputs[0]]  # type: ignore[assignment]
    return name


def add_operand(wiring: Wiring, draft: Draft, name: str, role: Role) -> None:
    if not name:
        return
    tensor = wiring.stored(name)
    if tensor is None:
        draft.inputs.append(name)
    else:
        draft.uses.append(bias_use(tensor) if role is Role.BIAS else Use(role, tensor))
