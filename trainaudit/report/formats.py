"""The output formats and report kinds by name: where the command line asks for a rendering. Renderers are imported when needed."""

from __future__ import annotations

from pathlib import PurePath

from trainaudit.errors import TrainauditError
from trainaudit.result import Run

FORMATS = ("full", "concise", "json", "sarif", "junit", "github", "gitlab", "markdown")
"""What `--output-format` takes. All but full and concise are for machines and never hold escape codes."""

KINDS = {
    ".html": "html",
    ".pdf": "pdf",
    ".json": "json",
    ".sarif": "sarif",
    ".md": "markdown",
    ".xml": "junit",
}
"""Suffix → kind of report, for `--report PATH`."""


def render(
    run: Run,
    name: str,
    *,
    width: int = 80,
    color: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> str:
    """The run in one of `FORMATS` or "html", as text. The options are for full and concise alone, the width for full.

    Raises `TrainauditError` ("unknown-format") for any other name.
    """
    if name == "full":
        from trainaudit.report.to_terminal import render_full

        return render_full(run, width=width, color=color, verbose=verbose, quiet=quiet)
    if name == "concise":
        from trainaudit.report.to_terminal import render_concise

        return render_concise(run, color=color, quiet=quiet)
    if name == "json":
        from trainaudit.report.to_json import render_json

        return render_json(run)
    if name == "sarif":
        from trainaudit.report.to_sarif import render_sarif

        return render_sarif(run)
    if name == "github":
        from trainaudit.report.to_github import render_github

        return render_github(run)
    if name == "gitlab":
        from trainaudit.report.to_gitlab import render_gitlab

        return render_gitlab(run)
    if name == "junit":
        from trainaudit.report.to_junit import render_junit

        return render_junit(run)
    if name == "markdown":
        from trainaudit.report.to_markdown import render_markdown

        return render_markdown(run)
    if name == "html":
        from trainaudit.report.to_html import render_html

        return render_html(run)
    raise TrainauditError("unknown-format", f"There is no output format {name!r}.", f"Use one of {', '.join(FORMATS)}.")


def render_bytes(run: Run, kind: str) -> bytes:
    """The run as the bytes of a report file: one of the kinds in `KINDS`."""
    if kind == "pdf":
        from trainaudit.report.to_pdf import render_pdf

        return render_pdf(run)
    return render(run, kind).encode("utf-8", "backslashreplace")


def report_kind(path: str) -> str:
    """The kind of report that a file name asks for. `.sarif.json` is SARIF; `-` and other suffixes are refused
    (`TrainauditError`, "unknown-report-kind")."""
    name = PurePath(path).name.lower()
    if name.endswith((".sarif.json", ".sarif")):
        return "sarif"
    suffix = PurePath(name).suffix
    if suffix not in KINDS:
        raise TrainauditError(
            "unknown-report-kind",
            f"{path!r} does not say which kind of report is wanted.",
            f"End the name in one of {', '.join(KINDS)}.",
        )
    return KINDS[suffix]
