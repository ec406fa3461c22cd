"""Values of the settings: each reader takes a key and what the file holds under it, and gives it checked. Stdlib only, beside
`judge.selection` and `load.target`.

Raises `TrainauditError` that names the key and says what to write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import TypeVar

from trainaudit.errors import TrainauditError
from trainaudit.judge.selection import Ignore
from trainaudit.load.target import InputSpec, Target, parse_inputs, parse_ranges, split_python
from trainaudit.suggestion import did_you_mean

Found = TypeVar("Found")

_PROBE_TEXTS = {"data": "data", "validation": "validation", "optimizer": "optimizer", "step": "step", "spec": "spec"}
_PROBE_NUMBERS = {
    "lr": "learning_rate",
    "batch-size": "batch_size",
    "steps": "steps",
    "seed": "seed",
    "repeats": "repeats",
    "time-budget": "time_budget",
}
_COUNTS = ("batch-size", "steps", "seed", "repeats")
"""Keys of a probe → the fields of `ProbePlan`."""
_PROBE_SWITCHES = {"causal": "is_causal", "prove-fixes": "prove_fixes"}
_TARGET_KEYS = ("model", "input", "input-range", "loss", "arguments", *_PROBE_TEXTS, *_PROBE_NUMBERS, *_PROBE_SWITCHES)


def targets_in(
    value: Mapping[str, object], losses: Iterable[str], near: Callable[[str], str], root: str
) -> dict[str, Target]:
    """Tables `[tool.trainaudit.targets.NAME]`, or `NAME = "model"` for one without more to say. `near` makes the file's paths those of the
    working folder; `root` is the file's own folder, where modules are looked for too."""
    return {name: _target(name, table, tuple(losses), near, root) for name, table in value.items()}


def _target(name: str, table: object, losses: tuple[str, ...], near: Callable[[str], str], root: str) -> Target:
    where = f"targets.{name}"
    if not name.strip() or any(mark in name for mark in "*?[/\\"):
        raise TrainauditError(
            "bad-settings", f'The target name "{name}" cannot be typed.', "Use letters, digits, - and _."
        )
    if isinstance(table, str):
        table = {"model": table}
    if not isinstance(table, dict):
        hint = f'Write [tool.trainaudit.targets.{name}] with model = "…", or {name} = "…".'
        raise TrainauditError("bad-settings", f"{where} is neither a table nor a text.", hint)
    for key in table:
        if key not in _TARGET_KEYS:
            hint = did_you_mean(key, _TARGET_KEYS) or f"Known keys: {', '.join(_TARGET_KEYS)}."
            raise TrainauditError("bad-settings", f'"{key}" is not a key of {where}.', hint)
    if "model" not in table:
        hint = 'Write model = "models/net.onnx" or model = "package.module:build".'
        raise TrainauditError("bad-settings", f"{where} has no model.", hint)
    arguments = table.get("arguments", {})
    if not isinstance(arguments, dict):
        hint = "Write arguments = { width = 64 }."
        raise TrainauditError("bad-settings", f"{where}.arguments is not a table.", hint)
    loss = table.get("loss")
    is_imported = loss is None or (isinstance(loss, str) and split_python(loss) is not None)
    return Target(
        spec=near(text_in(f"{where}.model", table["model"])),
        name=name,
        inputs=_inputs(f"{where}.input", table["input"]) if "input" in table else (),
        arguments=arguments,
        ranges=_ranges(f"{where}.input-range", table["input-range"]) if "input-range" in table else {},
        loss=None if is_imported else choice_in(loss, losses, f"{where}.loss"),
        root=root,
        probe=_probe(where, table, near) | ({"loss": near(str(loss))} if is_imported and loss is not None else {}),
    )


def _probe(where: str, table: Mapping[str, object], near: Callable[[str], str]) -> dict[str, object]:
    """What a target's table says of a probe, by the fields of `ProbePlan`."""
    found: dict[str, object] = {}
    for key, field in _PROBE_TEXTS.items():
        if key in table:
            text = text_in(f"{where}.{key}", table[key])
            is_place = split_python(text) is not None or (key in ("data", "validation", "spec") and "." in text)
            found[field] = near(text) if is_place else text
    for key, field in _PROBE_NUMBERS.items():
        if key in table:
            found[field] = _number(f"{where}.{key}", table[key], is_count=key in _COUNTS)
    for key, field in _PROBE_SWITCHES.items():
        if key in table:
            if not isinstance(table[key], bool):
                raise TrainauditError(
                    "bad-settings", f"{where}.{key} is neither true nor false.", f"Write {key} = true."
                )
            found[field] = table[key]
    return found


