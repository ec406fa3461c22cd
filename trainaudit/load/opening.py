"""`open_target`: a target of any kind as a graph. Imports load and ir; the torch room only for the targets that need it."""

from __future__ import annotations

import re
from pathlib import Path

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph, Origin
from trainaudit.load.from_onnx import load_onnx
from trainaudit.load.target import INDEX, WEIGHTS_ALONE, Kind, Target

_WHOLE = ("model.safetensors", f"model{INDEX}")
"""What transformers calls the weights of a whole model; beside config.json they are that model."""


def open_target(target: Target) -> Graph:
    """The graph of a target. Raises `TrainauditError` with one sentence for everything that cannot be opened."""
    if target.kind is Kind.ONNX:
        return load_onnx(target.spec)
    if target.kind is Kind.SAFETENSORS:
        return _safetensors(target)
    require_torch(target.spec)
    from trainaudit.load.torch.opening import open_torch

    return open_torch(target)


def require_torch(shown: str) -> None:
    """Raises `TrainauditError` where torch is not installed; does not import it."""
    if not _is_installed("torch"):
        what = f"{shown} needs torch, which is not installed."
        raise TrainauditError("no-torch", what, "Install it: pip install 'trainaudit[torch]'.")


def _is_installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _safetensors(target: Target) -> Graph:
    """The whole model where transformers knows the config.json beside it, else its weights alone."""
    from trainaudit.load.module_tree import module_tree
    from trainaudit.load.safetensors import read_safetensors, read_sharded

    path = Path(target.path)
    note = ""
    if path.name in _WHOLE and path.with_name("config.json").is_file():
        if _is_installed("torch") and _is_installed("transformers"):
            from trainaudit.load.torch.opening import open_config

            try:
                return open_config(str(path.parent), target.inputs)
            except TrainauditError as error:
                note = f"The model could not be made from config.json, so the weights were audited alone: {error.what}"
        else:
            note = "There is a config.json beside it: with torch and transformers installed the whole model would be audited."
    found = read_sharded(target.path) if target.path.endswith(INDEX) else read_safetensors(target.path)
    tensors = {name: found.tensors[name] for name in sorted(found.tensors, key=_natural)}
    if not tensors:
        raise TrainauditError("no-weights", f"{target.path} holds no tensors.", "Save the model's state dict in it.")
    from trainaudit.load.leaks import leaked_paths

    leaked = leaked_paths(found.texts)
    return module_tree(
        tensors,
        Origin(
            target.path,
            "safetensors",
            found.size,
            leaked_paths=leaked,
            capture=WEIGHTS_ALONE,
            notes=(note,) if note else (),
        ),
    )


def _natural(name: str) -> list[tuple[int, int | str]]:
    """layers.2 before layers.10: the files list their tensors in no order that says anything."""
    return [
        (0, int(part)) if part.isdecimal() and len(part) < 10 else (1, part)
        for part in re.split(r"(\d+)|\.", name)
        if part
    ]
