"""One page that says it all: the HTML report, and the page that the PDF is printed from. Templates are in `templates/html`.

Self-contained and safe to open: no network, a content security policy that allows this page's own style and script alone, and
everything that comes from a model or a rule file escaped twice, by `visible` and by Jinja.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from gzip import compress

from trainaudit.frozen import frozen
from trainaudit.recipe import BY_HAND, SOURCE_URL
from trainaudit.report import numbers, view
from trainaudit.report.cards import MAX_OTHERS
from trainaudit.report.model_rows import Row, failed, ranked, row
from trainaudit.report.portable import portable
from trainaudit.report.sections import Section, section
from trainaudit.report.templating import standing_alone
from trainaudit.report.to_json import render_json
from trainaudit.result import Audit, Run, State

MAX_ROWS = 300
MAX_PRINTED_ROWS = 120
MAX_MODELS = 20
"""Models shown in full; the JSON record holds all."""

MAX_MODEL_ROWS = 200
"""Models in the table of all; an index of many (`to_index`) has a row for each."""

MAX_RECORD = 200_000
"""Characters that the record may take in the page, compressed; a larger one goes in without its tables, or not at all."""

MAX_PAGE = 2_000_000
"""Bytes of a page."""


@frozen
class Room:
    """What is shown of a model at most: findings, places of one finding, and which part of the layer table's rows."""

    cards: int
    places: int
    part: int = 1


_ROOMS = (Room(1000, MAX_OTHERS), Room(150, 10, 2), Room(60, 5, 4), Room(15, 1, 20))
"""Tried in turn until the page is small enough."""


def render_html(run: Run) -> str:
    """The run as one HTML page."""
    return page(run, is_print=False)


def page(run: Run, *, is_print: bool, index: str = "") -> str:
    """The page for the screen, or the one that is printed: all folded parts open, no script, no record. `index` is the link back to the page of
    all models, "" where there is none."""
    run = portable(run)
    record, record_lacks = ("", "") if is_print else _record(run)
    shown, models = _models(run)
    total = view.counts(run)
    judged = (State.VIOLATED, State.CLEAN, State.IGNORED)
    used = {outcome.rule for audit in shown for outcome in audit.outcomes if outcome.state in judged}
    text = ""
    for room in _ROOMS:
        sections = _sections(run, shown, room, MAX_PRINTED_ROWS if is_print else MAX_ROWS)
        title = sections[0].audit.model.name if len(sections) == 1 else numbers.count(len(run.audits), "model")
        text = standing_alone(
            "page.html.j2",
            styles=("page.css", "charts.css"),
            script="page.js",
            is_print=is_print,
            run=run,
            title=f"{title}: audit",
            index=index,
            sections=sections,
            rows=models[:MAX_MODEL_ROWS],
            rows_left_out=max(0, len(models) - MAX_MODEL_ROWS),
            has_baseline=any(item.change_key is not None for item in models),
            left_out=len(run.audits) - len(shown),
            problems=view.problems_sentence(total),
            rules=view.rules_sentence(total),
            recipe_url=SOURCE_URL,
            by_hand=BY_HAND,
            thresholds=[(rule, limit) for rule in run.rules if rule.id in used for limit in rule.thresholds],
            record=record,
            record_lacks=record_lacks,
        )
        if is_print or len(text.encode()) <= MAX_PAGE:
            break
    return text


def _sections(run: Run, shown: Sequence[Audit], room: Room, most_rows: int) -> list[Section]:
    """A section for each model, which share the rows of their tables."""
    rows = max(15, most_rows // len(shown) // room.part) if shown else 0
    seen: Counter[str] = Counter()
    return [
        section(run, audit, place, len(shown), rows, seen, most_cards=room.cards, most_places=room.places)
        for place, audit in enumerate(shown)
    ]


def _models(run: Run) -> tuple[Sequence[Audit], list[Row]]:
    """The models that are shown in full, the worst of many, and a row for each that there is."""
    if len(run.audits) == 1:
        return run.audits, []
    known = ranked(row(run, audit, str(index)) for index, audit in enumerate(run.audits))
    places = sorted(int(item.href) for item in known[:MAX_MODELS])
    anchors = {str(place): f"#model-{number + 1}" for number, place in enumerate(places)}
    rows = [replace(item, href=anchors.get(item.href, "")) for item in known]
    return [run.audits[place] for place in places], [*(failed(*failure) for failure in run.failures), *rows]


def _record(run: Run) -> tuple[str, str]:
    """The JSON for the page, compressed, as the address of a link; and what was left out of it, "" where it is whole."""
    size = sum(len(audit.layers) + sum(map(len, audit.facts.values())) for audit in run.audits)
    packed = _packed(run) if size * 4 < MAX_RECORD else ""
    if 0 < len(packed) <= MAX_RECORD:
        return packed, ""
    shown = run.audits[:MAX_MODELS]
    for lacks, thinned in _THINNED.items():
        packed = _packed(replace(run, audits=tuple(map(thinned, shown))))
        if len(packed) <= MAX_RECORD:
            return packed, lacks
    return "", "all"


def _packed(run: Run) -> str:
    """A tenth of the text. The time is left out of it: the same record gives the same page."""
    return "data:application/gzip;base64," + b64encode(compress(render_json(run).encode(), mtime=0)).decode()


def _without_facts(audit: Audit) -> Audit:
    return replace(audit, facts={}, unmeasured={})


def _without_tables(audit: Audit) -> Audit:
    findings = tuple(replace(finding, occurrences=finding.occurrences[:MAX_OTHERS]) for finding in audit.findings)
    return replace(_without_facts(audit), layers=(), findings=findings, trace=None)


_THINNED: Mapping[str, Callable[[Audit], Audit]] = {
    "without the table of facts": _without_facts,
    f"without the tables of facts and layers and the trace of a probe, and with at most {MAX_OTHERS} places for one finding": _without_tables,
}
"""What is left out of a large record, and how."""
