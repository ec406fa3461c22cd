"""Which findings may follow from which, as the rules say it: a cause is shown first, and what it may bring about under it. Stdlib only."""

from __future__ import annotations

from collections.abc import Sequence

from trainaudit.frozen import frozen
from trainaudit.result import Finding, Run


@frozen
class Group:
    """A finding that stands on its own, and those that may follow from it. `suspects` are findings that it may follow from itself, and that weigh
    too little to stand over it."""

    root: Finding
    following: tuple[Finding, ...]
    suspects: tuple[Finding, ...]


def grouped(run: Run, findings: Sequence[Finding]) -> list[Group]:
    """Findings in order, each under the first that its rule names as a cause, that one's own cause, and so on. An error is never put under a
    warning: what is worse than its cause stands beside it."""
    follows = {rule.id: rule.follows for rule in run.rules}
    roots = {id(finding): _root(finding, findings, follows) for finding in findings}
    groups = []
    for finding in findings:
        if roots[id(finding)] is finding:
            below = tuple(other for other in findings if other is not finding and roots[id(other)] is finding)
            weak = [other for other in _causes(finding, findings, follows) if roots[id(other)] is not finding]
            groups.append(Group(finding, below, tuple(weak)))
    return groups


def _root(finding: Finding, findings: Sequence[Finding], follows: dict[str, tuple[str, ...]]) -> Finding:
    path = [finding]
    while True:
        causes = _causes(path[-1], findings, follows)
        cause = next((other for other in causes if other.severity.rank >= path[-1].severity.rank), None)
        if cause is None:
            return path[-1]
        if any(
            cause is other for other in path
        ):  # rules of a user's own may name each other: the first of the findings stands
            return next(other for other in findings if any(other is one for one in path))
        path.append(cause)


def _causes(finding: Finding, findings: Sequence[Finding], follows: dict[str, tuple[str, ...]]) -> list[Finding]:
    named = follows.get(finding.rule, ())
    return [other for other in findings if other is not finding and other.rule in named]
