"""Karpathy's recipe as a table: six stages, their tips in order, and how much of each a tool can check. Stdlib only.

Source: Andrej Karpathy, "A Recipe for Training Neural Networks" (2019), https://karpathy.github.io/2019/04/25/recipe/. Every rule names
one step of it, and the ladder in the reports is built from this table.
"""

from __future__ import annotations

from trainaudit.frozen import frozen

SOURCE_URL = "https://karpathy.github.io/2019/04/25/recipe/"


@frozen
class Step:
    """One tip. `id` is "stage.slug", which rules refer to; `auto` is full, partial or by-hand: how much of the tip a tool can check."""

    id: str
    stage: int
    title: str
    auto: str


@frozen
class Stage:
    """One rung of the ladder."""

    number: int
    title: str
    steps: tuple[Step, ...]


def _stage(number: int, title: str, *tips: tuple[str, str, str]) -> Stage:
    marks = {"F": "full", "P": "partial", "N": "by-hand"}
    return Stage(number, title, tuple(Step(f"{number}.{slug}", number, tip, marks[auto]) for slug, auto, tip in tips))


STAGES: tuple[Stage, ...] = (
    _stage(
        1,
        "Become one with the data",
        ("look-at-examples", "N", "Look at thousands of examples"),
        ("duplicates", "F", "Find duplicates, also across training and validation"),
        ("corrupt-examples", "P", "Find corrupt inputs and labels"),
        ("imbalance", "F", "Know the imbalances and biases"),
        ("variation-and-label-noise", "P", "Know the variation, the spatial structure, the detail that matters and the label noise"),
        ("predictions-consistent-with-data", "P", "Check that predictions are consistent with the data"),
        ("outliers", "P", "Sort, filter and plot; look at the outliers"),
    ),
    _stage(
        2,
        "Set up the skeleton and dumb baselines",
        ("fix-random-seed", "F", "Fix the random seed"),
        ("simplify", "P", "Simplify: no augmentation and no fanciness yet"),
        ("significant-digits", "P", "Add significant digits to the evaluation: the whole test set, no smoothing"),
        ("verify-loss-at-init", "F", "Verify the loss at initialization"),
        ("init-well", "F", "Initialize well"),
        ("human-baseline", "N", "Set a human baseline"),
        ("input-independent-baseline", "F", "Train an input-independent baseline"),
        ("overfit-one-batch", "F", "Overfit one batch"),
        ("verify-decreasing-loss", "F", "Verify that the training loss goes down"),
        ("visualize-before-the-net", "P", "Look at the data exactly before it enters the net"),
        ("prediction-dynamics", "P", "Watch the predictions on a fixed batch"),
        ("backprop-dependencies", "F", "Use backpropagation to chart dependencies"),
        ("generalize-a-special-case", "N", "Write the special case first, then generalize it"),
    ),
    _stage(
        3,
        "Overfit",
        ("pick-the-model", "P", "Pick a known model: do not be a hero"),
        ("adam-is-safe", "P", "Start with Adam at 3e-4"),
        ("complexify-one-at-a-time", "N", "Add complexity one thing at a time"),
        ("learning-rate-decay", "F", "Do not trust the default of a learning rate decay"),
    ),
    _stage(
        4,
        "Regularize",
        ("more-data", "P", "Get more data"),
        ("data-augment", "P", "Augment the data"),
        ("creative-augmentation", "P", "Augment creatively"),
        ("pretrain", "P", "Start from pretrained weights"),
        ("stick-with-supervised", "N", "Stick with supervised learning"),
        ("smaller-input", "P", "Make the input smaller: drop features that carry nothing"),
        ("smaller-model", "P", "Make the model smaller"),
        ("decrease-batch-size", "P", "Mind the batch size, because of batch normalization"),
        ("drop", "F", "Add dropout, with care beside normalization"),
        ("weight-decay", "F", "Raise the weight decay"),
        ("early-stopping", "P", "Stop early"),
        ("larger-model", "N", "Try a larger model, stopped early"),
        ("first-layer-filters", "P", "Look at the filters of the first layer"),
        ("odd-activations", "F", "Look for odd activations inside the net"),
    ),
    _stage(
        5,
        "Tune",
        ("random-search", "P", "Search at random, not on a grid"),
        ("hyperparameter-optimization", "N", "Optimize the hyper-parameters"),
    ),
    _stage(
        6,
        "Squeeze out the juice",
        ("ensembles", "N", "Average an ensemble"),
        ("leave-it-training", "P", "Leave it training"),
    ),
)  # fmt: skip

STEPS: dict[str, Step] = {step.id: step for stage in STAGES for step in stage.steps}
"""Step id → step."""

BY_HAND: dict[str, str] = {
    "1.look-at-examples": "Scroll through them for hours: look for copies, wrong labels and imbalances, and for what you go by yourself to tell them apart.",
    "2.human-baseline": "Label some examples yourself, twice: how often are you right, and how often do you agree with yourself?",
    "2.generalize-a-special-case": "Write what you need now as a plain loop, get it right, then vectorize it and see that both give the same.",
    "3.complexify-one-at-a-time": "Add one input or one part, see what it brings, then the next; never all at once.",
    "4.stick-with-supervised": "Pretrain on labels where you can; expect little of unsupervised pretraining outside of language.",
    "4.larger-model": "Stopped early, a larger model often ends better than a smaller one that is trained to its end.",
    "5.hyperparameter-optimization": "Toolboxes for Bayesian optimization pay once random search has told the ranges that matter.",
    "6.ensembles": "Averaging a few models gains about 2 % nearly always; distill them into one where that is too slow.",
}
"""What to do for the tips that no tool can check."""
