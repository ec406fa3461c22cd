"""Where a traced call comes from: the module path, its class, and the user's own line, in the words that `naming.Namer` reads."""

from __future__ import annotations

from typing import Any

_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"


def metadata_of(node: Any, spelling: str) -> dict[str, str]:
    """The metadata that torch's ONNX exporter would leave in a node: module scopes, classes, and the stack of calls."""
    found = node.meta.get("nn_module_stack") or {}
    stack = [entry for key, entry in found.items() if not key.startswith(_NO_MODULE)]
    paths = [path for path, _ in stack]
    classes = [kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}" for _, kind in stack]
    metadata = {
        "pkg.torch.onnx.name_scopes": repr([*paths, spelling]),
        "pkg.torch.onnx.class_hierarchy": repr([*classes, spelling]),
    }
    trace = node.meta.get("stack_trace")
    if trace:
        metadata["pkg.torch.onnx.stack_trace"] = trace
    return metadata
