"""What the record says about the model itself, from its graph and facts. May import `ir`, `measure.facts`, `load.target` and `result`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trainaudit.ir.graph import Graph
from trainaudit.load.target import WEIGHTS_ALONE
from trainaudit.measure.facts import FactTable, FactValue
from trainaudit.result import ModelInfo

COVERED = 0.9
"""Recognition coverage below which a report warns that it is incomplete."""
OLDEST_OPSET, NEWEST_OPSET = 7, 28
"""Opsets of ai.onnx whose operators are known; 28 is the newest of onnx 1.23."""


def model_info(target: str, graph: Graph, table: FactTable, digest: str) -> ModelInfo:
    """The model called `target`; `digest` is its file's SHA-256, "" where it was not asked for."""

    def fact(name: str) -> FactValue | None:
        return table.columns.get(name, {}).get("model")

    def described(names: Sequence[str]) -> tuple[str, ...]:
        values = [graph.values[name] for name in names]
        return tuple(
            f"{value.name}: {value.dtype or 'unknown'}"
            f"[{'…' if value.shape is None else ', '.join('?' if size is None else str(size) for size in value.shape)}]"
            for value in values
        )

    count, state, predicted = (
        fact(f"model.{name}") for name in ("parameter_count", "weights_state", "signal_coverage")
    )
    unknown = sum(times for _, times in graph.unrecognized)
    return ModelInfo(
        name=Path(target).name or target,
        format=graph.origin.format,
        size=graph.origin.size,
        sha256=digest,
        opset=graph.origin.opset,
        producer=graph.origin.producer,
        form=graph.form,
        inputs=described(graph.inputs),
        outputs=described(graph.outputs),
        parameter_count=count if isinstance(count, int) else 0,
        layer_count=len(graph.layers),
        node_count=graph.node_count,
        coverage=1.0 - unknown / graph.node_count if graph.node_count else 1.0,
        unrecognized=graph.unrecognized,
        weights_state=state if isinstance(state, str) else "unknown",
        signal_coverage=predicted if isinstance(predicted, float) else None,
        capture=graph.origin.capture,
        file=shown_target(graph.origin.path) if graph.origin.path else "",
        line=graph.origin.line,
    )


_MADE = "The graph makes its weights itself (constant fills or random draws), so the file holds none to judge: rules on weights were not run."
_NO_VALUES = (
    "The weights have no values (they are on the meta device, or the code makes them while it runs): rules on weights were not run. "
    "Build the model on the CPU to have them judged."
)


def model_warnings(model: ModelInfo) -> tuple[str, ...]:
    """What limits what is said about the model, as sentences."""
    warnings: list[str] = []
    if model.weights_state == "generated":
        warnings.append(_MADE if model.format == "onnx" else _NO_VALUES)
    if model.coverage < COVERED:
        warnings.append(
            f"Only {model.coverage * 100:.0f} % of the nodes were recognized: what is said here is about those, and the rest was not checked."
        )
    if model.opset is not None and not OLDEST_OPSET <= model.opset <= NEWEST_OPSET:
        warnings.append(
            f"The file uses opset {model.opset}; opsets {OLDEST_OPSET} to {NEWEST_OPSET} are known. What changed outside them may be misread."
        )
    return tuple(warnings)


def evidence_of(model: ModelInfo) -> tuple[str, ...]:
    """The levels of evidence that a static audit of the model reached."""
    if model.capture == WEIGHTS_ALONE:
        return ("weights",)
    return ("structure",) if model.weights_state == "generated" else ("structure", "weights")


def shown_target(path: str) -> str:
    """A path as the record holds it: as typed; an absolute one relative to the working folder, or outside it the file's name alone, so that
    records can be passed on and a baseline does not depend on how a path was typed."""
    if path.startswith("hf:"):
        return f"hf:{shown_target(path.removeprefix('hf:'))}"
    if not Path(path).is_absolute():
        return path
    relative = os.path.relpath(path)
    return Path(path).name if relative.startswith("..") else relative
