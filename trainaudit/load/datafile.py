"""Reading a regular file by position, without mapping it: a map would count as memory, fault page by page and kill the process
when someone truncates the file. Stdlib only."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen

_HAS_PREADV = hasattr(os, "preadv")


@frozen
class Identity:
    """What tells that a file, opened again, is the one that was checked."""

    device: int
    inode: int
    size: int
    modified: int


class DataFile:
    """A regular file, open for reading by position.

    `name` is how messages call it. `open_again` opens it under the same checks as the first time; where `keep_open` is false the
    descriptor is closed after each use (a model may spread over thousands of files), and the file's identity is checked again.
    """

    __slots__ = ("_descriptor", "_keep_open", "_open_again", "identity", "name")

    def __init__(self, name: str, descriptor: int, open_again: Callable[[], int], keep_open: bool = True) -> None:
        self.name = name
        self.identity = identity_of(os.fstat(descriptor))
        self._open_again = open_again
        self._keep_open = keep_open
        self._descriptor: int | None = descriptor
        if not keep_open:
            self.close()

    @property
    def size(self) -> int:
        return self.identity.size

    def close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` (bytes) from `offset`. Raises `TrainauditError` where the file ends early or has changed."""
        descriptor = self._descriptor
        try:
            if descriptor is None:
                descriptor = self._open_again()
                self._descriptor = descriptor
                if identity_of(os.fstat(descriptor)) != self.identity:
                    raise changed(self.name)
            done, length = 0, buffer.nbytes
            while done < length:
                if _HAS_PREADV:
                    count = os.preadv(descriptor, [buffer[done:]], offset + done)
                else:  # Windows
                    os.lseek(descriptor, offset + done, os.SEEK_SET)
                    piece = os.read(descriptor, min(length - done, 1 << 20))
                    count = len(piece)
                    buffer[done : done + count] = piece
                if count == 0:
                    raise changed(self.name)
                done += count
        except OSError as error:
            raise unreadable(self.name, error) from error
        finally:
            if not self._keep_open:
                self.close()

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; the caller has checked them against `size`."""
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)


def open_model(path: str) -> DataFile:
    """The file at `path`, which must be a regular file that holds something. Links are followed: the user named it."""

    def open_again() -> int:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        return os.open(path, flags)

    try:
        _check_kind(path, os.stat(path).st_mode)  # noqa: PTH116 -- a pipe or device is not opened at all
        descriptor = open_again()
    except FileNotFoundError as error:
        raise TrainauditError("missing-file", f"{path} does not exist.", "Check the path.") from error
    except ValueError as error:
        raise TrainauditError("missing-file", "The path holds a null character.", "Check the path.") from error
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
    except TrainauditError:
        os.close(descriptor)
        raise
    file = DataFile(path, descriptor, open_again)
    if file.size == 0:
        raise TrainauditError("empty-file", f"{path} is empty.", "Export or download the model again.")
    return file


def _check_kind(path: str, mode: int) -> None:
    kind = kind_of(mode)
    if kind == "a directory":
        raise TrainauditError("is-a-directory", f"{path} is a directory.", "Name the .onnx file in it.")
    if kind:
        raise TrainauditError("not-a-file", f"{path} is {kind}, not a file.", "Name an .onnx file.")


def identity_of(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def kind_of(mode: int) -> str:
    """A word for what is not a regular file ("" for one that is)."""
    for test, word in (
        (stat.S_ISREG, ""), (stat.S_ISDIR, "a directory"), (stat.S_ISLNK, "a symbolic link"), (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    ):  # fmt: skip
        if test(mode):
            return word
    return "not a regular file"


def changed(name: str) -> TrainauditError:
    return TrainauditError(
        "file-changed", f"{name} changed while it was being read.", "Audit it again once it is written completely."
    )


def unreadable(name: str, error: OSError) -> TrainauditError:
    reason = os.strerror(error.errno).lower() if error.errno else "input/output error"
    return TrainauditError(
        "unreadable-file", f"{name} cannot be read: {reason}.", "Check its permissions and the disk."
    )
