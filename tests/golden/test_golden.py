"""One saved run, every report, byte for byte. A deliberate change: `TRAINAUDIT_REGENERATE=1 python -m pytest tests/golden`, then read the diff."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report import samples, trace_samples
from trainaudit.report.diff import compare, render_diff
from trainaudit.report.formats import render
from trainaudit.report.to_json import from_json
from trainaudit.report.to_terminal import render_full, render_statistics

FOLDER = Path(__file__).parent
REGENERATE = bool(os.environ.get("TRAINAUDIT_REGENERATE"))


def _body(page: str) -> str:
    """The page without its style, script, policy and record, which stand elsewhere or change with every comma."""
    page = re.sub(r"<(style|script)[^>]*>.*?</\1>", r"<\1>", page, flags=re.DOTALL)
    page = re.sub(r'content="default-src[^"]*"', 'content="…"', page)
    page = re.sub(r'href="data:application/gzip[^"]*"', 'href="…"', page)
    return re.sub(r"\n\s*\n+", "\n", page)


REPORTS: dict[str, Callable[[], str]] = {
    "several.txt": lambda: render(samples.several(), "full"),
    "several.verbose.txt": lambda: render_full(samples.several(), verbose=True),
    "several.color.txt": lambda: render_full(samples.several(), color=True).replace("\x1b", "␛"),
    "several.concise.txt": lambda: render(samples.several(), "concise"),
    "several.statistics.txt": lambda: render_statistics(samples.several()),
    "several.json": lambda: render(samples.several(), "json"),
    "several.sarif": lambda: render(samples.several(), "sarif"),
    "several.github.txt": lambda: render(samples.several(), "github"),
    "several.gitlab.json": lambda: render(samples.several(), "gitlab"),
    "several.xml": lambda: render(samples.several(), "junit"),
    "several.md": lambda: render(samples.several(), "markdown"),
    "faulty.html": lambda: _body(render(samples.faulty(), "html")),
    "clean.html": lambda: _body(render(samples.clean(), "html")),
    "decaying.html": lambda: _body(render(samples.decaying(), "html")),
    "decaying.txt": lambda: render(samples.decaying(), "full"),
    "cascade.txt": lambda: render(samples.cascade(), "full"),
    "cascade.md": lambda: render(samples.cascade(), "markdown"),
    "clean.txt": lambda: render(samples.clean(), "full"),
    "hostile.txt": lambda: render_full(samples.hostile(), verbose=True),
    "hostile.md": lambda: render(samples.hostile(), "markdown"),
    "probed.txt": lambda: render_full(trace_samples.probed(), verbose=True),
    "probed.concise.txt": lambda: render(trace_samples.probed(), "concise"),
    "probed.md": lambda: render(trace_samples.probed(), "markdown"),
    "probed.html": lambda: _body(render(trace_samples.probed(), "html")),
    "diff.txt": lambda: render_diff(compare(samples.mended(), samples.faulty())),
    "diff.strangers.txt": lambda: render_diff(compare(samples.faulty(), samples.decaying())),
    "diff.md": lambda: render_diff(compare(samples.faulty(), samples.mended()), "markdown"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_report(name: str) -> None:
    text = REPORTS[name]()
    path = FOLDER / name
    if REGENERATE:
        path.write_text(text, "utf-8", newline="\n")
    assert text == path.read_bytes().decode(), f"{name} changed; see the module's docstring"


def test_no_orphans() -> None:
    found = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", "") and not path.name.startswith(".")}
    assert found == set(REPORTS)


def test_the_saved_record_can_still_be_read() -> None:
    """`several.json` is the promise: as long as its format number is the same, its reports do not change."""
    assert from_json((FOLDER / "several.json").read_text("utf-8")) == samples.several()
