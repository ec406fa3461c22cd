"""Weights-only files of torch.save: .pt, .pth, .bin and .ckpt. Nothing in them is unpickled but tensors and plain containers; torch is imported
inside functions only."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import TensorData
from trainaudit.load.safetensors import WeightFile
from trainaudit.load.torch.archive import damaged, entries_of
from trainaudit.load.torch.tensors import data_of

CONVERT = (
    "Save its weights alone, torch.save(model.state_dict(), 'weights.pt'), or the whole program: "
    "torch.export.save(torch.export.export(model, inputs), 'model.pt2')."
)
_HOMES = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "params_ema",
    "ema",
    "ema_model",
)
"""Entries under which training scripts keep the weights of a checkpoint, the likeliest first."""
_OTHERS = re.compile(r"optim|sched|scaler|loop|callback|rng|hyper|epoch|step|ema_|config|args")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def read_checkpoint(path: str) -> tuple[WeightFile, tuple[str, ...]]:
    """The tensors of the state dict at `path`, and sentences on where in the file it was found.

    Raises `TrainauditError` where the file holds anything but tensors in plain containers: such a pickle could run code and is not opened.
    """
    entries = entries_of(path, "a PyTorch file")
    if "archive_format" in entries:
        raise TrainauditError("program-file", f"{path} is an exported program.", "Give it the suffix .pt2.")
    found = _loaded(path, is_zip=bool(entries))
    home, state = _state_dict(found)
    tensors = dict(_tensors(path, state))
    if not tensors:
        raise TrainauditError("no-weights", f"{path} holds no weights ({_described(found)}).", CONVERT)
    notes = (f"The weights were taken from the entry {home} of the file.",) if home else ()
    return WeightFile(tensors, sum(data.nbytes for data in tensors.values())), notes


def _loaded(path: str, *, is_zip: bool) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        match = _GLOBAL.search(str(error))
        what = f"a pickled {match.group(1)}" if match else "a pickled object"
        raise TrainauditError(
            "pickled-module",
            f"{path} holds {what}, not weights alone: such a file can run code when it is opened, so it is not.",
            CONVERT,
        ) from None
    except (
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        AssertionError,
    ) as error:
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise damaged(path, f"torch cannot read it ({line[:120].rstrip('.')})") from None


def _state_dict(found: Any) -> tuple[str, Mapping[str, Any]]:
    """The mapping that holds the weights, and the entry it stands under ("" for the file itself)."""
    if not isinstance(found, Mapping):
        return "", {}
    if _holds_tensors(found):
        return "", found
    for home in _HOMES:
        inner = found.get(home)
        if isinstance(inner, Mapping):
            if _holds_tensors(inner):
                return home, inner
            deeper, state = _state_dict(inner)
            if state:
                return f"{home}.{deeper}" if deeper else home, state
    others = {
        f"{key}.{name}": value
        for key, inner in found.items()
        if isinstance(inner, Mapping) and not _OTHERS.search(str(key)) and _holds_tensors(inner)
        for name, value in inner.items()
    }
    return "", others


def _holds_tensors(table: Mapping[Any, Any]) -> bool:
    import torch

    return any(isinstance(value, torch.Tensor) for value in table.values())


def _tensors(path: str, state: Mapping[Any, Any]) -> Iterator[tuple[str, TensorData]]:
    """Name and values of each tensor; those that share memory, shape and layout (tied weights) share one object."""
    import torch

    seen: dict[object, TensorData] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta:
            storage = tensor.untyped_storage()
            if tensor.numel() * tensor.element_size() > storage.nbytes():
                raise damaged(path, f"{str(name)[:80]} claims more values than the file stores")
            key = (storage.data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
            yield str(name), seen.setdefault(key if storage.nbytes() else id(tensor), data_of(tensor, str(name)))
        else:
            yield str(name), data_of(tensor, str(name))


def _described(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"its entries: {', '.join(str(key)[:40] for key in list(found)[:5]) or 'none'}"
    return f"it holds a {type(found).__name__}"
