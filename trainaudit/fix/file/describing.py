"""What a planned change does to a file, in words and numbers that a person can check. Stdlib, numpy, `changes` and this room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trainaudit.changes import Change, shown
from trainaudit.fix.file.editing import Editing
from trainaudit.fix.file.encoding import decoded
from trainaudit.fix.file.weights import file_values, stored_shape
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Parameter


@frozen
class Moments:
    """Mean and standard deviation of a tensor's values, in float64."""

    mean: float
    std: float


@frozen
class Edit:
    """One change as it is made. `layers` are those that it touches: more than one for a tensor that layers share. `before` and `after` are those of a
    weight's values; `taken` and `put` the operators of nodes that go and come."""

    change: Change
    what: str
    layers: tuple[str, ...] = ()
    tensor: str = ""
    before: Moments | None = None
    after: Moments | None = None
    taken: tuple[str, ...] = ()
    put: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """In one line, with the numbers before and after."""
        parts = []
        if self.before is not None and self.after is not None:
            parts.append(f"std {self.before.std:.4g} → {self.after.std:.4g}")
            if abs(self.before.mean - self.after.mean) > 0.05 * max(self.before.std, self.after.std):
                parts[-1] += f", mean {self.before.mean:.4g} → {self.after.mean:.4g}"
        if self.taken or self.put:
            parts.append(f"nodes {'+'.join(self.taken) or 'none'} → {'+'.join(self.put) or 'none'}")
        if len(self.layers) > 1:
            parts.append(f"shared by {', '.join(self.layers[:4])}{' …' if len(self.layers) > 4 else ''}")
        return shown(self.change) + (f" ({'; '.join(parts)})" if parts else "")


def tensor_edit(editing: Editing, change: Change, parameter: Parameter) -> Edit:
    layers = tuple(editing.graph.layers[owner].name for owner in parameter.owners)
    return Edit(change, parameter.name, layers, parameter.name)


def described(editing: Editing, edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """With the moments of each tensor's values before and after all changes."""
    return tuple(_with_moments(editing, edit) if edit.tensor else edit for edit in edits)


def _with_moments(editing: Editing, edit: Edit) -> Edit:
    tensor = editing.now.tensors.get(edit.tensor)
    if tensor is None:  # another change has taken it out
        return edit
    dtype = stored_shape(editing, tensor)[1]
    before = decoded(file_values(editing, tensor), dtype)
    after = before if tensor.make is None else decoded(tensor.make(), dtype)
    return replace(edit, before=_moments(before), after=_moments(after))


def _moments(values: np.ndarray[Any, Any]) -> Moments:
    with np.errstate(all="ignore"):
        return (
            Moments(float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)))
            if values.size
            else Moments(0.0, 0.0)
        )
