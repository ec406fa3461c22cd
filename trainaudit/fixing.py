"""The repair of a model file, read top-down: audit → choose what is made, and say why not of the rest → plan → write → audit again.

May import `probing`, `auditing` and the rooms below them; nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainaudit.auditing import judge_measured, open_and_measure
from trainaudit.changes import GRAPH, KINDS, TRAINING, WEIGHTS
from trainaudit.errors import TrainauditError
from trainaudit.fix.file.applying import Plan, Wanted, plan, write
from trainaudit.fix.file.describing import Edit
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph
from trainaudit.judge.rule import Rule
from trainaudit.load.target import Kind, Target, split_python
from trainaudit.probe.plan import ProbePlan
from trainaudit.result import PROVED, Audit, Finding, Proof
from trainaudit.settings import Settings

if TYPE_CHECKING:
    from trainaudit.fix.source.proposing import Proposal

ADVICE = "no machine can make it"
"""Why a finding without changes is left."""


@frozen
class Choice:
    """A finding, the changes that are to mend it (one group for each place), and why they are not to be made ("" where they are)."""

    finding: Finding
    wanted: tuple[Wanted, ...]
    reason: str = ""
    proof: str = ""
    """By which proof they are made, in words; "" where none was asked for."""


@frozen(eq=False)
class Repair:
    """What is found, what of it a new file mends, and how. `found` is the whole audit, `choices` are about its live findings, one for each."""

    target: Target
    graph: Graph
    found: Audit
    choices: tuple[Choice, ...]
    plan: Plan
    unsafe: bool = False
    seed: int = 0
    is_proved: bool = False

    @property
    def reasons(self) -> tuple[tuple[Finding, str], ...]:
        """Findings that stay, or that stay in some places, and why."""
        return _reasons(self.choices, {id(item.wanted): item.reason for item in self.plan.refused})


@frozen(eq=False)
class CodeRepair:
    """The same for Python, where what is made is a proposal: patches, and changes whose place is not certain."""

    found: Audit
    choices: tuple[Choice, ...]
    proposal: Proposal

    @property
    def reasons(self) -> tuple[tuple[Finding, str], ...]:
        return _reasons(self.choices, {id(item.wanted): item.reason for item in self.proposal.unplaced})


def _reasons(choices: Iterable[Choice], refused: Mapping[int, str]) -> tuple[tuple[Finding, str], ...]:
    found: list[tuple[Finding, str]] = []
    for choice in choices:
        why = [choice.reason] if choice.reason else []
        why += [refused[id(group)] for group in choice.wanted if id(group) in refused]
        found += [(choice.finding, reason) for reason in dict.fromkeys(why)]
    return tuple(found)


def plan_repair(
    target: Target, settings: Settings, rules: Sequence[Rule], *, unsafe: bool, seed: int, proved: Audit | None = None
) -> Repair:
    """Audits an ONNX file and plans what would mend it. `proved` is a record with proofs, of which only the proved fixes are made.

    Raises `TrainauditError` where the target is no ONNX file, or cannot be audited.
    """
    if target.kind is not Kind.ONNX:
        raise TrainauditError(
            "cannot-fix", f"{target.spec} is neither an ONNX file nor PyTorch code, and nothing else can be fixed.",
            "Export the model to ONNX, or name the Python that makes it.",
        )  # fmt: skip
    graph, measured = open_and_measure(target, settings, detail=False)
    found = judge_measured(measured, settings, rules, detail=False).audit
    parts = (WEIGHTS, GRAPH) if unsafe else (WEIGHTS,)
    choices = choices_of(found if proved is None else proved, parts, is_proved=proved is not None)
    wanted = [group for choice in choices for group in choice.wanted]
    return Repair(
        target,
        graph,
        found,
        choices,
        plan(target.path, graph, wanted, unsafe=unsafe, seed=seed),
        unsafe,
        seed,
        proved is not None,
    )


def plan_code(
    target: Target,
    settings: Settings,
    rules: Sequence[Rule],
    *,
    unsafe: bool,
    spec: str,
    folder: Path,
    proved: Audit | None = None,
) -> CodeRepair:
    """Audits what the user's Python makes and proposes changes of the files below `folder`. The code is imported, as an audit does.

    `spec` is the file whose make_optimizer counts, "" for the target's own file. Raises `TrainauditError` where the target cannot be audited.
    """
    from trainaudit.fix.source.proposing import propose
    from trainaudit.load.torch.importing import attribute_of, import_target
    from trainaudit.load.torch.quiet import aside
    from trainaudit.load.torch.resolving import resolve

    graph, measured = open_and_measure(target, settings, detail=False)
    found = judge_measured(measured, settings, rules, detail=False).audit
    parts = (WEIGHTS, GRAPH, TRAINING) if unsafe else (WEIGHTS, TRAINING)
    choices = choices_of(found if proved is None else proved, parts, is_proved=proved is not None)
    wanted = [group for choice in choices for group in choice.wanted]
    name, attribute = split_python(target.spec) or (target.spec, "")
    with aside():
        model = resolve(target).model
        factory = attribute_of(import_target(name, target.root), attribute, name)
        own = name if name.endswith(".py") else ""
        return CodeRepair(
            found, choices, propose(model, factory, graph, wanted, folder, spec=spec or own, unsafe=unsafe)
        )


def prove(
    target: Target, asked: ProbePlan, settings: Settings, rules: Sequence[Rule], progress: Callable[[str, float], None]
) -> Audit:
    """The target's record with the proof of each fix."""
    from trainaudit.probing import probe_target

    return probe_target(target, replace(asked, prove_fixes=True), settings, rules, progress).audit


