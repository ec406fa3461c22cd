"""What a change that cannot be made with certainty raises. Imports nothing."""

from __future__ import annotations


class NotApplicableError(Exception):
    """A change cannot be made here: its place is not found with certainty, or what it needs is not there. `reason` is one clause without a full stop."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
