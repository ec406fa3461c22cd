"""How a count is said in a sentence, the same in every room. Stdlib only."""

from __future__ import annotations


def count(number_of: int, noun: str, plural: str = "") -> str:
    """ "1 layer", "2 layers"."""
    return f"{number_of:,} {noun if number_of == 1 else plural or noun + 's'}"
