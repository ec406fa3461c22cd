"""What `trainaudit fix` does, between the command line and `fixing`. Returns an exit code."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainaudit.changes import Change
from trainaudit.changes import shown as described
from trainaudit.errors import TrainauditError
from trainaudit.invocation import exit_code, read_flags, run_record
from trainaudit.judge.rule import Rule
from trainaudit.output import put, width
from trainaudit.report import numbers
from trainaudit.report.escaping import visible, visible_lines
from trainaudit.report.lines import wrapped
from trainaudit.result import Audit, Finding, Severity
from trainaudit.settings import Settings, given_options

if TYPE_CHECKING:
    from trainaudit.fix.file.applying import Wanted
    from trainaudit.fixing import Choice, CodeRepair, Comparison, Repair
    from trainaudit.load.target import Target
    from trainaudit.probe.plan import ProbePlan

_SHOWN = 8
"""Changes of one finding that are listed; the others are counted."""


def fix_target(word: str, **given: Any) -> int:
    """`trainaudit fix`, with one sentence for whatever goes wrong."""
    try:
        return _fix(word, **given)
    except TrainauditError:
        raise
    except MemoryError:
        raise TrainauditError(
            "too-large", f"{word} needs more memory than there is.", "Fix it on a larger machine."
        ) from None
    except Exception as error:
        if os.environ.get("TRAINAUDIT_DEBUG"):
            raise
        what = f"trainaudit itself broke down on {word} ({type(error).__name__}: {error})."
        raise TrainauditError("broke-down", what, "Please report it; TRAINAUDIT_DEBUG=1 shows where.") from error


def _fix(
    word: str,
    *,
    output_file: Path | None,
    diff: bool,
    prove: bool,
    unsafe: bool,
    write: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """0 where nothing at or above `--fail-on` is left, 1 where something is, 2 (by an error) where nothing could be done."""
    from trainaudit.auditing import chosen_rules
    from trainaudit.load.target import Kind
    from trainaudit.probe.plan import ProbePlan
    from trainaudit.probing import plan_for, settings_loss

    asked = {name: given.pop(name) for name in tuple(given) if name in ProbePlan.__dataclass_fields__}
    settings = read_flags({**given, "loss": settings_loss(asked["loss"])}, targets=[word])
    target = _only(word, settings)
    _refuse_unused(asked, prove)
    rules = chosen_rules(settings, probed=prove)
    plan = plan_for(target, settings, asked)
    if target.kind is Kind.PYTHON:
        return _fix_code(
            target, plan, settings, rules, output_file, prove=prove, unsafe=unsafe, write=write, quiet=quiet
        )
    if write:
        raise TrainauditError(
            "bad-usage", "--write is for Python; a model file is never written over.", "Name a new file with -o."
        )
    if output_file is None and not diff:
        raise TrainauditError(
            "no-output",
            "Where the repaired model is to go was not said.",
            "Name a new file with -o, or look first with --diff.",
        )
    return _fix_file(target, plan, settings, rules, output_file, diff=diff, prove=prove, unsafe=unsafe, quiet=quiet)


def _only(word: str, settings: Settings) -> Target:
    from trainaudit.targets import expand_targets

    found = expand_targets([word], settings, named=True, force_exclude=False)
    if len(found) != 1:
        raise TrainauditError("many-models", f"{word} names {len(found)} models.", "Fix one at a time.")
    return found[0]


_PROBE_ALONE = {"loss": "--loss", "seed": "--seed"}
"""Options of a probe that say something without one too."""


def _refuse_unused(asked: dict[str, Any], prove: bool) -> None:
    used = [name for name, value in asked.items() if value not in (None, (), False) and name not in _PROBE_ALONE]
    if used and not prove:
        what = f"--{used[0].replace('_', '-')} is for the probe that proves fixes, and none was asked for."
        raise TrainauditError("bad-usage", what, "Add --prove.")


def _proved(target: Target, plan: ProbePlan, settings: Settings, rules: Sequence[Rule], *, quiet: bool) -> Audit:
    from trainaudit import fixing
    from trainaudit.progress import shown

    with shown(quiet=quiet) as progress:
        return fixing.prove(target, plan, settings, rules, progress)


def _fix_file(
    target: Target, plan: ProbePlan, settings: Settings, rules: Sequence[Rule], out: Path | None, *, diff: bool, prove: bool,
    unsafe: bool, quiet: bool,
) -> int:  # fmt: skip
    from trainaudit import fixing

    proved = _proved(target, plan, settings, rules, quiet=quiet) if prove else None
    repair = fixing.plan_repair(target, settings, rules, unsafe=unsafe, seed=plan.seed, proved=proved)
    lines = [*_planned_lines(repair), *_proof_notes(proved)]
    code = _stands(repair.choices, settings)
    if not repair.plan.taken:
        why = "nothing of this can be made as it was asked for" if repair.choices else "there is nothing to make"
        lines += ["", *_text(f"Nothing was written: {why}.")]
    elif diff or out is None:
        lines += ["", "Nothing was written (--diff)."]
    else:
        compared = fixing.write_repair(repair, out, settings, rules)
        lines += ["", *_written_lines(repair, compared, out)]
        code = max(exit_code(run_record((compared.after,), rules, settings)), _left_of_the_run(repair, settings))
    put("\n".join(line.rstrip() for line in lines) + "\n", None)
    return code


def _fix_code(
    target: Target, plan: ProbePlan, settings: Settings, rules: Sequence[Rule], out: Path | None, *, prove: bool, unsafe: bool,
    write: bool, quiet: bool,
) -> int:  # fmt: skip
    """The changes in the user's Python: a diff, or with `write` the files themselves."""
    from trainaudit import fixing
    from trainaudit.fix.source.proposing import write_patches

    proved = _proved(target, plan, settings, rules, quiet=quiet) if prove else None
    repair = fixing.plan_code(target, settings, rules, unsafe=unsafe, spec=plan.spec, folder=Path.cwd(), proved=proved)
    diff, count = repair.proposal.diff, len(repair.proposal.patches)
    lines = [*_code_lines(repair), *_proof_notes(proved)]
    if out is not None:
        _refuse_code(out)
        put(diff, out)
    elif diff:
        lines += ["", *visible_lines(diff)]
    if write and count:
        write_patches(repair.proposal.patches)
        names = ", ".join(patch.name for patch in repair.proposal.patches)
        again = shlex.join(["trainaudit", *settings.targets, *given_options(settings)])
        lines += ["", *_text(f"Wrote {names}. Audit it again:"), *visible_lines(f"  {again}")]
    elif count:
        where = "Nothing was written" if out is None else f"The diff is in {out}, and no file was changed"
        lines += ["", *_text(f"{where}: --write changes the files.")]
    else:
        lines += ["", *_text("Nothing was written: there is nothing to make whose place is certain.")]
    put("\n".join(line.rstrip() for line in lines) + "\n", None)
    return _left(repair, settings) if write else _stands(repair.choices, settings)


