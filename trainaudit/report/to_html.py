"""One page that says it all: the HTML report, and the page that the PDF is printed from. Templates are in `templates/html`.

Self-contained and safe to open: no network, a content security policy that allows this page's own style and script alone, and
everything that comes from a model or a rule file escaped twice, by `visible` and by Jinja.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import Any

from trainaudit.recipe import SOURCE_URL
from trainaudit.report import charts, numbers, view
from trainaudit.report.escaping import visible, visible_lines
from trainaudit.report.ladder import WORDS
from trainaudit.report.portable import portable
from trainaudit.report.prose import code_spans
from trainaudit.report.sections import MAX_OTHERS, section
from trainaudit.report.to_json import render_json
from trainaudit.resources import templates_folder
from trainaudit.result import Audit, Location, Run, State

MAX_ROWS = 300
MAX_PRINTED_ROWS = 120
MAX_MODELS = 20
"""Models shown in full; the JSON record holds all."""

MAX_RECORD = 500_000
"""Characters of JSON that the page may carry; a larger record goes in without its tables of facts and layers."""


def render_html(run: Run) -> str:
    """The run as one HTML page."""
    return page(run, is_print=False)


def page(run: Run, *, is_print: bool) -> str:
    """The page for the screen, or the one that is printed: all folded parts open, no script, no record."""
    run = portable(run)
    folder = templates_folder()
    css = (folder / "html" / "page.css").read_text("utf-8")
    print_css = (folder / "print.css").read_text("utf-8")
    script = "" if is_print else (folder / "html" / "page.js").read_text("utf-8")
    record, is_thinned = ("", False) if is_print else _record(run)
    shown = run.audits[:MAX_MODELS]
    seen: Counter[str] = Counter()
    rows = max(15, (MAX_PRINTED_ROWS if is_print else MAX_ROWS) // max(1, len(shown)))
    sections = [section(run, audit, index, len(shown), rows, seen) for index, audit in enumerate(shown)]
    total = view.counts(run)
    judged = (State.VIOLATED, State.CLEAN, State.IGNORED)
    used = {outcome.rule for audit in shown for outcome in audit.outcomes if outcome.state in judged}
    title = sections[0].audit.model.name if len(sections) == 1 else numbers.count(len(run.audits), "model")
    text: str = (
        environment()
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


@cache
def environment() -> Any:
    """Jinja over the templates of `templates/html`, which are compiled once."""
    import jinja2

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
    return replace(audit, facts={}, unmeasured={}, layers=(), findings=findings, trace=None)


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
