"""If, Loop, Scan and SequenceMap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from trainaudit.probe.onnx_module.values import NAMED_TYPES, ExcessError, Tensor

if TYPE_CHECKING:
    from trainaudit.probe.onnx_module.module import Run
    from trainaudit.probe.onnx_module.steps import Step

MOST_ITERATIONS = 100_000
"""Of all loops in one forward pass: a file can ask for endless ones."""


def _if(run: Run, step: Step) -> list[Any]:
    chosen = bool(run.values[step.inputs[0]])
    return run.block(step.bodies[0 if chosen else 1])


def _count(run: Run) -> None:
    run.iterations += 1
    if run.iterations > MOST_ITERATIONS:
        raise ExcessError(f"loops more than {MOST_ITERATIONS:,} times")


def _stacked(pieces: list[Any], shape: tuple[Any, ...], dtype: str) -> Tensor:
    """What a loop collected; after no iteration, nothing of the shape that the file declares for one."""
    if pieces:
        return torch.stack(pieces)
    return torch.empty(0, *(size if isinstance(size, int) else 0 for size in shape), dtype=NAMED_TYPES[dtype])


def _loop(run: Run, step: Step) -> list[Any]:
    """Inputs: the most iterations, the condition, the initial state; the body takes iteration, condition and state."""
    values, body, entries = run.values, step.bodies[0], step.entries
    given: list[Any] = [values[name] if name else None for name in step.inputs]
    most = int(given[0]) if given and given[0] is not None else None
    alive = bool(given[1]) if len(given) > 1 and given[1] is not None else True
    state = given[2:]
    collected: list[list[Any]] = [[] for _ in body.results[1 + len(state) :]]
    iteration = 0
    while alive and (most is None or iteration < most):
        _count(run)
        values.update(zip(entries, (torch.tensor(iteration), torch.tensor(alive), *state), strict=False))
        condition, *results = run.block(body)
        alive, state = bool(condition), results[: len(state)]
        for pieces, result in zip(collected, results[len(state) :], strict=True):
            pieces.append(result)
        iteration += 1
    return state + [
        _stacked(pieces, *declared) for pieces, declared in zip(collected, step.keywords["empty"], strict=False)
    ]


def _flag(step: Step, name: str, place: int) -> int:
    stated = step.keywords.get(name)
    return int(stated[place]) if stated and place < len(stated) else 0


def _scan(run: Run, step: Step) -> list[Any]:
    given = [run.values[name] for name in step.inputs]
    if not step.keywords.get("is_batched"):
        return _scan_once(run, step, given)
    each = [_scan_once(run, step, [value[index] for value in given]) for index in range(given[0].shape[0])]
    return [torch.stack(results) for results in zip(*each, strict=True)]


def _scan_once(run: Run, step: Step, given: list[Any]) -> list[Any]:
    body, count = step.bodies[0], int(step.keywords["num_scan_inputs"])
    split = len(given) - count
    state, sequences = given[:split], []
    backwards = "scan_input_directions" if "is_batched" not in step.keywords else "directions"
    for place, value in enumerate(given[split:]):
        pieces = list(value.unbind(_flag(step, "scan_input_axes", place)))
        sequences.append(pieces[::-1] if _flag(step, backwards, place) else pieces)
    collected: list[list[Any]] = [[] for _ in body.results[split:]]
    for now in zip(*sequences, strict=True):
        _count(run)
        run.values.update(zip(step.entries, (*state, *now), strict=True))
        results = run.block(body)
        state = results[:split]
        for place, result in enumerate(results[split:]):
            collected[place].append(result)
    outputs = []
    for place, made in enumerate(collected):
        ordered = made[::-1] if _flag(step, "scan_output_directions", place) else made
        outputs.append(torch.stack(ordered, _flag(step, "scan_output_axes", place)) if ordered else torch.empty(0))
    return state + outputs


def _sequence_map(run: Run, step: Step) -> list[Any]:
    given = [run.values[name] for name in step.inputs]
    results: list[list[Any]] = [[] for _ in step.outputs]
    for place in range(len(given[0])):
        _count(run)
        run.values.update(
            zip(step.entries, (value[place] if isinstance(value, list) else value for value in given), strict=True)
        )
        for collected, result in zip(results, run.block(step.bodies[0]), strict=False):
            collected.append(result)
    return list(results)


RUNNERS: dict[str, Callable[[Any, Any], list[Any]]] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}
