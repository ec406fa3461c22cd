"""The one record in the middle: what an audit found, as plain data. Every report is a rendering of it and of nothing else.

Stdlib only. Field names are the JSON's field names (see `report.to_json` and `schema/audit.schema.json`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from trainaudit.changes import Change
from trainaudit.frozen import frozen

if TYPE_CHECKING:
    from trainaudit.trace.trace import Trace

FORMAT = 1
"""Format number of the JSON record. It changes when a reader of the old one would misread the new one."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for note, 1 for warning, 2 for error."""
        return ("note", "warning", "error").index(self.value)


class State(StrEnum):
    """The five outcomes of a rule, `IGNORED` for a finding that the user's settings set aside, and `WITHDRAWN` for one that a probe contradicts."""

    VIOLATED = "violated"
    CLEAN = "clean"
    NOT_APPLICABLE = "not-applicable"
    NOT_MEASURED = "not-measured"
    FAILED = "failed"
    IGNORED = "ignored"
    WITHDRAWN = "withdrawn"


Scalar = float | int | bool | str


@frozen
class Evidence:
    """One number behind a finding: the fact, its value, and the threshold that it was held against (None where the condition
    is not a comparison with a number). `because` is the threshold's source."""

    fact: str
    value: Scalar | None
    unit: str
    comparison: str = ""
    threshold: Scalar | None = None
    because: str = ""


@frozen
class Location:
    """Where a finding stands. `layer` is the human name, `node` the raw node, `module` the module path, `file` and `line` the
    user's own Python (relative where it can be), `parameter` the tensor where there is one."""

    layer: str | None = None
    op: str | None = None
    node: str | None = None
    module: str | None = None
    file: str | None = None
    line: int | None = None
    parameter: str | None = None


@frozen
class Fix:
    """`code` is PyTorch code that names the layer; `safety` is advice-only, changes-training or changes-architecture."""

    summary: str
    safety: str
    code: str = ""


@frozen
class Occurrence:
    """One subject on which a rule is violated."""

    subject: str
    location: Location
    message: str
    evidence: tuple[Evidence, ...]
    fingerprint: str
    changes: tuple[Change, ...] = ()
    """What a machine can change to mend it here, in order; () where only a person can."""


PROVED, NO_EFFECT, WORSE, NOT_RUN = "proved", "no effect", "worse", "not run"
"""Verdicts of a `Proof`."""


@frozen
class Effect:
    """One number before a fix and after it: predicted from graph and weights, or measured in paired runs (median over the seeds)."""

    name: str
    unit: str
    before: float | None
    after: float | None
    is_measured: bool
    is_lower_better: bool = True


