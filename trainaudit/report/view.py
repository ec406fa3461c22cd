"""What every report says, worked out once from the audit record: order, counts, sentences, hints. No format lives here.

May import `result` and `recipe` only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from trainaudit.frozen import frozen
from trainaudit.report import numbers
from trainaudit.report.causes import grouped
from trainaudit.report.escaping import visible
from trainaudit.result import Audit, Finding, Location, ModelInfo, Run, Severity, State

SINGLE_KINDS = ("model", "training", "data")
"""Kinds of subjects of which a model has one, which needs no name."""
_CONFIDENCE = {"high": 0, "medium": 1, "low": 2}
_NEEDS = {
    "forward": "need a forward pass",
    "training": "need a probe",
    "data": "need data",
    "loss": "need to know the loss",
}
STATE_WORDS = {
    State.VIOLATED: "violated",
    State.FAILED: "crashed",
    State.NOT_MEASURED: "not run",
    State.CLEAN: "clean",
    State.NOT_APPLICABLE: "not applicable",
    State.IGNORED: "ignored",
    State.WITHDRAWN: "withdrawn",
}
"""State → the word that users read. Not run is never shown as passed."""


def live_findings(audit: Audit) -> list[Finding]:
    """What is wrong now: not ignored, not withdrawn, not held by the baseline; worst and surest first, then in the audit's own order."""
    live = [finding for finding in audit.findings if finding.is_live]
    return sorted(live, key=lambda finding: (-finding.severity.rank, _CONFIDENCE.get(finding.confidence, 3)))


def ignored_findings(audit: Audit) -> list[Finding]:
    return [finding for finding in audit.findings if finding.ignored]


def withdrawn_findings(audit: Audit) -> list[tuple[Finding, str]]:
    """Findings of the file that the probe contradicts, each with what it says."""
    found = [finding for finding in audit.findings if finding.probe == "withdrawn" and not finding.ignored]
    return [(finding, f"withdrawn by the probe: {finding.probe_note}") for finding in found]


def baseline_findings(audit: Audit) -> list[Finding]:
    """Findings that the baseline already held."""
    return [
        finding
        for finding in audit.findings
        if finding.is_new is False and not finding.ignored and finding.probe != "withdrawn"
    ]


@frozen
class Counts:
    """Findings by severity, and outcomes of rules by state."""

    error: int
    warning: int
    note: int
    ignored: int
    withdrawn: int
    in_baseline: int
    rules: int
    states: dict[State, int]
    models: int
    failures: int

    @property
    def findings(self) -> int:
        return self.error + self.warning + self.note


def counts(run: Run, audits: Sequence[Audit] | None = None) -> Counts:
    """Over all audits, or over some of them."""
    audits = run.audits if audits is None else audits
    severities: Counter[Severity] = Counter()
    for audit in audits:
        severities.update(finding.severity for finding in live_findings(audit))
    states = Counter(outcome.state for audit in audits for outcome in audit.outcomes)
    return Counts(
        error=severities[Severity.ERROR],
        warning=severities[Severity.WARNING],
        note=severities[Severity.NOTE],
        ignored=sum(len(ignored_findings(audit)) for audit in audits),
        withdrawn=sum(len(withdrawn_findings(audit)) for audit in audits),
        in_baseline=sum(len(baseline_findings(audit)) for audit in audits),
        rules=len({outcome.rule for audit in audits for outcome in audit.outcomes}),
        states={state: states[state] for state in STATE_WORDS if states[state]},
        models=len(audits),
        failures=len(run.failures),
    )


def worst(total: Counts) -> str:
    """ "error", "warning", "note", "clean", or "not-run" where nothing was found because nothing could be judged."""
    found = next((name for name in ("error", "warning", "note") if getattr(total, name)), "clean")
    return found if total.findings or State.CLEAN in total.states else "not-run"


def not_run(total: Counts) -> int:
    """Rules that said nothing though they apply; those that crashed are among them."""
    return total.states.get(State.NOT_MEASURED, 0) + total.states.get(State.FAILED, 0)


