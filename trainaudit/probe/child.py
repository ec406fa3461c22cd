"""How a part of the program is started in a process of its own. Stdlib only."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def command_of(module: str) -> list[str]:
    """The command that runs a module of this package. Unlike with a bare `-m`, the working folder is not where modules are looked for: it may hold
    anything."""
    return [sys.executable, "-P", "-m", module]


def environment() -> dict[str, str]:
    """The process's own, in which this very package is found."""
    own = str(Path(__file__).resolve().parents[2])
    paths = [own, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
