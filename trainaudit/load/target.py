"""What is to be audited, as it was named: which kind of target it is, its inputs and its arguments. Stdlib only; nothing is opened or imported."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path, PurePath

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.suggestion import did_you_mean

DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
)  # fmt: skip
INPUT_EXAMPLE = "--input 'float32[8,3,224,224]', or by name --input 'ids=int64[2,128]'"
INDEX = ".safetensors.index.json"
WEIGHTS_ALONE = "weights alone: kinds of layers as their names and shapes tell"
"""`Origin.capture` of a graph that a file of weights gives."""
_MOST_VALUES = 1 << 28
_INPUT = r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<dtype>[a-z]\w*)\[(?P<shape>(?:\d{1,18}(?:,\d{1,18})*,?)?)\]"
_AROUND_MARKS = r"\s*([=,\[\]])\s*"
_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_WORDS = {"true": True, "false": False, "none": None}


class Kind(StrEnum):
    """The kinds of targets. Only `PYTHON` runs code of the user's, and only since the user named it."""

    ONNX = "onnx"
    PYTHON = "python"
    """pkg.mod:attr or path/file.py:attr"""
    PROGRAM = "program"
    """.pt2: what torch.export.save writes"""
    SAFETENSORS = "safetensors"
    CHECKPOINT = "checkpoint"
    """.pt, .pth, .bin, .ckpt: what torch.save writes, weights only"""
    CONFIG = "config"
    """hf:FOLDER, or a folder that holds config.json"""


_SUFFIXES = {
    ".onnx": Kind.ONNX, ".pt2": Kind.PROGRAM, ".safetensors": Kind.SAFETENSORS, ".pt": Kind.CHECKPOINT, ".pth": Kind.CHECKPOINT,
    ".bin": Kind.CHECKPOINT, ".ckpt": Kind.CHECKPOINT,
}  # fmt: skip


@frozen
class InputSpec:
    """One example input: its name in `forward` ("" for a positional one), element type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}{'=' if self.name else ''}{self.dtype}[{','.join(map(str, self.shape))}]"


@frozen
class Target:
    """`spec` is a path, `pkg.mod:attr`, `path/file.py:attr` or `hf:FOLDER`; `name` what the settings call it, "" for a target that was typed.
    `loss`, where it is given, counts instead of the settings'; `probe` holds what the settings say of a probe, by the fields of `ProbePlan`; `root` is the folder of the settings file that names it, where modules are looked for
    besides the working folder."""

    spec: str
    name: str = ""
    inputs: tuple[InputSpec, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Between which numbers inputs lie, by their names; "" stands for all that are not named."""
    arguments: Mapping[str, object] = field(default_factory=dict)
    loss: str | None = None
    root: str = ""
    probe: Mapping[str, object] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return kind_of(self.spec)

    @property
    def path(self) -> str:
        """The file or folder that the target names, or the module of a Python target."""
        kind = self.kind
        if kind is Kind.PYTHON:
            return self.spec.rpartition(":")[0]
        return self.spec.removeprefix("hf:") if kind is Kind.CONFIG else self.spec


def kind_of(spec: str) -> Kind:
    """The kind of a target. A suffix that is known decides before a colon does, so that `C:model.onnx` is a file."""
    if spec.startswith("hf:"):
        return Kind.CONFIG
    if spec.endswith(INDEX):
        return Kind.SAFETENSORS
    known = _SUFFIXES.get(PurePath(spec).suffix.lower())
    if known is None and split_python(spec) is not None and not Path(spec).exists():
        return Kind.PYTHON
    if known is None and (Path(spec) / "config.json").is_file():
        return Kind.CONFIG
    return known or Kind.ONNX


def split_python(spec: str) -> tuple[str, str] | None:
    """The module or file and the attribute of `pkg.mod:attr` and `path/file.py:attr`; None for what is no such thing."""
    module, colon, attribute = spec.rpartition(":")
    if not colon or not re.fullmatch(_DOTTED, attribute):
        return None
    return (module, attribute) if module.lower().endswith(".py") or re.fullmatch(_DOTTED, module) else None


def parse_input(text: str) -> InputSpec:
    """`float32[8,3,224,224]` or `name=float32[8,3,224,224]`. Raises `TrainauditError` that shows how it is written."""
    match = re.fullmatch(_INPUT, re.sub(_AROUND_MARKS, r"\1", text.strip()))
    if match is None:
        raise _bad_input(text, "is no input")
    dtype = match["dtype"]
    if dtype not in DTYPES:
        raise _bad_input(text, f"names the type {dtype}, which is not known", did_you_mean(dtype, DTYPES))
    sizes = tuple(int(size) for size in match["shape"].strip(",").split(",") if size)
    if 0 in sizes or math.prod(sizes) > _MOST_VALUES:
        raise _bad_input(text, f"holds {math.prod(sizes)} values; between 1 and {_MOST_VALUES} can be audited")
    return InputSpec(match["name"] or "", dtype, sizes)


def _bad_input(text: str, why: str, hint: str = "") -> TrainauditError:
    return TrainauditError("bad-input", f'The input "{text[:80]}" {why}.', hint or f"Write it as {INPUT_EXAMPLE}.")


def parse_inputs(texts: Iterable[str]) -> tuple[InputSpec, ...]:
    """All inputs, positional ones before named ones. Raises `TrainauditError` where a name stands twice."""
    inputs = tuple(parse_input(text) for text in texts)
    names = [item.name for item in inputs if item.name]
    for name in names:
        if names.count(name) > 1:
            raise TrainauditError("bad-input", f'The input "{name}" is given twice.', "Name each input once.")
    return tuple(sorted(inputs, key=lambda item: item.name != ""))


def parse_ranges(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """`0..1` for every input, `image=-1..1` for one. Raises `TrainauditError` that shows how it is written."""
    ranges: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        ends = [None] if "..." in numbers else [_number(part) for part in numbers.split("..")]
        if len(ends) != 2 or None in ends or not ends[0] <= ends[1]:  # type: ignore[operator]
            what = f'The input range "{text[:80]}" is not LOW..HIGH.'
            raise TrainauditError(
                "bad-input-range", what, "Write --input-range 0..1, or by name --input-range image=-1..1."
            )
        if name.strip() in ranges:
            of_what = f'of "{name.strip()}"' if name.strip() else "of all inputs"
            raise TrainauditError("bad-input-range", f"The range {of_what} is given twice.", "Say each range once.")
        ranges[name.strip()] = (ends[0], ends[1])  # type: ignore[assignment]
    return ranges


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def parse_arguments(texts: Iterable[str]) -> dict[str, object]:
    """`key=value` texts as keyword arguments. A value that is a Python literal is taken as such, `true`, `false` and `none` too; all else is text."""
    arguments: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip().isidentifier():
            raise TrainauditError("bad-argument", f'The argument "{text[:80]}" is not KEY=VALUE.', "Write -k width=64.")
        arguments[key.strip()] = _literal(value.strip())
    return arguments


def _literal(text: str) -> object:
    import ast

    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text) if len(text) < 10_000 else text
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
