"""Where the user's code makes a module: the class whose `__init__` assigns it, or the function that builds the model.

A place is certain where one call makes the module, in no loop and no branch, and it is known which modules of the model that call makes.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainaudit.fix.refusal import NotApplicableError
from trainaudit.frozen import frozen

if TYPE_CHECKING:
    pass


@frozen
class Home:
    """The code that makes a module of the model: in `file` the class `owner` ("Net", "Outer.Inner") or, where `is_function`, that function. `names` lead from
    what it makes to the module ("net", "2"); `made` are the paths of all modules that the same code makes."""

    file: Path
    owner: str
    names: tuple[str, ...]
    made: frozenset[str]
    is_function: bool = False


def home_of(model: Any, factory: Any, path: str, folder: Path) -> Home:
    """Who makes the module at `path` ("blocks.0.fc1"). Raises `NotApplicableError` where that is not certain, or not code in `folder`."""
    names = path.split(".") if path else []
    if not names:
        raise NotApplicableError("the layer is called in the code of the model itself")
    chain = [model]
    for name in names:
        child = getattr(chain[-1], name, None)
        if child is None:
            raise NotApplicableError(f"the model has no module {path}")
        chain.append(child)
    for depth in range(len(names) - 1, -1, -1):
        for kind in type(chain[depth]).__mro__:
            file = _file_of(kind)
            if file is None or not _assigns(kind, names[depth]):
                continue
            if "<locals>" in kind.__qualname__:
                raise NotApplicableError(f"the class {kind.__name__} is made inside a function")
            rest = tuple(names[depth:])
            made = {
                ".".join((*prefix.split("."), *rest)) if prefix else ".".join(rest)
                for prefix, module in model.named_modules(remove_duplicate=False)
                if kind in type(module).__mro__
            }
            return Home(_inside(file, folder), kind.__qualname__, rest, frozenset(made))
        if _file_of(type(chain[depth])) is not None and not _is_torch(type(chain[depth])):
            raise NotApplicableError(
                f"{type(chain[depth]).__name__} does not assign {names[depth]} in its own __init__"
            )
    found = inspect.unwrap(factory) if callable(factory) else None
    if not inspect.isfunction(found) or "<locals>" in found.__qualname__:
        raise NotApplicableError("what makes the model is no function of a file")
    return Home(
        _inside(Path(found.__code__.co_filename), folder), found.__qualname__, tuple(names), frozenset({path}), True
    )


_INITIALIZES = re.compile(r"\.apply\(|init_?weights|post_init|reset_parameters|\binit\.\w+_\(")


def refuse_later_initialization(model: Any, factory: Any, home: Home) -> None:
    """What is drawn at the end of a class's `__init__` is drawn again where a class around it, or the function that builds the model, initializes too."""
    if home.is_function:
        return
    around = [factory] if inspect.isfunction(factory) else []
    for path in home.made:
        names = path.split(".")[: -len(home.names)]
        around += [type(model.get_submodule(".".join(names[:depth]))).__init__ for depth in range(len(names))]
    for function in dict.fromkeys(around):
        if function.__module__.split(".")[0] == "torch":
            continue
        try:
            text = inspect.getsource(function)
        except (OSError, TypeError):
            text = ""
        if _INITIALIZES.search(text):
            raise NotApplicableError(f"{function.__qualname__} initializes it once more")


def _is_torch(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "torch"


def _file_of(kind: type) -> Path | None:
    """The file of a class that is the user's own."""
    if _is_torch(kind) or kind is object:
        return None
    try:
        return Path(inspect.getsourcefile(kind) or "")
    except TypeError:
        return None


def _assigns(kind: type, name: str) -> bool:
    """The class itself says `self.name =`, somewhere."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return False
    return any(
        isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr == name
        for node in ast.walk(tree)
    )


def _inside(file: Path, folder: Path) -> Path:
    """The file, where it lies below `folder`."""
    resolved = file.resolve()
    if not resolved.is_relative_to(folder.resolve()) or "site-packages" in resolved.parts:
        raise NotApplicableError("its code is not in the working directory")
    return resolved
