"""Which rule covers which op. Every file of rules has a table of its own; they are joined here."""

from __future__ import annotations

from trainaudit.ir.ops import Op
from trainaudit.measure.signal import (
    arithmetic,
    attention,
    concatenation,
    contractions,
    conv,
    dense,
    elementwise,
    embedding,
    gathering,
    movement,
    normalization,
    pooling,
    products,
    recurrence,
    repetition,
    scaling,
    selection,
    softmax,
    sources,
)
from trainaudit.measure.signal.rule import Rule

RULES: dict[Op, Rule] = {
    **dense.RULES,
    **conv.RULES,
    **elementwise.RULES,
    **arithmetic.RULES,
    **movement.RULES,
    **normalization.RULES,
    **pooling.RULES,
    **concatenation.RULES,
    **selection.RULES,
    **gathering.RULES,
    **repetition.RULES,
    **scaling.RULES,
    **sources.RULES,
    **attention.RULES,
    **contractions.RULES,
    **embedding.RULES,
    **products.RULES,
    **recurrence.RULES,
    **softmax.RULES,
}
