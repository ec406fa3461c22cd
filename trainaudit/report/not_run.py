"""Rules that were not run, by the command that would run them. Stdlib only."""

from __future__ import annotations

import re

from trainaudit.frozen import frozen
from trainaudit.report.escaping import visible
from trainaudit.report.view import outcome_groups
from trainaudit.result import Audit, Run, State

_TIMES = 10
"""How much more time is offered to a probe that its budget cut short."""
_BUDGET = re.compile(r"(--time-budget[ =])(\S+)")


@frozen
class Block:
    """`items` are state, reason and rules; `command` runs them all, "" where nothing would."""

    command: str
    items: tuple[tuple[State, str, tuple[str, ...]], ...]

    @property
    def count(self) -> int:
        return sum(len(rules) for *_, rules in self.items)


def not_run(run: Run, audit: Audit) -> tuple[Block, ...]:
    """The command that runs most comes first; what nothing would run comes last."""
    found: dict[str, list[tuple[State, str, tuple[str, ...]]]] = {}
    for state in (State.FAILED, State.NOT_MEASURED):
        for reason, command, rules in outcome_groups(audit, state):
            command = command or _again(run, audit, reason)
            found.setdefault(command, []).append((state, reason, tuple(rules)))
    blocks = [Block(visible(command), tuple(items)) for command, items in found.items()]
    return tuple(sorted(blocks, key=lambda block: (not block.command, -block.count)))


def _again(run: Run, audit: Audit, reason: str) -> str:
    """The probe as it was called, with what the reason asks for; "" where that is not known."""
    if audit.trace is None or len(run.audits) != 1 or not run.command.startswith("trainaudit probe "):
        return ""
    if "time-budget" in reason or "time budget" in reason:
        seconds = f"{audit.trace.settings.time_budget * _TIMES:g}"
        if _BUDGET.search(run.command):
            return _BUDGET.sub(rf"\g<1>{seconds}", run.command, count=1)
        return f"{run.command} --time-budget {seconds}"
    if reason.endswith("--validation"):
        return f"{run.command} --validation MODULE:NAME"
    return f"{run.command} --causal" if "not declared causal" in reason else ""
