"""Tables that were parsed before: what TOML gives, whatever lies in their file."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from trainaudit.judge.parsed import ParsedTables, parsed_tables
from trainaudit.judge.rulefile import rule_files
from trainaudit.resources import rules_folder


@pytest.fixture(autouse=True)
def _writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def _kept(path: Path, *texts: str) -> ParsedTables:
    tables = parsed_tables(path)
    for text in texts:
        tables.parse(text)
    tables.keep()
    return parsed_tables(path)


def test_tables_of_all_rules_come_back_as_they_were_parsed(tmp_path: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in rule_files(rules_folder())]
    again = _kept(tmp_path / "folder" / "tables.json", *texts)
    assert again.known.keys() == set(texts)
    for text in texts:
        assert repr(again.parse(text)) == repr(tomllib.loads(text))


def test_a_changed_text_is_parsed_anew(tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    _kept(path, "value = 1")
    assert parsed_tables(path).parse("value = 2") == {"value": 2}
    assert parsed_tables(path).known == {"value = 1": {"value": 1}}


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tables.json"
    path.write_bytes(content)
    assert _kept(path, "value = 1").known == {"value = 1": {"value": 1}}


def test_errors_are_those_of_toml_and_are_not_kept(tmp_path: Path) -> None:
    tables = parsed_tables(tmp_path / "tables.json")
    with pytest.raises(tomllib.TOMLDecodeError):
        tables.parse("value =")
    tables.keep()
    assert not (tmp_path / "tables.json").exists()


def test_nothing_is_written_where_python_writes_no_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    _kept(tmp_path / "tables.json", "value = 1")
    assert not (tmp_path / "tables.json").exists()


def test_a_date_or_a_folder_that_cannot_be_written_is_let_be(tmp_path: Path) -> None:
    assert _kept(tmp_path / "tables.json", "day = 2026-01-01").known == {}
    (tmp_path / "file").write_text("")
    assert _kept(tmp_path / "file" / "tables.json", "value = 1").known == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