def _refuse_code(out: Path) -> None:
    """A diff takes the place of a diff, and of nothing else that is there."""
    if out.exists() and not (out.is_file() and out.read_bytes()[:4] in (b"", b"--- ")):
        raise TrainauditError(
            "cannot-write",
            f"{out} is there already and is no diff.",
            "Choose another name with -o, or delete it first.",
        )


def _proof_notes(proved: Audit | None) -> list[str]:
    """On which data fixes were proved, where these are made up; and what the probe says of its time, where proofs were cut."""
    if proved is None:
        return []
    notes = [warning for warning in proved.warnings if "could not be proved" in warning]
    data = "" if proved.trace is None else proved.trace.settings.data
    if data and data != "real":
        notes.insert(0, "Proofs are of synthetic data, since none were given: --data MODULE:NAME proves on your own.")
    return [line for note in notes for line in ("", *_labelled("note", note))]


def _text(text: str, further: int = 0) -> list[str]:
    """Prose in lines that the terminal holds, those behind the first indented by `further`. Its spaces at the start stay, and names stay whole."""
    head = text[: len(text) - len(text.lstrip())]
    return wrapped(head + visible(text.lstrip()), max(60, width()), further)


def _labelled(word: str, text: str) -> list[str]:
    """The same behind a word of at most five letters."""
    first, *others = wrapped(visible(text), max(60, width()) - 6, 0)
    return [f"{word:<6}{first}", *(f"      {line}" for line in others)]


