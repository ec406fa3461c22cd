"""What a weight was drawn from, as a sentence says it: the scheme's name and its formula. Stdlib only."""

from __future__ import annotations

from functools import lru_cache

_NAMED = {
    "pytorch-default": "uniform, bound 1/√fan_in: PyTorch's default",
    "xavier-uniform": "Glorot uniform, bound √(6/(fan_in + fan_out))",
    "xavier-normal": "Glorot normal, std √(2/(fan_in + fan_out))",
    "kaiming-uniform": "He uniform, bound √(6/fan_in)",
    "kaiming-normal": "He normal, std √(2/fan_in)",
    "kaiming-uniform-fan-out": "He uniform by fan_out, bound √(6/fan_out)",
    "kaiming-normal-fan-out": "He normal by fan_out, std √(2/fan_out)",
    "lecun-uniform": "LeCun uniform, bound √(3/fan_in)",
    "lecun-normal": "LeCun normal, std √(1/fan_in)",
    "orthogonal": "orthogonal",
    "zeros": "zeros",
    "trained": "trained",
}
_NUMBERED = {
    "normal-": "normal, std ",
    "truncated-normal-": "truncated normal, std ",
    "uniform-": "uniform, bound ",
    "orthogonal-": "orthogonal, gain ",
}
_KINDS = frozenset(words.strip() for words in _NUMBERED.values())


@lru_cache(maxsize=1024)
def initializer_words(schemes: str, std: float | None) -> str:
    """Of named schemes joined by "|" the first two in words; the standard deviation where none is known."""
    names = [] if schemes in ("", "unknown") else schemes.split("|")
    if not names:
        return "values of unknown origin" if std is None else f"no known scheme, std {std:.2g}"
    first, *others = map(_words, names[:2])
    kind = first.rpartition(" ")[0]  # "normal, std" of "normal, std 0.02", which need not be said twice
    return " or ".join([first, *(other.removeprefix(f"{kind} ") if kind in _KINDS else other for other in others)])


def _words(name: str) -> str:
    if name in _NAMED:
        return _NAMED[name]
    for start, words in _NUMBERED.items():
        rest = name.removeprefix(start)
        if rest != name and rest.replace(".", "", 1).replace("e-", "", 1).isdigit():
            return words + rest
    return name.replace("-", " ")
