"""Tables of rule files that were parsed before. Stdlib only.

TOML is parsed in Python, 0.2 ms for a rule; JSON is parsed in C, all rules in 2 ms. Each table is kept under the whole text that it was
parsed from, so that none can outlive its file. They lie where Python keeps the bytecode of this module, and are written when it writes that.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import field
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from trainaudit.frozen import slotted

Table = dict[str, Any]

_MOST = 2_000
"""Texts that are kept; beyond, those that were not used last are dropped."""


@slotted
class ParsedTables:
    """`known` are the tables by their texts, `used` those that were asked for."""

    path: Path
    known: dict[str, Table] = field(default_factory=dict)
    used: dict[str, Table] = field(default_factory=dict)

    def parse(self, text: str) -> Table:
        """What `tomllib.loads` gives, and its errors."""
        table = self.known.get(text)
        if table is None:
            import tomllib

            table = tomllib.loads(text)
        self.used[text] = table
        return table

    def keep(self) -> None:
        """Writes the tables for the next run, where there are new ones. Nothing depends on it: a folder that cannot be written is let be."""
        if sys.dont_write_bytecode or self.used.keys() <= self.known.keys():
            return
        kept = self.known | self.used
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            content = json.dumps(kept if len(kept) <= _MOST else self.used, ensure_ascii=False)
            self.path.parent.mkdir(exist_ok=True)
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(self.path)
        except (OSError, TypeError, UnicodeEncodeError):  # TypeError: a date, which is in no rule
            with suppress(OSError):
                temporary.unlink()


def parsed_tables(path: Path | None = None) -> ParsedTables:
    """What earlier runs kept, none where that cannot be read."""
    path = path or Path(cache_from_source(__file__)).with_suffix(".json")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        known = {}
    return ParsedTables(path, known if isinstance(known, dict) else {})
