"""Exported programs: .pt2 files of torch.export.save, opened without running anything that they hold. torch is imported inside functions only.

torch.export.load is not made for files that one does not trust: it unpickles tensor subclasses, custom objects and, as a fallback, the
sample inputs, passes symbolic sizes to sympy (which evaluates them), imports modules that the structure of the inputs names, resolves call
targets to any attribute of torch, and loads compiled code (AOTInductor). So a file is read with torch's own reader first, whatever could do
one of these is refused, and unpickling is shut off while torch loads the rest.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.load.torch.archive import damaged, entries_of

_AGAIN = "Save it with this version of torch, torch.export.save(program, 'model.pt2'), or audit the module: path/file.py:NAME."
_TARGET = re.compile(r"torch\.ops\.[A-Za-z_]\w*(\.[A-Za-z]\w*){1,2}|torch\.sym_\w+|torch\._sym_\w+|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|"
                     r"pow|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)|math\.(ceil|floor|trunc|sqrt)")  # fmt: skip
_SYMBOL = re.compile(r"[a-z]{1,4}\d+")
_WORD = re.compile(r"[^\W\d]\w*")
_PLAIN = re.compile(r"[\w\s+\-*/%(),.<>=!&|~]{1,2000}")
_WRITTEN_SYMBOL = re.compile(r"Symbol\('([a-z]{1,4}\d+)'(?:, [a-z]+=(?:True|False))*\)")
_POWER = re.compile(r"\*\*|Pow|LShift")
_FUNCTIONS = frozenset(
    {
        "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "ModularIndexing", "Where", "CeilToInt", "FloorToInt", "TruncToInt",
        "TruncToFloat", "RoundToInt", "RoundDecimal", "ToFloat", "IntTrueDiv", "FloatTrueDiv", "PowByNatural", "LShift", "RShift", "Identity",
        "Add", "Mul", "Pow", "Integer", "Rational", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Abs", "floor", "ceiling", "true", "false", "True", "False", "oo", "int_oo",
    }
)  # fmt: skip
_IMPORTING = frozenset({"collections.defaultdict"})
"""Containers whose description makes torch import what it names; an enumeration as a key does so too."""


def load_program_file(path: str) -> Any:
    """The torch.export.ExportedProgram at `path`. Raises `TrainauditError` where the file could run code, or is no such file."""
    try:
        from torch.export.pt2_archive._package import load_pt2  # torch.export.load would go on to older formats
    except ImportError:
        hint = "Install a newer one, or audit the module: path/file.py:NAME."
        raise TrainauditError("old-torch", f"{path} needs torch 2.8 or newer.", hint) from None
    entries = entries_of(path, "an exported program")
    if "archive_format" not in entries:
        raise TrainauditError("old-program", f"{path} is no program that torch.export.save writes today.", _AGAIN)
    _check(path)
    try:
        with _no_unpickling(path):
            programs = load_pt2(path).exported_programs
    except TrainauditError:
        raise
    except Exception as error:  # torch raises whatever its parts raise on a file that is damaged or of another version
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        what = f"{path} cannot be read by this torch ({type(error).__name__}: {line[:120].rstrip('.')})."
        raise TrainauditError("unreadable-program", what, _AGAIN) from error
    if "model" not in programs:
        raise damaged(path, "it holds no model")
    return programs["model"]


def _check(path: str) -> None:
    """Refuses what loading would run. The records are read as torch reads them."""
    import torch

    try:
        reader = torch._C.PyTorchFileReader(path)
        names = reader.get_all_records()
    except RuntimeError:
        raise damaged(path, "its archive cannot be read") from None
    if any(name.startswith("data/aotinductor/") for name in names):
        raise _runs_code(path, "compiled code")
    if any("custom_obj" in name or "opaque_obj" in name for name in names):
        raise _runs_code(path, "a pickled object")
    if not any(name.startswith("models/") and name.endswith(".json") for name in names):
        raise damaged(path, "it holds no model")
    for name in names:
        if name.endswith(".json"):
            try:
                document = json.loads(reader.get_record(name))
            except RuntimeError:  # RecursionError is one too
                raise damaged(path, f"{name[:80]} in it cannot be read") from None
            except ValueError:
                raise damaged(path, f"{name[:80]} in it is not JSON") from None
            _check_document(path, document)


def _check_document(path: str, document: Any) -> None:
    stack = [document]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            for key, value in item.items():
                _check_entry(path, key, value)
                if key != "metadata" and isinstance(value, dict | list):
                    stack.append(value)


def _check_entry(path: str, key: str, value: Any) -> None:
    if key == "use_pickle" and value:
        raise _runs_code(path, "a pickled tensor")
    if key in ("as_custom_obj", "custom_obj") and value:
        raise _runs_code(path, "a custom object")
    if key in ("target", "as_operator") and isinstance(value, str) and not _TARGET.fullmatch(value):
        raise _runs_code(path, f"a call of {value[:60]}")
    if key == "expr_str" and not (isinstance(value, str) and _is_plain(value)):
        raise _runs_code(path, "a size that is no plain expression")
    if key == "range_constraints" and isinstance(value, dict) and not all(map(_is_plain, value)):
        raise _runs_code(path, "a size that is no plain expression")
    if key in ("in_spec", "out_spec") and value:
        _check_tree(path, value)


def _is_plain(text: str) -> bool:
    """An expression of symbols, numbers and functions of sizes, which sympy may evaluate: at most one power, and that of small numbers."""
    text = _WRITTEN_SYMBOL.sub(r"\1", text)
    digits = 4 if (powers := len(_POWER.findall(text))) else 19
    if powers > 1 or not _PLAIN.fullmatch(text) or re.search(rf"(?<![a-z\d])\d{{{digits + 1}}}", text):
        return False
    return all(word in _FUNCTIONS or _SYMBOL.fullmatch(word) for word in _WORD.findall(text))


def _check_tree(path: str, text: Any) -> None:
    """The structure of the inputs or outputs: containers whose description makes torch import nothing."""
    try:
        stack = [json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        raise damaged(path, "the structure of its inputs is not JSON") from None
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            context = item.get("context")
            kind = str(item.get("type"))
            if kind in _IMPORTING or "__enum__" in str(context):
                raise _runs_code(path, f"inputs or outputs of the type {kind[:60]}")
            if kind.startswith("transformers."):
                _know_transformers()
            stack.extend(item.get("children_spec") or ())


def _know_transformers() -> None:
    """transformers tells torch of its output types when it is imported."""
    with contextlib.suppress(ImportError):
        import transformers.modeling_outputs  # noqa: F401


@contextlib.contextmanager
def _no_unpickling(path: str) -> Iterator[None]:
    """While torch loads a program nothing is unpickled but tensors in plain containers."""
    import pickle

    import torch

    load, loads, load_object = torch.load, pickle.loads, torch._C._pickle_load_obj

    def weights_only(*arguments: Any, **options: Any) -> Any:
        if options.get("weights_only") is False:
            raise _runs_code(path, "a pickled object")
        return load(*arguments, **{**options, "weights_only": True, "map_location": "cpu"})

    def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise _runs_code(path, "a pickled object")

    torch.load, pickle.loads, torch._C._pickle_load_obj = weights_only, refuse, refuse
    try:
        yield
    finally:
        torch.load, pickle.loads, torch._C._pickle_load_obj = load, loads, load_object


def _runs_code(path: str, what: str) -> TrainauditError:
    return TrainauditError(
        "program-runs-code", f"{path} holds {what}, which could run code when it is opened, so it is not.", _AGAIN
    )