def problems_sentence(total: Counts) -> str:
    """ "Found 3 problems in 1 model (1 error, 2 warnings; 1 ignored)." """
    if not total.models:
        return "Nothing was audited."
    parts = [
        numbers.count(number, word)
        for number, word in ((total.error, "error"), (total.warning, "warning"), (total.note, "note"))
        if number
    ]
    aside = [", ".join(parts)] if parts else []
    if total.ignored:
        aside.append(f"{total.ignored} ignored")
    if total.withdrawn:
        aside.append(f"{total.withdrawn} withdrawn")
    if total.in_baseline:
        aside.append(f"{total.in_baseline} in the baseline")
    found = f"Found {numbers.count(total.findings, 'problem')}" if total.findings else "Found no problems"
    brackets = f" ({'; '.join(aside)})" if aside else ""
    return f"{found} in {numbers.count(total.models, 'model')}{brackets}."


def rules_sentence(total: Counts) -> str:
    """ "41 rules: 34 clean, 3 violated, 1 not applicable, 3 not run." The states add up to the rules times the models."""
    if not total.models:
        return ""
    order = (
        State.CLEAN,
        State.VIOLATED,
        State.IGNORED,
        State.WITHDRAWN,
        State.NOT_APPLICABLE,
        State.NOT_MEASURED,
        State.FAILED,
    )
    states = ", ".join(f"{total.states[state]} {STATE_WORDS[state]}" for state in order if state in total.states)
    times = f" on {total.models} models" if total.models > 1 else ""
    return f"{numbers.count(total.rules, 'rule')}{times}: {states}." if states else "No rule was selected."


def next_hint(run: Run) -> tuple[str, str]:
    """What most of the rules that were not run need ("3 rules need a probe"), and the command that gives it; "" where none would."""
    levels = {rule.id: rule.evidence_level for rule in run.rules}
    commands: dict[str, list[str]] = {}
    for audit in run.audits:
        for outcome in audit.outcomes:
            if outcome.state is State.NOT_MEASURED and outcome.command:
                commands.setdefault(outcome.command, []).append(outcome.rule)
    if not commands:
        return "", ""
    command, rules = max(commands.items(), key=lambda item: len(item[1]))
    needs = Counter(_NEEDS.get(levels.get(rule, ""), "can be run") for rule in rules).most_common(1)[0][0]
    verb = needs.replace("need", "needs", 1) if len(rules) == 1 else needs
    return f"{numbers.count(len(rules), 'rule')} {verb}", visible(command)


def outcome_groups(audit: Audit, state: State) -> list[tuple[str, str, list[str]]]:
    """Rules in one state, those with the same reason and command together: reason, command, rule ids."""
    groups: dict[tuple[str, str], list[str]] = {}
    for outcome in audit.outcomes:
        if outcome.state is state:
            groups.setdefault((outcome.reason, outcome.command), []).append(outcome.rule)
    return [(reason, command, rules) for (reason, command), rules in groups.items()]


def model_sentence(model: ModelInfo) -> str:
    """What was audited, in one line: how it was captured, where it is no file of a graph, and the recognition coverage always."""
    opset = visible(model.capture) or (f"opset {model.opset}" if model.opset is not None else "no opset")
    form = f"{visible(model.form)} form" if model.form != "unknown" else "form unknown"
    weights = (
        f"{visible(model.weights_state)} weights" if model.weights_state != "unknown" else "weights of unknown state"
    )
    parts = [
        f"{numbers.large(model.parameter_count)} parameter{'' if model.parameter_count == 1 else 's'}",
        numbers.count(model.layer_count, "layer"),
        opset,
        form,
        weights,
        f"{numbers.share(model.coverage)} of nodes recognized",
    ]
    if model.signal_coverage is not None:
        parts.append(f"signal predicted for {numbers.share(model.signal_coverage)} of layers")
    return ", ".join(parts)


def evidence_sentence(audit: Audit) -> str:
    """How deep the audit looked, on the three levels that there are."""
    if "training" in audit.evidence:
        return "level 3 of 3: a training run"
    return "level 2 of 3: a forward pass" if "forward" in audit.evidence else "level 1 of 3: structure and weights"


def unrecognized_sentence(model: ModelInfo) -> str:
    """The operators that nobody knew, most frequent first; "" where there are none."""
    if not model.unrecognized:
        return ""
    shown = ", ".join(f"{visible(op)} ×{count}" for op, count in model.unrecognized[:5])
    more = len(model.unrecognized) - 5
    return f"not recognized: {shown}{f' and {more} more' if more > 0 else ''}"


