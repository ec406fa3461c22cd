"""Where a finding is pinned in a repository, for the formats that machines read. Stdlib only.

Code hosts show a finding beside a line of a file in the repository. A model file has no lines, so the user's own Python is taken
where the file tells it, else line 1 of the model file. Paths are relative with forward slashes: an absolute path is of use on one
machine only, and says more about it than a report should.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import PurePosixPath

from trainaudit.result import Audit, Finding, Location, Occurrence

MANY = 10
"""More occurrences than this become one result: forty alerts about one cause are read by nobody."""


def repository_path(path: str) -> str:
    """A relative path with forward slashes and without `.` and `..`; of an absolute one only the file's name is kept."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    return (parts[-1] if is_absolute(path) else "/".join(parts)) if parts else "model"


def is_absolute(path: str) -> bool:
    """Whether a path starts at a root or a drive, in the spelling of any system."""
    slashed = path.replace("\\", "/")
    return slashed.startswith("/") or slashed[1:3] == ":/"


def source_of(location: Location) -> tuple[str, int] | None:
    """File and line of the user's Python, where it is known and lies below the working folder."""
    if not location.file or location.line is None or location.line < 1:
        return None
    slashed = location.file.replace("\\", "/")
    if is_absolute(slashed) or slashed.startswith(("../", "<", "…")) or "/site-packages/" in slashed:
        return None
    return repository_path(slashed), location.line


def anchor(audit: Audit, location: Location) -> tuple[str, int]:
    """The file and line that a finding is pinned to: the source's, else the model's."""
    return source_of(location) or place_of_model(audit)


def place_of_model(audit: Audit) -> tuple[str, int]:
    """The first line of the model file, or where the user's Python makes the module."""
    model = audit.model
    place = Location(file=model.file, line=model.line or 1) if model.file else Location()
    return source_of(place) or (repository_path(model.file or audit.target), 1)


def shown_occurrences(finding: Finding) -> tuple[Occurrence, ...]:
    """All occurrences, or the root alone where there are more than `MANY`."""
    return finding.occurrences if len(finding.occurrences) <= MANY else finding.occurrences[:1]


def identity(audit: Audit, finding: Finding, occurrence: Occurrence) -> str:
    """16 hexadecimal digits that stay the same from run to run: rule, target and subject, but no count, number or order."""
    return digest(finding.rule, repository_path(audit.target), occurrence.fingerprint or occurrence.subject)


def digest(*parts: str) -> str:
    """16 hexadecimal digits of the parts' SHA-256."""
    return sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]
