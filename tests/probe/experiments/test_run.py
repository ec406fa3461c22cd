"""The run as a whole: its series, its time, and its ends."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.models.clocks import AMPLE, slowed, stopped_clock  # noqa: E402
from tests.probe.experiments.trainees import clusters, mlp, trainee  # noqa: E402
from trainaudit.errors import TrainauditError  # noqa: E402
from trainaudit.probe.budget import STAGES, TRAINING, begin  # noqa: E402
from trainaudit.probe.device import chosen_device  # noqa: E402
from trainaudit.probe.experiments.running import EXPERIMENTS  # noqa: E402
from trainaudit.probe.plan import ProbePlan  # noqa: E402
from trainaudit.probe.run import _unaffordable, run_probe  # noqa: E402
from trainaudit.trace.experiments import NAMES  # noqa: E402
from trainaudit.trace.trace import NonFinite, Trace  # noqa: E402

ONCE = ("loss-at-init", "batch-dependence", "train-eval-gap", "same-seed", "learning-rate-range")
NOTHING_ELSE = ("target-shape",)
"""The quickest experiment: for probes whose training run is what matters."""


def test_every_experiment_has_names_and_a_share_of_the_time() -> None:
    assert set(EXPERIMENTS) == set(NAMES)
    assert list(STAGES) == [TRAINING, *EXPERIMENTS]


def test_what_takes_one_step_takes_one_step() -> None:
    said = _unaffordable("target-shape", replace(begin(1.0), step_seconds=3.0)).reason
    assert said == "it takes 1 step of 3 s at least, more than the time budget leaves"
    assert "takes 124 steps of" in _unaffordable("learning-rate-range", begin(1.0)).reason


def test_a_probe_gives_series_of_what_it_trained() -> None:
    seen: list[tuple[str, float]] = []
    subject = trainee(mlp(8, 32, 4), *clusters(), validation=trainee(mlp(8, 4), *clusters(32, seed=1)).train)
    trace = run_probe(
        subject,
        None,
        ProbePlan(steps=30, sample_every=10, time_budget=AMPLE),
        lambda stage, share: seen.append((stage, share)),
    )
    run = trace.run
    assert run is not None
    assert len(run.loss) == len(run.learning_rate) == len(run.gradient_norm) == len(run.accuracy) == 30
    assert run.loss[-1] < run.loss[0]
    assert trace.sampled_steps == (*range(10), 10, 20, 29)
    assert len(run.prediction_change) == len(trace.sampled_steps)
    assert run.prediction_change[0] is None
    assert run.validation_loss[0][0] == 0
    assert run.validation_loss[-1][0] == 29
    assert run.validation_loss[-1][1] < run.validation_loss[0][1]
    assert {item.name for item in trace.parameters} == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert set(trace.experiments) == set(NAMES)
    assert trace.settings.optimizer == "Adam"
    assert trace.settings.is_adaptive
    assert (trace.settings.steps, trace.settings.batch_size) == (30, 16)
    assert trace.stopped == "completed"
    assert trace.cuts == ()
    assert ("training", 1.0) in seen
    assert {stage for stage, _ in seen} == {"training", *NAMES}


def test_the_same_seed_gives_the_same_trace() -> None:
    def numbers(seed: int) -> object:
        model = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 4))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.1)
        trace = run_probe(
            trainee(model, *clusters()), None, ProbePlan(steps=5, seed=seed, time_budget=AMPLE, experiments=ONCE)
        )
        return trace.run.loss, [dict(found.values) for found in trace.experiments.values()]

    assert numbers(4) == numbers(4)
    assert numbers(4) != numbers(5)


@pytest.mark.parametrize("milliseconds", [2.0, 40.0])
def test_a_slow_model_stays_within_the_time_and_says_what_was_cut(
    milliseconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = stopped_clock(monkeypatch)
    began, slow = clock.now, slowed(trainee(mlp(8, 16, 4), *clusters()), clock, milliseconds / 1000)
    trace = run_probe(slow, None, ProbePlan(time_budget=4.0))
    assert clock.now - began < 4.0 + 20 * milliseconds / 1000 * 8  # all of it would take 40 s and more
    assert trace.stopped == "time budget"
    assert trace.run is not None
    assert len(trace.run.loss) >= 1
    assert any("steps" in cut for cut in trace.cuts)
    assert trace.settings.batch_size == 8
    assert any("Batches of 8 examples" in cut for cut in trace.cuts)
    left_out = [name for name, found in trace.experiments.items() if found.state in ("cut", "not run")]
    assert "input-baseline" in left_out
    assert all(trace.experiments[name].reason for name in left_out)


def test_only_the_experiments_that_are_asked_for_are_run() -> None:
    trace = run_probe(
        trainee(mlp(8, 4), *clusters()), None, ProbePlan(steps=2, experiments=("same-seed",), time_budget=AMPLE)
    )
    assert set(trace.experiments) == {"same-seed"}


def interrupted_at(call: int) -> Trace:
    class Interrupted(nn.Module):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Interrupted.calls += 1
            if Interrupted.calls == call:
                raise KeyboardInterrupt
            return self.part(x)

    return run_probe(trainee(Interrupted(), *clusters()), None, ProbePlan(steps=30, time_budget=AMPLE))


def test_an_interrupt_in_the_training_run_keeps_what_was_measured() -> None:
    trace = interrupted_at(25)
    assert trace.stopped == "interrupted"
    assert trace.run is not None
    assert 5 < len(trace.run.loss) < 30
    assert {found.state for found in trace.experiments.values()} == {"not run"}
    assert all("interrupted" in found.reason for found in trace.experiments.values())


def test_an_interrupt_in_an_experiment_keeps_the_run_and_the_experiments_before() -> None:
    trace = interrupted_at(100)
    assert trace.stopped == "interrupted"
    assert len(trace.run.loss) == 30
    states = [found.state for found in trace.experiments.values()]
    assert states.count("cut") == 1
    assert "ran" in states
    assert "not run" in states


def test_memory_that_runs_out_halves_the_batch() -> None:
    class Heavy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 8:
                raise RuntimeError(
                    "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
                )
            return self.part(x)

    trace = run_probe(
        trainee(Heavy(), *clusters(), batch_size=32),
        None,
        ProbePlan(steps=4, experiments=NOTHING_ELSE, time_budget=AMPLE),
    )
    assert trace.settings.batch_size == 8
    assert [cut for cut in trace.cuts if "memory" in cut][-1].endswith("batches of 8 were used.")
    assert len(trace.run.loss) == 4


def test_memory_that_never_suffices_ends_the_probe() -> None:
    class Hopeless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 16, 4)

        def forward(self, _x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    trace = run_probe(trainee(Hopeless(), *clusters()), None, ProbePlan(steps=4, time_budget=AMPLE))
    assert trace.stopped == "out of memory"
    assert trace.run is None
    assert "memory" in trace.cuts[-1]


def test_a_run_that_diverges_stops_at_the_first_number_that_is_not_finite() -> None:
    wild = trainee(
        mlp(8, 16, 4),
        *clusters(),
        loss="mse",
        function=lambda out, y: ((out - y[:, None]) ** 4).mean(),
        optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=10.0),
    )
    trace = run_probe(wild, None, ProbePlan(experiments=NOTHING_ELSE, time_budget=AMPLE))
    assert trace.stopped == "non-finite"
    assert len(trace.run.loss) < 20
    assert all(math.isfinite(loss) for loss in trace.run.loss[:-1])
    assert not (math.isfinite(trace.run.loss[-1]) and math.isfinite(trace.run.gradient_norm[-1]))


@pytest.mark.parametrize("size", [16, 2, 1])
def test_a_model_that_takes_one_batch_size_alone_is_probed_with_whole_batches(size: int) -> None:
    class Rigid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.part(x.reshape(size, 8))

    names = () if size == 16 else ("loss-at-init", "overfit-one-batch", "batch-dependence")
    plan = ProbePlan(steps=3, time_budget=AMPLE, experiments=names)
    trace = run_probe(trainee(Rigid(), *clusters(), batch_size=size), None, plan)
    assert trace.notes == (f"The experiments use whole batches of {size}, since the model takes no others.",)
    assert trace.experiments["overfit-one-batch"].values["sample_count"] == size
    assert size == 1 or trace.experiments["batch-dependence"].values["leak"] == 0
    assert trace.experiments["loss-at-init"].state == "ran"
    assert "batch_scaling" not in trace.experiments["loss-at-init"].values
    states = {found.state for name, found in trace.experiments.items() if name != "time-dependence"}
    assert states == ({"ran", "not run"} if size == 1 else {"ran"})


class Breaking(nn.Module):
    """Computes something that is not finite at one call of forward, in its second layer or in the gradient of it alone."""

    def __init__(self, call: int, *, in_gradient: bool) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.call, self.in_gradient, self.made = call, in_gradient, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            self.made += 1
        hidden = torch.tanh(self.second(torch.relu(self.first(x))))
        if self.made >= self.call:
            hidden = hidden + (0 * hidden).abs().sqrt() if self.in_gradient else hidden / torch.zeros_like(hidden)
        return self.third(hidden)


@pytest.mark.parametrize("call", [3, 16])
@pytest.mark.parametrize("in_gradient, kind, tap", [(False, "activation", "div"), (True, "gradient", "abs")])
def test_what_is_not_finite_is_found_in_its_layer(call: int, in_gradient: bool, kind: str, tap: str) -> None:
    """At a sampled step and at one that is not."""
    torch.manual_seed(0)
    trace = run_probe(
        trainee(Breaking(call, in_gradient=in_gradient), *clusters()),
        None,
        ProbePlan(experiments=NOTHING_ELSE, time_budget=AMPLE),
    )
    assert trace.stopped == "non-finite"
    found = trace.run.first_non_finite
    assert (found.step, found.kind) == (call - 1, kind)
    assert tap in found.where
    assert len(trace.run.loss) == len(trace.run.learning_rate) == len(trace.run.accuracy) == call
    assert trace.sampled_steps[-1] == call - 1


def test_inputs_that_are_not_finite_are_named() -> None:
    x, y = clusters()
    x[40, 2] = math.nan
    trace = run_probe(trainee(mlp(8, 16, 4), x, y), None, ProbePlan(experiments=NOTHING_ELSE, time_budget=AMPLE))
    assert trace.run.first_non_finite == NonFinite(2, "input", "input 0")


def test_a_model_that_writes_to_its_inputs_sees_them_as_they_are_each_time() -> None:
    class Scaling(nn.Module):
        def __init__(self, *, in_place: bool) -> None:
            super().__init__()
            self.part, self.in_place = mlp(8, 16, 4), in_place

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.in_place:
                x /= 3.0
            else:
                x = x / 3.0
            return self.part(x)

    def losses(*, in_place: bool) -> tuple[float | None, ...]:
        return run_probe(
            trainee(Scaling(in_place=in_place), *clusters(), data="random"),
            None,
            ProbePlan(steps=20, experiments=NOTHING_ELSE, time_budget=AMPLE),
        ).run.loss

    assert losses(in_place=True) == losses(in_place=False)


def test_a_step_that_fails_is_told_in_one_sentence() -> None:
    x, y = clusters()
    y[100] = 77
    with pytest.raises(TrainauditError, match=r"Training the model failed \(IndexError: Target 77 is out of bounds\)"):
        run_probe(
            trainee(mlp(8, 16, 4), x, y, class_count=4, data="random"), None, ProbePlan(steps=20, time_budget=AMPLE)
        )
    trace = run_probe(trainee(mlp(8, 16, 4), x, y, class_count=4), None, ProbePlan(steps=20, time_budget=AMPLE))
    assert (trace.stopped, trace.run) == ("loss failed", None)  # with the user's data it is a finding
    assert trace.failure is not None
    assert trace.failure.said.startswith("IndexError: Target 77 is out of bounds, at ")


def test_parameters_that_do_not_learn_are_told_apart() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.frozen, self.forgotten, self.unused, self.cut = (nn.Linear(8, 8) for _ in range(5))
            self.head = nn.Linear(8, 4)
            self.frozen.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.tanh(self.used(x)) + self.frozen(x) + self.forgotten(x) + self.cut(x).detach()
            return self.head(x)

    def without_one(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [p for name, p in model.named_parameters() if "forgotten" not in name and p.requires_grad], lr=0.1
        )

    trace = run_probe(
        trainee(Parts(), *clusters(), optimizer=without_one),
        None,
        ProbePlan(steps=5, experiments=NOTHING_ELSE, time_budget=AMPLE),
    )
    found = {
        p.name.removesuffix(".weight"): (p.trainable, p.in_optimizer, p.has_gradient, p.is_changed)
        for p in trace.parameters
        if p.name.endswith("weight")
    }
    assert found == {
        "used": (True, True, True, True),
        "frozen": (False, False, False, False),
        "forgotten": (True, False, True, False),
        "unused": (True, True, False, False),
        "cut": (True, True, False, False),
        "head": (True, True, True, True),
    }


def test_an_experiment_that_breaks_down_does_not_end_the_others() -> None:
    class Modal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = mlp(8, 16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.requires_grad:
                raise NotImplementedError("No gradients of inputs.")
            return self.part(x)

    trace = run_probe(trainee(Modal(), *clusters()), None, ProbePlan(steps=3, time_budget=AMPLE))
    assert trace.experiments["batch-dependence"].state == "failed"
    assert trace.experiments["batch-dependence"].reason == "NotImplementedError: No gradients of inputs"
    assert trace.experiments["same-seed"].state == "ran"


@pytest.mark.parametrize(
    ("types", "told"), [((torch.float64,) * 2, "fp64"), ((torch.bfloat16, torch.float32), "bf16+fp32")]
)
def test_models_of_other_types_are_not_said_to_compute_in_float32(types: tuple[torch.dtype, ...], told: str) -> None:
    class Cast(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.to(self.weight.dtype))

    model = nn.Sequential(Cast(8, 8, dtype=types[0]), nn.ReLU(), Cast(8, 4, dtype=types[1]))
    trace = run_probe(
        trainee(model, *clusters()), None, ProbePlan(steps=4, experiments=NOTHING_ELSE, time_budget=AMPLE)
    )
    assert trace.settings.precision == told


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_train(precision: str) -> None:
    trace = run_probe(
        trainee(mlp(8, 32, 4), *clusters(), precision=precision),
        None,
        ProbePlan(steps=40, precision=precision, experiments=NOTHING_ELSE, time_budget=AMPLE),
    )
    assert trace.settings.precision == precision
    assert trace.stopped == "completed"
    assert trace.run.loss[-1] < trace.run.loss[0]


def test_a_device_that_is_not_there_is_refused_in_one_sentence() -> None:
    assert chosen_device("cpu") == "cpu"
    assert chosen_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(TrainauditError, match="There is no"):
        chosen_device("tpu")


def test_a_budget_keeps_what_the_stages_after_one_need_at_least() -> None:
    budget = replace(begin(200.0), step_seconds=1.0)
    names = ["overfit-one-batch", "learning-rate-range", "input-baseline", "same-seed"]
    assert budget.affordable(names) == ["overfit-one-batch", "learning-rate-range", "same-seed"]
    first = budget.allow("overfit-one-batch", ["learning-rate-range", "same-seed"]).left()
    assert first == pytest.approx(25 + (200 - (25 + 124 + 4)) * 20 / 34, abs=0.1)


def test_what_a_stage_leaves_goes_to_those_after_it() -> None:
    budget = begin(100.0)
    first = budget.allow("training", ("overfit-one-batch", "input-baseline")).left()
    assert first == pytest.approx(100 * 40 / 72, abs=0.1)
    assert budget.allow("overfit-one-batch", ("input-baseline",)).left() == pytest.approx(100 * 20 / 32, abs=0.1)
    assert budget.allow("input-baseline", ()).left() == pytest.approx(100, abs=0.1)
