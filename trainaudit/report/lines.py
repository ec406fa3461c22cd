"""Lines of a terminal: wrapped, labelled and colored, whatever they say. Stdlib only.

Colors are ANSI codes written here and not by a library: importing one costs more than a whole audit of a small model may.
"""

from __future__ import annotations

from trainaudit.report.escaping import visible
from trainaudit.result import Severity

_CODES = {"error": "1;31", "warning": "1;33", "note": "1;36", "dim": "2", "bold": "1", "arrow": "1;34", "good": "1;32"}
LABEL = 12
"""Columns before the text of a finding."""


def styled(name: str | Severity, color: bool, text: str) -> str:
    """The text in the color of that name, where color is wanted."""
    return f"\x1b[{_CODES[str(name)]}m{text}\x1b[0m" if color and text else text


def wrapped(text: str, width: int, indent: int) -> list[str]:
    """Words on lines of at most `width` cells, further lines indented. A word longer than a line stays whole: a path, a number or a
    name that was cut can be neither copied nor searched."""
    leading = len(text) - len(text.lstrip(" "))
    lines = [" " * leading]
    used = leading
    is_start = True
    for word in text.split():
        size = cells(word)
        if not is_start and used + 1 + size > width:
            lines.append(" " * indent)
            used, is_start = indent, True
        lines[-1] += word if is_start else f" {word}"
        used += size + (0 if is_start else 1)
        is_start = False
    return lines


def labelled(label: str, text: str, width: int, color: bool, column: int = LABEL) -> list[str]:
    if not text:
        return []
    lines = wrapped(visible(text), width - column, 0)
    head = styled("dim", color, f"  {label:<{column - 2}}")
    return [f"{head if index == 0 else ' ' * column}{line}" for index, line in enumerate(lines)]


def joined(parts: list[str], separator: str, width: int) -> list[str]:
    """Parts on as few lines as hold them; a part is never broken."""
    lines: list[str] = []
    for part in (part for part in parts if part):
        if lines and cells(lines[-1]) + cells(separator) + cells(part) <= width:
            lines[-1] += separator + part
        else:
            lines.append(f"{separator.lstrip() or '  '}{part}" if lines else part)
    return lines


def cells(text: str) -> int:
    """Columns that a text takes in a terminal: wide East Asian characters take two, escape codes none."""
    if "\x1b" in text:
        pieces = text.split("\x1b[")
        text = pieces[0] + "".join(piece.split("m", 1)[-1] for piece in pieces[1:])
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)