def _number(where: str, value: object, *, is_count: bool) -> float:
    least = 0 if where.endswith(".seed") else 1
    if isinstance(value, bool) or not isinstance(value, int if is_count else int | float) or not math.isfinite(value):
        kind = "a whole number" if is_count else "a number"
        raise TrainauditError(
            "bad-settings",
            f"{where} is not {kind}.",
            f"Write {where.rpartition('.')[2]} = {32 if is_count else '1e-3'}.",
        )
    if value < least if is_count else value <= 0:
        raise TrainauditError("bad-settings", f"{where} is {value}, which is too small.", "Write a larger number.")
    return value


def _inputs(where: str, value: object) -> tuple[InputSpec, ...]:
    hint = 'Write input = "float32[8,3,224,224]" or input = { ids = "int64[2,128]" }.'
    return _parsed(parse_inputs, where, value, hint)


def _ranges(where: str, value: object) -> Mapping[str, tuple[float, float]]:
    return _parsed(parse_ranges, where, value, 'Write input-range = "0..1" or input-range = { image = "-1..1" }.')


def _parsed(parse: Callable[[Iterable[str]], Found], where: str, value: object, hint: str) -> Found:
    """A text, a list of texts, or a table of name → text, as the command line's option of that name is read."""
    if isinstance(value, dict):
        texts = [f"{name}={text_in(f'{where}.{name}', text)}" for name, text in value.items()]
    elif isinstance(value, str | list):
        texts = list(texts_in(where, value))
    else:
        raise TrainauditError("bad-settings", f"{where} is neither a text nor a table.", hint)
    try:
        return parse(texts)
    except TrainauditError as error:
        raise TrainauditError("bad-settings", f"{where}: {error.what}", error.hint) from None


def ignores_in(_key: str, value: object) -> tuple[Ignore, ...]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        hint = (
            "Write [[tool.trainaudit.ignore]] tables with rule and reason; a list of rules not to run is ignore-rules."
        )
        raise TrainauditError("bad-settings", "ignore is not a list of tables.", hint)
    return tuple(_ignore(table, number) for number, table in enumerate(value, 1))


def _ignore(table: dict[str, object], number: int) -> Ignore:
    where = f"ignore no. {number}"
    for key in table:
        known = ("rule", "layer", "target", "reason", "until")
        if key not in known:
            raise TrainauditError(
                "bad-settings",
                f'"{key}" is not a key of {where}.',
                did_you_mean(key, known) or f"Known keys: {', '.join(known)}.",
            )
    for key, what in (("rule", "Say which rule it is for."), ("reason", "Say why: the report prints it.")):
        if not str(table.get(key, "")).strip():
            raise TrainauditError("ignore-without-" + key, f"{where} has no {key}.", what)
    texts = {
        key: text_in(f"{where}: {key}", table[key]) for key in ("rule", "layer", "target", "reason") if key in table
    }
    return Ignore(**texts, until=_date(where, table["until"]) if "until" in table else None)


def _date(where: str, value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise TrainauditError(
            "bad-settings", f"{where}: until is not a date.", "Write a day, such as 2027-03-01."
        ) from None


def thresholds_in(_key: str, value: object) -> dict[str, float]:
    """ "rule-id.name" = number, or the same as nested tables, which is what TOML makes of it without the quotes."""
    found: dict[str, float] = {}
    if not isinstance(value, dict):
        raise TrainauditError(
            "bad-settings",
            "thresholds is not a table.",
            'Write "rule-id.name" = number under [tool.trainaudit.thresholds].',
        )
    for key, number in value.items():
        inner = {f"{key}.{name}": item for name, item in number.items()} if isinstance(number, dict) else {key: number}
        for name, item in inner.items():
            if isinstance(item, bool) or not isinstance(item, int | float) or not math.isfinite(item):
                raise TrainauditError(
                    "bad-settings", f'The threshold "{name}" is not a finite number.', "Write a number."
                )
            found[name] = item
    return found


def text_in(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TrainauditError("bad-settings", f"{key} is not a text.", "Put it in quotes.")
    return value


def texts_in(key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (text_in(key, value),)
    if not isinstance(value, list):
        raise TrainauditError("bad-settings", f"{key} is not a list of texts.", f'Write {key} = ["…"].')
    return tuple(text_in(key, item) for item in value)


def choice_in(value: object, known: Iterable[str], where: str) -> str:
    known = list(known)
    if isinstance(value, str) and value in known:
        return value
    hint = did_you_mean(str(value), known) or f"Known: {', '.join(known)}."
    raise TrainauditError("unknown-word", f'{where} is "{value}", which is not known.', hint)
