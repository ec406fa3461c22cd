"""One page that says it all: the HTML report, and the page that the PDF is printed from. Templates are in `templates/html`.

Self-contained and safe to open: no network, a content security policy that allows this page's own style and script alone, and
everything that comes from a model or a rule file escaped twice, by `visible` and by Jinja.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from trainaudit.recipe import SOURCE_URL, STAGES, STEPS, Step
from trainaudit.report import charts, numbers, view
from trainaudit.report.escaping import visible, visible_lines
from trainaudit.report.ladder import WORDS, Rung, ladder
from trainaudit.report.portable import portable
from trainaudit.report.prose import code_spans
from trainaudit.report.to_json import render_json
from trainaudit.resources import templates_folder
from trainaudit.result import Audit, Evidence, Finding, LayerRow, Location, Occurrence, Reference, RuleInfo, Run, State

MAX_ROWS = 300
MAX_PRINTED_ROWS = 120
MAX_OTHERS = 60
MAX_MODELS = 20
"""Models shown in full; the JSON record holds all."""

MAX_RECORD = 500_000
"""Characters of JSON that the page may carry; a larger record goes in without its tables of facts and layers."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A piece of evidence as it is shown."""

    label: str
    measured: str
    expected: str
    because: str
    bar: charts.EvidenceBar | None


@dataclass(frozen=True, slots=True)
class Card:
    """A finding as it is shown."""

    finding: Finding
    anchor: str
    numbers: tuple[Measured, ...]
    has_bars: bool
    others: int
    shown_others: tuple[Occurrence, ...]
    stage: str
    step: Step | None
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """An audit as it is shown. `prefix` keeps the anchors of several models apart, `of` and `named` the names of their landmarks;
    `level` is the level of its headings."""

    audit: Audit
    anchor: str
    prefix: str
    of: str
    named: str
    level: int
    is_first: bool
    worst: str
    verdict: str
    unrecognized: str
    total: view.Counts
    counts: tuple[tuple[str, int, str], ...]
    contents: tuple[tuple[str, str], ...]
    ladder: tuple[Rung, ...]
    cards: tuple[Card, ...]
    fixes: tuple[Card, ...]
    anchors: dict[str, str]
    depth_charts: tuple[charts.DepthChart, ...]
    shares: tuple[charts.ShareBar, ...]
    rows: tuple[LayerRow, ...]
    rows_left_out: int
    marked: dict[str, str]
    not_run: tuple[tuple[State, str, str, list[str]], ...]
    not_run_count: int
    clean: tuple[RuleInfo, ...]
    not_applicable: tuple[tuple[str, str, list[str]], ...]
    not_applicable_count: int
    aside: tuple[tuple[Finding, str], ...]
    by_hand: tuple[Step, ...]


def render_html(run: Run) -> str:
    """The run as one HTML page."""
    return page(run, is_print=False)


