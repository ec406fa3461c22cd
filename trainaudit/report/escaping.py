"""Names and texts from model files and rule files are untrusted: this makes them safe to show on one line. Stdlib only.

A node may be called `\\x1b[2J`, `::error::owned` or hold a right-to-left override that makes a path read backwards. Every report
passes what it did not write itself through `visible` (one line) or `visible_lines` (code, paragraphs); formats with their own
syntax (HTML, XML, workflow commands, Markdown) escape that on top.
"""

from __future__ import annotations

# Spaces that typography needs ("71 %"); every other non-printable character is shown as an escape.
_KEPT = frozenset("\u00a0\u2009\u202f")


def visible(text: str) -> str:
    """One line in which nothing acts on the reader: control characters, escape sequences, newlines, bidirectional and other
    invisible format characters, and lone surrogates become `\\n`, `\\x1b`, `\\u202e` …"""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _KEPT else _escape(char) for char in text)


def visible_lines(text: str) -> list[str]:
    """The text's lines, each `visible`. Tabs become four spaces; trailing blank lines are dropped."""
    return [visible(line.expandtabs(4)) for line in text.rstrip().split("\n")]


def shortened(text: str, limit: int) -> str:
    """`visible`, and cut to `limit` characters with an ellipsis in the middle, so that both ends of a path can be read."""
    text = visible(text)
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def tail(name: str, limit: int) -> str:
    """The end of a dotted name: leading modules are left out until it fits into `limit` characters, and what still does not fit is shortened."""
    text = visible(name)
    while len(text) > limit and "." in text:
        text = text.split(".", 1)[1]
    return shortened(text, limit)


def _escape(char: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char) or (
        f"\\x{ord(char):02x}"
        if ord(char) < 0x100
        else f"\\u{ord(char):04x}"
        if ord(char) < 0x10000
        else f"\\U{ord(char):08x}"
    )
