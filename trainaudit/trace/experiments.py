"""`Experiment`: one experiment of the recipe, with the names of the numbers that each one gives. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from trainaudit.frozen import frozen

RAN, CUT, NOT_RUN, FAILED = "ran", "cut", "not run", "failed"
"""States: to the end; stopped by the budget with what is there; not at all; broke down."""


@frozen
class Experiment:
    """`values` are named in `NAMES`; one that could not be had is left out. `curves` are series of losses and the like, one entry a step.
    `seeds` are those of its repeats. `reason` says why it was not run, was cut or failed, in one clause."""

    state: str
    reason: str = ""
    values: Mapping[str, float | str | bool] = field(default_factory=dict)
    curves: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    seconds: float = 0.0


NAMES: Mapping[str, Mapping[str, str]] = {
    "loss-at-init": {
        "loss": "mean loss of the untrained model over the repeats' batches",
        "expected": "loss that a model would have that knows nothing: ln C, the entropy of the base rates, or the targets' variance",
        "expected_kind": "uniform-classes | base-rates | target-variance",
        "spread": "standard deviation of the loss over the repeats",
        "logit_std": "standard deviation of the outputs over samples and units",
        "best_constant": "loss of the best constant output on these targets (base-rate entropy, target variance)",
        "prior_loss": "loss with the output bias alone set to its best value, all else as it is",
        "bias_gain": "1 − prior_loss / loss: share of the loss that the best output bias would remove",
        "class_count": "classes, where the targets are classes",
        "batch_scaling": "log2 of the loss on the batch twice over, over the loss on the batch: 0 where the loss is a mean, 1 where it is a sum",
    },
    "overfit-one-batch": {
        "start_loss": "loss on the batch before", "final_loss": "median loss over the last tenth of the steps, of the better optimizer",
        "least_loss": "smallest loss", "optimizer": "user | own: the user's, or Adam with a rate of its own, tried where the user's did not do it",
        "user_final_loss": "the same with the user's optimizer, without weight decay", "own_rate": "rate of that Adam",
        "steps": "steps made", "sample_count": "examples in the batch", "accuracy": "share of right classes at the end",
        "constant_loss": "loss of the best constant output on this batch",
        "floor_double_softmax": "ln(e + C − 1) − 1, for cross-entropy with C classes",
        "floor_broadcast": "Var(y) of the batch, for squared errors",
        "floor_sigmoid": "p·0.3133 + (1 − p)·0.6931, for binary cross-entropy on logits with base rate p",
        "nearest_floor": "double-softmax | broadcast | sigmoid | constant | none: the floor within 2 % of which the loss stalled",
        "is_stalled": "the loss moved by less than 1 % over the last third of the steps",
        "is_seen": "the loss is of an output and a target that the step shows: False for one that hides them",
        "is_learnt_standardized": "the batch is not learnt as it is, and is with inputs of zero mean and unit variance",
        "label_conflict": "loss that equal inputs with different targets force, 0 where there are none",
    },
    "input-baseline": {
        "real_loss": "mean final loss on real inputs over the seeds", "zeroed_loss": "the same with inputs zeroed",
        "real_std": "standard deviation over the seeds", "zeroed_std": "likewise",
        "effect": "(zeroed − real) / pooled standard deviation of the difference over the seeds",
        "constant_loss": "loss of the best constant output on these batches, which both can come down to", "steps": "steps of each run",
    },
    "batch-dependence": {
        "leak": "largest ‖∂out_i/∂x_j‖ over ‖∂out_i/∂x_i‖, i ≠ j, in eval mode; 0 where samples do not mix",
        "pair_count": "pairs (i, j) with a gradient that is not 0", "sample_count": "examples in the batch",
        "ignored_input_share": "share of the input's elements whose gradient is 0 for all outputs and samples",
    },
    "time-dependence": {
        "future_leak": "largest ‖∂out_t/∂x_s‖ over ‖∂out_t/∂x_t‖, s > t, in eval mode", "is_declared_causal": "the user or the graph says causal",
        "first_leak": "the first position t that sees a later one",
    },
    "learning-rate-range": {
        "suggested": "learning rate of the steepest fall of the smoothed loss, a third of a decade under it at most",
        "highest_stable": "largest rate before the smoothed loss passed 4 × its smallest value, or came back to where it began",
        "current": "the rate that the user's optimizer has", "start_loss": "loss before",
    },
    "train-eval-gap": {
        "train_loss": "loss in training mode on held batches", "eval_loss": "the same batches in evaluation mode",
        "initial_train_loss": "before training", "initial_eval_loss": "before training", "dropout_count": "dropout layers", "batchnorm_count": "batch normalizations",
    },
    "same-seed": {
        "is_identical": "two runs from one seed gave the same losses bit for bit",
        "largest_difference": "largest relative difference between their losses", "steps": "steps compared",
    },
    "target-shape": {
        "output_shape": "as text", "target_shape": "as text, both with types where the loss could not be computed", "is_broadcast": "the loss broadcast one against the other",
        "warning": "what torch warned, if it did", "error": "what the loss raised, where it could not be computed",
    },
}  # fmt: skip
"""Experiment → value → meaning. Values are numbers, words or truths."""
