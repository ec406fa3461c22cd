"""What the page of a comparison shows, worked out from two records before any template runs: changed findings, changed numbers, both curves. No
markup lives here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from trainaudit.frozen import frozen
from trainaudit.report import numbers, view
from trainaudit.report.cards import Card, lone_card
from trainaudit.report.curves import Curve, curve_chart
from trainaudit.report.diff import Change, Difference, are_strangers, paired
from trainaudit.report.drawing import Drawing
from trainaudit.report.numbers import measured_and_expected
from trainaudit.result import Audit, Evidence, Finding, LayerRow, RuleInfo, Run
from trainaudit.trace.trace import Trace

MAX_CARDS = 60
"""Findings of one group that are shown in full."""

MAX_MODELS = 20
"""Models whose numbers and curves are shown."""

MAX_LAYERS = 60
_BEFORE, _AFTER, _NOTHING = "before", "after", "–"


@frozen
class Group:
    """Findings that changed in the same way, target by target."""

    anchor: str
    title: str
    icon: str
    lead: str
    count: int
    targets: tuple[tuple[str, tuple[Card, ...]], ...]
    left_out: int


@frozen
class Number:
    """A number behind a finding that is still there."""

    finding: Finding
    fact: str
    before: str
    after: str
    expected: str


@frozen
class Pair:
    """One target, before and after: its `name` says both where they are called differently. `rows` hold label, old and new text; `layers` hold a layer's name and what became of it, none where the two have no layer in common."""

    target: str
    name: str
    absent: str
    rows: tuple[tuple[str, str, str], ...]
    layers: tuple[tuple[str, str], ...]
    layers_left_out: int
    charts: tuple[Drawing, ...]
    are_strangers: bool = False


def groups(difference: Difference, old: Run, new: Run, seen: Counter[str]) -> list[Group]:
    before = {rule.id: rule for rule in old.rules}
    after = {rule.id: rule for rule in new.rules}
    return [
        _group("new", "New", "violated", "In the new record, and not in the old one.", difference.new, after, seen),
        _group("fixed", "Fixed", "clean", "The new record judged the rule and found nothing any more; shown as it was.",
               difference.fixed, before, seen),
        _group("unseen", "Not judged again", "not-run", "Found before; the new record did not judge the rule on that model, so nobody knows.",
               difference.unseen, before, seen),
        _group("unchanged", "Unchanged", "partly", "In both records, on the same layers.", difference.unchanged, after, seen),
    ]  # fmt: skip


def _group(
    anchor: str,
    title: str,
    icon: str,
    lead: str,
    changes: Sequence[Change],
    infos: dict[str, RuleInfo],
    seen: Counter[str],
) -> Group:
    shown: dict[str, list[Card]] = {}
    for change in changes[:MAX_CARDS]:
        card = lone_card(change.finding, infos.get(change.finding.rule), seen)
        shown.setdefault(change.target, []).append(card)
    cards = tuple((target, tuple(items)) for target, items in shown.items())
    return Group(anchor, title, icon, lead, len(changes), cards, max(0, len(changes) - MAX_CARDS))


def changed_numbers(difference: Difference, old: Run, new: Run) -> list[Number]:
    """The numbers behind findings that are in both records, where they are not the same."""
    was = {
        (target, finding.rule, occurrence.subject, evidence.fact): evidence
        for target, audit, _ in paired(old, new)
        for finding in (view.live_findings(audit) if audit else ())
        for occurrence in finding.occurrences
        for evidence in occurrence.evidence
    }
    found = []
    for change in difference.unchanged:
        root = change.finding.root
        for evidence in root.evidence:
            before = was.get((change.target, change.finding.rule, root.subject, evidence.fact))
            texts = [_text(item) for item in (before, evidence)]
            if before is not None and texts[0] != texts[1]:
                expected = measured_and_expected(evidence)[1]
                found.append(Number(change.finding, numbers.fact_label(evidence.fact), texts[0], texts[1], expected))
    return found[:MAX_CARDS]


def _text(evidence: Evidence | None) -> str:
    return "" if evidence is None else measured_and_expected(evidence)[0]


def pairs(old: Run, new: Run) -> list[Pair]:
    """The models of both records; of many the first."""
    return [_pair(old, new, *item) for item in paired(old, new)[:MAX_MODELS]]


def _pair(old: Run, new: Run, target: str, was: Audit | None, now: Audit | None) -> Pair:
    if was is None or now is None:
        where = "It is in the new record alone." if was is None else "It is in the old record alone."
        return Pair(target, target, where, (), (), 0, ())
    strange = are_strangers(was, now)
    layers = [] if strange else _layers(was, now)
    return Pair(
        target=target,
        name=target if was.target == now.target else f"{was.target} → {now.target}",
        absent="",
        rows=tuple((label, *texts) for label, texts in _rows(old, new, was, now) if texts != (_NOTHING, _NOTHING)),
        layers=tuple(layers[:MAX_LAYERS]),
        layers_left_out=max(0, len(layers) - MAX_LAYERS),
        charts=tuple(chart for chart in (*_run_charts(was.trace, now.trace), *_depth_charts(was, now)) if chart),
        are_strangers=strange,
    )


