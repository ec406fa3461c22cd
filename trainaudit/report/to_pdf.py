"""The report as a tagged PDF: the printed form of the HTML page, set by WeasyPrint."""

from __future__ import annotations

from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.report.to_html import page
from trainaudit.result import Run


def render_pdf(run: Run) -> bytes:
    """The run as a PDF/UA document with bookmarks, running headers and page numbers. Raises as `printed` does."""
    return printed(page(run, is_print=True))


def printed(text: str) -> bytes:
    """A page that was made for print as a tagged PDF.

    Raises `TrainauditError`: "no-pdf" where WeasyPrint or the Pango library that it needs is missing, "pdf-failed" where WeasyPrint
    breaks down over the page.
    """
    hint = missing()
    if hint:
        raise TrainauditError("no-pdf", "The PDF report cannot be made here.", hint)
    import weasyprint

    document = weasyprint.HTML(string=text, url_fetcher=_fetcher())
    try:
        content: bytes = document.write_pdf(pdf_variant="pdf/ua-1", pdf_tags=True)
    except (AssertionError, ArithmeticError, LookupError, TypeError, RecursionError) as error:
        raise TrainauditError(
            "pdf-failed",
            f"WeasyPrint {weasyprint.__version__} could not set this report ({type(error).__name__}).",
            "Write the HTML report and print it from a browser.",
        ) from error
    return content


def missing() -> str:
    """What is missing for a PDF and how to get it, in one line; "" where nothing is."""
    try:
        from weasyprint.urls import URLFetcher  # noqa: F401
    except ImportError:
        return "WeasyPrint 68 or newer is not installed. Run: pip install 'trainaudit[pdf]'"
    except OSError:
        return (
            "WeasyPrint does not find the Pango library. Install it (Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0, "
            "macOS: brew install pango), or print the HTML report."
        )
    return ""


def _fetcher() -> Any:
    """Reads `data:` alone: a report fetches nothing, neither files nor from the network."""
    from weasyprint.urls import URLFetcher

    return URLFetcher(allowed_protocols={"data"})
