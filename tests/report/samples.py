"""Sample records: a clean model, a faulty one, hostile names, a model of a thousand layers. Plain data, no files."""

from __future__ import annotations

from dataclasses import replace

from trainaudit.result import (
    Audit,
    Effect,
    Evidence,
    Finding,
    Fix,
    LayerRow,
    Location,
    ModelInfo,
    Occurrence,
    Proof,
    Reference,
    RuleInfo,
    RuleOutcome,
    Run,
    Severity,
    State,
    ThresholdInfo,
)

HOSTILE = "<script>alert(1)</script>\x1b[31m\n::error::owned]]>%0A\u202e\"'`|*_[x](javascript:alert(1))-->{{ 7 * 7 }}"
"""What a node may be called."""

RULES = (
    RuleInfo(
        id="zero-init-hidden",
        name="A hidden layer starts with all weights at zero",
        category="initialization",
        severity=Severity.ERROR,
        confidence="high",
        status="stable",
        since="0.1",
        recipe="2.init-well",
        why="A hidden layer whose weights are all zero passes no signal forward and no gradient back, so the layers before it never learn.\n\n"
        "Known designs start some layers at zero on purpose; those are left out.",
        fix_summary="Draw the weights at random, with the gain that the activation needs.",
        needs=("parameter.zero_share", "parameter.zero_init_idiom"),
        evidence_level="static",
        thresholds=(
            ThresholdInfo(
                "ceiling", 0.99, "share", "A layer with one weight in a hundred left still breaks the symmetry."
            ),
        ),
        references=(Reference("Goodfellow et al., Deep Learning, section 8.4", "https://www.deeplearningbook.org/"),),
    ),
    RuleInfo(
        id="double-softmax",
        name="The output softmax feeds a loss that expects logits",
        category="loss",
        severity=Severity.ERROR,
        confidence="high",
        status="stable",
        since="0.1",
        recipe="2.overfit-one-batch",
        why="Cross-entropy applies log-softmax itself. A second softmax squeezes the logits into 0 … 1, so the loss cannot fall below ln(e + C − 1) − 1.",
        fix_summary="Return the logits.",
        needs=("output.final_activation", "model.loss_expects"),
        evidence_level="loss",
    ),
    RuleInfo(
        id="linear-stack",
        name="Two linear layers follow each other with nothing non-linear between",
        category="activation",
        severity=Severity.WARNING,
        confidence="high",
        status="stable",
        since="0.1",
        recipe="3.pick-the-model",
        why="The product of two matrices is a matrix: the pair can express no more than one layer can.",
        fix_summary="Put an activation function between them, or drop one.",
        needs=("layer.linear_predecessor", "layer.linear_idiom"),
        evidence_level="static",
        references=(
            Reference(
                "Goodfellow et al., Deep Learning, section 6.1", "https://www.deeplearningbook.org/contents/mlp.html"
            ),
        ),
    ),
    RuleInfo(
        id="bias-before-batchnorm",
        name="A bias stands straight before a normalization that removes it",
        category="normalization",
        severity=Severity.NOTE,
        confidence="high",
        status="stable",
        since="0.1",
        recipe="4.smaller-model",
        why="BatchNorm subtracts the mean, and the bias with it: the bias gets no gradient and costs memory.",
        fix_summary="Build the layer with bias=False.",
        needs=("layer.has_bias", "layer.next_normalization"),
        evidence_level="static",
    ),
    RuleInfo(
        id="excessive-dropout",
        name="Dropout zeroes nearly everything",
        category="regularization",
        severity=Severity.WARNING,
        confidence="medium",
        status="stable",
        since="0.1",
        recipe="4.drop",
        why="With p at 0.9 one unit in ten is left.",
        fix_summary="Use 0.1 to 0.5.",
        needs=("layer.dropout_rate",),
        evidence_level="static",
        thresholds=(
            ThresholdInfo(
                "limit", 0.8, "share", "Srivastava et al. 2014 use at most 0.5 in hidden layers.", overridden=True
            ),
        ),
    ),
    RuleInfo(
        id="half-overflow",
        name="A stored number overflows half precision",
        category="numerics",
        severity=Severity.ERROR,
        confidence="high",
        status="stable",
        since="0.1",
        recipe="2.init-well",
        why="Float16 ends at 65,504.",
        fix_summary="Keep the tensor in float32.",
        needs=("parameter.absmax",),
        evidence_level="static",
    ),
    RuleInfo(
        id="unfireable-relu",
        name="Units that can never fire",
        category="activation",
        severity=Severity.WARNING,
        confidence="medium",
        status="preview",
        since="0.2",
        recipe="4.odd-activations",
        why="A unit that never fires gets no gradient.",
        fix_summary="Use a leaky ReLU.",
        needs=("layer.dead_share",),
        evidence_level="training",
    ),
)


