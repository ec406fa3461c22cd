"""Texts of rules with facts in them: `{layer.gain}` and `{limit}` are filled in; nothing else in a text is code. May import
`judge.expression` and `measure`.

This is not `str.format`: there are no attributes, indexes, conversions or formats to reach for. A brace that encloses anything but a
plain name stays as it is, and `{{name}}` is the text `{name}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.judge.expression import visible_fact
from trainaudit.measure.catalog import FactSpec
from trainaudit.measure.facts import FactScalar
from trainaudit.suggestion import did_you_mean

_PLACEHOLDER = re.compile(r"\{(\{?)([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)\}(\}?)")

_COUNTED_NOUNS = {"classes": "class", "batches": "batch"} | {
    f"{noun}s": noun
    for noun in ("value", "step", "example", "unit", "layer", "output", "label", "feature", "filter", "pair")
}
_COUNTED = re.compile(rf"^ ({'|'.join(_COUNTED_NOUNS)})\b")

UNKNOWN = "unknown"
"""What stands for a fact that has no value on the subject, where the clause cannot be left out."""
_BLANK = "\ue000"
"""Stands for it until then."""
_CLAUSES = re.compile(r"(?<=[;.]) ")


@frozen
class Template:
    """A text in pieces: plain text, facts, and names of thresholds with their units."""

    pieces: tuple[str | FactSpec | tuple[str, str], ...]

    @property
    def facts(self) -> tuple[FactSpec, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, FactSpec))

    @property
    def thresholds(self) -> tuple[str, ...]:
        return tuple(piece[0] for piece in self.pieces if isinstance(piece, tuple))


def parse_template(text: str, subject: str, units: Mapping[str, str]) -> Template:
    """The text in pieces. `units` maps the rule's thresholds to their units. Raises `TrainauditError` on a name that is neither a
    threshold nor a fact that a rule about `subject` can see."""
    pieces: list[str | FactSpec | tuple[str, str]] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        opening, name, closing = match.groups()
        pieces.append(text[end : match.start()])
        end = match.end()
        if opening and closing:
            pieces.append(f"{{{name}}}")
        elif name in units:
            pieces.append((name, units[name]))
        elif "." in name:
            pieces.append(visible_fact(name, subject))
        else:
            hint = did_you_mean(name, units) or "Write {{" + name + "}} for the text {" + name + "}."
            raise TrainauditError("unknown-placeholder", f'"{{{name}}}" names neither a threshold nor a fact.', hint)
        if not (opening and closing):
            pieces[-2] += opening  # type: ignore[operator]
            end -= len(closing)
    pieces.append(text[end:])
    return Template(tuple(piece for piece in pieces if piece != ""))


def fill(
    template: Template,
    value_of: Callable[[str], FactScalar | None],
    thresholds: Mapping[str, float],
    plain: bool = False,
) -> str:
    """The text for one subject. `value_of` gives a fact's value, None where it has none: a clause that needs it is left out, but for the first one. `plain` is
    for code: numbers are written as Python reads them, to four digits, and control characters in words (names from a file that nobody vouches for) become
    spaces; what has no value is `...`."""
    parts: list[str] = []
    value: FactScalar | None = None
    for piece in template.pieces:
        if isinstance(piece, str):
            parts.append(_one(piece) if value == 1 and value is not True and not plain else piece)
            continue
        if isinstance(piece, FactSpec):
            value = value_of(piece.name)
            unit, whole = piece.unit, piece.type == "count"
        else:
            value, unit = thresholds[piece[0]], piece[1]
            whole = isinstance(value, int)
        if plain and value is not None:
            parts.append(_plain(value))
        else:
            parts.append(_BLANK if value is None else format_value(value, unit, whole))
    text = "".join(parts)
    if _BLANK not in text:
        return text
    return text.replace(_BLANK, "...") if plain else _without_blanks(text)


def _without_blanks(text: str) -> str:
    first, *others = _CLAUSES.split(text)
    kept = " ".join([first, *(clause for clause in others if _BLANK not in clause)]).replace(_BLANK, UNKNOWN)
    return f"{kept[:-1]}." if kept.endswith(";") else kept


def _one(text: str) -> str:
    """What stands behind a number that is 1: " values of" becomes " value of"."""
    return _COUNTED.sub(lambda found: " " + _COUNTED_NOUNS[found[1]], text)


def _plain(value: FactScalar) -> str:
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def format_value(value: FactScalar, unit: str = "", whole: bool = False) -> str:
    """A value as a sentence has it: three significant digits, shares as per cent, large numbers with thousands separators, yes or
    no. `whole` numbers keep all their digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if unit == "share":
        return f"{_share(value)} %"
    return f"{value:,.0f}" if whole and float(value).is_integer() else _digits(value)


def _share(value: float) -> str:
    # Never round a share that is not all up to 100, nor one that is not nothing down to 0.
    for digits in (3, 5, 8):
        text = _digits(value * 100, digits)
        if text != "100" or value == 1:
            return text
    return "almost 100"


def _digits(value: float, digits: int = 3) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-4 <= size < 1e7:
        rounded = float(f"{value:.{digits}g}") if size < 10**digits else round(value)
        text = f"{rounded:,.10f}".rstrip("0").rstrip(".")
        return text or "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"
