"""Facts on disk: what `measure` writes and `judge` reads. Numbers and names only, no weights; the file is data and is checked as such.

May import `auditing`, `measure.facts`, `measure.catalog`, `result` and `report.to_json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainaudit.auditing import Measured
from trainaudit.errors import TrainauditError
from trainaudit.measure.catalog import BY_NAME, SUBJECT_KINDS, FactSpec
from trainaudit.measure.facts import FactTable, FactValue, Subject, Unmeasured
from trainaudit.plain import DamagedError, decoded, encoded, finite
from trainaudit.result import LayerRow, Location, ModelInfo

if TYPE_CHECKING:
    from trainaudit.trace.trace import Trace

FORMAT = 1
_HINT = "Write one with `trainaudit measure MODEL -o facts.json`."
_TYPES = {"number": (int, float), "count": (int,), "boolean": (bool,), "word": (str,)}


def write_facts(measured: Measured) -> str:
    """The facts of one model as JSON text; an unmeasured fact is `{"unmeasured": reason}`. The trace of a probe goes in too, for its charts."""
    table = measured.table
    owners = {subject.layer for of_kind in table.subjects.values() for subject in of_kind.values() if subject.layer}
    document = {
        "format": FORMAT,
        "kind": "facts",
        "target": measured.target,
        "model": encoded(measured.model),
        "subjects": {
            kind: [[subject.id, subject.layer, subject.position] for subject in of_kind.values()]
            for kind, of_kind in table.subjects.items()
        },
        "facts": {
            name: {subject: _written(value) for subject, value in column.items()}
            for name, column in sorted(table.columns.items())
        },
        "locations": {name: encoded(measured.locations[name]) for name in sorted(owners) if name in measured.locations},
        "layers": [encoded(row) for row in measured.layers],
        "trace": None if measured.trace is None else finite(encoded(measured.trace)),
    }
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def read_facts(text: str, name: str) -> Measured:
    """The facts in a file called `name`. Raises `TrainauditError` ("bad-facts") for everything that is not such a file."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrainauditError("bad-facts", f"{name} is not JSON ({error}).", _HINT) from None
    if not isinstance(document, dict) or document.get("kind") != "facts":
        raise TrainauditError("bad-facts", f"{name} holds no facts of a model.", _HINT)
    if document.get("format") != FORMAT:
        raise TrainauditError(
            "bad-facts", f"{name} has another format of facts than {FORMAT}.", "Measure again with this version."
        )
    try:
        subjects = {
            kind: {
                str(key): Subject(kind, str(key), None if layer is None else str(layer), int(position))
                for key, layer, position in rows
            }
            for kind, rows in document["subjects"].items()
            if kind in SUBJECT_KINDS
        }
        columns = {fact: _column(fact, column) for fact, column in document["facts"].items() if fact in BY_NAME}
        return Measured(
            target=str(document["target"]),
            model=decoded(ModelInfo, document["model"], "model"),
            table=FactTable(subjects, columns),
            locations={
                str(key): decoded(Location, place, f"locations.{key}") for key, place in document["locations"].items()
            },
            layers=tuple(decoded(LayerRow, row, "layers") for row in document["layers"]),
            timings={},
            trace=_trace(document.get("trace")),
        )
    except DamagedError as error:
        raise TrainauditError("bad-facts", f"{name} {error}.", _HINT) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainauditError("bad-facts", f"{name} is damaged: {type(error).__name__} at {error}.", _HINT) from None


def _trace(document: Any) -> Trace | None:
    from trainaudit.trace.trace import Trace

    return None if document is None else decoded(Trace, document, "trace")


def _written(value: FactValue) -> Any:
    return {"unmeasured": value.reason} if isinstance(value, Unmeasured) else value


def _column(fact: str, column: Mapping[str, Any]) -> dict[str, FactValue]:
    return {str(subject): _value(BY_NAME[fact], value) for subject, value in column.items()}


def _value(spec: FactSpec, value: Any) -> FactValue:
    if isinstance(value, dict):
        return Unmeasured(str(value["unmeasured"]))
    is_right = isinstance(value, _TYPES[spec.type]) and (spec.type == "boolean" or not isinstance(value, bool))
    if not is_right or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{spec.name}, which is a {spec.type} and not {value!r}")
    result: FactValue = value
    return result
