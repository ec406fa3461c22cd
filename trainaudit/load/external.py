"""Opening what a model's external data points at, and nothing else. Stdlib only.

The file is untrusted: a location is a relative path below the model's folder, without "..", and every step of it is opened from
the directory before it without following links, so that no check can be raced (CWE-367, CWE-59, CWE-22).
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import field

from trainaudit.errors import TrainauditError
from trainaudit.frozen import slotted
from trainaudit.load.datafile import DataFile, kind_of, unreadable

_KEPT_OPEN = 64
_STEPWISE = os.open in os.supports_dir_fd  # not on Windows
_MOST_FILES = 100_000

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOCTTY", 0)
)


@slotted
class ExternalFiles:
    """The data files that lie beside one model; each is opened and checked once. `folder` is the model's folder."""

    folder: str
    files: dict[str, DataFile] = field(default_factory=dict)

    def open(self, location: str, tensor: str) -> DataFile:
        """The file at `location`, which `tensor` (already fit to be printed) asks for. Raises `TrainauditError`."""
        known = self.files.get(location)
        if known is not None:
            return known
        if len(self.files) >= _MOST_FILES:
            raise TrainauditError("too-large", f"The model spreads over more than {_MOST_FILES:,} external data files.")
        steps = safe_steps(location, tensor)
        shown = shown_location(location)

        folder = self.folder  # the closure must not hold the object that holds it

        def open_again() -> int:
            return _open_below(folder, steps, shown, tensor)

        file = DataFile(shown, open_again(), open_again, keep_open=len(self.files) < _KEPT_OPEN)
        self.files[location] = file
        return file


def shown_location(location: str) -> str:
    """The location as it may be printed: quoted, control characters escaped, shortened. An absolute path loses its folders."""
    if _is_absolute(location):
        location = "…/" + location.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    text = (
        location.encode("unicode_escape", "backslashreplace").decode("ascii")
        if not location.isprintable()
        else location
    )
    return f"'{text if len(text) <= 120 else text[:117] + '…'}'"


def _is_absolute(location: str) -> bool:
    return location.startswith(("/", "\\", "~")) or location[1:2] == ":"


def safe_steps(location: str, tensor: str) -> tuple[str, ...]:
    """The names on the way from the model's folder to `location`, or a `TrainauditError` where it leads elsewhere."""
    shown = shown_location(location)
    if not location or "\0" in location:
        raise TrainauditError(
            "invalid-external-data",
            f"The external data of {tensor} names no file.",
            "Export the model again.",
        )
    if _is_absolute(location):
        raise TrainauditError(
            "external-data-outside-folder",
            f"The external data of {tensor} is at an absolute path ({shown}), which is refused.",
            "Save the model with its data file beside it, under a relative location.",
        )
    steps = tuple(step for step in location.replace("\\", "/").split("/") if step not in ("", "."))
    if ".." in steps or not steps:
        raise TrainauditError(
            "external-data-outside-folder",
            f"The external data of {tensor} is at {shown}, which leaves the model's folder; that is refused.",
            "Save the model with its data file in the same folder.",
        )
    if len(steps) > 64:
        raise TrainauditError("invalid-external-data", f"The external data of {tensor} lies more than 64 folders deep.")
    return steps


def _open_below(folder: str, steps: tuple[str, ...], shown: str, tensor: str) -> int:
    """A descriptor of the regular file `steps` below `folder`; no step may be a link, and the file may have one name only."""
    if not _STEPWISE:
        return _open_checked(os.path.join(folder, *steps), shown, tensor, None)  # noqa: PTH118
    directory = None
    try:
        directory = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for step in steps[:-1]:
            try:
                inner = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(step, directory):
                    raise _linked(shown, tensor) from error
                raise
            os.close(directory)
            directory = inner
        return _open_checked(steps[-1], shown, tensor, directory)
    except OSError as error:
        raise _not_opened(error, shown, tensor) from error
    finally:
        if directory is not None:
            os.close(directory)


def _open_checked(name: str, shown: str, tensor: str, directory: int | None) -> int:
    """Open one name, looking at it before (a pipe or device is never opened) and again at what was opened."""
    try:
        _check(os.stat(name, dir_fd=directory, follow_symlinks=False), shown, tensor)
        descriptor = os.open(name, _FLAGS, dir_fd=directory)
    except OSError as error:
        raise _not_opened(error, shown, tensor) from error
    try:
        _check(os.fstat(descriptor), shown, tensor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(status: os.stat_result, shown: str, tensor: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _linked(shown, tensor)
    kind = kind_of(status.st_mode)
    if kind:
        raise TrainauditError(
            "invalid-external-data",
            f"The external data of {tensor}, {shown}, is {kind}, not a file.",
            "Export the model again, or copy its data file to that place.",
        )
    if status.st_nlink > 1:
        raise TrainauditError(
            "external-data-linked",
            f"The external data of {tensor}, {shown}, has a second name (a hard link), which may lead outside the model's folder; that is refused.",
            "Copy the model with its data file to a folder of its own.",
        )


def _is_link(name: str, directory: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def _linked(shown: str, tensor: str) -> TrainauditError:
    return TrainauditError(
        "external-data-linked",
        f"The external data of {tensor}, {shown}, goes through a symbolic link, which may lead outside the model's folder; that is refused.",
        "Copy the model with its data file to a folder of its own (cp -L follows the links).",
    )


def _not_opened(error: OSError, shown: str, tensor: str) -> TrainauditError:
    if error.errno == errno.ELOOP:
        return _linked(shown, tensor)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return TrainauditError(
            "missing-external-data",
            f"The weights of {tensor} lie in the external data file {shown}, which is not beside the model.",
            "Copy the .data file together with the .onnx file; in a git checkout, run `git lfs pull`.",
        )
    return unreadable(f"The external data file {shown}", error)
