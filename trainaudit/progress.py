"""What is going on, on standard error while it lasts: one line with the stage, how far it is and the seconds so far. Nothing of it stays."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float], None]
"""Takes the name of a stage and the share of it that is done, 0 to 1."""


@contextmanager
def shown(*, quiet: bool) -> Iterator[Progress]:
    """Silent where nobody watches: standard error is no terminal, CI is set, or quiet is asked for."""
    if quiet or os.environ.get("CI") or not sys.stderr.isatty():
        yield lambda _stage, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(
        *columns, console=Console(file=sys.stderr), transient=True, redirect_stdout=False, refresh_per_second=4
    ) as bar:
        task = bar.add_task("", total=1.0)

        def advance(stage: str, share: float) -> None:
            bar.update(task, description=stage, completed=min(max(share, 0.0), 1.0))

        yield advance
