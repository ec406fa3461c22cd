"""Arrays from .npz and .safetensors files, which are untrusted data: nothing unpickles. torch is not imported here."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.load.safetensors import read_safetensors
from trainaudit.load.torch.importing import shown_file

_MOST_BYTES = 8 << 30
_INPUTS = ("x", "inputs", "input", "data", "features", "images", "X")
_TARGETS = ("y", "targets", "target", "labels", "label", "Y")
_PARTS = ("train", "training", "validation", "valid", "val", "test", "eval", "dev")


def read_arrays(path: str) -> Any:
    """What the file holds, by name; (x, y) where it holds that pair under one of its usual names."""
    if not Path(path).is_file():
        raise TrainauditError("missing-file", f"{path} does not exist.", "Check the path.")
    arrays = _npz(path) if path.lower().endswith(".npz") else _safetensors(path)
    shown = shown_file(path)
    if not arrays:
        raise TrainauditError("empty-data", f"{shown} holds no arrays.", "Save x and y in it.")
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    pair = _pair(arrays)
    if pair is not None:
        return pair
    sizes = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    whole = [name for name in sizes if not any(part in name.lower() for part in _PARTS)]
    if len({sizes[name] for name in whole}) > 1:
        listed = ", ".join(f"{name} {sizes[name]}" for name in whole[:6])
        what = f"The arrays of {shown} differ in the number of examples ({listed})."
        raise TrainauditError("bad-data", what, "Save arrays whose first axis counts the same examples.")
    return arrays


def _pair(arrays: dict[str, Any]) -> Any:
    inputs, targets = (next((n for n in names if n in arrays), None) for names in (_INPUTS, _TARGETS))
    if inputs is None or targets is None or set(arrays) != {inputs, targets}:
        return None
    left, right = arrays[inputs], arrays[targets]
    return (left, right) if left.ndim and right.ndim and len(left) == len(right) else None


def _npz(path: str) -> dict[str, Any]:
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > _MOST_BYTES:
            what = f"{shown_file(path)} holds {size >> 30} GiB."
            raise TrainauditError("too-large", what, "Save a part of the data: a probe reads a few thousand examples.")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except TrainauditError:
        raise
    except ValueError as error:
        if "pickle" in str(error).lower() or "object arrays" in str(error).lower():
            what = f"{shown_file(path)} holds Python objects, which are not unpickled."
            raise TrainauditError("pickled-data", what, "Save arrays of numbers alone.") from error
        raise _damaged(path, error) from error
    except (OSError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, MemoryError) as error:
        raise _damaged(path, error) from error


def _safetensors(path: str) -> dict[str, Any]:
    found = read_safetensors(path)
    return {name: data.read() for name, data in found.tensors.items()}


def _damaged(path: str, error: Exception) -> TrainauditError:
    text = " ".join(str(error).split())[:200].removesuffix(".")
    return TrainauditError(
        "bad-data", f"{shown_file(path)} cannot be read ({type(error).__name__}: {text}).", "Save it again."
    )