def model(
    name: str = "a.onnx", layers: int = 5, coverage: float = 1.0, unrecognized: tuple[tuple[str, int], ...] = ()
) -> ModelInfo:
    return ModelInfo(
        name=name,
        format="onnx",
        size=102_400_000,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        opset=17,
        producer="pytorch 2.13.0",
        form="training",
        inputs=("input: float32[batch, 3, 224, 224]",),
        outputs=("probabilities: float32[batch, 10]",),
        parameter_count=25_557_032,
        layer_count=layers,
        node_count=layers + 3,
        coverage=coverage,
        unrecognized=unrecognized,
        weights_state="fresh",
    )


def row(index: int, name: str, op: str = "linear", std: float | None = 0.0442, gain: float | None = 0.577) -> LayerRow:
    return LayerRow(
        name=name,
        op=op,
        role="hidden",
        depth=index,
        output_shape="[batch, 512]",
        parameters=262_656,
        initializer="PyTorch default" if gain is not None else "",
        weight_std=std,
        gain=gain,
        wanted_gain=1.414 if gain is not None else None,
        file="src/model.py",
        line=10 + index,
    )


def occurrence(
    subject: str, line: int | None = 88, op: str = "linear", file: str | None = "src/model.py", **more: object
) -> Occurrence:
    return Occurrence(
        subject=subject,
        location=Location(layer=subject, op=op, node=f"/{subject}/Gemm", module=subject, file=file, line=line),
        message=str(more.get("message", f"{subject} starts with every weight at zero.")),
        evidence=tuple(more.get("evidence", ())),  # type: ignore[call-overload]
        fingerprint=f"fp-{subject}",
    )


def finding(rule: str, *occurrences: Occurrence, kind: str = "layer", **more: object) -> Finding:
    info = next(info for info in RULES if info.id == rule)
    return Finding(
        rule=rule,
        name=info.name,
        category=info.category,
        severity=info.severity,
        confidence=info.confidence,
        kind=kind,
        why=info.why,
        recipe=info.recipe,
        fix=more.get("fix"),  # type: ignore[arg-type]
        occurrences=occurrences,
        ignored=str(more.get("ignored", "")),
        ignored_until=str(more.get("ignored_until", "")),
        is_new=more.get("is_new"),  # type: ignore[arg-type]
    )


def outcome(rule: str, state: State, reason: str = "", command: str = "") -> RuleOutcome:
    return RuleOutcome(rule, state, {state.value: 1}, reason, command)


ZERO = Evidence(
    "parameter.zero_share",
    1.0,
    "share",
    ">",
    0.99,
    "A layer with one weight in a hundred left still breaks the symmetry.",
)
PROBE = "trainaudit probe models/a.onnx --data my_pkg.data:batches"


def faulty_audit(target: str = "models/a.onnx") -> Audit:
    findings = (
        finding(
            "bias-before-batchnorm",
            occurrence("stem.conv", op="conv", message="stem.conv has a bias, and stem.norm removes it."),
        ),
        finding(
            "zero-init-hidden",
            *(occurrence(f"encoder.layers.{index}.fc1", 40 + index, evidence=(ZERO,)) for index in range(40)),
            fix=Fix(
                "Draw the weights at random, with the gain that the activation needs.",
                "changes-training",
                'nn.init.kaiming_normal_(model.encoder.layers[0].fc1.weight, nonlinearity="relu")\nnn.init.zeros_(model.encoder.layers[0].fc1.bias)',
            ),
        ),
        finding(
            "linear-stack",
            occurrence(
                "head.fc2",
                evidence=(Evidence("layer.linear_predecessor", "head.fc1", ""),),
                message="head.fc2 follows head.fc1 with nothing non-linear between them.",
            ),
            fix=Fix(
                "Put an activation function between them, or drop one.",
                "changes-architecture",
                "x = F.relu(self.fc1(x))",
            ),
        ),
        finding(
            "excessive-dropout",
            occurrence(
                "head.dropout",
                op="dropout",
                line=None,
                file=None,
                message="head.dropout zeroes 90 % of the values.",
                evidence=(Evidence("layer.dropout_rate", 0.9, "share", ">", 0.8, "Srivastava et al. 2014"),),
            ),
            ignored="the teacher is frozen",
            ignored_until="2027-03-01",
        ),
    )
    outcomes = (
        outcome("zero-init-hidden", State.VIOLATED),
        outcome("linear-stack", State.VIOLATED),
        outcome("bias-before-batchnorm", State.VIOLATED),
        outcome("excessive-dropout", State.IGNORED),
        outcome("half-overflow", State.NOT_APPLICABLE, "no tensor is stored in half precision"),
        outcome("double-softmax", State.NOT_MEASURED, "the loss is not declared", f"trainaudit {target} --loss NAME"),
        outcome("unfireable-relu", State.NOT_MEASURED, "needs a training probe", PROBE),
    )
    rows = (
        *(row(index, f"encoder.layers.{index}.fc1", std=0.0, gain=0.0) for index in range(40)),
        row(41, "head.fc1", gain=0.577),
        row(42, "head.fc2", gain=1.4),
        row(43, "head.softmax", op="softmax", std=None, gain=None),
    )
    return Audit(
        target=target,
        evidence=("structure", "weights"),
        model=model("a.onnx", layers=len(rows), coverage=0.9968, unrecognized=(("MyCustomOp", 2),)),
        findings=findings,
        outcomes=outcomes,
        layers=rows,
        facts={
            "parameter.zero_share": {f"encoder.layers.{index}.fc1.weight": 1.0 for index in range(40)},
            "layer.epsilon": {"stem.norm": None},
            "model.form": {"model": "training"},
        },
        unmeasured={"layer.epsilon": "the constant is computed at run time"},
        warnings=("The ignore of rule 'selu-misuse' matched nothing.",),
        timings={"load": 0.031, "measure": 0.2, "judge": 0.004},
    )


def clean_audit(target: str = "models/clean.onnx") -> Audit:
    states = (
        *(outcome(rule.id, State.CLEAN) for rule in RULES[:5]),
        outcome("half-overflow", State.NOT_APPLICABLE, "no tensor is stored in half precision"),
    )
    return Audit(
        target=target,
        evidence=("structure", "weights"),
        model=model("clean.onnx"),
        findings=(),
        outcomes=(*states, outcome("unfireable-relu", State.NOT_MEASURED, "needs a training probe", PROBE)),
        layers=tuple(row(index, f"blocks.{index}.fc", std=0.0625, gain=1.41) for index in range(8)),
        facts={},
    )


def mended() -> Run:
    """The network of `faulty`, where nothing is found any more."""
    return run_of(replace(clean_audit(), layers=faulty_audit().layers))


def run_of(*audits: Audit, **more: object) -> Run:
    return Run(
        version="0.1.0",
        audits=audits,
        rules=RULES,
        settings={"select": ["ALL"], "fail_on": "warning", "thresholds": {"excessive-dropout.limit": 0.8}},
        environment={"python": "3.11.2", "numpy": "2.4.0", "onnx": "1.23.0", "platform": "Linux x86_64"},
        command="trainaudit models/a.onnx --report report.html",
        fail_on="warning",
        failures=tuple(more.get("failures", ())),  # type: ignore[call-overload]
        warnings=tuple(more.get("warnings", ())),  # type: ignore[call-overload]
    )


def faulty() -> Run:
    return run_of(faulty_audit())


def clean() -> Run:
    return run_of(clean_audit())


def _signal_rule(rule: str, name: str, limit: ThresholdInfo) -> RuleInfo:
    return replace(
        RULES[0],
        id=rule,
        name=name,
        category="signal",
        needs=("layer.predicted_end_to_end_ratio",),
        thresholds=(limit,),
        follows=("zero-init-hidden",),
    )


SIGNAL_RULES = (
    _signal_rule(
        "predicted-vanishing-signal", "The signal vanishes", ThresholdInfo("floor", 1e-3, "", "He et al. 2015.")
    ),
    _signal_rule(
        "predicted-exploding-signal", "The signal explodes", ThresholdInfo("ceiling", 1e3, "", "He et al. 2015.")
    ),
    _signal_rule(
        "predicted-vanishing-gradient", "The gradient vanishes", ThresholdInfo("floor", 1e-4, "ratio", "Glorot 2010.")
    ),
    _signal_rule(
        "predicted-exploding-gradient", "The gradient explodes", ThresholdInfo("ceiling", 1e4, "ratio", "Glorot 2010.")
    ),
)


def decaying() -> Run:
    """A deep plain network whose predicted signal and gradient decay, with the finding that says so."""
    names = [f"layers.{index}" for index in range(16)]
    rows = tuple(
        replace(
            row(index, name), predicted_std=0.4 ** (index + 1), predicted_rms=0.2, predicted_gradient=0.4 ** (15 - index),
            predicted_backward=0.45 ** (15 - index),
        )
        for index, name in enumerate(names)
    )  # fmt: skip
    evidence = Evidence("layer.predicted_end_to_end_ratio", 0.4**15, "ratio", "<", 1e-4, "Glorot 2010.")
    found = replace(
        finding("zero-init-hidden"), rule="predicted-vanishing-gradient", name="The gradient vanishes", category="signal",
        occurrences=(occurrence("layers.0", evidence=(evidence,), message="The first layer gets 1.07e-6 of the last one's gradient."),),
    )  # fmt: skip
    audit = Audit(
        target="models/deep.onnx",
        evidence=("structure", "weights"),
        model=replace(model("deep.onnx", layers=32), signal_coverage=0.97),
        findings=(found,),
        outcomes=(
            outcome(found.rule, State.VIOLATED),
            *(outcome(rule.id, State.CLEAN) for rule in SIGNAL_RULES if rule.id != found.rule),
        ),
        layers=rows,
        facts={},
    )
    return replace(run_of(audit), rules=SIGNAL_RULES)


def cascade() -> Run:
    """A layer of zeros with its proved fix, what follows from it, and a finding of its own."""
    run = decaying()
    (audit,) = run.audits
    fix = Fix("Draw the weights at random.", "changes-training", "nn.init.kaiming_normal_(model.layers[3].weight)")
    proof = Proof(
        verdict="proved",
        reason="",
        rules=("zero-init-hidden",),
        changes=(),
        effects=(
            Effect("loss after 100 steps", "", 2.303, 0.41, True),
            Effect("gradient of the first layer", "ratio", 1e-6, 0.5, False, False),
        ),
        gain=1.73,
        seeds=(0, 1, 2),
        steps=100,
        seconds=4.2,
    )
    cause = replace(finding("zero-init-hidden", occurrence("layers.3", evidence=(ZERO,)), fix=fix), proof=proof)
    other = finding("linear-stack", occurrence("layers.9", message="layers.9 follows layers.8 directly."))
    audit = replace(
        audit,
        findings=(*audit.findings, cause, other),
        outcomes=(
            *audit.outcomes,
            outcome("zero-init-hidden", State.VIOLATED),
            outcome("linear-stack", State.VIOLATED),
        ),
        together=replace(proof, rules=("zero-init-hidden", "linear-stack"), effects=proof.effects[:1]),
    )
    return replace(run, audits=(audit,), rules=(*SIGNAL_RULES, *RULES))


