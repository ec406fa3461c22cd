"""Additions that are in the program and not in the file: torch's optimizing exporter takes + 1e-8 for + 0 and leaves it out.

The note that it writes on each node still names what the program's call read. Where that is a sum that no node makes any more, an ε stood there.
Stdlib, ir and load.wiring only.
"""

from __future__ import annotations

import re

from trainaudit.ir.ops import Op
from trainaudit.load.wiring import Draft, Wiring

_NOTE = "pkg.torch.onnx.fx_node"
_SUM = re.compile(r"%(add(?:_\d+)?)\b")
_GUARDED = frozenset({Op.LOG, Op.SQRT, Op.DIV, Op.RECIPROCAL, Op.POW, Op.REDUCE_L2})


def mark_dropped(wiring: Wiring, drafts: list[Draft]) -> None:
    """Give `epsilon_dropped` to the layers whose operand lost an ε (True), and to those of which the note says that it did not (False)."""
    producer = wiring.producer
    for draft in drafts:
        if draft.op not in _GUARDED:
            continue
        note = wiring.nodes[draft.node].metadata.get(_NOTE)
        if note:
            operands = _SUM.findall(note.partition("args =")[2])
            draft.attributes["epsilon_dropped"] = any(name not in producer for name in operands)
