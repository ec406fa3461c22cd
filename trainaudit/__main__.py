"""The program: `trainaudit` and `python -m trainaudit`."""

from __future__ import annotations

import gc
import os
import sys


def run() -> None:
    """Run the command line.

    Graphs are many small objects that live to the end, so the cycle collector looks rarely. Products here are small: threads of
    the linear algebra library cost more to start and to wake than they save.
    """
    gc.set_threshold(1_000_000, 20, 100)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from trainaudit.cli import main

    try:
        main()
    except SystemExit as end:
        _leave(end)


def _leave(end: SystemExit) -> None:
    """End at once where the exit code is a number: to free a graph object by object takes longer than to end the process."""
    if not isinstance(end.code, int):
        raise end
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # a closed pipe, a full disk: Python's own end says so
        raise end from None
    os._exit(end.code)


if __name__ == "__main__":
    run()
