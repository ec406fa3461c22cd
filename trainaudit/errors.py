"""The one exception that users see: what happened, where, and what to do. Imports nothing."""

from __future__ import annotations


class TrainauditError(Exception):
    """A clear sentence for the user; the command line prints it and exits with code 2.

    `slug` is a stable kebab-case name (for documentation and tests), `what` one sentence that says what happened,
    `hint` one sentence that says what to do.
    """

    def __init__(self, slug: str, what: str, hint: str = "") -> None:
        super().__init__(f"{what} {hint}".strip())
        self.slug = slug
        self.what = what
        self.hint = hint
