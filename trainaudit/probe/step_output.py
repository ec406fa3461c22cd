"""What a step of the user's own that returns its loss alone gives to that loss. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from trainaudit.load.torch.restore import left_as_found
from trainaudit.probe.identifying import identified
from trainaudit.probe.objectives import Objective, tried
from trainaudit.probe.trainee import Batch, Computed


def with_output(objective: Objective, model: Any, batch: Batch, shown: str) -> Objective:
    """The objective with the output and the name of its loss, where the step calls the model exactly once and has a loss that is known by name of
    what that call gave and of the batch's target: told by its values on answers that are put in the model's place. Else the objective as it is:
    a loss of anything more need not come down to 0, and its floor is not known."""
    import torch

    def revealed(model: Any, batch: Batch) -> Computed:
        with _called(model) as answers:
            computed = objective.compute(model, batch)
        is_one = len(answers) == 1 and isinstance(answers[0], torch.Tensor)
        return replace(computed, output=answers[0] if is_one else None)

    def criterion(output: Any, _target: Any) -> Any:
        with _called(model, answer=output):
            return objective.compute(model, batch).loss

    computed = tried(model, batch, revealed, shown)
    with left_as_found(model, computes=False):
        name = identified(criterion, computed.output, computed.target)
    if not name:
        return objective
    words = f"{objective.words}, which is {name} of what the model returns"
    return replace(objective, compute=revealed, name=name, words=words)


@contextmanager
def _called(model: Any, answer: Any = None) -> Iterator[list[Any]]:
    """What the model's calls give, which is `answer` where there is one."""
    answers: list[Any] = []

    def note(_module: Any, _arguments: Any, result: Any) -> Any:
        answers.append(result)
        return answer

    handle = model.register_forward_hook(note)
    try:
        yield answers
    finally:
        handle.remove()
