"""Baselines: stable files, new findings told from old ones, and files that are none."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.judge.samples import make_rule, make_table
from trainaudit.errors import TrainauditError
from trainaudit.judge.baseline import (
    Baseline,
    apply_baseline,
    baseline_of,
    read_baseline,
    stale_entries,
    write_baseline,
)
from trainaudit.judge.judging import judge
from trainaudit.judge.selection import Ignore
from trainaudit.result import Audit, ModelInfo


def audit(gain: dict[str, float], target: str = "m.onnx", ignores: tuple[Ignore, ...] = ()) -> Audit:
    """An audit of a model with these gains, with a limit of 2."""
    result = judge([make_rule()], make_table(layer__gain=gain), target=target, locations={}, ignores=ignores)
    model = ModelInfo(target, "onnx", 0, "", None, "", "unknown", (), (), 0, 0, 0, 1.0, (), "fresh")
    return Audit(target, ("structure",), model, result.findings, result.outcomes, (), {})


def test_what_was_there_is_not_new() -> None:
    before = baseline_of([audit({"l0": 3.0, "l1": 3.0})])
    (same,) = apply_baseline(audit({"l0": 7.0}), before).findings
    assert same.is_new is False
    (grown,) = apply_baseline(audit({"l0": 3.0, "l2": 3.0}), before).findings
    assert grown.is_new is True
    (other_model,) = apply_baseline(audit({"l0": 3.0}, "other.onnx"), before).findings
    assert other_model.is_new is True


def test_ignored_findings_are_not_written() -> None:
    assert baseline_of([audit({"l0": 3.0}, ignores=(Ignore("ALL", "why"),))]).entries == {}


def test_stale_entries_are_those_of_audited_models_that_are_gone() -> None:
    before = baseline_of([audit({"l0": 3.0, "l1": 3.0}), audit({"l0": 3.0}, "elsewhere.onnx")])
    (stale,) = stale_entries([audit({"l0": 3.0})], before)
    assert before.entries[stale] == ("sample-state", "m.onnx", "l1")


def test_a_file_is_the_same_whatever_the_order_and_reads_back(tmp_path: Path) -> None:
    baseline = baseline_of([audit({"l0": 3.0, "l1": 3.0}), audit({"l2": 3.0}, "ä\n.onnx")])
    write_baseline(baseline, tmp_path / "one.json")
    write_baseline(Baseline(dict(reversed(baseline.entries.items()))), tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert read_baseline(tmp_path / "one.json") == baseline
    text = (tmp_path / "one.json").read_text("utf-8")
    assert len([line for line in text.splitlines() if "fingerprint" in line]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "two.json"]
    assert stat.S_IMODE((tmp_path / "one.json").stat().st_mode) & 0o400


def test_an_empty_baseline_is_a_baseline(tmp_path: Path) -> None:
    write_baseline(Baseline({}), tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == {"trainaudit-baseline": 1, "findings": []}
    assert read_baseline(tmp_path / "b.json") == Baseline({})


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(TrainauditError, match="cannot be written"):
        write_baseline(Baseline({}), tmp_path / "missing" / "b.json")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(TrainauditError, match="cannot be written"):
        write_baseline(Baseline({}), tmp_path / "b.json")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "3", '"x"', "null", '{"findings": 3, "trainaudit-baseline": 1}',
        '{"findings": [3], "trainaudit-baseline": 1}', '{"findings": [{"rule": "x"}], "trainaudit-baseline": 1}',
        '{"findings": [], "trainaudit-baseline": 2}', "[" * 100_000,
    ],
)  # fmt: skip
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(TrainauditError, match="--write-baseline"):
        read_baseline(path)


def test_binary_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainauditError, match="is not a baseline"):
        read_baseline(tmp_path / "b.json")
    with pytest.raises(TrainauditError, match="There is no baseline"):
        read_baseline(tmp_path / "none.json")
    with pytest.raises(TrainauditError, match="cannot be read"):
        read_baseline(tmp_path)
