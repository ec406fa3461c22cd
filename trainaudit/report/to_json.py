"""The audit record as JSON and back. Field names are those of `result`; the schema is `schema/audit.schema.json`.

Standard JSON only: a float that is not finite is written as `{"non_finite": "nan"}` (or "inf", "-inf"). Pure ASCII, so that no
name in it can act on a terminal. Reading validates everything: a saved record may come from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.plain import DamagedError, decoded, encoded, finite
from trainaudit.result import FORMAT, Run


def render_json(run: Run) -> str:
    """The whole record; each field of the run and of an audit, each finding, outcome and layer on a line of its own."""
    document: dict[str, Any] = {"format": FORMAT, "tool": {"name": "trainaudit", "version": run.version}}
    document.update((name, value) for name, value in encoded(run).items() if name != "version")
    try:
        return _laid_out(document) + "\n"
    except ValueError:
        return _laid_out(finite(document)) + "\n"


def _laid_out(record: Mapping[str, Any]) -> str:
    """An object with each field, and each record of a list, on a line of its own; the C encoder writes the rest."""
    lines = []
    for key, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(map(_laid_out if key == "audits" else _compact, value)) + "\n]"
        else:
            text = _compact(value)
        lines.append(f"{_compact(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _compact(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def from_json(text: str | bytes, name: str = "the record") -> Run:
    """The record that `render_json` wrote. `name` is what messages call it.

    Raises `TrainauditError` with the slug "bad-record" where the text is not such a record, and "newer-record" where a newer version
    of the tool wrote it. Unknown fields are passed over: an older reader of the same format number may skip what was added later.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(name, f"is not JSON ({str(error) or 'nested too deeply'})") from None
    if not isinstance(document, dict) or "format" not in document or "audits" not in document:
        raise _bad(name, "is JSON, but not an audit record")
    number = document["format"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise _bad(name, "has no valid format number")
    if number > FORMAT:
        raise TrainauditError(
            "newer-record",
            f"{name} has format {number}; this version of trainaudit reads formats up to {FORMAT}.",
            "Update trainaudit.",
        )
    tool = document.get("tool")
    if not isinstance(tool, dict) or not isinstance(tool.get("version"), str):
        raise _bad(name, "does not say which version of trainaudit wrote it (tool.version)")
    try:
        from trainaudit.trace.trace import Trace

        return decoded(Run, {**document, "version": tool["version"]}, names={"Trace": Trace})
    except DamagedError as error:
        raise _bad(name, str(error)) from None


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _bad(name: str, what: str) -> TrainauditError:
    return TrainauditError(
        "bad-record",
        f"{name} {what}.",
        "Give the JSON that `trainaudit ... --output-format json` or `--report FILE.json` wrote.",
    )
