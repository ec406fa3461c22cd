"""Changes of the vocabulary made in an ONNX file: what is made, what is refused and why, and the new file. The room's front door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainaudit.changes import GRAPH, KINDS, WEIGHTS, Change, shown
from trainaudit.errors import TrainauditError
from trainaudit.fix.file.describing import Edit, described, tensor_edit
from trainaudit.fix.file.editing import Editing
from trainaudit.fix.file.gates import change_forget_gate
from trainaudit.fix.file.indexing import index_file
from trainaudit.fix.file.rewiring import rewire
from trainaudit.fix.file.saving import save
from trainaudit.fix.file.weights import change_weight, holds_already
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.load.from_onnx import load_onnx


@frozen
class Wanted:
    """Changes that belong together, made all or not at all, and the rule that they come from ("" for none)."""

    changes: tuple[Change, ...]
    rule: str = ""


@frozen
class Refused:
    """What is not made, and why: one clause without a full stop. `needs_unsafe` says that only the leave to change the architecture is missing."""

    wanted: Wanted
    reason: str
    needs_unsafe: bool = False


@frozen(eq=False)
class Plan:
    """What a new file will hold: `made` in order, one for each change of `taken` that the file does not hold already, and `refused`. Nothing is written yet."""

    editing: Editing
    taken: tuple[Wanted, ...]
    made: tuple[Edit, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]
    """What the new file's metadata say, one for each change."""


def plan(path: str, graph: Graph, wanted: Sequence[Wanted], *, unsafe: bool = False, seed: int = 0) -> Plan:
    """What of `wanted` can be made in the file at `path`, of which `graph` was read; `unsafe` admits changes of the architecture.

    A parameter that two groups want to change otherwise keeps the first one's change. Raises `TrainauditError` where the file cannot be read.
    """
    editing = index_file(path, graph)
    taken: list[Wanted] = []
    made: list[Edit] = []
    refused: list[Refused] = []
    notes: list[str] = []
    done: dict[tuple[str, str], tuple[Change, str]] = {}
    for group in wanted:
        mark = len(editing.undo)
        try:
            _refuse_kinds(group, unsafe)
            new = [
                change for change in group.changes if not _is_made(change, done) and not holds_already(editing, change)
            ]
            edits = [_make(editing, change, seed) for change in new]
        except NotApplicableError as error:
            editing.undo_to(mark)
            refused.append(Refused(group, error.reason, isinstance(error, _ArchitectureError)))
            continue
        taken.append(group)
        made += edits
        for change in group.changes:
            done.setdefault(_aspect(change), (change, group.rule))
        for change in new:
            how = shown(change) + (
                f", seed {seed}" if change.kind == "initialize" and change.to not in ("zeros", "ones") else ""
            )
            notes.append(how + (f" ({group.rule})" if group.rule else ""))
    return Plan(editing, tuple(taken), described(editing, made), tuple(refused), tuple(notes))


class _ArchitectureError(NotApplicableError):
    """Only leave is missing."""


def _refuse_kinds(group: Wanted, unsafe: bool) -> None:
    for change in group.changes:
        kind = KINDS[change.kind]
        if kind.part not in (WEIGHTS, GRAPH):
            raise NotApplicableError(f"{change.kind} is a matter of training or data and stands in no model file")
        if change.kind == "output-bias":
            raise NotApplicableError("the value of output-bias hangs on the data, which a file does not hold")
    if not unsafe and any(KINDS[change.kind].part == GRAPH for change in group.changes):
        raise _ArchitectureError("it changes the architecture; --unsafe admits that")


def _aspect(change: Change) -> tuple[str, str]:
    """What of the model a change decides: two that decide the same and differ cannot both be made."""
    return ("values" if KINDS[change.kind].part == WEIGHTS else change.kind, change.where)


def _is_made(change: Change, done: dict[tuple[str, str], tuple[Change, str]]) -> bool:
    """The very same change was made for another finding. Raises `NotApplicableError` where another one was."""
    known = done.get(_aspect(change))
    if known is None:
        return False
    if known[0] == change:
        return True
    raise NotApplicableError(f"{change.where} is changed already" + (f" for {known[1]}" if known[1] else ""))


def _make(editing: Editing, change: Change, seed: int) -> Edit:
    if change.kind == "forget-gate-bias":
        layer = change_forget_gate(editing, change)
        return Edit(change, f"forget gate's bias of {layer.name}", (layer.name,))
    if KINDS[change.kind].part == WEIGHTS:
        return tensor_edit(editing, change, change_weight(editing, change, seed))
    return rewire(editing, change)


def write(made: Plan, out: str | Path) -> Graph:
    """Writes the planned file, all else byte for byte as it was, and returns its graph. See `saving.save` for errors."""

    def check(path: str) -> None:
        try:
            load_onnx(path)
        except TrainauditError as error:
            what = f"The new file would not be read again ({error.what}); it was not written."
            raise TrainauditError("fix-failed", what, "Please report it.") from error

    save(made.editing, str(out), made.notes, check)
    return load_onnx(str(out))


def apply(
    path: str, graph: Graph, changes: Sequence[Change | Wanted], out: str | Path, *, unsafe: bool = False, seed: int = 0
) -> Plan:
    """Makes changes in a copy of the ONNX file at `path`, of which `graph` was read, and writes it to `out` where any of them can be made.

    Returns what was made and what was refused and why. A change alone is a group of its own. Raises `TrainauditError` as `plan` and `write` do.
    """
    groups = [item if isinstance(item, Wanted) else Wanted((item,)) for item in changes]
    planned = plan(path, graph, groups, unsafe=unsafe, seed=seed)
    if planned.taken:
        write(planned, out)
    return planned
