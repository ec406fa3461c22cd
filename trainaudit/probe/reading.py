"""Reading a source of batches, within bounds. torch is imported inside functions only."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainaudit.counting import count as counted
from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.load.torch.importing import shown_file, told, user_code
from trainaudit.load.torch.seeding import seeded
from trainaudit.probe.data import Source
from trainaudit.probe.structures import arrays_as_tensors, bytes_of, size_of

_MOST_BATCHES, _MOST_EXAMPLES, _MOST_BYTES = 64, 2048, 512 << 20
"""A probe reads that many batches, and more of small ones up to so many examples; never more than so many bytes."""
_HARD_LIMIT = 1024
_MOST_SECONDS = 10.0


@frozen
class Reading:
    """Batches as the source gave them (arrays made tensors), and whether they are all that it has."""

    batches: tuple[Any, ...]
    is_whole: bool
    note: str = ""


def read(source: Source, *, seed: int, batches: int | None = None) -> Reading:
    """One pass over the source as far as the bounds go. Raises `TrainauditError` with one sentence for a source that raises or gives nothing."""
    found: list[Any] = []
    examples = size = 0
    started = time.perf_counter()
    is_whole, note = True, ""
    with seeded(seed), reading(source.shown):
        stream = source.passes()
        for raw in stream:
            if batches is not None and len(found) >= batches:
                is_whole = False
                break
            raw = arrays_as_tensors(raw)
            found.append(raw)
            examples += size_of(raw)
            size += bytes_of(raw)
            seconds = time.perf_counter() - started
            if _is_enough(len(found), examples) and batches is None:
                is_whole = next(stream, _END) is _END if len(found) < _HARD_LIMIT else False
                break
            if size > _MOST_BYTES or seconds > _MOST_SECONDS:
                is_whole = False
                why = f"{size >> 20} MiB" if size > _MOST_BYTES else f"{seconds:.0f} s of loading"
                note = f"{counted(len(found), 'batch', 'batches')} of {source.shown} {'was' if len(found) == 1 else 'were'} read, {why} in all, and are used in turn."
                break
    if not found:
        raise TrainauditError(
            "empty-data", f"{source.shown} gave no batch.", "Check that it holds data, and that it can be passed over."
        )
    return Reading(tuple(found), is_whole, note)


_END = object()


def _is_enough(batches: int, examples: int) -> bool:
    return batches >= _HARD_LIMIT or (batches >= _MOST_BATCHES and examples >= _MOST_EXAMPLES)


@contextlib.contextmanager
def reading(shown: str) -> Iterator[None]:
    """Around reading the user's data: what it raises becomes one sentence, also where a worker process raised it."""
    with user_code(f"Reading {shown}", str(Path.cwd())):
        try:
            yield
        except Exception as error:
            if "Original Traceback" not in str(error):
                raise
            what = f"Reading {shown} failed{_told_of_worker(str(error), error)}."
            raise TrainauditError("user-code", what, "TRAINAUDIT_DEBUG=1 shows the traceback.") from error


def _told_of_worker(text: str, error: Exception) -> str:
    """ " at data.py:12 (ValueError: bad row)" from the traceback that a worker of a DataLoader sends."""
    lines: Sequence[str] = [line.strip() for line in text.strip().splitlines()]
    places = re.findall(r'File "([^"]+)", line (\d+)', text)
    own = [(file, line) for file, line in places if "site-packages" not in file and "dist-packages" not in file]
    if not own:
        return told(error)
    file, line = own[-1]
    return f" at {shown_file(file)}:{line} in a worker ({lines[-1][:300].removesuffix('.')})"
