"""Reports on disk: written whole or not at all. Stdlib only."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from trainaudit.errors import TrainauditError
from trainaudit.report.formats import render_bytes, report_kind
from trainaudit.result import Run


def write_report(run: Run, path: str) -> None:
    """Renders the run as the kind that the path's suffix names, and writes it. See `write_whole` for errors."""
    write_whole(path, render_bytes(run, report_kind(path)))


def write_whole(path: str, content: str | bytes) -> None:
    """Writes a file so that at every moment its old or its new content stands there, never a part.

    A temporary file beside it is filled and then takes its place, so an existing file keeps its permissions and a link its
    target. Missing folders are made, but none straight under the root of the file system, where a slip of the pen would leave it. Raises
    `TrainauditError` ("cannot-write") for such a folder, for a folder in the file's place, or where the file system refuses.
    """
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    target = Path(path)
    if target.is_dir():
        raise TrainauditError("cannot-write", f"{path} is a folder, not a file.", "Name a file in it.")
    if target.exists() and not target.is_file():  # /dev/stdout, a named pipe
        _write_stream(target, content)
        return
    target = target.resolve()
    top = Path(*target.parts[:2])
    if len(target.parts) > 2 and not top.exists():
        raise TrainauditError(
            "cannot-write",
            f"{path} could not be written: there is no folder {top}.",
            "Make it, or choose another place.",
        )
    temporary = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=target.parent, prefix=".trainaudit-", suffix=".tmp", delete=False) as file:
            temporary = file.name
            file.write(content)
        Path(temporary).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        Path(temporary).replace(target)
        temporary = ""
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _write_stream(target: Path, content: bytes) -> None:
    try:
        target.write_bytes(content)
    except OSError as error:
        raise _refused(str(target), error) from None


def _refused(path: str, error: OSError) -> TrainauditError:
    reason = (error.strerror or str(error)).lower()
    return TrainauditError("cannot-write", f"{path} could not be written: {reason}.", "Choose another place.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
