"""What a step that raises tells: in which part of it, and on which types and shapes. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.load.torch.importing import told, user_place, why
from trainaudit.probe.batches import inputs
from trainaudit.probe.heads import read_by_loss
from trainaudit.probe.structures import shapes_shown
from trainaudit.probe.trainee import Batch
from trainaudit.trace.trace import Failure


class StepFailedError(TrainauditError):
    """User code that raised in a step. `failure` tells the same as numbers and words, `output` is the tensor that the loss was to read, or None."""

    def __init__(self, shown: str, batch: Batch, error: Exception, seen: Seen) -> None:
        what = f"{shown} could not be run on a batch of its data ({shapes_shown(batch.raw)}){told(error)}."
        super().__init__("step-failed", what, "Check that data, loss and model fit together.")
        self.output = seen.output
        self.failure = _failure(batch, error, seen)


@dataclass(slots=True)
class Seen:
    """Calls of a model that were begun and ended, and the tensor that a loss would read of the last result."""

    begun: int = 0
    ended: int = 0
    output: Any = None


@contextmanager
def watched(model: Any) -> Iterator[Seen]:
    """What becomes of the model's calls inside."""
    seen = Seen()

    def begin(*_: Any) -> None:
        seen.begun += 1

    def end(_model: Any, _args: Any, result: Any) -> None:
        seen.ended += 1
        try:
            seen.output = read_by_loss(result)
        except TrainauditError:
            seen.output = None

    handles = [model.register_forward_pre_hook(begin), model.register_forward_hook(end)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _failure(batch: Batch, error: Exception, seen: Seen) -> Failure:
    place = user_place(error)
    return Failure(
        part="step" if not seen.begun else "forward pass" if seen.ended < seen.begun else "loss",
        said=f"{why(error)}{f', at {place}' if place else ''}",
        inputs=_shapes(inputs(batch) or batch.raw),
        output=_shapes(seen.output),
        target=_shapes(batch.target),
    )


def _shapes(value: Any) -> str:
    return "none" if value is None else shapes_shown(value)


def failure_of(batches: tuple[Batch, ...], run: Callable[[Batch], Any]) -> Failure | None:
    """Of the first batch that `run` fails on; None where it fails on none of them."""
    try:
        for batch in batches:
            run(batch)
    except StepFailedError as error:
        return error.failure
    return None
