"""Importing the user's code, which `pkg.mod:attr` and `path/file.py:attr` ask for: nothing else in the program runs code that it finds.

The working folder is on sys.path while the code is imported and called, and sys.path is as before afterwards. What the code prints goes to
standard error. What it raises becomes one sentence with the file and line of the user's own frame. Stdlib only.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from trainaudit.errors import TrainauditError
from trainaudit.suggestion import did_you_mean

_OWN = str(Path(__file__).resolve().parents[2])
_INSTALLED = (f"site-packages{os.sep}", f"dist-packages{os.sep}", f"{os.sep}lib{os.sep}python", "<frozen")


@contextlib.contextmanager
def user_code(what: str, *folders: str) -> Iterator[None]:
    """Around a call of the user's code. `what` says what was done ("Importing net.py"), `folders` are searched for modules first.

    Raises `TrainauditError` for every exception of the code, an exit included; errors of our own pass.
    """
    before = list(sys.path)
    sys.path[:0] = [folder for folder in dict.fromkeys(folders) if folder not in sys.path]
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except TrainauditError:
        raise
    except (Exception, SystemExit) as error:
        raise TrainauditError("user-code", f"{what} failed{told(error)}.", _hint(error)) from error
    finally:
        sys.path[:] = before


def told(error: BaseException) -> str:
    """Where and why: " at net.py:12 (ValueError: bad width)"."""
    place = user_place(error)
    return f"{f' at {place}' if place else ''} ({why(error)})"


def why(error: BaseException) -> str:
    """What was raised: "ValueError: bad width"."""
    text = " ".join(str(error).split()).removesuffix(".")
    if isinstance(error, SyntaxError):
        text = error.msg
    if isinstance(error, SystemExit):
        text = f"the code calls exit({text})"
    return f"{type(error).__name__}: {text[:300]}{'…' if len(text) > 300 else ''}" if text else type(error).__name__


def user_place(error: BaseException) -> str:
    """File and line of the innermost frame of the user's own code, "" where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown_file(error.filename)}:{error.lineno or 1}"
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if not frame.filename.startswith(_OWN) and not any(mark in frame.filename for mark in _INSTALLED):
            return f"{shown_file(frame.filename)}:{frame.lineno}"
    return ""


def shown_file(path: str) -> str:
    """A file as seen from the working folder, or its last two parts where it lies elsewhere."""
    relative = os.path.relpath(path) if Path(path).is_absolute() else path
    return "/".join(Path(path).parts[-2:]) if relative.startswith("..") else relative.replace(os.sep, "/")


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"Install {error.name.partition('.')[0]} in the environment that runs trainaudit, or run it in the project's own."
    return "TRAINAUDIT_DEBUG=1 shows the traceback."


def import_target(module: str, root: str) -> ModuleType:
    """The module `pkg.mod`, or the file `path/file.py`, imported. `root` is a folder to search besides the working one ("" for none)."""
    folders = (str(Path.cwd()), *([root] if root else ()))
    if module.lower().endswith(".py"):
        return _import_file(module, folders)
    with user_code(f"Importing {module}", *folders):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                raise _no_module(module, error.name) from None
            raise


def _no_module(module: str, missing: str) -> TrainauditError:
    where = f" in {module}" if missing != module else ""
    is_file = Path(f"{module.replace('.', '/')}.py").is_file()
    hint = "Run it in the folder that holds the package, or name the file: path/file.py:NAME."
    return TrainauditError("no-such-module", f"There is no Python module {missing}{where}.", "" if is_file else hint)


def _import_file(path: str, folders: tuple[str, ...]) -> ModuleType:
    """A file that lies in a package is imported as a module of it, so that its relative imports work."""
    file = Path(path)
    if not file.is_file():
        raise TrainauditError("missing-file", f"{path} does not exist.", "Check the path.")
    file = file.absolute()
    package, names = file.parent, [file.stem]
    while (package / "__init__.py").is_file() and package.parent != package:
        names.insert(0, package.name)
        package = package.parent
    if file.stem == "__init__":
        names.pop()
    with user_code(f"Importing {path}", str(package), *folders):
        if len(names) > 1 or file.stem == "__init__":
            return importlib.import_module(".".join(names))
        known = sys.modules.get(file.stem)
        if known is not None and Path(getattr(known, "__file__", None) or "").absolute() == file:
            return known
        # the name may be taken, by another model.py or by a library
        name = file.stem if known is None else f"{file.stem}_{len(sys.modules)}"
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return module


def attribute_of(module: ModuleType, path: str, shown: str) -> object:
    """`Outer.inner` of a module. Raises `TrainauditError` that suggests a name which is there."""
    found: object = module
    for name in path.split("."):
        if not hasattr(found, name):
            names = [item for item in vars(found) if not item.startswith("_")] if hasattr(found, "__dict__") else []
            raise TrainauditError(
                "no-such-attribute", f"{shown} has no {name}.", did_you_mean(name, names) or "Check the name."
            )
        found = getattr(found, name)
    return found
