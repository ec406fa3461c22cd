"""The new file: the old one's bytes with other fields in a few places, written whole or not at all. Stdlib and load only.

New values of tensors that lie in external data go to a data file of the new model's own; the user's data files are never written to. Where the
new model lies in another folder, they are copied beside it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from trainaudit.errors import TrainauditError
from trainaudit.fix.file.editing import INITIALIZER, INPUT, NODE, Editing, Tensor
from trainaudit.fix.file.encoding import CODES, DATA_LOCATION, EXTERNAL_DATA, moved_message, renamed, with_values
from trainaudit.fix.file.fields import entry, field, head, message_parts
from trainaudit.fix.file.indexing import external_locations
from trainaudit.fix.file.weights import declared, stored_shape
from trainaudit.frozen import frozen
from trainaudit.load.cutting import encoded_varint
from trainaudit.load.datafile import DataFile
from trainaudit.load.external import ExternalFiles, safe_steps
from trainaudit.load.wire import Entry

_PIECE = 1 << 22
_ALIGNMENT = 4096
"""Of the start of a tensor in a data file, so that it can be mapped."""

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_METADATA_MOST = 1 << 16
"""Bytes at a file's end among which at least one entry of its repair begins."""
_LARGEST = (1 << 31) - 1
"""Bytes of a protobuf message."""


@frozen
class Splice:
    """Bytes that stand in the place of those between `start` and `stop` of the file."""

    start: int
    stop: int
    content: bytes


def save(editing: Editing, out: str, notes: Sequence[str], check: Callable[[str], object]) -> None:
    """Writes the file as it shall be to `out`, with `notes` as metadata "trainaudit.fix.N". `check` is called with the finished file's path before it
    takes its name, and may raise.

    Raises `TrainauditError` where `out` is the model itself or one of its data files, where what stands there already is not a file or another file's
    data, and where the file system refuses; then nothing is left behind and nothing was changed.
    """
    target = Path(out)
    locations = external_locations(editing)
    folder = os.path.dirname(editing.path)  # noqa: PTH120 -- "" must stay ""
    _refuse_input(editing, target, folder, locations)
    made: list[Path] = []
    try:
        if not target.parent.is_dir():
            raise TrainauditError(
                "cannot-write", f"{out} could not be written: its folder does not exist.", "Make it first."
            )
        if not _same_folder(Path(folder or "."), target.parent):
            for location in locations:
                _copy_data(folder, location, target.parent, made)
        data_name = _data_name(target, locations)
        with _Temporary(target.parent) as data, _Temporary(target.parent) as model:
            splices = _splices(editing, data.file, data_name)
            _write(editing, splices, notes, model.file)
            if data.file.tell():
                _settle(data, target.parent / data_name, target, made)
            model.finish()
            check(model.path)
            model.become(target)
        made = []
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TrainauditError(
            "cannot-write", f"{out} could not be written: {reason}.", "Choose another place."
        ) from None
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _refuse_input(editing: Editing, target: Path, folder: str, locations: Sequence[str]) -> None:
    if target.is_dir():
        raise TrainauditError("cannot-write", f"{target} is a folder, not a file.", "Name a file in it.")
    if not target.exists():
        return
    for name in (editing.path, *(os.path.join(folder, location) for location in locations)):  # noqa: PTH118
        if os.path.exists(name) and os.path.samefile(name, target):  # noqa: PTH110, PTH121
            what = f"{target} is the model itself or its data, which stay as they are."
            raise TrainauditError("overwrites-input", what, "Choose another name with -o.")
    if not target.is_file():
        raise TrainauditError("cannot-write", f"{target} is not a file.", "Choose another name with -o.")
    if not _is_own(target):
        what = f"{target} is there already and was not written by this command; it stays as it is."
        raise TrainauditError("cannot-write", what, "Choose another name with -o, or delete it first.")


def _is_own(target: Path) -> bool:
    """Empty, or with the metadata of an earlier repair, which stand at the end of a file."""
    with target.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _METADATA_MOST))
        return size == 0 or b"trainaudit.fix." in file.read()


