"""Many models: one page with a row for each, and beside it, in a folder, a report of each. Templates are in `templates/html`.

The pages of the models are made one after the other and the index comes last, so that at no moment a page links to one that is not there.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from urllib.parse import quote

from trainaudit.report import numbers, view
from trainaudit.report.escaping import shortened
from trainaudit.report.files import index_link, pages_folder
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
    folder = pages_folder(path)
    names = iter(page_names([audit.target for run in runs for audit in run.audits]))
    rows: list[Row] = []
    for run in runs:
        for audit in run.audits:
            name = next(names)
            command = command_alone(run, audit.target, folder / name)
            one = replace(run, audits=(audit,), failures=(), warnings=(), command=command)
            yield str(folder / name), page(one, is_print=False, index=index_link(path))
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


_OF_ALL = ("--report", "--output-file", "-o", "--write-baseline")
"""Options that name a file of the whole run, which one model's results would write over."""


def command_alone(run: Run, target: str, page: PurePath) -> str:
    """The run's command for one of its models and that model's page, without the other files that it wrote."""
    if len(run.audits) + len(run.failures) < 2:
        return run.command
    try:
        words = shlex.split(run.command)
    except ValueError:  # of a record that somebody wrote by hand
        return run.command
    targets = run.settings.get("targets")
    typed = {str(word) for word in targets} if isinstance(targets, list | tuple) else set()
    typed |= {PurePath(word).name for word in typed if word not in words}  # absolute paths are told by their names
    kept: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if word.partition("=")[0] in _OF_ALL or before in _OF_ALL or re.match("-o.", word):
            continue
        kept += [] if word in typed else [word]
    place = next((index for index, word in enumerate(words) if word in typed), len(kept))
    kept.insert(min(place, len(kept)), target)
    shown = f"{page.parent.name}/{page.name}" if page.is_absolute() else str(page)
    return shlex.join([*kept, "--report", shown])


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
