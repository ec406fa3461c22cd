"""Names a person knows: module paths, classes and source lines from what exporters leave in a node. Stdlib, ir and load.raw only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainaudit.ir.graph import Source
from trainaudit.load.raw import RawNode

_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)')
_ITEM = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_OUTSIDE = ("site-packages", "dist-packages", "<frozen", "/lib/python", "\\lib\\python")
_OF_TORCH = re.compile(
    r"[/\\]torch[/\\](nn|_\w+|fx|utils|export|onnx|jit|autograd|ao|distributed|optim|func)[/\\.]|[/\\]torch[/\\](functional|_\w+)\.py"
)
"""Files of torch itself, wherever it lies; a user's folder may be called torch too."""
_PARAMETER_WORDS = frozenset(
    {
        "weight", "bias", "weight_bias", "in_proj_weight", "in_proj_bias", "kernel", "gamma", "beta", "running_mean",
        "running_var", "moving_mean", "moving_variance", "embeddings", "weight_g", "weight_v", "original0", "original1",
    }
)  # fmt: skip


def _items(text: str) -> list[str]:
    """The strings of a Python list literal (read, not evaluated)."""
    return [first or second for first, second in _ITEM.findall(text)]


class Namer:
    """Reads sources node by node. Repeated metadata texts are parsed once, and nodes of one place share its source."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[str | None, int | None]] = {}
        self._scopes: dict[tuple[str, str], tuple[str | None, str | None]] = {}
        self._paths: dict[str, str] = {}
        self._heads: dict[str, Source] = {}
        self._sources: dict[tuple[object, ...], Source] = {}
        self._here = str(Path.cwd())

    def sources_of(self, nodes: Iterable[RawNode | None]) -> list[Source]:
        """Where each node comes from; None stands for no node."""
        known, nowhere = self._heads, Source()
        found: list[Source] = []
        for node in nodes:
            if node is None:
                found.append(nowhere)
            elif node.metadata:
                found.append(self._noted(node))
            else:
                name = node.name
                head = name[: max(name.rfind("/"), 0)]
                source = known.get(head)
                if source is None:
                    source = known[head] = Source(_path(head))
                found.append(source)
        return found

    def _noted(self, node: RawNode) -> Source:
        """What the node's metadata say, and its name where they do not name a module."""
        metadata = node.metadata
        module: str | None = None
        kind: str | None = None
        file: str | None = None
        line: int | None = None
        scopes = metadata.get("pkg.torch.onnx.name_scopes")
        if scopes:
            module, kind = self._scope(scopes, metadata.get("pkg.torch.onnx.class_hierarchy", ""))
        elif "namespace" in metadata:
            module, kind = self._namespace(metadata["namespace"])
        trace = metadata.get("pkg.torch.onnx.stack_trace")
        if trace:
            file, line = self._frame(trace)
        if module is None:
            module = _path(node.name.rpartition("/")[0])
        key = module, kind, file, line
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = Source(*key)
        return source

    def _scope(self, scopes: str, classes: str) -> tuple[str | None, str | None]:
        key = (scopes, classes)
        found = self._scopes.get(key)
        if found is None:
            paths = _items(scopes)
            kinds = _items(classes)
            # The last entry names the operation inside the module ("linear"), not a module.
            path = paths[-2] if len(paths) > 1 else ""
            kind = kinds[len(paths) - 2] if len(paths) > 1 and len(kinds) >= len(paths) - 1 else None
            found = self._scopes[key] = (path or None, kind)
        return found

    def _namespace(self, text: str) -> tuple[str | None, str | None]:
        key = (text, "")
        found = self._scopes.get(key)
        if found is None:
            parts = [part.partition(": ") for part in text.split("/")]
            inner = parts[-2] if len(parts) > 1 else ("", "", "")
            found = self._scopes[key] = (inner[0].strip() or None, inner[2].strip() or None)
        return found

    def _frame(self, trace: str) -> tuple[str | None, int | None]:
        found = self._lines.get(trace)
        if found is None:
            found = self._lines[trace] = self._choose(_FRAME.findall(trace))
        return found

    def _choose(self, frames: list[tuple[str, str]]) -> tuple[str | None, int | None]:
        """The innermost frame of the user's own code, else the innermost one outside torch."""
        outside_torch: tuple[str, str] | None = None
        for path, line in reversed(frames):
            is_torch = _OF_TORCH.search(path) is not None
            if not is_torch and not any(mark in path for mark in _OUTSIDE):
                return self._shown(path), int(line)
            if outside_torch is None and not is_torch and not path.endswith("torch/__init__.py"):
                outside_torch = (path, line)
        if outside_torch is None:
            return None, None
        return self._shown(outside_torch[0]), int(outside_torch[1])

    def _shown(self, path: str) -> str:
        """Relative to the working directory where the file is inside it, else the last two components."""
        shown = self._paths.get(path)
        if shown is None:
            if path.startswith(self._here + "/"):
                shown = path[len(self._here) + 1 :]
            else:
                shown = "/".join([part for part in path.replace("\\", "/").split("/") if part][-2:])
            self._paths[path] = shown
        return shown


def _path(head: str) -> str | None:
    """The module path in a node's name without its last part: TorchScript's "/encoder/layers.0/fc1" is "encoder.layers.0.fc1", TensorFlow's
    "StatefulPartitionedCall/net/dense" is "net.dense"."""
    is_called = "PartitionedCall" in head
    if not is_called and head.rfind("/") <= 0:
        return head.removeprefix("/") or None
    parts: list[str] = []
    for part in head.split("/"):
        if not part or (is_called and part.startswith(("StatefulPartitionedCall", "PartitionedCall"))):
            continue
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part  # a Sequential says its own name again: /mlp/mlp.0
        else:
            parts.append(part)
    return ".".join(parts) or None


def path_of_parameter(name: str) -> str | None:
    """The module path in a parameter's name ("encoder.layers.0.fc1.weight" → "encoder.layers.0.fc1")."""
    head, dot, tail = name.rpartition(".")
    if not dot or not head or (tail not in _PARAMETER_WORDS and not tail.startswith(("weight_", "bias_"))):
        return None
    return head.partition(".parametrizations.")[0]


def layer_names(modules: list[str | None], ops: Sequence[str], nodes: list[str], weighted: list[bool]) -> list[str]:
    """One unique name per layer: the module path where the layer is the module's only one, or its only one with parameters; else
    path and op; without a module the node's name, else the op. Numbered where that is taken."""
    counts = Counter(modules)
    owners = Counter([module for module, has_weight in zip(modules, weighted, strict=True) if has_weight])
    taken: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for module, op, node, has_weight in zip(modules, ops, nodes, weighted, strict=True):
        if module:
            alone = counts[module] == 1 or (has_weight and owners[module] == 1)
            name = module if alone else f"{module}.{op}"
        else:
            name = node or str(op)
        if name in taken:
            number = numbers.get(name, 1)
            while f"{name}_{number}" in taken:
                number += 1
            numbers[name] = number + 1
            name = f"{name}_{number}"
        taken[name] = None
    return list(taken)
