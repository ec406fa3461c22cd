"""The proof of fixes, read top-down: which changes mend a finding → each made on a copy and trained → ranked → together → the record.

Called by `probing` when fixes are to be proved. torch is imported inside functions only.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainaudit.changes import Change
from trainaudit.ir.graph import Graph
from trainaudit.measure.measuring import measure
from trainaudit.probe.budget import Allowance
from trainaudit.probe.plan import ProbePlan
from trainaudit.result import NOT_RUN, Audit, Effect, Finding, Proof

if TYPE_CHECKING:
    from trainaudit.fix.proving import Changes, Trial
    from trainaudit.probe.trainee import Trainee

STAGE = "proving fixes"
SHARE = 0.6
"""Of the time budget, for proofs; what the probe leaves of its own share comes on top."""
STEPS, MORE_STEPS, SMALL = 60, 300, 1_000_000
"""Of each run, where the plan names no number: enough to tell networks that train from those that do not. Where parameters times examples in a batch are
fewer than a million a step costs next to nothing, and more of them show what is slow, too. The same on every machine."""
_LEAST_SEEDS = 3
"""Fewer pairs have no spread to hold a difference against."""
_SCALED = frozenset({"loss", "mean-loss", "minimize", "standardize-targets", "batch-size", "align-target"})
"""Kinds of changes after which the loss is of another kind, scale or sign."""
_BEFORE_LOSS = frozenset({"insert-activation", "swap-activation", "drop-layer", "softmax-axis", "scale-branch"})
_ANY_OUTPUT = ("mse", "l1", "huber")
"""Losses that say the same of an output whatever activation function it went through. Those of classes do not: behind a softmax no answer, however wrong,
costs a cross-entropy more than ln(e + C − 1), so that the right output may cost more while it is better."""


def prove_findings(
    audit: Audit,
    trainee: Trainee,
    graph: Graph,
    plan: ProbePlan,
    ends: float,
    progress: Callable[[str, float], None],
    path: str = "",
) -> Audit:
    """The audit with the proof of every live finding's fix that a machine can make, and of the fixes together. `ends` is a time of
    `time.perf_counter`, `path` that of an ONNX file that the trainee was made of. Ctrl-C ends it with the proofs that are there."""
    from trainaudit.fix.together import prove_together

    began = time.perf_counter()
    wanted = {
        place: changes
        for place, finding in enumerate(audit.findings)
        if finding.is_live and (changes := changes_of(finding))
    }
    if not wanted:
        return audit
    trial = _trial(audit, trainee, graph, plan, Allowance(ends), path)
    proofs: dict[int, Proof] = {}
    together = None
    try:
        for number, (place, changes) in enumerate(wanted.items()):
            progress(STAGE, number / (len(wanted) + 1))
            proofs[place] = _proof(trial, audit, audit.findings[place], changes)
        progress(STAGE, len(wanted) / (len(wanted) + 1))
        together = prove_together(trial, list(proofs.values()))
    except KeyboardInterrupt:
        for place, changes in wanted.items():
            rules = (audit.findings[place].rule,)
            proofs.setdefault(place, Proof(NOT_RUN, "the run was interrupted before it", rules, changes))
    progress(STAGE, 1.0)
    return replace(
        audit,
        findings=tuple(replace(finding, proof=proofs.get(place)) for place, finding in enumerate(audit.findings)),
        together=together,
        warnings=(*audit.warnings, *_cuts(list(proofs.values()), plan)),
        timings={**audit.timings, "proofs": time.perf_counter() - began},
    )


def changes_of(finding: Finding) -> tuple[Change, ...]:
    """Of all its occurrences, each once."""
    return tuple(dict.fromkeys(change for one in finding.occurrences for change in one.changes))


def _trial(audit: Audit, trainee: Trainee, graph: Graph, plan: ProbePlan, allowance: Allowance, path: str) -> Trial:
    from trainaudit.fix.module.applying import apply
    from trainaudit.fix.proving import Trial

    command = f"trainaudit probe {shlex.quote(audit.target)} --prove-fixes --time-budget {4 * plan.time_budget:g}"
    return Trial(
        trainee=trainee,
        apply=lambda made, changes, seed: apply(made, graph, changes, seed=seed),
        alters_loss=partial(alters_loss, graph, trainee.loss),
        predict=partial(_predicted, graph=graph, path=path),
        seeds=tuple(plan.seed + 1 + place for place in range(max(plan.repeats, _LEAST_SEEDS))),
        steps=plan.steps or _steps(trainee),
        allowance=allowance,
        suggest=(lambda *_: None) if path else partial(_suggested_rate, allowance),
        command=command,
    )


def _steps(trainee: Trainee) -> int:
    parameters = sum(item.numel() for item in trainee.model.parameters())
    return MORE_STEPS if parameters * trainee.train[0].size < SMALL else STEPS


def _proof(trial: Trial, audit: Audit, finding: Finding, changes: Changes) -> Proof:
    from trainaudit.fix.proving import prove

    proof = prove(trial, (finding.rule,), changes)
    if proof.gain is None or not _stands_on_overfitting(audit, finding):
        return proof
    return replace(proof, effects=(*proof.effects, *_overfit(trial, changes)))


def _cuts(proofs: Sequence[Proof], plan: ProbePlan) -> tuple[str, ...]:
    cut = sum(proof.reason.startswith("cut") for proof in proofs)
    if not cut:
        return ()
    return (
        f"{cut} of {len(proofs)} fixes could not be proved within the time budget of {plan.time_budget:g} s, of which proofs take "
        f"{SHARE:.0%}: give it more with --time-budget.",
    )


# --- which losses can be compared ----------------------------------------------------------------------------------------


def alters_loss(graph: Graph, loss: str, changes: Sequence[Change]) -> bool:
    """Some change makes the loss another one, or changes what it reads where it is no loss of just any number."""
    for change in changes:
        if change.kind in _SCALED:
            return True
        if change.kind in _BEFORE_LOSS and loss not in _ANY_OUTPUT and _is_behind_weights(graph, change.where):
            return True
    return False


def _is_behind_weights(graph: Graph, name: str) -> bool:
    """No layer with weights reads, at whatever distance, what this one gives."""
    readers: dict[str, list[int]] = {}
    for place, layer in enumerate(graph.layers):
        for value in layer.inputs:
            readers.setdefault(value, []).append(place)
    places = {layer.name: place for place, layer in enumerate(graph.layers)}
    if name not in places:
        return False
    waiting, seen = [places[name]], set()
    while waiting:
        for value in graph.layers[waiting.pop()].outputs:
            for place in readers.get(value, ()):
                if graph.layers[place].parameters:
                    return False
                if place not in seen:
                    seen.add(place)
                    waiting.append(place)
    return True


# --- what is told beside the runs ----------------------------------------------------------------------------------------


def _predicted(trainee: Trainee, changes: Changes, graph: Graph, path: str) -> Mapping[str, float] | str:
    """From graph and weights alone: of an ONNX file that is changed likewise, or of the module as it is with its changes."""
    try:
        if changes:
            found = _file_with(path, graph, changes) if path else _graph_of(trainee)
            if isinstance(found, str):
                return f"nothing is predicted: {found}"
            graph = found
        columns = measure(graph, loss=None, expects={}, ranges={}).columns
    except Exception as error:  # whatever a tracer raises on a module that was changed
        return f"nothing is predicted: the changed model could not be read ({type(error).__name__})"
    ratio = columns.get("model.predicted_gradient_ratio", {}).get("model")
    shares = [share for share in columns.get("layer.predicted_dead_share", {}).values() if isinstance(share, float)]
    deviations = [std for std in columns.get("layer.predicted_logit_std", {}).values() if isinstance(std, float)]
    values = {
        "gradient ratio": ratio if isinstance(ratio, float) else None,
        "dead share": max(shares, default=None),
        "logit std": max(deviations, default=None),
    }
    known = {name: value for name, value in values.items() if value is not None}
    return known or "nothing is predicted: no signal is predicted for this model"


def _graph_of(trainee: Trainee) -> Graph | str:
    from trainaudit.load.torch.opening import open_object
    from trainaudit.load.torch.quiet import aside
    from trainaudit.probe.batches import take

    batch = take(trainee.train[0], range(min(trainee.train[0].size, 2)))
    if bool(batch.args) == bool(batch.kwargs):
        return "the module takes its inputs in a way that its graph is not read with"
    with aside():
        return open_object(trainee.model, batch.args or dict(batch.kwargs), (), type(trainee.model).__name__)


def _file_with(path: str, graph: Graph, changes: Changes) -> Graph | str:
    """The graph of a changed copy of the file, which is gone afterwards."""
    from tempfile import TemporaryDirectory

    from trainaudit.fix.file.applying import apply
    from trainaudit.load.from_onnx import load_onnx

    with TemporaryDirectory() as folder:
        out = Path(folder) / Path(path).name
        refused = apply(path, graph, changes, out, unsafe=True).refused
        return refused[0].reason if refused else load_onnx(str(out))


def _suggested_rate(allowance: Allowance, trainee: Trainee, seed: int) -> float | None:
    """A file holds no rate, so that this is for models in code."""
    from trainaudit.probe.experiments.conditions import Conditions
    from trainaudit.probe.experiments.rate_range import learning_rate_range

    found = learning_rate_range(Conditions(trainee, seed, 1, allowance)).values.get("suggested")
    return found if isinstance(found, float) else None


def _stands_on_overfitting(audit: Audit, finding: Finding) -> bool:
    """One batch was not learned by heart, and that is what the finding says, or it is about the output, which such a floor comes from."""
    if any("overfit" in evidence.fact for evidence in finding.root.evidence):
        return True
    ran = None if audit.trace is None else audit.trace.experiments.get("overfit-one-batch")
    return finding.category == "output" and ran is not None and bool(ran.values.get("is_stalled"))


def _overfit(trial: Trial, changes: Changes) -> tuple[Effect, ...]:
    """The loss to which one small batch can be learned, with the experiment's own optimizer."""
    from trainaudit.probe.experiments.conditions import Conditions
    from trainaudit.probe.experiments.overfit import overfit_one_batch

    found = []
    for made in ((), changes):
        conditions = Conditions(trial.made(made, trial.seeds[0]), trial.seeds[0], 1, trial.allowance)
        ran = overfit_one_batch(conditions)
        value = ran.values.get("final_loss")
        if ran.reason or not isinstance(value, float):
            return ()
        found.append(value)
    return (Effect("loss of one batch learned by heart", "", found[0], found[1], True),)
