"""A trace on disk: JSON, checked when it is read. Facts and reports can be made of it again, without the model's data and without torch.

The file of a trace, and the record of one audit that holds one, can both be read.
"""

from __future__ import annotations

import json
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.plain import DamagedError, decoded, encoded, finite
from trainaudit.trace.trace import FORMAT, Trace

_HINT = "Give what `trainaudit probe TARGET --trace FILE` or `--report FILE.json` wrote."


def write_trace(trace: Trace, target: str) -> str:
    """The trace of a target as JSON text, pure ASCII."""
    document = {"format": FORMAT, "kind": "trace", "target": target, **encoded(trace)}
    try:
        return json.dumps(document, allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(finite(document), allow_nan=False) + "\n"


def read_trace(text: str, name: str) -> Trace:
    """The trace in a file called `name`: one of its own, or an audit's record with one. Raises `TrainauditError` ("bad-trace") for everything
    that is neither, and "newer-trace" for a format of a later version."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(name, f"is not JSON ({str(error) or 'nested too deeply'})") from None
    if not isinstance(document, dict):
        raise _bad(name, "holds no trace")
    if "audits" in document:
        return _of_record(document, name)
    if document.get("kind") != "trace":
        raise _bad(name, "holds no trace")
    number = document.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise _bad(name, "has no valid format number")
    if number > FORMAT:
        what = f"{name} holds a trace of format {number}; this version of trainaudit reads formats up to {FORMAT}."
        raise TrainauditError("newer-trace", what, "Update trainaudit.")
    return _decoded(document, "", name)


def _of_record(document: dict[str, Any], name: str) -> Trace:
    audits = document["audits"]
    traces = (
        [audit["trace"] for audit in audits if isinstance(audit, dict) and audit.get("trace")]
        if isinstance(audits, list)
        else []
    )
    if len(traces) != 1:
        raise _bad(name, f"holds {len(traces) or 'no'} traces, where one is needed")
    return _decoded(traces[0], "trace", name)


def _decoded(value: Any, path: str, name: str) -> Trace:
    try:
        return decoded(Trace, value, path)
    except DamagedError as error:
        raise _bad(name, str(error)) from None


def _bad(name: str, what: str) -> TrainauditError:
    return TrainauditError("bad-trace", f"{name} {what}.", _HINT)
