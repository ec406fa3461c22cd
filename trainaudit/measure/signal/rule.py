"""What a rule of signal propagation is: one op's effect on signals (forward) and on gradients (backward). Imports ir and numpy only.

To cover an op, write two functions and put them into the `RULES` of a file of this package; `table.py` says which ops it covers.

    def forward(model, layer, inputs):             # Signals of layer.inputs → Signals of layer.outputs, in order
    def backward(model, layer, inputs, outputs, gradients):
                                                   # Gradients of layer.outputs → Backflow: Gradients of layer.inputs and
                                                   # the mean square of the gradient by an element of each parameter

Both raise `prediction.NotCovered(reason)` where they cannot say. `inputs` are the Signals of `layer.inputs`; an entry is None where its signal is
not known, which only happens behind the first `Rule.needs` inputs (by default all are needed; give a number where the later ones provably do
not matter, such as a mask). `gradients` has one entry per output, None for an output that the loss does not depend on; at least one
is there. A None in `Backflow.inputs` says that nothing flows back to that input.

Sizes: `model.shape(value)`; weights: `model.vector(name)`, `model.matrix(...)`. See `layout.py` for bringing a Signal to the axes that an op works on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from trainaudit.frozen import frozen
from trainaudit.ir.graph import Layer
from trainaudit.measure.signal.prediction import Gradient, Signal
from trainaudit.measure.signal.weights import Model


@frozen
class Backflow:
    """What a layer hands back: the gradients by its inputs, and per parameter name the mean square of the gradient of one sample's loss by one
    element of it."""

    inputs: Sequence[Gradient | None]
    parameters: Mapping[str, float] = field(default_factory=dict)


Forward = Callable[[Model, Layer, Sequence[Signal]], Sequence[Signal]]
Backward = Callable[[Model, Layer, Sequence[Signal], Sequence[Signal], Sequence[Gradient | None]], Backflow]


@frozen
class Rule:
    """`needs` is the number of leading inputs whose signals must be known; None for all."""

    forward: Forward
    backward: Backward | None = None
    """None where no gradient passes (steps)."""
    needs: int | None = None