def several() -> Run:
    return run_of(
        faulty_audit(),
        clean_audit(),
        failures=[("models/broken.onnx", "The file is empty.")],
        warnings=["The baseline holds 2 findings that are gone."],
    )


def hostile() -> Run:
    """Every free text holds `HOSTILE`."""
    from tests.report.trace_samples import hostile_trace

    place = Location(
        layer=HOSTILE, op="linear", node=HOSTILE, module=HOSTILE, file=f"src/{HOSTILE}.py", line=3, parameter=HOSTILE
    )
    evidence = (Evidence("layer.linear_predecessor", HOSTILE, "", "==", HOSTILE, HOSTILE), ZERO)
    occurrences = tuple(Occurrence(f"{HOSTILE}{index}", place, HOSTILE, evidence, f"fp{index}") for index in range(12))
    fix = Fix(HOSTILE, "advice-only", f"{HOSTILE}\n```\n</code></pre>{HOSTILE}")
    bad = Finding(
        "linear-stack",
        HOSTILE,
        HOSTILE,
        Severity.ERROR,
        HOSTILE,
        "layer",
        HOSTILE,
        "3.pick-the-model",
        fix,
        occurrences,
    )
    audit = Audit(
        target=f"models/{HOSTILE}.onnx",
        evidence=("structure",),
        model=ModelInfo(
            HOSTILE,
            "onnx",
            10,
            "",
            None,
            HOSTILE,
            "unknown",
            (HOSTILE,),
            (HOSTILE,),
            10,
            1,
            1,
            0.5,
            ((HOSTILE, 3),),
            "unknown",
        ),
        findings=(bad, finding("half-overflow", occurrences[0], kind="parameter", ignored=HOSTILE)),
        outcomes=(
            outcome("linear-stack", State.VIOLATED),
            outcome("half-overflow", State.IGNORED),
            outcome("unfireable-relu", State.NOT_MEASURED, HOSTILE, f"trainaudit probe {HOSTILE}"),
            outcome("double-softmax", State.FAILED, HOSTILE),
        ),
        layers=(LayerRow(HOSTILE, "linear", HOSTILE, 1, HOSTILE, 3, HOSTILE, 0.1, 0.2, 0.3, HOSTILE, 3),),
        facts={"layer.gain": {HOSTILE: 0.2}},
        unmeasured={"layer.gain": HOSTILE},
        warnings=(HOSTILE,),
        trace=hostile_trace(),
    )
    return run_of(audit, failures=[(HOSTILE, HOSTILE)], warnings=[HOSTILE])


def large(layers: int = 1_000) -> Run:
    """Many layers, and a finding on half of them."""
    rows = tuple(row(index, f"blocks.{index}.mlp.fc1", gain=1.4 * 0.999**index) for index in range(layers))
    bad = finding("zero-init-hidden", *(occurrence(item.name, evidence=(ZERO,)) for item in rows[::2]))
    audit = Audit(
        target="models/large.onnx",
        evidence=("structure", "weights"),
        model=model("large.onnx", layers=layers),
        findings=(bad,),
        outcomes=(outcome("zero-init-hidden", State.VIOLATED), outcome("linear-stack", State.CLEAN)),
        layers=rows,
        facts={"layer.gain": {item.name: item.gain for item in rows}},
    )
    return run_of(audit)
