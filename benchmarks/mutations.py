"""Faults put into healthy networks one at a time, and what the rules say.

Each mutated network is exported, in training form unless the mutation says otherwise, by torch's TorchScript exporter (the self-normalizing one by the newer exporter) and
audited. *right* is a rule that names the fault, at the mutated layer or the block that holds it; *elsewhere* such a rule at other
layers only; *other* some other error or warning; *silent* none. Needs torch and onnx.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

import trainaudit
from benchmarks import mutations_of_files, mutations_of_modules, mutations_of_weights
from benchmarks.exports import network
from benchmarks.mutation import Mutation
from tests.corpus.exporting import ONLY_DYNAMO, export
from trainaudit.result import Audit, Finding

MUTATIONS = (*mutations_of_weights.MUTATIONS, *mutations_of_modules.MUTATIONS, *mutations_of_files.MUTATIONS)
VERDICTS = ("right", "elsewhere", "other", "silent")


@dataclass(frozen=True, slots=True)
class Tried:
    """One mutation on one network. `fired` holds the ids of all rules that were violated, notes included."""

    mutation: Mutation
    network: str
    verdict: str
    fired: tuple[str, ...]


def audit_of(mutation: Mutation, name: str, folder: Path) -> Audit:
    """Builds, mutates, exports and audits."""
    path = folder / "mutated.onnx"
    place = mutation.places[name]
    model, example = network(name, is_trained=mutation.is_trained)
    if mutation.change is not None:
        model = mutation.change(model, place)
    if any(parameter.dtype.itemsize == 2 for parameter in model.parameters()):
        example = tuple(value.half() if value.is_floating_point() else value for value in example)
    export(model, example, path, exporter="dynamo" if name in ONLY_DYNAMO else "torchscript", form=mutation.form)
    if mutation.change_file is not None:
        proto = onnx.load(path)
        mutation.change_file(proto, place)
        onnx.save(proto, path)
    return trainaudit.audit(path, loss=mutation.loss)


def verdict(mutation: Mutation, place: str, audit: Audit) -> str:
    named = [finding for finding in audit.findings if finding.rule in mutation.rules]
    if any(_is_at(finding, place) for finding in named):
        return "right"
    if named:
        return "elsewhere"
    return "other" if any(finding.severity.value != "note" for finding in audit.findings) else "silent"


def _is_at(finding: Finding, place: str) -> bool:
    """Whether a finding names the place: it, what is inside it, the block that holds it, or a step that was put behind the network."""
    if not place:
        return True
    for occurrence in finding.occurrences:
        if re.search(rf"\b{re.escape(place)}\b", occurrence.message):
            return True
        location = occurrence.location
        for name in (occurrence.subject, location.layer, location.module, location.parameter):
            bare = (name or "").removeprefix("model.")
            if bare == place or bare.startswith((f"{place}.", "step")) or (bare and place.startswith(f"{bare}.")):
                return True
    return False


def run(wanted: str = "") -> Iterator[Tried]:
    """Every mutation whose name contains `wanted`, on all its networks; each is printed as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        for mutation in MUTATIONS:
            if wanted not in mutation.name:
                continue
            for name, place in mutation.places.items():
                audit = audit_of(mutation, name, Path(folder))
                fired = tuple(finding.rule for finding in audit.findings)
                tried = Tried(mutation, name, verdict(mutation, place, audit), fired)
                print(f"{tried.verdict:9} {mutation.name} · {name}: {', '.join(fired) or 'nothing'}", flush=True)
                yield tried


def table(tried: list[Tried]) -> list[str]:
    total = Counter(one.verdict for one in tried)
    lines = [
        f"{len(tried)} mutated networks of {len({one.mutation.name for one in tried})} kinds: "
        + ", ".join(f"{total[name]} {name}" for name in VERDICTS) + ".",
        "",
        "| mutation | rules that name it | tried | right | elsewhere | other | silent | missed on |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for mutation in MUTATIONS:
        of_it = [one for one in tried if one.mutation is mutation]
        counts = Counter(one.verdict for one in of_it)
        missed = [
            f"{one.network} ({', '.join(one.fired) or 'silent'})" for one in of_it if one.verdict in ("other", "silent")
        ]
        trained = " (trained weights)" if mutation.is_trained else ""
        loss = f" (loss {mutation.loss})" if mutation.loss else ""
        lines.append(
            f"| {mutation.name}{trained}{loss} | {', '.join(mutation.rules)} | {len(of_it)} | "
            + " | ".join(str(counts[name]) for name in VERDICTS) + f" | {', '.join(missed) or '–'} |"
        )  # fmt: skip
    return lines