def _same_folder(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _data_name(target: Path, locations: Sequence[str]) -> str:
    """What the new model's own data file is called: none that the model reads from."""
    taken = {"/".join(safe_steps(location, "a tensor")) for location in locations}
    name, number = f"{target.name}.data", 2
    while name in taken:
        name, number = f"{target.name}.{number}.data", number + 1
    return name


def _copy_data(folder: str, location: str, destination: Path, made: list[Path]) -> None:
    """A data file of the model beside the new one, in the same relative place."""
    source = ExternalFiles(folder).open(location, "the model")
    path = destination.joinpath(*safe_steps(location, "the model"))
    if path.exists():
        if path.is_file() and path.stat().st_size == source.size and _equal(source.read, path, source.size):
            return
        raise TrainauditError(
            "cannot-write",
            f"There is another file {path.name} beside the new model already.",
            "Choose another folder with -o.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with _Temporary(path.parent) as copy:
        _pour(source, 0, source.size, copy.file)
        copy.finish()
        copy.become(path)
    made.append(path)


def _equal(read: Callable[[int, int], bytes], path: Path, size: int) -> bool:
    with path.open("rb") as file:
        return all(
            read(start, min(_PIECE, size - start)) == file.read(min(_PIECE, size - start))
            for start in range(0, size, _PIECE)
        )


class _Temporary:
    """A file that is filled beside the one that it becomes, or goes away."""

    def __init__(self, folder: Path) -> None:
        self.file: IO[bytes] = NamedTemporaryFile(dir=folder, prefix=".trainaudit-", suffix=".tmp", delete=False)  # noqa: SIM115
        self.path = self.file.name

    def __enter__(self) -> _Temporary:
        return self

    def finish(self) -> None:
        self.file.flush()
        self.file.close()

    def become(self, target: Path) -> None:
        target = target.resolve()
        mask = os.umask(0)
        os.umask(mask)
        Path(self.path).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~mask)
        Path(self.path).replace(target)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.file.close()
        Path(self.path).unlink(missing_ok=True)


def _settle(data: _Temporary, path: Path, target: Path, made: list[Path]) -> None:
    """The data file takes its name before the model that reads it does."""
    if path.exists() and not target.exists():
        raise TrainauditError("cannot-write", f"There is a file {path.name} already.", "Choose another name with -o.")
    is_new = not path.exists()
    data.finish()
    data.become(path)
    if is_new:
        made.append(path)


def _splices(editing: Editing, data: IO[bytes], data_name: str) -> list[Splice]:
    """What is other than in the file, in the order of the file; insertions stand where `start` is `stop`."""
    found, now = editing.found, editing.now
    splices: list[Splice] = []
    living = {node.start: node for node in now.nodes if node.start >= 0}
    for node in found.nodes:
        kept = living.get(node.start)
        if kept is None:
            splices.append(Splice(node.start, node.stop, b""))
        elif kept.content is not None:
            splices.append(Splice(node.start, node.stop, field(NODE, kept.content)))
    place = editing.chunks[-1].payload
    for node in now.nodes:
        if node.start >= 0:
            place = node.stop
        else:
            splices.append(Splice(place, place, field(NODE, editing.message(node))))
    end = editing.chunks[-1].stop
    for name, tensor in now.tensors.items():
        if tensor.is_new or tensor.make is not None:
            content = field(INITIALIZER, _tensor_message(editing, tensor, data, data_name))
            splices.append(Splice(end, end, content) if tensor.is_new else Splice(tensor.start, tensor.stop, content))
        if tensor.is_new and 0 < editing.ir_version < 4:
            splices.append(Splice(end, end, field(INPUT, _declared(editing, tensor))))
        assert name == tensor.name
    splices += [
        Splice(tensor.start, tensor.stop, b"") for name, tensor in found.tensors.items() if name not in now.tensors
    ]
    splices += [Splice(start, stop, b"") for name, (start, stop) in found.values.items() if name not in now.values]
    return sorted(splices, key=lambda splice: (splice.start, splice.stop))


def _declared(editing: Editing, tensor: Tensor) -> bytes:
    """The ValueInfoProto of a tensor: files before IR version 4 list initializers among the inputs."""
    shape, dtype = declared(editing, tensor)
    sizes = b"".join(field(1, encoded_varint(1 << 3) + encoded_varint(size)) for size in shape)
    return field(1, tensor.name) + field(
        2, field(1, encoded_varint(1 << 3) + encoded_varint(CODES[dtype]) + field(2, sizes))
    )


def _tensor_message(editing: Editing, tensor: Tensor, data: IO[bytes], data_name: str) -> bytes:
    message = message_parts(editing.message(tensor))
    if tensor.is_new and tensor.content is None:
        message = message_parts(renamed(message, tensor.name))
    if tensor.make is None:
        return b"".join(content for _, content in message)
    stored, dtype = tensor.make(), stored_shape(editing, tensor)[1]
    whole = list(message)
    if any(number == EXTERNAL_DATA for (number, *_), _ in whole) and _is_external(whole):
        data.write(b"\0" * (-data.tell() % _ALIGNMENT))
        offset = data.tell()
        data.write(stored.data)
        return moved_message(iter(whole), data_name, offset, stored.nbytes)
    return with_values(iter(whole), stored, dtype)


def _is_external(message: Sequence[tuple[Entry, bytes]]) -> bool:
    return any(number == DATA_LOCATION and content.endswith(b"\x01") for (number, *_), content in message)


def _write(editing: Editing, splices: Sequence[Splice], notes: Sequence[str], out: IO[bytes]) -> None:
    """The file with its splices; the lengths of the graph's fields fit, and metadata stand at the end."""
    position = 0
    for chunk in editing.chunks:
        own = [splice for splice in splices if chunk.payload <= splice.start and splice.stop <= chunk.stop]
        grown = sum(len(splice.content) - (splice.stop - splice.start) for splice in own)
        length = chunk.stop - chunk.payload + grown
        if length > _LARGEST:
            raise TrainauditError(
                "too-large", "The new model would take more than 2 GiB in one file, which ONNX does not allow.",
                "Save the model with external data first: onnx.save(model, path, save_as_external_data=True).",
            )  # fmt: skip
        _copy(editing, position, chunk.start, out)
        out.write(head(_MODEL_GRAPH, length) if own else editing.file.read(chunk.start, chunk.payload - chunk.start))
        position = chunk.payload
        for splice in own:
            _copy(editing, position, splice.start, out)
            out.write(splice.content)
            position = splice.stop
        _copy(editing, position, chunk.stop, out)
        position = chunk.stop
    _copy(editing, position, editing.file.size, out)
    number = 1
    for note in notes:
        while f"trainaudit.fix.{number}" in editing.metadata:
            number += 1
        out.write(entry(_MODEL_METADATA, f"trainaudit.fix.{number}", note))
        number += 1


def _copy(editing: Editing, start: int, stop: int, out: IO[bytes]) -> None:
    _pour(editing.file, start, stop, out)


def _pour(source: DataFile, start: int, stop: int, out: IO[bytes]) -> None:
    """The bytes between two places of a file, a piece at a time."""
    piece = memoryview(bytearray(max(0, min(_PIECE, stop - start))))
    for position in range(start, stop, _PIECE):
        part = piece[: min(_PIECE, stop - position)]
        source.read_into(position, part)
        out.write(part)
