"""Objects of the user's own code that a probe was told about: data, loss, optimizer, step. torch is not imported here.

Everything is imported and called inside `user_code`, so that whatever the code raises becomes one sentence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from types import ModuleType
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.target import split_python
from trainaudit.load.torch.importing import attribute_of, import_target, shown_file, user_code
from trainaudit.load.torch.seeding import seeded

_BUILDERS = {
    "make_data": ("make_data", "make_dataset", "make_batches"),
    "make_validation": ("make_validation", "make_validation_data"),
    "make_loss": ("make_loss",),
    "make_optimizer": ("make_optimizer",),
    "step": ("training_step", "step"),
}
"""What a spec may define → the names that are understood."""


@frozen
class Spec:
    """What a Python file says of a probe; None for what it leaves out. `shown` is how messages call the file."""

    shown: str = ""
    make_data: Any = None
    make_validation: Any = None
    make_loss: Any = None
    make_optimizer: Any = None
    step: Any = None
    batch_size: int | None = None


@frozen
class Caller:
    """How the user's functions are called: the folders that hold their modules, the seed, and what they may ask for by name."""

    root: str = ""
    seed: int = 0
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folders(self) -> tuple[str, ...]:
        return (str(Path.cwd()), *([self.root] if self.root else ()))


def named(text: str, caller: Caller, option: str) -> Any:
    """The object of an import string `pkg.mod:attr` or `path/file.py:attr`. `option` is where it was written ("--data")."""
    python = split_python(text)
    if python is None:
        raise TrainauditError(
            "bad-import-string",
            f'{option} "{text[:80]}" is no import string.',
            "Write pkg.mod:NAME or path/file.py:NAME.",
        )
    module_name, attribute = python
    with seeded(caller.seed):
        module = import_target(module_name, caller.root)
    with user_code(text, *caller.folders):
        return attribute_of(module, attribute, module_name)


def shown_name(text: str) -> str:
    """An import string or file as messages and reports name it: without the folders of this machine."""
    python = split_python(text)
    if python is None:
        return shown_file(text) if text.lower().endswith(".py") else text
    module, attribute = python
    return f"{shown_file(module) if module.lower().endswith('.py') else module}:{attribute}"


def spec_of(text: str, caller: Caller) -> Spec:
    """What the file or module `text` defines."""
    with seeded(caller.seed):
        module = import_target(text, caller.root)
    found = {field: _first(module, names) for field, names in _BUILDERS.items()}
    size = getattr(module, "BATCH_SIZE", None)
    if not any(value is not None for value in found.values()) and not hasattr(module, "build_model"):
        what = f"{text} defines neither build_model nor make_data, make_loss or make_optimizer."
        raise TrainauditError("empty-spec", what, "Define at least one of them, or leave --spec out.")
    return Spec(shown_name(text), **found, batch_size=size if isinstance(size, int) and size > 0 else None)


def _first(module: ModuleType, names: tuple[str, ...]) -> Any:
    """The first of these names that the module defines itself, else the first that it imports."""
    found = [value for name in names if callable(value := getattr(module, name, None))]
    own = [value for value in found if getattr(value, "__module__", None) == module.__name__]
    return next(iter((*own, *found)), None)


def called(function: Callable[..., Any], shown: str, caller: Caller, *positional: Any) -> Any:
    """What the user's function returns: called with `positional`, and with those of `caller.known` that it names as parameters.

    Raises `TrainauditError` that names the arguments which nothing here can give.
    """
    given = {} if positional else dict(caller.known)
    keywords: dict[str, Any] = {}
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    free = parameters[len(positional) :]
    missing = []
    for parameter in free:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in given:
            keywords[parameter.name] = given[parameter.name]
        elif parameter.default is parameter.empty:
            missing.append(parameter.name)
    if missing:
        can = f"The names {', '.join(given)} are filled in." if given else ""
        hint = f"Give {'it a default' if len(missing) == 1 else 'them defaults'}, or wrap it in a function without arguments. {can}"
        raise TrainauditError("missing-argument", f"{shown} needs {', '.join(missing)}.", hint.strip())
    with seeded(caller.seed), user_code(shown, *caller.folders):
        return function(*positional, **keywords)


def needed(function: Any) -> list[inspect.Parameter] | None:
    """The parameters that a call must give; None where that cannot be told."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def a(value: object) -> str:
    """A value by its kind, with an article: "a DataLoader", "an int"."""
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