def page(run: Run, *, is_print: bool) -> str:
    """The page for the screen, or the one that is printed: all folded parts open, no script, no record."""
    import jinja2

    run = portable(run)
    folder = templates_folder()
    css = (folder / "html" / "page.css").read_text("utf-8")
    print_css = (folder / "print.css").read_text("utf-8")
    script = "" if is_print else (folder / "html" / "page.js").read_text("utf-8")
    record, is_thinned = ("", False) if is_print else _record(run)
    shown = run.audits[:MAX_MODELS]
    seen: Counter[str] = Counter()
    rows = max(15, (MAX_PRINTED_ROWS if is_print else MAX_ROWS) // max(1, len(shown)))
    sections = [_section(run, audit, index, len(shown), rows, seen) for index, audit in enumerate(shown)]
    total = view.counts(run)
    judged = (State.VIOLATED, State.CLEAN, State.IGNORED)
    used = {outcome.rule for audit in shown for outcome in audit.outcomes if outcome.state in judged}
    title = sections[0].audit.model.name if len(sections) == 1 else numbers.count(len(run.audits), "model")
    text: str = (
        _environment(jinja2)
        .get_template("page.html.j2")
        .render(
            run=run,
            title=f"{title}: audit",
            sections=sections,
            left_out=len(run.audits) - len(shown),
            problems=view.problems_sentence(total),
            rules=view.rules_sentence(total),
            recipe_url=SOURCE_URL,
            thresholds=[(rule, limit) for rule in run.rules if rule.id in used for limit in rule.thresholds],
            is_print=is_print,
            css=_markup(css),
            print_css=_markup(print_css),
            script=_markup(script),
            policy=_policy([css, print_css], [script]),
            record=_markup(record),
            record_is_thinned=is_thinned,
            max_others=MAX_OTHERS,
        )
    )
    return text


def _environment(jinja2: Any) -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_folder() / "html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _finalized(value: object) -> object:
    """Every expression of every template passes here: text that is not markup loses what acts on the reader."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Nothing but this very style and script; no network, no frames, no forms."""

    def hashes(texts: Sequence[str]) -> str:
        return (
            " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts if text)
            or "'none'"
        )

    return (
        f"default-src 'none'; style-src {hashes(styles)}; script-src {hashes(scripts)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _record(run: Run) -> tuple[str, bool]:
    """The JSON for the page, and whether its large tables were left out. `<` and `&` are written as JSON escapes, so that no name in
    it can end the element that holds it."""
    size = sum(len(audit.layers) + sum(map(len, audit.facts.values())) for audit in run.audits)
    text = render_json(run) if size * 15 < MAX_RECORD else ""
    is_thinned = not 0 < len(text) <= MAX_RECORD
    if is_thinned:
        text = render_json(replace(run, audits=tuple(map(_thinned, run.audits[:MAX_MODELS]))))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"), is_thinned


def _thinned(audit: Audit) -> Audit:
    findings = tuple(replace(finding, occurrences=finding.occurrences[:MAX_OTHERS]) for finding in audit.findings)
    return replace(audit, facts={}, unmeasured={}, layers=(), findings=findings)


def _section(run: Run, audit: Audit, index: int, of: int, max_rows: int, seen: Counter[str]) -> Section:
    infos = {rule.id: rule for rule in run.rules}
    prefix = f"m{index + 1}-" if of > 1 else ""
    cards = tuple(_card(finding, infos.get(finding.rule), seen) for finding in view.live_findings(audit))
    anchors: dict[str, str] = {}
    marked: dict[str, str] = {}
    for card in cards:
        anchors.setdefault(card.finding.rule, card.anchor)
        for occurrence in card.finding.occurrences:
            if occurrence.location.layer and card.finding.kind != "model":
                marked.setdefault(occurrence.location.layer, card.anchor)
    rows = _rows(audit, marked, max_rows)
    total = view.counts(run, [audit])
    not_run = tuple(
        (state, *group) for state in (State.FAILED, State.NOT_MEASURED) for group in view.outcome_groups(audit, state)
    )
    not_applicable = tuple(view.outcome_groups(audit, State.NOT_APPLICABLE))
    aside = [(finding, finding.ignored) for finding in view.ignored_findings(audit)]
    aside += [(finding, "in the baseline") for finding in view.baseline_findings(audit)]
    rungs = tuple(ladder(run, audit))
    fixes = tuple(card for card in cards if card.finding.fix is not None)[:3]
    clean = [outcome.rule for outcome in audit.outcomes if outcome.state is State.CLEAN]
    contents = [
        ("recipe", "The recipe", True),
        ("fixes", "What to change first", bool(fixes)),
        ("findings", "Findings", True),
        ("layers", "Layers", bool(rows)),
        ("not-run", "Not run", True),
        ("ignored", "Set aside", bool(aside)),
        ("passed", "Passed and not applicable", True),
        ("tips", "The recipe, tip by tip", True),
        ("by-hand", "To check by hand", True),
    ]
    worst = next((name for name in ("error", "warning", "note") if getattr(total, name)), "clean")
    return Section(
        audit=audit,
        anchor=f"model-{index + 1}",
        prefix=prefix,
        of=f" model-{index + 1}-name" if of > 1 else "",
        named=f"{audit.target}: " if of > 1 else "",
        level=3 if of > 1 else 2,
        is_first=index == 0,
        worst=worst if total.findings or State.CLEAN in total.states else "not-run",
        verdict=view.verdict(run, audit),
        unrecognized=view.unrecognized_sentence(audit.model),
        total=total,
        counts=_counts(total),
        contents=tuple((prefix + anchor, name) for anchor, name, is_there in contents if is_there),
        ladder=rungs,
        cards=cards,
        fixes=fixes,
        anchors=anchors,
        depth_charts=tuple(charts.depth_charts(audit)),
        shares=tuple(charts.share_bars(audit)),
        rows=rows,
        rows_left_out=len(audit.layers) - len(rows),
        marked=marked,
        not_run=not_run,
        not_run_count=sum(len(rules) for *_, rules in not_run),
        clean=tuple(infos[rule] for rule in clean if rule in infos),
        not_applicable=not_applicable,
        not_applicable_count=sum(len(rules) for *_, rules in not_applicable),
        aside=tuple(aside),
        by_hand=tuple(step for stage in STAGES for step in stage.steps if step.auto == "by-hand"),
    )


def _counts(total: view.Counts) -> tuple[tuple[str, int, str], ...]:
    """The figures under the verdict: state, number, word. Crashed rules count as not run."""
    not_run = total.states.get(State.NOT_MEASURED, 0) + total.states.get(State.FAILED, 0)
    shown = [
        ("error", total.error, "error" if total.error == 1 else "errors"),
        ("warning", total.warning, "warning" if total.warning == 1 else "warnings"),
        ("note", total.note, "note" if total.note == 1 else "notes"),
        ("clean", total.states.get(State.CLEAN, 0), "passed"),
        ("not-run", not_run, "not run"),
        ("not-applicable", total.states.get(State.NOT_APPLICABLE, 0), "not applicable"),
        ("ignored", total.ignored + total.in_baseline, "set aside"),
    ]
    return tuple(shown if shown[-1][1] else shown[:-1])


def _card(finding: Finding, info: RuleInfo | None, seen: Counter[str]) -> Card:
    slug = (
        "".join(char if char.isascii() and char.isalnum() else "-" for char in finding.rule.lower()).strip("-")
        or "finding"
    )
    seen[slug] += 1
    measured = tuple(_measured(evidence) for evidence in finding.root.evidence)
    others = finding.occurrences[1:]
    return Card(
        finding=finding,
        anchor=slug if seen[slug] == 1 else f"{slug}-{seen[slug]}",
        numbers=measured,
        has_bars=any(item.bar for item in measured),
        others=len(others),
        shown_others=others[:MAX_OTHERS],
        stage=finding.recipe.split(".", 1)[0],
        step=STEPS.get(finding.recipe),
        references=() if info is None else info.references,
    )


def _measured(evidence: Evidence) -> Measured:
    measured, expected = numbers.measured_and_expected(evidence)
    return Measured(
        numbers.fact_label(evidence.fact), measured, expected, evidence.because, charts.evidence_bar(evidence)
    )


def _rows(audit: Audit, marked: dict[str, str], limit: int) -> tuple[LayerRow, ...]:
    """The layer table, thinned to `limit` rows in topological order: layers with findings stay first, then those with weights."""
    if len(audit.layers) <= limit:
        return audit.layers
    order = sorted(
        range(len(audit.layers)),
        key=lambda index: (audit.layers[index].name not in marked, audit.layers[index].parameters == 0, index),
    )
    return tuple(audit.layers[index] for index in sorted(order[:limit]))


def _prose(text: str) -> Any:
    from markupsafe import Markup, escape

    pieces = [(is_code, escape(visible(piece))) for is_code, piece in code_spans(" ".join(str(text).split()))]
    return Markup("").join(Markup(f"<code>{piece}</code>") if is_code else piece for is_code, piece in pieces)


def _lines(text: str) -> Any:
    from markupsafe import Markup, escape

    return Markup("\n").join(escape(line) for line in visible_lines(text))


def _breakable(name: str) -> Any:
    """A layer's name that may wrap after its dots and slashes."""
    from markupsafe import Markup, escape

    text = str(escape(visible(name)))
    return Markup(text.replace(".", ".<wbr>").replace("/", "/<wbr>"))


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{numbers.number(size / scale)} {unit}"
    return numbers.count(size, "byte")


def _source(location: Location) -> str:
    return view.source(location)


_FILTERS: dict[str, Callable[..., Any]] = {
    "prose": _prose,
    "lines": _lines,
    "breakable": _breakable,
    "paragraphs": lambda text: [part for part in text.strip().split("\n\n") if part.strip()],
    "number": numbers.number,
    "figure": lambda value: "" if value is None else numbers.number(value),
    "large": numbers.large,
    "lowered": view.lowered,
    "gain_bar": charts.gain_bar,
    "share": numbers.share,
    "counted": numbers.count,
    "bytes": _bytes,
    "source": _source,
    "limit": lambda limit: numbers.scalar(limit.value, limit.unit),
    "compact": lambda value: json.dumps(value, ensure_ascii=False, default=str),
    "tip_word": WORDS.__getitem__,
    "web": lambda url: url.startswith(("https://", "http://")),
    "nth": lambda shown, left_out: f"{-(-(shown + left_out) // shown)}th",
}
