"""A comparison of two records as a page, or as the page that is printed. The template is `templates/html/diff.html.j2`."""

from __future__ import annotations

from collections import Counter

from trainaudit.errors import TrainauditError
from trainaudit.report.diff import compare, paired, render_diff, sentence, strangers_sentences
from trainaudit.report.diff_view import changed_numbers, groups, pairs
from trainaudit.report.portable import portable
from trainaudit.report.templating import standing_alone
from trainaudit.result import Run


def diff_page(old: Run, new: Run, *, is_print: bool = False) -> str:
    """New, fixed and unchanged findings as cards, what changed in the model, and the curves of both."""
    old, new = portable(old), portable(new)
    difference = compare(old, new)
    models = pairs(old, new)
    total = len(paired(old, new))
    name = models[0].name if len(models) == 1 else f"{total} models"
    return standing_alone(
        "diff.html.j2",
        styles=("page.css", "charts.css", "diff.css"),
        script="page.js",
        is_print=is_print,
        title=f"{name}: what changed",
        name=name,
        sentence=sentence(difference),
        strangers=strangers_sentences(difference),
        groups=groups(difference, old, new, Counter()),
        numbers=changed_numbers(difference, old, new),
        pairs=models,
        left_out=total - len(models),
        records=(("before", old), ("after", new)),
    )


def render_comparison(old: Run, new: Run, kind: str) -> bytes:
    """The comparison as a report file: "html", "pdf" or "markdown". Raises `TrainauditError` ("no-such-comparison") for other kinds."""
    if kind == "html":
        return diff_page(old, new).encode("utf-8", "backslashreplace")
    if kind == "pdf":
        from trainaudit.report.to_pdf import printed

        return printed(diff_page(old, new, is_print=True))
    if kind == "markdown":
        return render_diff(compare(old, new), "markdown").encode("utf-8", "backslashreplace")
    what = f"There is no comparison of two records as {kind}."
    raise TrainauditError("no-such-comparison", what, "End the name in .html, .pdf or .md.")
