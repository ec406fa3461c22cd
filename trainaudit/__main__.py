"""The program: `trainaudit` and `python -m trainaudit`."""

from __future__ import annotations

import gc
import os
import sys
from errno import ENOSPC
from pathlib import Path
from typing import TextIO


def run() -> None:
    """Run the command line.

    Graphs are many small objects that live to the end, so the cycle collector looks rarely. Products here are small: threads of
    the linear algebra library cost more to start and to wake than they save.
    """
    gc.set_threshold(1_000_000, 20, 100)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (as long as the process)
    from trainaudit.cli import main

    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        _leave(end.code)
    except OSError as error:  # help and listings, which `output.put` does not write
        if error.errno != ENOSPC:
            raise
        from trainaudit.output import not_taken

        print(f"error[cannot-write]: {not_taken(error)}", file=sys.stderr)
        _leave(2)


def _leave(code: int) -> None:
    """End at once: to free a graph object by object takes longer than to end the process. What could not be written was told before."""
    _takes_more(sys.stderr)
    os._exit(code if _takes_more(sys.stdout) else 2)


def _takes_more(stream: TextIO) -> bool:
    """Whether what a stream still holds could be written."""
    try:
        stream.flush()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    run()
