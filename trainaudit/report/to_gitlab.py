"""GitLab Code Quality: a JSON array that merge requests show. Stdlib only."""

from __future__ import annotations

import json
from collections import Counter

from trainaudit.report import anchors, view
from trainaudit.report.escaping import visible
from trainaudit.report.portable import portable
from trainaudit.result import Run

_SEVERITY = {"error": "critical", "warning": "major", "note": "info"}


def render_gitlab(run: Run) -> str:
    """Every live finding; fingerprints are unique and stay the same from run to run. A target that could not be audited is an
    issue of severity blocker, so that it cannot be taken for a clean one."""
    run = portable(run)
    issues = [
        {
            "description": f"Could not be audited: {visible(reason)}",
            "check_name": "trainaudit",
            "fingerprint": anchors.digest("not-audited", anchors.repository_path(target)),
            "severity": "blocker",
            "location": {"path": visible(anchors.repository_path(target)), "lines": {"begin": 1}},
        }
        for target, reason in run.failures
    ]
    seen: Counter[str] = Counter()
    for audit, finding in sorted(view.shown_findings(run.audits), key=lambda pair: -pair[1].severity.rank):
        for occurrence in anchors.shown_occurrences(finding):
            path, line = anchors.anchor(audit, occurrence.location)
            key = anchors.identity(audit, finding, occurrence)
            seen[key] += 1
            more = view.other_places(finding, 0)[1] if len(finding.occurrences) > anchors.MANY else ""
            issues.append(
                {
                    "description": visible(occurrence.message) + (f" ({more})" if more else ""),
                    "check_name": visible(finding.rule),
                    "fingerprint": key if seen[key] == 1 else anchors.digest(key, str(seen[key])),
                    "severity": _SEVERITY[finding.severity],
                    "location": {"path": visible(path), "lines": {"begin": line}},
                }
            )
    return json.dumps(issues, indent=1, allow_nan=False) + "\n"
