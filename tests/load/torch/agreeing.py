"""What an audit of a module and one of its exported file may differ in: graphs for the reasons below, findings for what only one of them sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.load.torch.comparing import first_name
from trainaudit.ir.graph import Graph
from trainaudit.result import Finding, Occurrence

DIFFERENT: dict[tuple[str, str], str] = {
    (
        "cohere",
        "torchscript",
    ): "the exporter writes two heads where the module has four, and onnxruntime cannot run the file",
    (
        "dinov2",
        "torchscript",
    ): "while it is traced, transformers resizes the table of positions, to the size that it has",
}
"""(network, exporter) → why its graphs legitimately differ."""

Found = set[tuple[str, str]]
"""Findings as (rule, subject)."""


def findings_of(findings: Iterable[Finding]) -> Found:
    """(rule, subject) of all findings. A layer goes by its module, or by its kind where it has none, since the number in its name depends
    on the layers beside it; an output by its layer's kind. What a finding says about the file alone (leaked paths) is left out."""
    return {
        (finding.rule, _subject(finding.kind, occurrence))
        for finding in findings
        if finding.rule not in _OF_FILES
        for occurrence in finding.occurrences
    }


def unlike(module: Found, file: Found, graph: Graph, stored: Mapping[str, str]) -> tuple[Found, Found]:
    """What a module's findings and those of its file, whose graph is given, do not share; and those of the module that are left out of
    it, because they are on parameters that the file does not hold: no call reads them."""
    shown = {(rule, first_name(subject, stored)) for rule, subject in file}
    held = {first_name(name, stored) for name in graph.parameters}
    more = module ^ shown
    alone = {(rule, subject) for rule, subject in more if rule == "unused-parameter" and subject not in held}
    return more - alone, alone


_OF_FILES = ("leaked-paths",)


def _subject(kind: str, occurrence: Occurrence) -> str:
    place = occurrence.location
    return occurrence.subject if kind not in ("layer", "output") else place.module or place.op or kind