def _code_lines(repair: CodeRepair) -> list[str]:
    lines = _made_lines(repair.found, repair.choices, repair.proposal.taken, described)
    for finding, reason in repair.reasons:
        lines += _left_lines(finding, reason)
        if finding.fix is not None and finding.fix.code and not reason.endswith("--unsafe admits that"):
            lines += ["  Code to paste:", *(f"    {line}" for line in visible_lines(finding.fix.code.strip("\n")))]
            others = [one.subject for one in finding.occurrences[1:]]
            if others:
                more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
                lines += _text(f"    # and so, with numbers of their own, for {', '.join(others[:_SHOWN])}{more}", 4)
    return lines


def _planned_lines(repair: Repair) -> list[str]:
    edits = {edit.change: edit.line for edit in repair.plan.made}
    lines = _made_lines(repair.found, repair.choices, repair.plan.taken, lambda change: edits.get(change, ""))
    return [*lines, *(line for finding, reason in repair.reasons for line in _left_lines(finding, reason))]


def _made_lines(
    found: Audit, choices: Sequence[Choice], taken: Iterable[Wanted], line_of: Callable[[Change], str]
) -> list[str]:
    """What is made of each finding: its changes, each as `line_of` says it ("" for one that was no change), and the proof that it is made by."""
    made = {id(group) for group in taken}
    lines = _text(f"{found.target}: {numbers.count(len(choices), 'finding')}")
    for choice in choices:
        changes = list(
            dict.fromkeys(change for group in choice.wanted if id(group) in made for change in group.changes)
        )
        if not changes:
            continue
        lines += ["", *_labelled("make", _title(choice.finding))]
        lines += _text(f"  {choice.proof}", 2) if choice.proof else []
        for said in filter(None, map(line_of, changes[:_SHOWN])):
            lines += _text(f"  {said}", 4)
        lines += [f"  and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
    return lines


def _left_lines(finding: Finding, reason: str) -> list[str]:
    return ["", *_labelled("leave", _title(finding)), *_text(f"  {reason}.", 2)]


def _left(repair: CodeRepair, settings: Settings) -> int:
    """1 where a finding at or above `--fail-on` stays after what was written."""
    return _fails([finding for finding, _ in repair.reasons], settings)


def _stands(choices: Sequence[Choice], settings: Settings) -> int:
    """1 where there is one, and nothing was written."""
    return _fails([choice.finding for choice in choices], settings)


def _left_of_the_run(repair: Repair, settings: Settings) -> int:
    """The same for findings of a probe, which a second audit of the file does not see."""
    seen = {finding.rule for finding in repair.found.findings}
    return _fails([finding for finding, _ in repair.reasons if finding.rule not in seen], settings)


def _fails(findings: Sequence[Finding], settings: Settings) -> int:
    if settings.fail_on == "never":
        return 0
    limit = Severity(settings.fail_on).rank
    return int(any(finding.severity.rank >= limit for finding in findings))


def _title(finding: Finding) -> str:
    places = [one.subject for one in finding.occurrences]
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{finding.severity}[{finding.rule}] {places[0]}{more}"


def _written_lines(repair: Repair, compared: Comparison, out: Path) -> list[str]:
    made = numbers.count(len(repair.plan.made) + len(compared.more), "change")
    lines = [line for edit in compared.more for line in _labelled("then", edit.line)] + ([""] if compared.more else [])
    lines += _text(f"{out}: {made}, all else byte for byte as it was; its metadata say what was changed.", 2)
    before = sum(finding.is_live for finding in repair.found.findings)
    after = sum(finding.is_live for finding in compared.after.findings)
    alone = ", without a probe" if repair.is_proved else ""
    lines += _text(f"Audited again{alone}: {numbers.count(before, 'finding')} before, {after} after.")
    own = {group.rule for group in repair.plan.taken}
    mended = [item for item in compared.mended if item[0] in own]
    gone = [item for item in compared.mended if item[0] not in own]
    for word, items in (("mended", mended), ("gone with these", gone), ("left", compared.left), ("new", compared.new)):
        lines += _text(f"  {word}: {_counted(items)}", 4) if items else []
    return lines


def _counted(items: Iterable[tuple[str, str]]) -> str:
    rules = Counter(rule for rule, _ in items)
    return ", ".join(f"{rule} ({count} places)" if count > 1 else rule for rule, count in rules.items())
