"""Reports on disk: every file is written whole or not at all. Stdlib only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from tempfile import NamedTemporaryFile
from urllib.parse import quote

from trainaudit.errors import TrainauditError
from trainaudit.report.formats import render_bytes, report_kind
from trainaudit.report.merging import merged
from trainaudit.result import Run


def write_report(runs: Sequence[Run], path: str) -> None:
    """Renders the records as the kind that the path's suffix names, and writes them. HTML of several models is a page with a row for each, and a
    report of each in the folder `NAME-models` beside it, where those of models that an earlier call told of go; every other kind is one file. See
    `write_whole` for errors."""
    kind = report_kind(path)
    written = []
    if kind == "html" and has_index(runs):
        from trainaudit.report.to_index import index_files

        for name, text in index_files(runs, path):
            write_whole(name, text)
            written.append(PurePath(name).name)
    else:
        write_whole(path, render_bytes(merged(runs), kind))
    if kind == "html":
        _remove_stale(path, written)


def _remove_stale(path: str, written: Sequence[str]) -> None:
    """Removes pages of models that an earlier call wrote beside the index at `path` and this one did not. They are known by the mark of what made
    them and by their link back to this index; nothing else in their folder is touched."""
    folder = pages_folder(path)
    if folder.is_symlink() or not folder.is_dir():
        return
    marks = (b'<meta name="generator" content="trainaudit ', f'<a href="{index_link(path)}">All models</a>'.encode())
    kept = {name.lower() for name in written}  # one file, where upper and lower case are one
    try:
        pages = [page for page in folder.glob("*.html") if page.name.lower() not in kept and not page.is_symlink()]
        stale = [page for page in pages if page.is_file() and all(map(page.read_bytes().__contains__, marks))]
        for page in stale:
            page.unlink(missing_ok=True)
        if stale and not written and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise _refused(str(folder), error) from None


def pages_folder(path: str) -> Path:
    """Where the reports of the models are whose index is at `path`."""
    return Path(path).with_name(f"{PurePath(path).stem}-models")


def index_link(path: str) -> str:
    """Where each of these reports leads back to."""
    return f"../{quote(PurePath(path).name)}"


def has_index(runs: Sequence[Run]) -> bool:
    """Whether the records hold several targets, or none that could be audited."""
    audits = sum(len(run.audits) for run in runs)
    return audits != 1 or any(run.failures for run in runs)


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
