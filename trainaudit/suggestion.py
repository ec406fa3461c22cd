"""\"Did you mean\": the nearest known names to a misspelt one. Stdlib only."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean "x"?`, or "" where nothing known is near. Hyphens and underscores count as the same letter."""
    import difflib

    spellings = {name.replace("_", "-").lower(): name for name in known}
    wanted = word.replace("_", "-").lower()
    near = difflib.get_close_matches(wanted, spellings, n=1, cutoff=0.6)
    if not near:
        # A name given without its prefix ("gain" for "layer.gain", "softmax" for "double-softmax").
        near = [spelling for spelling in spellings if wanted and spelling.endswith((f".{wanted}", f"-{wanted}"))][:1]
    return f'Did you mean "{spellings[near[0]]}"?' if near else ""
