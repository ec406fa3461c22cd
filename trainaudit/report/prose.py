"""Rule texts and names as Markdown. Stdlib only.

Prose may hold `code` between backticks; everything else in it is plain text, whatever it looks like.
"""

from __future__ import annotations

from trainaudit.report.escaping import visible

# What GitHub-flavored Markdown may read as markup inside a line; @ and # would mention people and issues.
_MARKUP = {ord(char): f"\\{char}" for char in "\\`*_[]~#$"} | {
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord("&"): "&amp;",
    ord("@"): "&#64;",
}


def code_spans(text: str) -> list[tuple[bool, str]]:
    """Prose split at pairs of backticks: (is code, text) pieces in order. A backtick without a partner is plain text."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        pieces[-2:] = ["`".join(pieces[-2:])]
    return [(index % 2 == 1, piece) for index, piece in enumerate(pieces) if piece]


def markdown(text: str) -> str:
    """Prose as one line of Markdown, in which nothing but its `code` spans is markup."""
    line = "".join(code(piece) if is_code else _plain(piece) for is_code, piece in code_spans(visible(text).strip()))
    return _plain_start(line)


def code(text: str) -> str:
    """A code span, whatever the text holds: the fence is longer than any run of backticks in it."""
    text = visible(text) or " "
    fence = "`" * (_longest_run(text) + 1)
    space = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"


def code_block(text: str, language: str) -> str:
    """A fenced block with a fence longer than any run of backticks in the text."""
    lines = [visible(line.expandtabs(4)) for line in text.rstrip().split("\n")]
    fence = "`" * max(3, *(_longest_run(line) + 1 for line in lines))
    return "\n".join([f"{fence}{language}", *lines, fence])


def cell(text: str) -> str:
    """Markdown for a table cell: a pipe ends the cell even inside a code span, unless it is escaped."""
    return text.replace("|", "\\|")


def link(title: str, url: str) -> str:
    """A link to an https address; anything else stays plain text."""
    if url.startswith("https://") and url.isprintable() and not any(char in url for char in "<>\\ `|"):
        return f"[{markdown(title)}](<{url}>)"
    return f"{markdown(title)} ({markdown(url)})"


def _plain(text: str) -> str:
    """Escaped, and without addresses that would become links by themselves."""
    return text.translate(_MARKUP).replace("://", "&#58;//").replace("www.", "www&#46;")


def _plain_start(line: str) -> str:
    """A line that does not begin as a list, a quotation or an underline does."""
    head = line.lstrip("0123456789")
    if line[:1] in ("-", "+", "="):
        return f"\\{line}"
    if head != line and head[:1] in (".", ")") and head[1:2] in ("", " "):
        return f"{line[: len(line) - len(head)]}\\{head}"
    return line


def _longest_run(text: str) -> int:
    run = longest = 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest
