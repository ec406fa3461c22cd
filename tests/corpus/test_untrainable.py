"""Networks that cannot train: the cause is named where a file can show it, and their healthy siblings are quiet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from benchmarks.untrainable import FAULTS, HEALTHY, Fault, audited, names_cause, said  # noqa: E402

KNOWN_MISSES: dict[str, str] = {}
"""What is not named yet. A fault that is named must leave this list."""


def listed(fault: Fault) -> object:
    reason = KNOWN_MISSES.get(fault.id)
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(fault, id=f"{fault.id} {fault.title}", marks=marks)


SHOWN = [listed(fault) for fault in FAULTS if fault.evidence != "run"]


@pytest.mark.parametrize("fault", SHOWN)
def test_cause_is_named(fault: Fault, tmp_path: Path) -> None:
    audit = audited(fault.build, tmp_path, fault.evidence)
    assert names_cause(fault, audit), said(audit)


@pytest.mark.parametrize(("build", "_peers"), HEALTHY.values(), ids=HEALTHY)
def test_healthy_sibling_is_quiet(build: Callable[[], Any], _peers: object, tmp_path: Path) -> None:
    assert said(audited(build, tmp_path)) == "nothing"
