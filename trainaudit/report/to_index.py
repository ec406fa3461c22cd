"""Many models: one page with a row for each, and beside it, in a folder, a report of each. Templates are in `templates/html`.

The pages of the models are made one after the other and the index comes last, so that at no moment a page links to one that is not there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from urllib.parse import quote

from trainaudit.report import numbers, view
from trainaudit.report.escaping import shortened
from trainaudit.report.model_rows import ICONS, VERDICTS, Row, common_findings, failed, ranked, row
from trainaudit.report.portable import portable
from trainaudit.report.templating import standing_alone
from trainaudit.report.to_html import page
from trainaudit.result import Run

MAX_COMMON = 20
"""Rules in the table of what is found most often."""

_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_MAX_NAME = 100


def index_files(runs: Sequence[Run], path: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file: a report of each model in the folder `NAME-models` beside the index `NAME.html`, and the index last."""
    runs = [portable(run) for run in runs]
    target = PurePath(path)
    folder = target.with_name(f"{target.stem}-models")
    names = iter(page_names([audit.target for run in runs for audit in run.audits]))
    back = f"../{quote(target.name)}"
    rows: list[Row] = []
    for run in runs:
        for audit in run.audits:
            name = next(names)
            one = replace(run, audits=(audit,), failures=(), warnings=())
            yield str(folder / name), page(one, is_print=False, index=back)
            rows.append(row(run, audit, f"{quote(folder.name)}/{quote(name)}"))
        rows += [failed(target, reason) for target, reason in run.failures]
    yield path, render_index(runs, rows)


def render_index(runs: Sequence[Run], rows: Iterable[Row]) -> str:
    rows = ranked(rows)
    worst = Counter(item.worst for item in rows)
    return standing_alone(
        "index.html.j2",
        styles=("page.css", "index.css"),
        script="index.js",
        title=f"{numbers.count(len(rows), 'model')}: audits",
        version=runs[0].version,
        rows=rows,
        has_baseline=any(item.change_key is not None for item in rows),
        verdicts=[
            (state, ICONS.get(state, state), worst[state], words) for state, words in VERDICTS.items() if worst[state]
        ],
        problems=view.problems_sentence(view.counts(runs[0], [audit for run in runs for audit in run.audits])),
        common=common_findings(runs),
        max_common=MAX_COMMON,
        warnings=list(dict.fromkeys(warning for run in runs for warning in run.warnings)),
        commands=list(dict.fromkeys(run.command for run in runs if run.command)),
    )


def page_names(targets: Sequence[str]) -> list[str]:
    """A file name for the report of each target: its path with nothing in it that a file system or a link would trip over, unique even where
    upper and lower case are one."""
    used: set[str] = set()
    names = []
    for target in targets:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", target).strip(".-_") or "model"
        slug = f"model-{slug}" if _RESERVED.match(slug) else slug
        slug = shortened(slug, _MAX_NAME).replace("…", "--")
        name, times = slug, 1
        while name.lower() in used:
            times += 1
            name = f"{slug}-{times}"
        used.add(name.lower())
        names.append(f"{name}.html")
    return names