def _rows(old: Run, new: Run, was: Audit, now: Audit) -> list[tuple[str, tuple[str, str]]]:
    def both(label: str, before: str, after: str) -> tuple[str, tuple[str, str]]:
        return label, (before or _NOTHING, after or _NOTHING)

    totals = view.counts(old, [was]), view.counts(new, [now])
    models = was.model, now.model
    rows = [
        both("file", was.target, now.target),
        both("verdict", view.verdict(old, was), view.verdict(new, now)),
        both("findings", *(f"{numbers.count(total.error, 'error')}, {numbers.count(total.warning, 'warning')}, "
                           f"{numbers.count(total.note, 'note')}" for total in totals)),
        both("rules not run", *(str(view.not_run(total)) for total in totals)),
        both("parameters", *(f"{model.parameter_count:,}" for model in models)),
        both("layers", *(f"{model.layer_count:,}" for model in models)),
        both("nodes", *(f"{model.node_count:,}" for model in models)),
        both("weights", *(model.weights_state for model in models)),
        both("form", *(model.form for model in models)),
        both("evidence", ", ".join(was.evidence), ", ".join(now.evidence)),
        both("SHA-256", *(model.sha256[:16] for model in models)),
    ]  # fmt: skip
    probes = [audit.trace.settings for audit in (was, now) if audit.trace]
    if len(probes) == 2:
        rows += [
            both("loss", *(item.loss_words or item.loss for item in probes)),
            both("optimizer", *(f"{item.optimizer}, learning rate {_n(item.learning_rate)}" for item in probes)),
            both("data", *(item.data_words or item.data for item in probes)),
            both("seed", *(str(item.seed) for item in probes)),
            both("device", *(item.device_name or item.device for item in probes)),
        ]
    return rows


def _n(value: float | None) -> str:
    return "not known" if value is None else numbers.number(value)


def _layers(was: Audit, now: Audit) -> list[tuple[str, str]]:
    """Layers that came, went, or are not what they were, in the order of the graph."""
    before = {row.name: row for row in was.layers}
    after = {row.name: row for row in now.layers}
    found = []
    for name in _order([*before], [*after]):
        if name not in after:
            found.append((name, f"removed ({_described(before[name])})"))
        elif name not in before:
            found.append((name, f"added ({_described(after[name])})"))
        elif _described(before[name]) != _described(after[name]):
            found.append((name, f"{_described(before[name])} → {_described(after[name])}"))
    return found


def _described(row: LayerRow) -> str:
    parts = [row.op, row.output_shape, numbers.count(row.parameters, "parameter") if row.parameters else ""]
    return ", ".join(part for part in (*parts, row.initializer.replace("|", " or ")) if part)


def _order(old: list[str], new: list[str]) -> list[str]:
    """All names in one order that keeps both orders, as far as they agree."""
    if old == new:
        return new
    merged: list[str] = []
    for _, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        merged += [*old[a:b], *new[c:d]]
    return list(dict.fromkeys(merged))


def _run_charts(was: Trace | None, now: Trace | None) -> list[Drawing | None]:
    """The loss of both runs, and of both on one batch alone."""
    if was is None or now is None:
        return []
    charts = []
    if was.run is not None and now.run is not None:
        charts.append(_over_steps("Loss of the run, before and after", "loss", was.run.loss, now.run.loss))
    overfit = [trace.experiments.get("overfit-one-batch") for trace in (was, now)]
    if overfit[0] is not None and overfit[1] is not None:
        for name in overfit[1].curves:
            if name in overfit[0].curves:
                curves = overfit[0].curves[name], overfit[1].curves[name]
                charts.append(_over_steps("Overfitting one batch, before and after", "loss on one batch", *curves))
                break
    return charts


def _over_steps(title: str, quantity: str, was: Sequence[float | None], now: Sequence[float | None]) -> Drawing | None:
    steps = range(max(len(was), len(now)))
    return curve_chart(
        title, quantity, "step", steps, [Curve(_AFTER, _padded(now, steps)), Curve(_BEFORE, _padded(was, steps), "second")]
    )  # fmt: skip


def _padded(values: Sequence[float | None], steps: range) -> tuple[float | None, ...]:
    return (*values, *[None] * (len(steps) - len(values)))


def _depth_charts(was: Audit, now: Audit) -> list[Drawing | None]:
    """Signal and gradient over depth: as measured where both were probed, else as predicted."""
    found = []
    for title, quantity, measured, predicted in (
        ("Signal over depth, before and after", "root mean square of the layers' outputs", "measured_rms", "predicted_rms"),
        ("Gradient over depth, before and after", "gradient of the layers' weights relative to the last layer's",
         "measured_gradient", "predicted_gradient"),
    ):  # fmt: skip
        for how, name in (("measured", measured), ("predicted", predicted)):
            values = [
                {row.name: getattr(row, name) for row in audit.layers if row.parameters and getattr(row, name)}
                for audit in (was, now)
            ]
            if all(len(items) >= 2 for items in values):
                found.append(_over_depth(title, f"{how} {quantity}", how, *values))
                break
    return found


def _over_depth(title: str, quantity: str, how: str, was: dict[str, float], now: dict[str, float]) -> Drawing | None:
    """Layer by layer, where most of the smaller network's layers are in the other one too; else from the first to the last layer of each."""
    if 2 * len(was.keys() & now.keys()) >= min(len(was), len(now)):
        names = _order([*was], [*now])
        places: Sequence[float] = range(len(names))
        pairs = [[values.get(name) for name in names] for values in (was, now)]
    else:
        names = []
        ends = [
            {index / (len(values) - 1): value for index, value in enumerate(values.values())} for values in (was, now)
        ]
        places = sorted(ends[0].keys() | ends[1].keys())
        pairs = [[values.get(place) for place in places] for values in ends]
    return curve_chart(
        title,
        quantity,
        "layers, input to output" if names else "from the first layer (0) to the last (1)",
        places,
        [
            Curve(f"{_AFTER}, {how}", tuple(pairs[1]), "first", True),
            Curve(f"{_BEFORE}, {how}", tuple(pairs[0]), "second"),
        ],
        x_names=names,
        is_log=True,
    )
