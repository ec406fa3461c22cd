"""The program: `trainaudit` and `python -m trainaudit`."""

from __future__ import annotations

import gc


def run() -> None:
    """Run the command line. Graphs are many small objects that live to the end, so the cycle collector looks rarely."""
    gc.set_threshold(200_000, 20, 100)
    from trainaudit.cli import main

    main()


if __name__ == "__main__":
    run()