@frozen
class Proof:
    """What became of a fix that was applied to a copy and trained beside the model as it is, from the same seeds on the same batches.

    `gain` is what fixes are ranked by: the natural logarithm of the quotient of what was `compared`, before over after, above 0 where the fix helps,
    mean over the seeds; None where it was not measured. `gains` are those of the pairs, in the order of `seeds`. `rules` are those whose fixes were
    made, one for a finding's own proof, in the order in which they were taken."""

    verdict: str
    reason: str
    rules: tuple[str, ...]
    changes: tuple[Change, ...]
    effects: tuple[Effect, ...] = ()
    gain: float | None = None
    gains: tuple[float, ...] = ()
    compared: str = ""
    """"loss", "wrong classes" (a share) or "error" (squared, over the targets' variance), where a fix changes what the loss is of; "" where nothing was."""
    seeds: tuple[int, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    unpredicted: str = ""
    """Why no effect is predicted, "" where some are."""
    command: str = ""
    """What would run it, "" where it was run or nothing would."""


@frozen
class Finding:
    """One cause. `occurrences[0]` is the root, first in topological order; the others suffer from the same cause.

    `kind` is the subject's kind (model, layer, parameter, block, segment, input, output). `ignored` is the reason given in the settings, or
    "" for a live finding; `is_new` is False where the baseline already held it (None without a baseline).
    """

    rule: str
    name: str
    category: str
    severity: Severity
    confidence: str
    kind: str
    why: str
    recipe: str
    fix: Fix | None
    occurrences: tuple[Occurrence, ...]
    ignored: str = ""
    ignored_until: str = ""
    is_new: bool | None = None
    probe: str = ""
    """What the probe says of a finding that stands on the file: "confirmed", "withdrawn" (it is shown, and counts for nothing), or ""."""
    probe_note: str = ""
    """In which words, with the number that was predicted and the one that was measured."""
    proof: Proof | None = None
    """What its fix did, tried alone; None where no proof was asked for."""

    @property
    def root(self) -> Occurrence:
        return self.occurrences[0]

    @property
    def is_live(self) -> bool:
        """Neither ignored, nor withdrawn, nor held by the baseline."""
        return not self.ignored and self.probe != "withdrawn" and self.is_new is not False


@frozen
class RuleOutcome:
    """What became of one rule on one model: its overall state and how many subjects stood in which state.

    Overall: violated if any subject is; else failed, else not-measured, else clean, else not-applicable. `reason` says why it
    was not measured, not applicable or failed; `command` is what would run it, "" where nothing would.
    """

    rule: str
    state: State
    counts: Mapping[str, int]
    reason: str = ""
    command: str = ""


@frozen
class ThresholdInfo:
    name: str
    value: Scalar
    unit: str
    because: str
    overridden: bool = False


@frozen
class Reference:
    title: str
    url: str


@frozen
class RuleInfo:
    """What reports say about a rule that took part. `needs` are its facts, `evidence_level` the weakest evidence that can judge it:
    static, forward, training, data or loss."""

    id: str
    name: str
    category: str
    severity: Severity
    confidence: str
    status: str
    since: str
    recipe: str
    why: str
    fix_summary: str
    needs: tuple[str, ...]
    evidence_level: str
    thresholds: tuple[ThresholdInfo, ...] = ()
    references: tuple[Reference, ...] = ()
    follows: tuple[str, ...] = ()
    """Ids of the rules whose violation may bring this one about: reports put its findings under theirs."""


@frozen
class ModelInfo:
    """What was audited. `sha256` is "" where no report asked for it; `coverage` is the share of nodes with a known op, 0 to 1."""

    name: str
    format: str
    size: int
    sha256: str
    opset: int | None
    producer: str
    form: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """Each as "name: dtype[shape]"."""
    parameter_count: int
    layer_count: int
    node_count: int
    coverage: float
    unrecognized: tuple[tuple[str, int], ...]
    weights_state: str
    """"fresh", "trained", "mixed", "generated" or "unknown"."""
    signal_coverage: float | None = None
    """Share of the layers whose signal is predicted, 0 to 1; None where nothing was predicted."""
    capture: str = ""
    """How the graph was had from a module or a file of weights, in one clause; "" where the file is the graph."""
    file: str = ""
    """The model file, or the user's Python that makes the module, "" where it is not known: what a finding without a line of its own is pinned
    to, at `line`."""
    line: int | None = None


@frozen
class LayerRow:
    """One row of the layer table: what stands where, and its few numbers (None where there is none)."""

    name: str
    op: str
    role: str
    depth: int
    output_shape: str
    parameters: int
    initializer: str = ""
    """Named scheme of the weight, or "trained"."""
    weight_std: float | None = None
    gain: float | None = None
    wanted_gain: float | None = None
    file: str | None = None
    line: int | None = None
    predicted_std: float | None = None
    """Of the layer's output over samples and positions, for standardised inputs."""
    predicted_rms: float | None = None
    """√E[x²] of the same."""
    predicted_gradient: float | None = None
    """Rms of the weight's gradient over that of the last trainable layer."""
    predicted_backward: float | None = None
    """Norm of the gradient by the layer's output over that by the last weighted layer's output."""
    measured_std: float | None = None
    """What the probe's first step gave for the same four; None where none ran, or saw no such layer."""
    measured_rms: float | None = None
    measured_gradient: float | None = None
    measured_backward: float | None = None
    silent_share: float | None = None
    """Of a rectifier: share of its units that were above 0 on no sample that the probe saw."""
    saturated_share: float | None = None
    """Of a sigmoid or tanh: share of its values that are saturated, median over the run."""
    update_ratio: float | None = None
    """Change of the weight in one step over its size, median over the second half of the run."""
    inputs: tuple[str, ...] = ()
    """The rows whose outputs it reads; layers between them that have no row are looked through."""
    joined: tuple[str, ...] = ()
    """Earlier rows whose outputs are added to, or joined with, its own before anything reads it: a skip connection's start, parallel branches."""


@frozen
class Audit:
    """Everything about one target."""

    target: str
    evidence: tuple[str, ...]
    """Levels that were reached: "structure", "weights", and "forward" or "training" where a probe ran."""
    model: ModelInfo
    findings: tuple[Finding, ...]
    outcomes: tuple[RuleOutcome, ...]
    layers: tuple[LayerRow, ...]
    facts: Mapping[str, Mapping[str, Scalar | None]]
    """fact → subject → value (None: not measured, see `unmeasured`)."""
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """fact → reason, for the facts that could not be measured on at least one subject."""
    warnings: tuple[str, ...] = ()
    """About the run itself: unused ignores, expired ignores, limits that were reached."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds per stage."""
    gone_from_baseline: int | None = None
    """Entries of the baseline that stand for this model and were not found again; None without a baseline."""
    trace: Trace | None = None
    """What the probe saw; None where none ran."""
    together: Proof | None = None
    """What the fixes that helped do together; None where no proof was asked for, or none helped."""


@frozen
class Run:
    """One call of the tool: its audits, and the targets that could not be audited (target, sentence)."""

    version: str
    audits: tuple[Audit, ...]
    rules: tuple[RuleInfo, ...]
    settings: Mapping[str, object]
    environment: Mapping[str, str]
    command: str
    fail_on: str
    failures: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    """About the run as a whole: unused and expired ignores, stale entries of the baseline."""
