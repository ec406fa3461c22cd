"""A probed network as a sample record: a loss that stalls at the floor of a second softmax, dead units, a gradient that fades. Plain data."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log
from typing import Any

from tests.report import samples
from trainaudit.plain import decoded, encoded
from trainaudit.result import Audit, Run, State
from trainaudit.trace.data import DataSample, InputStatistics, TargetStatistics
from trainaudit.trace.experiments import CUT, FAILED, NOT_RUN, RAN, Experiment
from trainaudit.trace.trace import (
    ActivationSeries,
    Conversion,
    Histogram,
    NonFinite,
    ParameterSeries,
    ProbeSettings,
    Tap,
    Trace,
    TrainingRun,
)

STEPS = 40
SAMPLED = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30)
NAMES = tuple(f"layers.{index}" for index in range(16))


def trace() -> Trace:
    loss = tuple(1.4612 + 0.85 * exp(-step / 9) + 0.02 * (-1) ** step for step in range(STEPS))
    size = len(SAMPLED)
    activations = tuple(
        ActivationSeries(
            tap=Tap(f"{name}:0", name, name, "linear", 0),
            mean=(0.0,) * size,
            std=tuple(0.45 ** (index + 1) * (1 + 0.01 * at) for at in range(size)),
            rms=tuple(0.5 ** (index + 1) * (1 + 0.01 * at) for at in range(size)),
            absmax=(3.0,) * size,
            zero_share=(0.5 + 0.02 * index,) * size,
            saturated_share=(0.04 * index,) * size if index % 4 == 3 else (),
            non_finite=(0.0,) * size,
            gradient_rms=tuple(1e-3 * 0.5 ** (15 - index) for _ in range(size)),
            gradient_underflow_share=(0.01,) * size,
            unit_count=512,
            silent_share=0.03 * index if index else None,
            constant_share=0.0,
            samples_seen=416,
            histogram_first=Histogram(-1.0, 1.0, (1, 5, 20, 5, 1)),
        )
        for index, name in enumerate(NAMES)
    )
    parameters = tuple(
        ParameterSeries(
            name=f"{name}.weight",
            size=262_144,
            weight_norm=(12.0,) * size,
            gradient_norm=tuple(0.1 * 0.5 ** (15 - index) for _ in range(size)),
            update_norm=tuple(12.0 * 1e-3 * 0.6 ** (15 - index) * (1 + 0.1 * at) for at in range(size)),
            gradient_noise=(0.7,) * size,
        )
        for index, name in enumerate(NAMES)
    )
    return Trace(
        settings=ProbeSettings(
            evidence="training",
            data="real",
            data_words="32 batches of my_pkg.data:batches",
            loss="cross-entropy",
            loss_words="declared",
            optimizer="AdamW",
            optimizer_words="none was named, so the one that the recipe calls safe was taken",
            learning_rate=3e-4,
            weight_decay=0.01,
            is_adaptive=True,
            steps=100,
            batch_size=32,
            device="cpu",
            device_name="2 cores",
            seed=7,
            repeats=3,
            time_budget=30.0,
            sample_every=10,
        ),
        sampled_steps=SAMPLED,
        run=TrainingRun(
            loss=loss,
            learning_rate=(3e-4,) * STEPS,
            gradient_norm=tuple(0.4 + 0.01 * step for step in range(STEPS)),
            accuracy=tuple(min(1.0, 0.1 + 0.01 * step) for step in range(STEPS)),
            validation_loss=((10, 2.1), (30, 1.9)),
            first_non_finite=NonFinite(39, "gradient", "layers.3.weight", "layers.3"),
            seconds_per_step=0.02,
            steps_per_epoch=32,
        ),
        activations=activations,
        parameters=parameters,
        experiments=_experiments(),
        data=DataSample(
            "real", 1024, 32, 32,
            inputs=(InputStatistics("image", "float32", (32, 1, 28, 28), 0.13, 0.31, 0.0, 1.0, feature_count=784),),
            target=TargetStatistics("classes", "int64", (32,), class_count=10, class_counts={"0": 100, "1": 924}),
        ),
        conversion=Conversion(3.1e-7, trainable_count=25_557_032),
        stopped="time budget",
        cuts=("The training run was ended after 40 of 100 steps.", "Repeats were cut from 3 to 1."),
        notes=("Dropout layers were trained as they are.",),
        environment={"torch": "2.13.0"},
        timings={"load": 0.4, "training": 8.25, "overfit-one-batch": 3.1},
    )  # fmt: skip


def _experiments() -> dict[str, Experiment]:
    floor = log(exp(1) + 9) - 1
    stalled = tuple(floor + 0.84 * exp(-step / 5) for step in range(60))
    return {
        "loss-at-init": Experiment(
            RAN, values={"loss": 2.3041, "expected": log(10), "expected_kind": "uniform-classes", "spread": 0.002, "logit_std": 0.01},
            seeds=(7, 8, 9), seconds=0.6,
        ),
        "overfit-one-batch": Experiment(
            RAN,
            values={
                "start_loss": 2.3, "final_loss": floor, "least_loss": floor, "steps": 60.0, "sample_count": 32.0, "accuracy": 1.0,
                "constant_loss": 2.1, "floor_double_softmax": floor, "nearest_floor": "double-softmax", "is_stalled": True,
            },
            curves={"loss": stalled}, seeds=(7,), seconds=3.1,
        ),
        "input-baseline": Experiment(
            RAN, values={"real_loss": 1.61, "zeroed_loss": 2.21, "real_std": 0.05, "zeroed_std": 0.02, "effect": 11.1},
            curves={"real": tuple(2.3 - 0.02 * step for step in range(35)), "zeroed": tuple(2.3 - 0.003 * step for step in range(35))},
            seeds=(7, 8, 9), seconds=2.0,
        ),
        "batch-dependence": Experiment(RAN, values={"leak": 0.0, "pair_count": 0.0, "sample_count": 8.0}, seconds=0.2),
        "time-dependence": Experiment(NOT_RUN, "the model is not declared causal"),
        "learning-rate-range": Experiment(
            CUT, "the time budget was used up", values={"suggested": 2.5e-3, "highest_stable": 0.08, "current": 3e-4, "start_loss": 2.3},
            curves={
                "learning_rate": tuple(1e-6 * 10 ** (step / 8) for step in range(48)),
                "loss": (*(2.3 - 0.01 * step for step in range(40)), 1.95, 2.2, 2.9, 4.1, 9.0, float("inf"), float("nan"), None),
            },
            seconds=1.4,
        ),
        "same-seed": Experiment(FAILED, "the model's forward raised RuntimeError: no kernel <here>"),
    }  # fmt: skip


def audit() -> Audit:
    """One finding of the file is confirmed, one withdrawn."""
    (decaying,) = samples.decaying().audits
    (found,) = decaying.findings
    rows = tuple(
        replace(
            row,
            measured_std=0.45 ** (index + 1),
            measured_rms=0.5 ** (index + 1),
            measured_gradient=0.5 ** (15 - index),
        )
        for index, row in enumerate(decaying.layers)
    )
    return replace(
        decaying,
        evidence=("structure", "weights", "training"),
        findings=(
            replace(found, probe="confirmed", probe_note="predicted 1.07e-6, measured 3.05e-5"),
            replace(
                samples.finding("excessive-dropout", samples.occurrence("layers.3")),
                probe="withdrawn",
                probe_note="the loss falls as it should",
            ),
        ),
        layers=rows,
        outcomes=(
            *decaying.outcomes,
            samples.outcome("excessive-dropout", State.WITHDRAWN),
            samples.outcome("unfireable-relu", State.CLEAN),
        ),
        trace=trace(),
    )


def probed() -> Run:
    return replace(
        samples.run_of(audit()),
        rules=(*samples.SIGNAL_RULES, *samples.RULES),
        command="trainaudit probe models/deep.onnx --data my_pkg.data:batches",
    )


def hostile_trace() -> Trace:
    """Every free text in it holds `HOSTILE`."""
    known = {
        "ran",
        "cut",
        "not run",
        "failed",
        "training",
        "classes",
        "real",
        "linear",
        "double-softmax",
        "uniform-classes",
    }

    def spoiled(value: Any) -> Any:
        if isinstance(value, str):
            return value if value in known else f"{samples.HOSTILE} {value}"
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if value != value:
            return None  # a NaN is not equal to itself
        return [spoiled(item) for item in value] if isinstance(value, list | tuple) else value

    plain = spoiled(encoded(trace()))
    plain["experiments"][samples.HOSTILE] = {
        "state": "ran",
        "values": {"a": samples.HOSTILE},
        "curves": {"real": [1.0, 2.0]},
    }
    return decoded(Trace, plain)
