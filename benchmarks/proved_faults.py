"""Networks with a known fault, mended by the tool alone: its top fix is made on the faulty variant, and what comes of it is trained beside the faulty and the
published repaired variant.

The top fix is what `--prove-fixes` recommends: the fixes that helped together, the best one alone where no other helped on top. Where none helped none is
recommended; then the worst finding's fix that did no harm is made all the same, and the row says so. Every variant is trained for as many steps, from as many seeds of weights and order, as `cases.json` gives a metric for (1,000 or 200 steps; three
seeds or one; without a metric 200 steps from one), and measured on up to 512 of its training examples: accuracy, or R² where targets are numbers (from −1
on), the median over the seeds.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.faulty import LOSSES
from trainaudit.auditing import chosen_rules
from trainaudit.changes import Change, shown
from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import Graph
from trainaudit.load.target import Target
from trainaudit.plain import decoded, encoded, finite
from trainaudit.probe.plan import ProbePlan
from trainaudit.probing import probe_target
from trainaudit.report.proof_lines import made
from trainaudit.result import NO_EFFECT, NOT_RUN, PROVED, WORSE, Proof
from trainaudit.settings import Settings

COUNTED = ("static", "probe")
"""Kinds of evidence of the cases that the share is of."""
WITHIN = 0.9
"""Of the repaired variant's metric."""


@dataclass(frozen=True, slots=True)
class Mended:
    """One case: its metric as it is, with the best fix alone, with the top fix, and repaired as published. None where it could not be trained."""

    case: Mapping[str, object]
    proofs: tuple[Proof, ...] = ()
    together: Proof | None = None
    unproved: Proof | None = None
    """Where no fix helped: the worst finding's that did no harm."""
    best: Proof | None = None
    faulty: float | None = None
    alone: float | None = None
    mended: float | None = None
    repaired: float | None = None
    metric: str = ""
    steps: int = 0
    failure: str = ""

    @property
    def is_counted(self) -> bool:
        return self.case["detectability"] in COUNTED

    @property
    def is_mended(self) -> bool:
        """There is a top fix, and with it the variant trains as well as the published repair, or better."""
        return self.top is not None and reaches(self.mended, self.repaired)

    @property
    def is_proved(self) -> bool:
        return self.together is not None and self.is_mended

    @property
    def top(self) -> Proof | None:
        return self.together or self.unproved

    @property
    def is_harmless(self) -> bool:
        """The faulty variant trains as well as the repaired one as it is: no training can tell a fix."""
        return reaches(self.faulty, self.repaired)


def reaches(metric: float | None, wanted: float | None) -> bool:
    return metric is not None and wanted is not None and metric >= wanted - (1 - WITHIN) * abs(wanted)


def cases(folder: Path) -> list[dict[str, Any]]:
    found = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    return [case for case in found if (folder / "py" / f"{case['id']}__faulty.py").exists()]


Metric = tuple[float | None, str]
"""Its value, None where the variant cannot be trained, and its name."""


def baselines(folder: Path, case: Mapping[str, Any], keep: Path | None) -> tuple[Metric, Metric]:
    """Of the faulty and of the repaired variant."""
    return _kept_metric(folder, case, "faulty", (), keep), _kept_metric(folder, case, "fixed", (), keep)


def kept(case: Mapping[str, Any], keep: Path | None) -> Mended | None:
    """What an earlier run found."""
    if keep is None or not (file := keep / f"{case['id']}.json").exists():
        return None
    return decoded(Mended, json.loads(file.read_text(encoding="utf-8")))


def run(folder: Path, case: Mapping[str, Any], budget: float, keep: Path | None) -> Mended:
    """Probes the faulty variant with proofs, and trains all variants."""
    found = kept(case, keep)
    if found is None:
        found = _run(folder, case, budget, keep)
        if keep is not None:
            (keep / f"{case['id']}.json").write_text(json.dumps(finite(encoded(found))), encoding="utf-8")
    return found


def _run(folder: Path, case: Mapping[str, Any], budget: float, keep: Path | None) -> Mended:
    path = str(folder / "py" / f"{case['id']}__faulty.py")
    settings = replace(Settings(), loss=LOSSES.get(case["net"]["loss"]))
    plan = ProbePlan(spec=path, time_budget=budget, prove_fixes=True)
    (faulty, other), (repaired, metric) = baselines(folder, case, keep)
    whole = Mended(case, faulty=faulty, repaired=repaired, metric=metric or other, steps=_length(case)[0])
    try:
        audit = probe_target(Target(f"{path}:build_model"), plan, settings, chosen_rules(settings), _silent).audit
    except TrainauditError as error:
        return replace(whole, failure=str(error))
    proofs = tuple(finding.proof for finding in audit.findings if finding.proof is not None)
    proved = [proof for proof in proofs if proof.verdict == PROVED]
    best = max(proved, key=lambda proof: proof.gain or 0.0, default=None)
    harmless = [proof for proof in proofs if proof.verdict == NO_EFFECT]
    unproved = next(iter(harmless), None) if audit.together is None else None
    top = audit.together or unproved
    print(case["id"], [(proof.rules[0], proof.verdict) for proof in proofs], file=sys.stderr, flush=True)
    return replace(
        whole,
        proofs=proofs,
        together=audit.together,
        unproved=unproved,
        best=best,
        alone=None if best is None else _kept_metric(folder, case, "faulty", best.changes, keep)[0],
        mended=None if top is None else _kept_metric(folder, case, "faulty", top.changes, keep)[0],
    )


