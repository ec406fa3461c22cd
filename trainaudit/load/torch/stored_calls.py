"""Calls that read nothing but stored tensors and that canonicalisation does not compute (products, decompositions): computed by torch when
somebody reads them. Spectral and orthogonal parametrizations are made of such. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainaudit.load.datatypes import Array
from trainaudit.load.known import ComputedData
from trainaudit.load.torch.emit import traced
from trainaudit.load.torch.tensors import TorchTensor, type_word

PRODUCTS = frozenset({"mv", "vdot", "dot", "mm", "bmm", "matmul", "addmm", "linear"})
"""Operators that have a translation, which a layer without an input would be made of."""


def computed_from(node: Any, stored: Mapping[Any, tuple[str, Any]]) -> ComputedData | None:
    """What a call gives, where everything it reads goes back to stored tensors; None where it does not, or where it draws at random."""
    import torch

    value = traced(node)
    if not isinstance(value, torch.Tensor) or not all(isinstance(size, int) for size in value.shape):
        return None
    if not _is_stored(node, stored, {}):
        return None

    def compute() -> Array:
        with torch.no_grad():
            return TorchTensor(_value(node, stored, {})).read()

    return ComputedData(tuple(int(size) for size in value.shape), type_word(value.dtype), compute)


def sources_of(node: Any, stored: Mapping[Any, tuple[str, Any]]) -> set[Any]:
    """The placeholders and attributes that a call goes back to."""
    found: set[Any] = set()
    pending, seen = [node], {node}
    while pending:
        current = pending.pop()
        if current in stored:
            found.add(current)
            continue
        for source in current.all_input_nodes:
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return found


def _is_stored(node: Any, stored: Mapping[Any, tuple[str, Any]], known: dict[Any, bool]) -> bool:
    if node in stored:
        return not stored[node][1].is_meta
    if node not in known:
        tags = getattr(node.target, "tags", ())
        draws = any("nondeterministic_seeded" in str(tag) for tag in tags)
        known[node] = (
            node.op == "call_function"
            and not draws
            and bool(node.all_input_nodes)
            and all(_is_stored(source, stored, known) for source in node.all_input_nodes)
        )
    return known[node]


def _value(node: Any, stored: Mapping[Any, tuple[str, Any]], known: dict[Any, Any]) -> Any:
    """The call carried out on copies, so that what it changes in place is not the module's."""
    import torch
    from torch.utils._pytree import tree_map

    if node in stored:
        return stored[node][1].detach().clone()
    if node not in known:
        args, kwargs = tree_map(
            lambda item: _value(item, stored, known) if isinstance(item, torch.fx.Node) else item,
            (tuple(node.args), dict(node.kwargs)),
            is_leaf=lambda item: isinstance(item, torch.fx.Node),
        )
        known[node] = node.target(*args, **kwargs)
    return known[node]
