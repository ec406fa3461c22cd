"""Where renderings go (the terminal, a file, a report) and where records come from. Renderers are imported when they are needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from trainaudit.errors import TrainauditError
from trainaudit.result import Run


def show(
    run: Run,
    output_format: str,
    output_file: Path | None,
    *,
    color: str,
    quiet: bool = False,
    verbose: bool = False,
    statistics: bool = False,
) -> None:
    """The run in one of the output formats, to the terminal or a file. Escape codes go to terminals alone."""
    from trainaudit.report.formats import render

    colored = output_file is None and wants_color(color)
    if statistics and output_format in ("full", "concise"):
        from trainaudit.report.to_terminal import render_statistics

        text = render_statistics(run, color=colored)
    else:
        text = render(run, output_format, width=width(), color=colored, verbose=verbose, quiet=quiet)
    put(text, output_file)


def put(text: str, output_file: Path | None) -> None:
    """A text to standard output (None or "-") or, whole or not at all, to a file. `TrainauditError` where it does not take it."""
    if output_file is None or str(output_file) == "-":
        try:
            sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
            sys.stdout.flush()
        except OSError as error:  # a full disk, a reader that went away
            raise not_taken(error) from None
    else:
        from trainaudit.report.files import write_whole

        write_whole(str(output_file), text)


def not_taken(error: OSError) -> TrainauditError:
    """What to say where standard output refuses a text."""
    reason = (error.strerror or str(error)).lower()
    return TrainauditError("cannot-write", f"The output could not be written: {reason}.", "Write to a file with -o.")


def write_report(runs: Sequence[Run], path: Path) -> None:
    """A report of the kind that the path's suffix names, of one record or several."""
    from trainaudit.report import files

    files.write_report(runs, str(path))


def write_comparison(old: Run, new: Run, path: Path) -> None:
    """A report on what changed between two records, of the kind that the path's suffix names."""
    from trainaudit.report.files import write_whole
    from trainaudit.report.formats import report_kind
    from trainaudit.report.to_diff import render_comparison

    write_whole(str(path), render_comparison(old, new, report_kind(str(path))))


def read_run(path: Path) -> Run:
    """A saved JSON record."""
    from trainaudit.report.to_json import from_json

    return from_json(read_text(path), str(path))


def read_text(path: Path) -> str:
    """A text file of the user's; `TrainauditError` where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TrainauditError("no-such-file", f"There is no file {path}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise TrainauditError("unreadable", f"{path} cannot be read: {reason.lower()}.", "Check the file.") from None


def refuse_impossible(reports: Collection[Path]) -> None:
    """Refuses, before anything is audited, a report of no known kind, and a PDF where none can be made."""
    from trainaudit.report.formats import report_kind

    if "pdf" in [report_kind(str(path)) for path in reports] and (how := missing_pdf()):
        raise TrainauditError("no-pdf", "The PDF report cannot be made here.", how)


def missing_pdf() -> str:
    """How to get what a PDF needs, "" where it is there."""
    from trainaudit.report.to_pdf import missing

    return missing()


def wants_color(choice: str) -> bool:
    """Whether standard output gets colors, from `--color`, NO_COLOR, FORCE_COLOR and what standard output is."""
    from trainaudit.report import to_terminal

    return to_terminal.wants_color(choice, sys.stdout.isatty(), os.environ)


def width() -> int:
    """Columns of the terminal; 80 where output goes elsewhere."""
    import shutil

    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
