"""An audit of an ONNX file loads neither torch nor anything else that is heavy. The last test proves that this test can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainaudit.demo import build

HEAVY = (
    "torch", "onnxruntime", "weasyprint", "scipy", "matplotlib", "pandas", "transformers", "onnxscript", "onnx_ir", "jinja2",
    "onnx.checker", "onnx.shape_inference", "onnx.onnx_cpp2py_export",
    "trainaudit.probe", "trainaudit.probing", "trainaudit.trace", "trainaudit.measure.dynamic", "trainaudit.load.torch",
)  # fmt: skip
"""The last ones are rooms of the program itself, for what only a probe or a PyTorch target needs."""

PROGRAM = """
import sys
{before}
from trainaudit.cli import main
try:
    main([{path!r}, "--isolated", "--exit-zero", "--loss", "cross-entropy"])
except SystemExit as end:
    assert end.code == 0, end.code
print("LOADED", *sorted(name for name in {heavy!r} if name in sys.modules))
"""


def loaded_modules(path: Path, before: str = "") -> set[str]:
    program = PROGRAM.format(before=before, path=str(path), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    last = done.stdout.strip().splitlines()[-1].split()
    assert last[0] == "LOADED"
    return set(last[1:])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models"))[0]


def test_an_audit_loads_nothing_heavy(model: Path) -> None:
    assert loaded_modules(model) == set()


CHILD = """
import sys
from trainaudit.load.opening import open_target
from trainaudit.load.target import Target
from trainaudit.probe.forward_process import run_forward
from trainaudit.probe.plan import ProbePlan
target = Target({path!r})
run_forward(target, open_target(target), ProbePlan(steps=1), lambda *_: None)
print("LOADED", *sorted(name for name in {heavy!r} if name in sys.modules))
"""


def test_a_forward_probe_loads_no_torch(model: Path) -> None:
    """Neither the program nor the process in which onnxruntime runs."""
    pytest.importorskip("onnxruntime")
    program = PROGRAM.replace("main([", "main(['probe', '--forward-only', ")
    for text, loaded in ((program, set()), (CHILD, {"onnxruntime"})):
        command = [sys.executable, "-c", text.format(before="", path=str(model), heavy=HEAVY)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        found = set(done.stdout.strip().splitlines()[-1].split()[1:])
        assert found & {"torch", "transformers", "onnxruntime"} == loaded


def test_importing_the_package_loads_nothing_at_all() -> None:
    program = "import sys; before = set(sys.modules); import trainaudit; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "numpy" not in done.stdout
    assert "click" not in done.stdout


def test_the_test_can_fail(model: Path) -> None:
    assert "onnx.checker" in loaded_modules(model, before="import onnx.checker")
