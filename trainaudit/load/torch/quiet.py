"""Silence while a module is tried, traced or trained. Stdlib only."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings, log lines and prints of the tracers and of the module, which may run several times."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


@contextmanager
def aside() -> Iterator[None]:
    """Without the warnings of libraries; what they and the user's code print goes to standard error."""
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        if not os.environ.get("TRAINAUDIT_DEBUG"):
            warnings.simplefilter("ignore")
        yield
