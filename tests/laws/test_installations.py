"""The built wheel and the sdist carry rules and templates, and audit a model away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("build")
pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # `python -m build` makes the sdist first and the wheel out of the sdist, so both are exercised
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def test_the_wheel_holds_what_it_needs(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    rules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rules").rglob("*.toml")}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "templates").rglob("*") if path.is_file()}
    assert len(rules) >= 46
    assert {f"trainaudit/data/{name}" for name in rules | templates} <= names
    assert "trainaudit/schema/audit.schema.json" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_installed_wheel_audits_a_model(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    where = subprocess.run(
        [sys.executable, "-c", "import trainaudit; print(trainaudit.__file__)"],
        cwd=work, env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(site)

    demo = subprocess.run(
        [sys.executable, "-m", "trainaudit", "demo"],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert demo.returncode == 0, demo.stderr
    assert (work / "trainaudit-demo" / "faulty.html").stat().st_size > 10_000

    audit = subprocess.run(
        [sys.executable, "-m", "trainaudit", "trainaudit-demo/faulty.onnx", "--loss", "cross-entropy", "--output-format", "json"],
        cwd=work, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert audit.returncode == 1, audit.stderr
    rules = {finding["rule"] for finding in json.loads(audit.stdout)["audits"][0]["findings"]}
    assert {"double-softmax", "symmetric-init", "linear-stack"} <= rules
