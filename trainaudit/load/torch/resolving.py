"""From what a target names to a module and its example input: a Module, a class or factory, a (model, example input) pair. torch is imported
inside functions only."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.target import Target, split_python
from trainaudit.load.torch.importing import attribute_of, import_target, shown_file, user_code
from trainaudit.load.torch.seeding import seeded
from trainaudit.suggestion import did_you_mean

_SIMPLE = "Name a torch.nn.Module, a function or class that makes one, or a pair (model, example input)."


@frozen
class Resolved:
    """`model` is a torch.nn.Module or an ExportedProgram; `example` is its example input as the user gave it, None where nothing gave one.
    `file` and `line` say where the user's code makes it ("" and None where that is not known)."""

    model: Any
    example: Any = None
    file: str = ""
    line: int | None = None


def resolve(target: Target) -> Resolved:
    """What a `pkg.mod:attr` or `path/file.py:attr` target stands for: imports and calls the user's code, seeded.

    Raises `TrainauditError` with one sentence for everything that fails.
    """
    python = split_python(target.spec)
    assert python is not None
    name, attribute = python
    with seeded():
        module = import_target(name, target.root)
    with user_code(target.spec, *_folders(target)):  # a module may make its attributes when they are asked for
        found: Any = attribute_of(module, attribute, name)
    file, line = _place(found, module)
    if not is_model(found) and not _is_pair(found):
        with seeded():  # anew: the module may have been imported before
            found = _call(found, target)
    if _is_pair(found):
        return Resolved(found[0], found[1], file, line)
    if not is_model(found):
        raise TrainauditError("no-module", f"{target.spec} gives {_a(found)}, which is no model.", _SIMPLE)
    return Resolved(found, own_example(found), file, line)


def is_model(value: object) -> bool:
    """Whether a value is a torch.nn.Module or an ExportedProgram."""
    import torch

    return isinstance(value, (torch.nn.Module, torch.export.ExportedProgram))


def own_example(model: Any) -> Any:
    """The example input that a module carries: Lightning's `example_input_array`."""
    return getattr(model, "example_input_array", None)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and is_model(value[0])


def _call(found: Any, target: Target) -> Any:
    """What a class or factory makes of the target's arguments."""
    if not callable(found):
        raise TrainauditError("no-module", f"{target.spec} is {_a(found)}, which is no model.", _SIMPLE)
    _check_arguments(found, target)
    with user_code(target.spec, *_folders(target)):
        return found(**target.arguments)


def _folders(target: Target) -> tuple[str, ...]:
    """Where modules are looked for while the user's code runs."""
    return (str(Path.cwd()), *([target.root] if target.root else ()))


def _check_arguments(found: Any, target: Target) -> None:
    """Raises `TrainauditError` where the factory's own signature does not take the arguments."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return  # made in C: it will say so itself
    parameters = signature.parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    usable = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [key for key in target.arguments if key not in usable and not takes_all]
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in target.arguments
    ]
    if unknown:
        hint = did_you_mean(unknown[0], usable) or f"It takes {', '.join(usable) or 'none'}."
        raise TrainauditError("bad-argument", f"{target.spec} takes no argument {unknown[0]}.", hint)
    if missing:
        needs = ", ".join(missing)
        hint = f"Give {'it' if len(missing) == 1 else 'them'}: {' '.join(f'-k {name}=VALUE' for name in missing)}."
        raise TrainauditError("missing-argument", f"{target.spec} needs {needs}.", hint)


def _place(found: Any, module: Any) -> tuple[str, int | None]:
    """File and line where a class or function is defined; of any other value the file of the module that holds it."""
    code = getattr(inspect.unwrap(found), "__code__", None) if callable(found) else None
    if code is not None:
        return shown_file(code.co_filename), code.co_firstlineno
    file = getattr(module, "__file__", None)
    line = None
    if inspect.isclass(found) and found.__module__ == module.__name__:
        try:
            line = inspect.getsourcelines(found)[1]
        except (OSError, TypeError):
            line = None
    return (shown_file(file) if file else ""), line


def _a(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
