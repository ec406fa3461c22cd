"""`Trace`: what a probe saw, as plain numbers. Everything that is said of a run is computed from it; no tensor and no framework in it. Stdlib only.

A number may be infinite or NaN here, since that is what a run may give (`trace_file` writes it as a word); None means that it was not had.
Series have one entry for each sampled step (`Trace.sampled_steps`), or for each step where that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from trainaudit.frozen import frozen
from trainaudit.trace.data import DataSample
from trainaudit.trace.experiments import Experiment

Number = float | None
Series = tuple[Number, ...]

FORMAT = 1
"""Format number of a trace on disk."""


@frozen
class ProbeSettings:
    """What was run, after everything that was left open has been settled. The `*_words` say in one clause how it was chosen ("cross-entropy,
    inferred: integer targets below the 10 outputs")."""

    evidence: str
    """"training", or "forward" (onnxruntime alone: no losses, gradients, updates or experiments)."""
    data: str
    """"real", "random" (random inputs and labels) or "teacher" (random inputs, targets of a random teacher)."""
    data_words: str = ""
    loss: str = ""
    """Its name in `settings.LOSSES`, "" for one of the user's own or the model's own."""
    loss_words: str = ""
    is_loss_inferred: bool = False
    """Nobody said what the loss is: it was inferred from outputs and targets."""
    optimizer: str = ""
    """Class name: "AdamW", "SGD"."""
    optimizer_words: str = ""
    learning_rate: Number = None
    momentum: Number = None
    weight_decay: Number = None
    is_adaptive: bool = False
    """The optimizer divides by a running gradient magnitude (Adam, RMSprop, Adagrad …)."""
    decayed_norm_or_bias_count: int = 0
    """Normalization and bias parameters in groups with weight decay."""
    steps: int = 0
    """Steps that were planned for the training run."""
    batch_size: int = 0
    data_batch_size: int = 0
    """Examples in a batch as the data have them: more than `batch_size` where time or memory had no room for all. 0 where it is not known."""
    device: str = ""
    device_name: str = ""
    precision: str = "fp32"
    """fp64, fp32, bf16 or fp16; joined by "+" where the model's parameters are of several types."""
    seed: int = 0
    repeats: int = 1
    time_budget: float = 60.0
    """Seconds."""
    sample_every: int = 1
    """The instruments read every so many steps, and the first `Trace.sampled_steps` densely."""


@frozen
class Tap:
    """Where an activation is read. `layer` is the name of the graph's layer whose output it is, "" where no layer could be matched;
    `module` the dotted path of the module that was running, `op` a word of `ir.ops.Op`; `ordinal` counts calls of that op in that module."""

    name: str
    layer: str = ""
    module: str = ""
    op: str = ""
    ordinal: int = 0


@frozen
class Histogram:
    """Counts of values in equally wide bins from `low` to `high`; values outside are in the first and last."""

    low: float
    high: float
    counts: tuple[int, ...]


@frozen
class ActivationSeries:
    """The output of one layer, at each sampled step over the whole batch (extrema and masks) or a bounded part of it (sums)."""

    tap: Tap
    mean: Series = ()
    std: Series = ()
    rms: Series = ()
    absmax: Series = ()
    zero_share: Series = ()
    """Share of values that are exactly 0."""
    saturated_share: Series = ()
    """tanh: |y| > 0.97; sigmoid: y outside [0.03, 0.97]; empty for other layers."""
    non_finite: Series = ()
    """Count of values that are NaN or infinite."""
    half_overflow_share: Series = ()
    """Share of values beyond 65504 in magnitude."""
    gradient_rms: Series = ()
    """√mean(∂loss/∂y)², with the loss a mean over the batch. Of layers without weights at steps that were read in detail: between them it follows
    from the next weighted layer's, and reading it costs another pass over memory."""
    gradient_underflow_share: Series = ()
    """Share of the non-zero gradient values below 2⁻²⁴ in magnitude: float16 makes them 0. None at steps where it was not computed."""
    effective_rank: Series = ()
    """exp(entropy of the normalized squared singular values) of a bounded sample of rows, centred; None at steps where it was not computed."""
    effective_rank_bound: Number = None
    """The largest that it could be: min(rows − 1, units) of that sample, since centring takes one."""
    unit_count: int = 0
    """Units: the size of the feature axis."""
    value_count: int = 0
    """Values of one example's output, 0 where it is not known: √ of it times `gradient_rms` is a norm."""
    silent_share: Number = None
    """Share of units that were never above 0 on any sample of any sampled step (rectifiers)."""
    silent_share_first: Number = None
    """The same over the first quarter of the sampled steps alone."""
    silent_share_last: Number = None
    """The same over the last quarter."""
    constant_share: Number = None
    """Share of units whose output was one and the same number on all samples of each sampled step."""
    samples_seen: int = 0
    """Examples behind the masks."""
    histogram_first: Histogram | None = None
    histogram_last: Histogram | None = None
    gradient_histogram_first: Histogram | None = None
    """Of log10 |∂loss/∂y|."""
    gradient_histogram_last: Histogram | None = None


@frozen
class ParameterSeries:
    """One parameter. Norms are L2."""

    name: str
    """As in the module's `named_parameters` or the ONNX file."""
    size: int
    trainable: bool = True
    in_optimizer: bool = True
    has_gradient: bool = True
    """`.grad` was there after at least one backward pass."""
    is_changed: bool = True
    """Some element differs bit for bit from what it was before the run."""
    weight_norm: Series = ()
    gradient_norm: Series = ()
    update_norm: Series = ()
    """‖Δw‖ of the step."""
    sampled_count: int | None = None
    """Values that `weight_norm` and `update_norm` are estimated from, in blocks drawn at random from all of it: their relative standard error is about 1/√(2n)
    where values are alike in size. None where they are of all values."""
    gradient_noise: Series = ()
    """Standard deviation of the micro-batches' mean gradients around the batch's, over the batch's norm: 1 means that noise and signal are equal."""
    gradient_underflow_share: Series = ()
    """Share of the non-zero gradient values below 2⁻²⁴ in magnitude; None, like the next, at steps where it was not computed."""
    gradient_absmax: Series = ()
    never_touched_rows: Number = None
    """Of an embedding: share of its rows that no sample touched."""


@frozen
class NonFinite:
    """The first NaN or infinity of a run. `kind` is "activation", "gradient", "loss", "parameter" or "input"; `where` a tap's or parameter's name."""

    step: int
    kind: str
    where: str
    layer: str = ""


@frozen
class TrainingRun:
    """The training run itself; all series have one entry for each step that was made."""

    loss: Series
    learning_rate: Series = ()
    gradient_norm: Series = ()
    """Global L2 norm over all parameters, before any clipping."""
    accuracy: Series = ()
    """Share of right classes on the batch; empty where the targets are no classes."""
    update_alignment: Series = ()
    """Cosine between the step's change of all weights and the gradient (sampled steps): below 0 for every optimizer that goes down."""
    prediction_change: Series = ()
    """On a fixed batch, share of predicted classes that changed since the last sampled step (sampled steps)."""
    validation_loss: tuple[tuple[int, float], ...] = ()
    """(step, loss) pairs."""
    first_non_finite: NonFinite | None = None
    seconds_per_step: Number = None
    steps_per_epoch: int | None = None


@frozen
class Failure:
    """A step that raised on the user's data, so that nothing was trained. `part` is "forward pass", "loss" or "step" (one of the user's own that
    raised before or between calls of the model). Tensors by type and shape: "float32[32,10]"; "none" where there was none."""

    part: str
    said: str
    """What was raised, and at which line of the user's code."""
    inputs: str
    output: str
    target: str


@frozen
class Conversion:
    """How well the torch module that was made of an ONNX file does what the file does."""

    error: Number
    """Largest |torch − onnxruntime| over the outputs, relative to the output's largest magnitude, in inference form; None where it was not checked."""
    unchecked: str = ""
    trainable_count: int = 0
    """Trainable scalars of the module."""


@frozen
class Trace:
    """`stopped` says why the run ended: "completed", "time budget", "interrupted", "non-finite", "out of memory", "data ran dry", or
    "loss failed", "forward pass failed" and "step failed", of which `failure` tells more.
    `cuts` are sentences on what was left out or reduced for the budget; `notes` on everything else that a reader must know."""

    settings: ProbeSettings
    sampled_steps: tuple[int, ...] = ()
    run: TrainingRun | None = None
    activations: tuple[ActivationSeries, ...] = ()
    """In the order of the forward pass."""
    parameters: tuple[ParameterSeries, ...] = ()
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    """By the names in `experiments.NAMES`."""
    data: DataSample | None = None
    conversion: Conversion | None = None
    failure: Failure | None = None
    stopped: str = "completed"
    cuts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions of torch, CUDA and the like."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage: "load", "training", and each experiment."""
