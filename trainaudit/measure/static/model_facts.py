"""Facts of the whole model. May import `ir`, `measure.facts` and sibling modules."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

from trainaudit.ir.graph import Role
from trainaudit.ir.ops import Op
from trainaudit.measure.facts import Columns, FactValue, Unmeasured
from trainaudit.measure.static.flow import REACHES
from trainaudit.measure.static.index import Index

_WEIGHT_ROLES = frozenset({Role.WEIGHT, Role.INPUT_WEIGHT, Role.RECURRENT_WEIGHT, Role.EMBEDDING})
_USER_FOLDER = re.compile(r"^((?:[A-Za-z]:)?[\\/](?:home|Users|users|Documents and Settings)[\\/])[^\\/]+")


def measure_model(index: Index, flow: list[int], trainable: dict[str, int]) -> Columns:
    """model.* facts from the graph, the loss left out. `trainable` maps trainable parameters to their sizes."""
    graph = index.graph
    convolutions = sum(1 for i in index.of((Op.CONV,)) if flow[i] & REACHES)
    depth = max((index.depth[i] for i in index.output_layers() if index.depends[i]), default=0)
    unknown = sum(count for _, count in graph.unrecognized)
    leaked = graph.origin.leaked_paths
    facts: dict[str, FactValue] = {
        "model.name": PurePosixPath(graph.origin.path).name or "model",
        "model.form": graph.form,
        "model.layer_count": len(graph.layers),
        "model.parameter_count": sum(trainable.values()),
        "model.depth": depth,
        "model.recognition_coverage": 1 - unknown / graph.node_count if graph.node_count else 1.0,
        "model.is_convolutional": convolutions >= 2,
        "model.dtype": _dtype(index),
        "model.folded_normalization_count": len(graph.folded_normalizations),
        "model.folded_normalization_evidence": graph.folded_evidence,
        "model.leaked_path_count": len(leaked),
    }
    if leaked:
        facts["model.leaked_path_example"] = mask_user(leaked[0])
    return {name: {"model": value} for name, value in facts.items()}


def _dtype(index: Index) -> FactValue:
    """The stored type of most weight elements; of most parameters where there is no weight."""
    counts: dict[str, int] = {}
    fallback: dict[str, int] = {}
    for parameter in index.graph.parameters.values():
        into = counts if parameter.role in _WEIGHT_ROLES else fallback
        into[parameter.dtype] = into.get(parameter.dtype, 0) + parameter.size
    votes = counts or fallback
    if not votes:
        return Unmeasured("the model has no parameters")
    return max(votes, key=lambda dtype: votes[dtype])


def mask_user(path: str) -> str:
    """An absolute path with its user's name and the folders in between left out: "/home/…/train.py"."""
    windows = "\\" in path
    pure = PureWindowsPath(path) if windows else PurePosixPath(path)
    match = _USER_FOLDER.match(path)
    start = match.group(1) if match else pure.anchor
    slash = "\\" if windows else "/"
    if not match and len(pure.parts) > 2:
        start = f"{pure.anchor}{pure.parts[1]}{slash}"
    return f"{start}…{slash}{pure.name}" if len(pure.parts) > 2 else path