def choices_of(audit: Audit, parts: Collection[str], *, is_proved: bool) -> tuple[Choice, ...]:
    """What is to be made of each live finding. `parts` are those of the vocabulary that can be made here (`changes.KINDS`).

    With proofs it is what is proved alone, less what did not help any more beside the others; and what helps together with others, where all of
    these can be made here.
    """
    kept = _kept(audit, parts) if is_proved else None
    made: list[Choice] = []
    for finding in audit.findings:
        if not finding.is_live:
            continue
        groups = tuple(Wanted(one.changes, finding.rule) for one in finding.occurrences if one.changes)
        reason, proof = ("" if groups else _advice(finding)), ""
        if groups and is_proved:
            reason, proof = _proved(finding, kept)
        made.append(Choice(finding, () if reason else groups, reason, proof))
    return tuple(made)


def _kept(audit: Audit, parts: Collection[str]) -> Proof | None:
    """The proof of several fixes together, where it is one and all of them can be made here."""
    together = audit.together
    if together is None or together.verdict != PROVED:
        return None
    return together if all(KINDS[change.kind].part in parts for change in together.changes) else None


def _advice(finding: Finding) -> str:
    return ADVICE if finding.fix is None else f"{ADVICE}: {finding.fix.summary.rstrip('.')}"


def _proved(finding: Finding, kept: Proof | None) -> tuple[str, str]:
    """Why the finding's fix is not made ("" where it is), and by which proof it is made."""
    proof = finding.proof
    is_kept = kept is not None and finding.rule in kept.rules
    if proof is not None and proof.verdict == PROVED and (is_kept or kept is None):
        return "", f"{proof.verdict}: {proof.reason}"
    if is_kept:
        assert kept is not None
        return (
            "",
            f"proved together with {' and '.join(rule for rule in kept.rules if rule != finding.rule)}: {kept.reason}",
        )
    if proof is None:
        return "it was not proved", ""
    if proof.verdict == PROVED:
        return "beside the others it does not help any more", ""
    return f"{proof.verdict}: {proof.reason}", ""


@frozen
class Comparison:
    """What a second audit found: (rule, subject) that are mended, new, and still there. `more` was changed in further turns."""

    after: Audit
    mended: tuple[tuple[str, str], ...]
    new: tuple[tuple[str, str], ...]
    left: tuple[tuple[str, str], ...]
    more: tuple[Edit, ...] = ()


_MOST_TURNS = 12


def write_repair(repair: Repair, out: Path, settings: Settings, rules: Sequence[Rule]) -> Comparison:
    """Writes the planned file and audits it by the same rules.

    Where a rule whose findings were mended is violated at another place now (behind a normalization that was put in, the next stretch of layers is the worst),
    that is mended too, in turns; not with proofs, which are of the first turn. Raises `TrainauditError` where the file cannot be written.
    """
    write(repair.plan, out)
    target, old = replace(repair.target, spec=str(out), name=""), _subjects(repair.found)
    mended = {group.rule for group in repair.plan.taken}
    more: list[Edit] = []
    for turn in range(_MOST_TURNS):
        graph, measured = open_and_measure(target, settings, detail=False)
        after = judge_measured(measured, settings, rules, detail=False).audit
        new = _subjects(after)
        moved = {rule for rule, subject in new if rule in mended and (rule, subject) not in old}
        wanted = [
            group for choice in choices_of(after, (), is_proved=False) for group in choice.wanted if group.rule in moved
        ]
        if not wanted or repair.is_proved or turn == _MOST_TURNS - 1:
            break
        planned = plan(str(out), graph, wanted, unsafe=repair.unsafe, seed=repair.seed)
        if not planned.taken or not _write_over(planned, out):
            break
        more += planned.made
    return Comparison(
        after,
        mended=tuple(item for item in old if item not in new),
        new=tuple(item for item in new if item not in old),
        left=tuple(item for item in old if item in new),
        more=tuple(more),
    )


def _write_over(planned: Plan, out: Path) -> bool:
    """Writes the next turn's file in the place of the last one's, unless it has weights of its own beside it."""
    beside = out.with_name(f".trainaudit-{out.name}")
    data = beside.with_name(f"{beside.name}.data")
    try:
        write(planned, beside)
        if data.exists():
            return False
        beside.replace(out)
        return True
    finally:
        beside.unlink(missing_ok=True)
        data.unlink(missing_ok=True)


def _subjects(audit: Audit) -> dict[tuple[str, str], None]:
    return {
        (finding.rule, one.subject): None
        for finding in audit.findings
        if finding.is_live
        for one in finding.occurrences
    }