def _length(case: Mapping[str, Any]) -> tuple[int, int]:
    """Steps and seeds."""
    known = case.get("probe") or {"fixed": {}}
    return 1000 if "metric_1000" in known["fixed"] else 200, known["fixed"].get("seeds", 1)


def _kept_metric(
    folder: Path, case: Mapping[str, Any], variant: str, changes: Sequence[Change], keep: Path | None
) -> Metric:
    """As it was found before, where it was kept."""
    steps, seeds = _length(case)
    text = repr([shown(change) for change in changes])
    file = (
        None
        if keep is None
        else keep / f"{case['id']}__{variant}.{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    )
    if file is not None and file.exists():
        value, name = json.loads(file.read_text(encoding="utf-8"))
        return value, name
    found = _metric(str(folder / "py" / f"{case['id']}__{variant}.py"), steps, seeds, changes)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found), encoding="utf-8")
    return found


def _metric(path: str, steps: int, seeds: int, changes: Sequence[Change]) -> Metric:
    from trainaudit.auditing import open_and_measure
    from trainaudit.fix.course import train_course
    from trainaudit.fix.module.applying import apply
    from trainaudit.probe.budget import Allowance
    from trainaudit.probe.making import make_trainee, with_inputs_of_data

    found: list[float] = []
    name = ""
    graph: Graph | None = None
    for seed in range(seeds):
        plan = ProbePlan(spec=path, seed=seed)
        target = with_inputs_of_data(Target(f"{path}:build_model", arguments={"seed": seed}), plan)
        if graph is None:
            graph = open_and_measure(target, Settings(), detail=False)[0]
        try:
            trainee = make_trainee(target, plan, graph)
            if trainee.failure is not None:
                return None, ""
            course = train_course(
                apply(trainee, graph, changes, seed=seed) if changes else trainee, seed, steps, Allowance(math.inf)
            )
        except TrainauditError:
            return None, ""
        if course.wrong is not None:
            name = "accuracy"
            found.append(1 - course.wrong)
        elif course.error is not None:
            name = "R²"
            found.append(max(1 - course.error, -1.0))
        else:
            return None, ""
    return statistics.median(found), name


def _silent(_stage: str, _share: float) -> None:
    """Says nothing of how far it is."""


# --- the table -----------------------------------------------------------------------------------------------------------


def table(found: Sequence[Mended]) -> list[str]:
    counted = [one for one in found if one.is_counted]
    harmed = [one for one in counted if not one.is_harmless]
    return [
        f"Of the {len(counted)} static and probe cases, {_share(counted)} train as well with the tool's top fix as with the published repair "
        f"(within {1 - WITHIN:.0%} of its metric, or better); in {sum(one.is_proved for one in counted)} of them that fix was proved.",
        "",
        f"{len(counted) - len(harmed)} of them train as well as the repaired variant as they are, so that no training tells a fix from none; of the "
        f"{len(harmed)} others {_share(harmed)} are mended. "
        f"With the best fix alone, in place of all that helped: {sum(_is_alone(one) for one in counted)} of {len(counted)}.",
        "",
        "| case | evidence | metric | faulty | best fix alone | top fix | repaired | mended | top fix: rules |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row(one) for one in found),
        "",
        "## Fixes that did not help",
        "",
        "Tried alone beside the faulty variant, with the verdict of the proof. They are not recommended.",
        "",
        "| case | rule | verdict | what was made | why |",
        "|---|---|---|---|---|",
        *(_refuted(str(one.case["id"]), proof) for one in found for proof in one.proofs if proof.verdict != PROVED),
    ]


def _share(found: Sequence[Mended]) -> str:
    count = sum(one.is_mended for one in found)
    return f"{count} ({count / max(len(found), 1):.0%})"


def _is_alone(one: Mended) -> bool:
    return one.best is not None and reaches(one.alone, one.repaired)


def row(one: Mended) -> str:
    numbers = [_number(value) for value in (one.faulty, one.alone, one.mended, one.repaired)]
    word = ("yes" if one.is_mended else "no") + (" (trains as it is)" if one.is_harmless else "")
    top = one.top
    rules = one.failure or ("no fix" if top is None else ", ".join(top.rules))
    if one.unproved is not None:
        rules += " (no effect proved)"
    cells = [
        str(one.case["id"]),
        str(one.case["detectability"]),
        f"{one.metric} after {one.steps}",
        *numbers,
        word,
        rules,
    ]
    return "| " + " | ".join(cells) + " |"


def _refuted(case: str, proof: Proof) -> str:
    assert proof.verdict in (NO_EFFECT, WORSE, NOT_RUN)
    gain = "" if proof.gain is None else f" ({proof.compared} × {math.exp(-proof.gain):.2f})"
    return f"| {case} | {', '.join(proof.rules)} | {proof.verdict}{gain} | {made(proof)} | {proof.reason} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
