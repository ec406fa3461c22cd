"""Forward-only probes: statistics against numpy on a network that is known by heart, data files, bounds and refusals. No torch."""

from __future__ import annotations

import math
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from trainaudit.cli import main
from trainaudit.errors import TrainauditError
from trainaudit.load.opening import open_target
from trainaudit.load.target import Target, parse_inputs
from trainaudit.probe import forward_inputs, forward_process
from trainaudit.probe.forward_only import run_forward
from trainaudit.probe.forward_process import run_apart
from trainaudit.probe.plan import ProbePlan
from trainaudit.trace.trace import ActivationSeries, Trace

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

WEIGHT = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
BIAS = np.array([0, -100, 0, 0, 0, 0], np.float32)  # the second unit never fires


def model(path: Path, *, batch: Any = "N", operator: str = "Relu", scale: float = 1.0, external: bool = False) -> str:
    """x (N, 4) → Linear(4, 6) → an activation function → Linear(6, 2)."""
    helper, kinds = onnx.helper, onnx.TensorProto
    tensors = [
        onnx.numpy_helper.from_array(WEIGHT * np.float32(scale), "first.weight"),
        onnx.numpy_helper.from_array(BIAS, "first.bias"),
        onnx.numpy_helper.from_array(np.ones((2, 6), np.float32), "second.weight"),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["a"], name="/first/Gemm", transB=1),
        helper.make_node(operator, ["a"], ["b"], name=f"/act/{operator}"),
        helper.make_node("Gemm", ["b", "second.weight"], ["y"], name="/second/Gemm", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", kinds.FLOAT, [batch, 4])]
    outputs = [helper.make_tensor_value_info("y", kinds.FLOAT, [batch, 2])]
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    if external:
        onnx.save(made, str(path), save_as_external_data=True, location="weights.data", size_threshold=0)
    else:
        onnx.save(made, str(path))
    return str(path)


def forward(path: str, *, inputs: tuple[str, ...] = (), **plan: Any) -> Trace:
    target = Target(path, inputs=parse_inputs(inputs))
    return run_forward(target, open_target(target), ProbePlan(forward_only=True, **plan), lambda _stage, _share: None)


def named(trace: Trace) -> dict[str, ActivationSeries]:
    return {series.tap.layer: series for series in trace.activations}


@pytest.fixture
def stored(tmp_path: Path) -> tuple[str, Any]:
    """A data file of 64 examples, and they themselves."""
    x = np.random.default_rng(1).standard_normal((64, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.zeros(64, np.int64))
    return str(tmp_path / "data.npz"), x


def test_statistics_are_those_of_numpy(tmp_path: Path, stored: tuple[str, Any]) -> None:
    data, x = stored
    trace = forward(model(tmp_path / "m.onnx"), data=data, batch_size=32)
    found = named(trace)
    assert (trace.settings.evidence, trace.settings.data, trace.settings.batch_size) == ("forward", "real", 32)
    assert trace.sampled_steps == (0, 1)
    assert [series.tap.op for series in trace.activations] == ["linear", "relu", "linear"]
    for step in range(2):
        a = x[32 * step : 32 * (step + 1)].astype(np.float64) @ WEIGHT.T + BIAS
        b = np.maximum(a, 0)
        first, act = found["first"], found["act"]
        assert first.mean[step] == pytest.approx(a.mean(), rel=1e-4)
        assert first.std[step] == pytest.approx(a.std(), rel=1e-4)
        assert first.rms[step] == pytest.approx(math.sqrt((a**2).mean()), rel=1e-4)
        assert first.absmax[step] == pytest.approx(np.abs(a).max(), rel=1e-4)
        assert act.zero_share[step] == pytest.approx((b == 0).mean())
        rows = a - a.mean(0)
        squares = np.linalg.svd(rows, compute_uv=False) ** 2
        shares = squares[squares > 0] / squares.sum()
        assert first.effective_rank[step] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)
    assert found["act"].silent_share == pytest.approx(1 / 6)
    assert found["act"].unit_count == 6
    assert found["act"].samples_seen == 64
    assert found["first"].silent_share is None  # a linear layer's units may well be negative
    assert found["act"].constant_share == pytest.approx(1 / 6)
    assert trace.run is None
    assert trace.experiments == {}


@pytest.mark.parametrize(
    ("operator", "saturated"), [("Tanh", lambda y: np.abs(y) > 0.97), ("Sigmoid", lambda y: np.abs(y - 0.5) > 0.47)]
)
def test_saturation(tmp_path: Path, stored: tuple[str, Any], operator: str, saturated: Any) -> None:
    data, x = stored
    trace = forward(model(tmp_path / "m.onnx", operator=operator), data=data, batch_size=64)
    a = x.astype(np.float64) @ WEIGHT.T + BIAS
    y = np.tanh(a) if operator == "Tanh" else 1 / (1 + np.exp(-a))
    assert named(trace)["act"].saturated_share == (pytest.approx(saturated(y).mean(), abs=1e-3),)
    assert named(trace)["first"].saturated_share == ()


def test_what_is_not_finite_is_counted_and_located(tmp_path: Path) -> None:
    trace = forward(model(tmp_path / "m.onnx", scale=1e38), steps=1)
    assert trace.run is not None
    found = trace.run.first_non_finite
    assert found is not None
    assert (found.kind, found.step) == ("activation", 0)
    assert max(value or 0 for series in trace.activations for value in series.non_finite) > 0
    assert max(value or 0 for series in trace.activations for value in series.half_overflow_share) > 0


def test_synthetic_inputs_are_drawn_from_the_seed(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx")
    first, again, other = (forward(path, seed=seed, steps=2) for seed in (1, 1, 2))
    assert first.activations == again.activations
    assert first.activations != other.activations
    assert first.settings.data == "random"


def test_a_fixed_batch_and_inputs_that_are_given(tmp_path: Path) -> None:
    assert forward(model(tmp_path / "m.onnx", batch=3), steps=1).settings.batch_size == 3
    assert forward(model(tmp_path / "n.onnx"), steps=1, inputs=("x=float32[5,4]",)).settings.batch_size == 5


def test_external_data_beside_the_model_are_read(tmp_path: Path) -> None:
    inside = forward(model(tmp_path / "m.onnx"), steps=1)
    outside = forward(model(tmp_path / "e.onnx", external=True), steps=1)
    assert inside.activations == outside.activations


def test_outputs_are_held_in_groups_and_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model(tmp_path / "m.onnx")
    whole = forward(path, steps=2)
    monkeypatch.setattr(forward_inputs, "MOST_ELEMENTS", 200)
    assert forward(path, steps=2).activations == whole.activations


def test_the_time_budget_cuts_batches_and_says_so(tmp_path: Path) -> None:
    trace = forward(model(tmp_path / "m.onnx"), time_budget=1e-6)
    assert trace.stopped == "time budget"
    assert trace.sampled_steps == (0,)
    assert "1 of 8 batches" in trace.cuts[0]


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    def progress(_stage: str, share: float) -> None:
        if share > 0.4:
            raise KeyboardInterrupt

    target = Target(model(tmp_path / "m.onnx"))
    trace = run_forward(target, open_target(target), ProbePlan(), progress)
    assert trace.stopped == "interrupted"
    assert trace.sampled_steps == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("inputs", "plan", "says"),
    [
        (("z=float32[2,4]",), {}, "has no input z"),
        (("x=int64[2,4]",), {}, "is float32, not int64"),
        (("x=float32[2,5]",), {}, "could not be run on its inputs"),
        ((), {"data": "pkg.data:batches"}, "reads data from .npz and .safetensors files"),
        ((), {"data": "nope.npz"}, "nope.npz does not exist"),
        ((), {"data": "few.npz", "batch_size": 8}, "could not be run"),
        ((), {"data": "empty.npz"}, "holds 0 examples"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: tuple[str, ...], plan: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", x=np.zeros((8, 3), np.float32))
    np.savez("empty.npz", x=np.zeros((0, 4), np.float32))
    with pytest.raises(TrainauditError) as caught:
        forward(model(Path("m.onnx")), inputs=inputs, **plan)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_operators_that_nobody_knows_are_refused_and_no_library_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    made = onnx.load(model(path))
    made.graph.node.append(onnx.helper.make_node("Strange", ["b"], ["z"], domain="com.example"))
    made.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(made, str(path))
    with pytest.raises(TrainauditError, match=r"onnxruntime .* cannot load") as caught:
        forward(str(path))
    assert str(tmp_path) not in caught.value.what.replace(str(path), "")


def test_the_command_judges_forward_rules_and_lists_the_rest_as_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model(Path("m.onnx"))
    result = CliRunner().invoke(main, ["probe", "m.onnx", "--forward-only", "--isolated", "-v", "--exit-zero"])
    said = " ".join(result.stdout.split())
    assert result.exit_code == 0, result.output
    assert "probe: 8 of 8 batches of 32 examples, cpu" in said
    assert "no training probe was run" in said


def test_a_process_of_its_own_gives_the_same_and_says_how_far_it_is(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx")
    told: list[tuple[str, float]] = []
    apart = run_apart(Target(path), ProbePlan(steps=2), lambda stage, share: told.append((stage, share)))
    assert apart.activations == forward(path, steps=2).activations
    assert told == [("forward", 0.0), ("forward", 0.5)]


@pytest.mark.parametrize("inherited", [signal.default_int_handler, signal.SIG_IGN], ids=["usual", "background"])
def test_ctrl_c_is_passed_on_to_it(tmp_path: Path, inherited: Any) -> None:
    """Also where everything was started to ignore it, as jobs in the background are."""
    pressed: list[float] = []

    def progress(_stage: str, share: float) -> None:
        if share > 0.0005 and not pressed:
            pressed.append(share)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, inherited)
    try:
        plan = ProbePlan(steps=1_000_000, time_budget=10_000.0)
        trace = run_apart(Target(model(tmp_path / "m.onnx")), plan, progress)
    finally:
        signal.signal(signal.SIGINT, before)
    assert trace.stopped == "interrupted"
    assert 200 < len(trace.sampled_steps) < 1_000_000


def test_a_crash_of_onnxruntime_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_process, "command_of", lambda _module: [str(shutil.which("false"))])
    with pytest.raises(TrainauditError, match="onnxruntime crashed on"):
        run_apart(Target(model(tmp_path / "m.onnx")), ProbePlan(), lambda _stage, _share: None)


def test_what_the_process_refuses_is_told_as_it_is(tmp_path: Path) -> None:
    target = Target(model(tmp_path / "m.onnx"), inputs=parse_inputs(["z=float32[2,4]"]))
    with pytest.raises(TrainauditError, match="has no input z"):
        run_apart(target, ProbePlan(), lambda _stage, _share: None)


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("numpy", "onnxruntime", "json"):
        Path(f"{name}.py").write_text("open('imported', 'w').close()")
    assert run_apart(Target(model(Path("m.onnx"))), ProbePlan(steps=1), lambda _stage, _share: None).activations
    assert not Path("imported").exists()
