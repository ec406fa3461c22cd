"""The program: `trainaudit` and `python -m trainaudit`."""

from __future__ import annotations

import atexit
import gc
import os


def run() -> None:
    """Run the command line.

    Graphs are many small objects that live to the end, so the cycle collector looks rarely. Products here are small: threads of
    the linear algebra library cost more to start and to wake than they save.
    """
    gc.set_threshold(1_000_000, 20, 100)
    atexit.register(gc.freeze)  # nothing is gained by a last collection
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from trainaudit.cli import main

    main()


if __name__ == "__main__":
    run()