def coverage_sentence(audit: Audit) -> str:
    """How much of the signal was predicted and where measured numbers come from, "" where nothing was predicted."""
    share = audit.model.signal_coverage
    if share is None:
        return ""
    rest = "" if share == 1 else "; rules that need the rest were not run there"
    run = "nothing was run"
    if audit.trace is not None:
        is_forward = audit.trace.settings.evidence == "forward"
        step = "measured at the first step of the probe, updates over its second half"
        run = "measured on the first batch" if is_forward else step
    return f"Predicted from graph and weights, for standardised inputs; {run}. The prediction covers {numbers.share(share)} of the layers{rest}."


def place(finding: Finding) -> str:
    """The subject of the finding's root, as one name: the layer with its op, the parameter, the input."""
    return place_of(finding.root.location, finding.root.subject, finding.kind)


def place_of(location: Location, subject: str, kind: str) -> str:
    if kind in SINGLE_KINDS:
        return ""
    if kind == "parameter":
        return visible(location.parameter or subject)
    name = visible(location.layer or subject) if kind in ("layer", "block", "segment") else visible(subject)
    return f"{name} ({visible(location.op)})" if location.op else name


def source(location: Location) -> str:
    """`src/model.py:88`, or ""."""
    if not location.file:
        return ""
    return visible(location.file) + (f":{location.line}" if location.line is not None else "")


def other_places(finding: Finding, shown: int) -> tuple[list[str], str]:
    """The other subjects with the same cause: the first few names, and "+36 more layers" (or "")."""
    others = finding.occurrences[1:]
    names = [visible(occurrence.subject) for occurrence in others[:shown]]
    more = len(others) - len(names)
    return names, f"+{numbers.count(more, f'more {visible(finding.kind)}')}" if more else ""


def paragraph(text: str) -> str:
    """The first paragraph of a prose text, on one line."""
    return visible(" ".join(text.strip().split("\n\n", 1)[0].split()))


def opening(text: str, sentences: int = 2) -> str:
    """The first sentences of a prose text, on one line. A sentence ends at a full stop before a space and a capital letter."""
    text = paragraph(text)
    start = 0
    for _ in range(sentences):
        end = text.find(". ", start)
        while end >= 0 and not text[end + 2 : end + 3].isupper():
            end = text.find(". ", end + 2)
        if end < 0:
            return text
        start = end + 2
    return text[: start - 1]


def shown_findings(audits: Iterable[Audit]) -> list[tuple[Audit, Finding]]:
    """All live findings with their audits, target by target."""
    return [(audit, finding) for audit in audits for finding in live_findings(audit)]


def verdict(run: Run, audit: Audit) -> str:
    """The audit in one plain sentence, with the worst finding named; never more certain than what was checked allows."""
    total = counts(run, [audit])
    live = live_findings(audit)
    if total.error:
        roots = [group.root for group in grouped(run, live) if group.root.severity is Severity.ERROR]
        others = f" and {numbers.count(len(roots) - 1, 'more error')}" if len(roots) > 1 else ""
        below = total.error - len(roots)
        followers = f"; {numbers.count(below, 'more error')} may follow from {'them' if len(roots) > 1 else 'it'}"
        subject = visible(roots[0].root.subject)
        where = f" ({subject})" if roots[0].kind not in SINGLE_KINDS else ""
        said = f"{lowered(roots[0].name)}{where}{others}{followers if below else ''}"
        return f"As it stands, this network is unlikely to train well: {said}."
    if total.warning:
        return f"No error was found; {numbers.count(total.warning, 'warning')} may slow training down or limit what it reaches."
    if total.in_baseline:
        return f"Nothing new was found: {numbers.count(total.in_baseline, 'finding')} stood in the baseline already."
    clean = total.states.get(State.CLEAN, 0)
    if not clean:
        return "Nothing was found, but no rule could be judged on this model."
    open_ones = not_run(total)
    rest = f"; {numbers.count(open_ones, 'rule')} could not be judged" if open_ones else ""
    return f"Nothing was found that should keep this network from training: {numbers.count(clean, 'rule')} clean{rest}."


def lowered(name: str) -> str:
    """A sentence's first word in lower case, unless it is a name or an abbreviation (ReLU, LSTM)."""
    text = visible(name).rstrip(".")
    first = text.split(" ", 1)[0]
    return text[:1].lower() + text[1:] if first[1:].islower() or len(first) == 1 else text
