"""The program: `trainaudit` and `python -m trainaudit`."""

from __future__ import annotations

import gc
import os


def run() -> None:
    """Run the command line.

    Graphs are many small objects that live to the end, so the cycle collector looks rarely. Products here are small: threads of
    the linear algebra library cost more to start and to wake than they save.
    """
    gc.set_threshold(200_000, 20, 100)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from trainaudit.cli import main

    main()


if __name__ == "__main__":
    run()
