"""How numbers are written, the same in every report. Stdlib only."""

from __future__ import annotations

from math import floor, isfinite, log10

from trainaudit.counting import count as count
from trainaudit.report.escaping import visible
from trainaudit.result import Evidence, Scalar

_OPPOSITE = {"<": "≥", "<=": ">", ">": "≤", ">=": "<", "==": "not", "!=": ""}
_LARGE = (("B", 1_000_000_000), ("M", 1_000_000), ("K", 1_000))


def number(value: float, digits: int = 3) -> str:
    """`digits` significant digits; whole numbers in full with thousands commas; powers of ten outside 1e-4 … 1e6."""
    if isinstance(value, int) or (abs(value) < 1e15 and value == int(value)):
        return f"{int(value):,}"
    if not isfinite(value):
        return "NaN" if value != value else "infinity" if value > 0 else "minus infinity"
    size = abs(value)
    if size >= 1e6 or size < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    text = f"{value:,.{max(0, digits - 1 - floor(log10(size)))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(value: float, digits: int = 3) -> str:
    """A share from 0 to 1 as a percentage. What is not exactly none or all is never written as 0 % or 100 %."""
    percent = value * 100
    for more in range(digits, 12):
        text = number(percent, more)
        if text not in ("0", "100") or value in (0, 1):
            break
    return f"{text} %"


def large(count: int) -> str:
    """A count with three significant digits: 25.6 M."""
    for suffix, size in _LARGE:
        if count >= size * 0.9995 and count >= 10_000:
            return f"{count / size:.3g} {suffix}"
    return f"{count:,}"


def scalar(value: Scalar | None, unit: str, digits: int = 3) -> str:
    """A fact's value with its unit."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return visible(value)
    if unit == "share":
        return share(value, digits)
    text = number(value, digits)
    if unit in ("", "ratio"):
        return text
    return f"{text} {_singular(unit) if value == 1 else unit}"


def measured_and_expected(evidence: Evidence) -> tuple[str, str]:
    """A fact's value, and what would have been well: "0.58" and "≥ 1.09". The second is "" for words and where nothing was compared.

    `comparison` is the condition of the violation, so what is expected is its opposite. Digits are added until a value that
    broke its limit also looks different from it.
    """
    opposite = _OPPOSITE.get(evidence.comparison)
    value, threshold = evidence.value, evidence.threshold
    if opposite is None or not is_number(value) or not is_number(threshold):
        return scalar(value, evidence.unit), ""
    for digits in range(3, 9):
        measured = scalar(value, evidence.unit, digits)
        limit = scalar(threshold, evidence.unit, digits)
        if measured != limit or value == threshold:
            break
    return measured, limit if _is_extreme(evidence) else f"{opposite} {limit}".strip()


def _is_extreme(evidence: Evidence) -> bool:
    """Nothing lies beyond the limit: "0 %" says what "≤ 0 %" says."""
    is_counted = evidence.unit not in ("", "ratio")
    lowest = is_counted and evidence.threshold == 0 and evidence.comparison == ">"
    return lowest or (evidence.unit == "share" and evidence.threshold == 1 and evidence.comparison == "<")


def is_number(value: Scalar | None) -> bool:
    """Whether a value can be drawn and compared: neither a word, a truth value nor unknown."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def fact_label(fact: str) -> str:
    """`layer.wanted_gain` → "wanted gain"; of a computation from several facts each name so."""
    words = [word.split(".", 1)[-1].removeprefix("is_") if word[:1].isalpha() else word for word in fact.split(" ")]
    return visible(" ".join(words).replace("_", " "))


def evidence_label(fact: str) -> tuple[str, str]:
    """How the number was had, and its name: "predicted" and "segment end std", "measured" and "wanted gain"."""
    text = fact_label(fact)
    return ("predicted", text.removeprefix("predicted ")) if text.startswith("predicted ") else ("measured", text)


_SINGULAR = {"axes": "axis", "classes": "class", "batches": "batch"}


def _singular(unit: str) -> str:
    return _SINGULAR.get(unit) or unit.removesuffix("s")
