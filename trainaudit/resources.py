"""Where the built-in rules, templates and schema are. Nothing else in the package knows. Stdlib only.

A wheel carries `rules/` and `templates/` in `trainaudit/data/`; a checkout (and so an editable install) has them beside the package.
"""

from __future__ import annotations

from pathlib import Path

from trainaudit.errors import TrainauditError

_PACKAGE = Path(__file__).resolve().parent


def rules_folder() -> Path:
    """The folder that holds `<category>/<rule-id>.toml`."""
    return _folder("rules")


def templates_folder() -> Path:
    """The folder that holds the report templates."""
    return _folder("templates")


def schema_file() -> Path:
    """JSON Schema of the audit record."""
    return _PACKAGE / "schema" / "audit.schema.json"


def _folder(name: str) -> Path:
    for folder in (_PACKAGE / "data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise TrainauditError(
        "broken-installation", f"The built-in {name} are missing from this installation.", "Reinstall trainaudit."
    )
