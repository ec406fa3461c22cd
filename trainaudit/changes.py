"""Changes that a machine can make to a model or to its training: the closed vocabulary of rule files' `fix.recipe`, of the record and of
`trainaudit fix`. Data only; stdlib only.

Who makes them: `fix.module` on a copy that is trained, `fix.file` in an ONNX file, `fix.source` in the user's Python. What a weight that is drawn anew
looks like is the same in all of them: `fix.drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainaudit.frozen import frozen

WEIGHTS, GRAPH, TRAINING, DATA = "weights", "graph", "training", "data"
"""What a change touches: stored numbers, the architecture, how the model is trained, or what it is fed with."""

LAYER, PARAMETER, NOWHERE = "layer", "parameter", ""
"""What `Change.where` names: a layer of the graph, a parameter of the graph, or nothing."""


@frozen
class Change:
    """One change. `where` is a layer's or parameter's name in the graph, "" where the kind needs none; `to` a word, `amount` a number."""

    kind: str
    where: str = ""
    to: str = ""
    amount: float | None = None


@frozen
class Kind:
    """What a change does, in words. `words` are what `to` may say, () where it says nothing; `takes_amount` is whether `amount` is read, `has_default`
    whether it may be missing all the same."""

    meaning: str
    part: str
    subject: str = NOWHERE
    words: tuple[str, ...] = ()
    takes_amount: bool = False
    has_default: bool = False


SCHEMES = (
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "lecun_normal",
    "orthogonal",
    "normal",
    "zeros",
    "ones",
)
ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "softplus",
    "softmax",
    "log_softmax",
    "log_sigmoid",
)
NORMALIZATIONS = ("batch_norm", "layer_norm", "group_norm", "rms_norm")
"""Over channels (`batch_norm`, per channel) or features (`layer_norm`, `rms_norm`: the last axis); `group_norm` has one group. γ starts at 1, β at 0, ε is 1e-5."""
LOSSES = (
    "cross-entropy",
    "nll",
    "categorical-crossentropy",
    "bce",
    "bce-with-logits",
    "mse",
    "l1",
    "huber",
    "hinge",
    "kl",
)
"""As in the settings and on the command line."""
ON_LOGITS = {
    "cross-entropy": "cross-entropy",
    "nll": "cross-entropy",
    "categorical-crossentropy": "cross-entropy",
    "bce": "bce-with-logits",
    "bce-with-logits": "bce-with-logits",
}
"""Loss → the one that computes the same from logits."""
ENDINGS = {"nll": "log_softmax", "kl": "log_softmax", "categorical-crossentropy": "softmax", "bce": "sigmoid"}
"""Loss → the activation function that a model for it ends in; losses on logits and on values have none."""

KINDS: Mapping[str, Kind] = {
    "initialize": Kind(
        "draw a weight anew: scheme `to`, with `amount` as its gain (as its standard deviation for normal); without, √2 for kaiming and 1 for the others (0.02 for normal)",
        WEIGHTS, PARAMETER, SCHEMES, True, True,
    ),
    "scale": Kind("multiply a weight by `amount`", WEIGHTS, PARAMETER, (), True),
    "set": Kind("set every element of a weight or bias to `amount`", WEIGHTS, PARAMETER, (), True),
    "forget-gate-bias": Kind("set the forget gate's bias of an LSTM to `amount` (of two biases one, and the other to 0)", WEIGHTS, LAYER, (), True),
    "output-bias": Kind("set the last layer's bias to the targets' mean or the log of the base rates, as data and loss tell", WEIGHTS, LAYER),
    "swap-activation": Kind("put the activation function `to` in the place of a layer", GRAPH, LAYER, ACTIVATIONS),
    "insert-activation": Kind("put the activation function `to` behind a layer", GRAPH, LAYER, ACTIVATIONS),
    "insert-normalization": Kind("put a normalization behind a layer (before its activation function)", GRAPH, LAYER, NORMALIZATIONS),
    "scale-branch": Kind("multiply a layer's output by `amount`", GRAPH, LAYER, (), True),
    "drop-layer": Kind("hand a layer's input on in place of its output", GRAPH, LAYER),
    "drop-bias": Kind("take the bias out of a layer", GRAPH, LAYER),
    "move-dropout": Kind("move a dropout behind the normalization or pooling that follows it", GRAPH, LAYER),
    "dropout-rate": Kind("drop the share `amount` of a dropout's values", GRAPH, LAYER, (), True),
    "epsilon": Kind("normalize with the ε `amount`", GRAPH, LAYER, (), True),
    "softmax-axis": Kind("take a softmax over the axis `amount`", GRAPH, LAYER, (), True),
    "guard": Kind("keep what a logarithm or root reads at or above `amount`, and a divisor that far from 0", GRAPH, LAYER, (), True),
    "learning-rate": Kind("train with the learning rate `amount` (other groups keep their ratio to the first)", TRAINING, NOWHERE, (), True),
    "warm-up": Kind("let the learning rate rise linearly over the first `amount` steps", TRAINING, NOWHERE, (), True),
    "weight-decay": Kind("train with the weight decay `amount`", TRAINING, NOWHERE, (), True),
    "decay-matrices-alone": Kind("take biases, scales and shifts out of the weight decay", TRAINING),
    "clip-gradients": Kind("clip the global gradient norm at `amount`", TRAINING, NOWHERE, (), True),
    "train-parameter": Kind("give a parameter to the optimizer", TRAINING, PARAMETER),
    "loss": Kind("train with the loss `to`", TRAINING, NOWHERE, LOSSES),
    "mean-loss": Kind("take the mean of the loss over the batch in place of its sum", TRAINING),
    "minimize": Kind("go down the loss in place of up", TRAINING),
    "align-target": Kind("give the target the shape of the output before the loss", TRAINING),
    "batch-size": Kind("train with batches of `amount` examples, or of all that there are", DATA, NOWHERE, (), True),
    "shuffle": Kind("draw the examples of each batch at random", DATA),
    "standardize-inputs": Kind("subtract the inputs' mean and divide by their standard deviation, feature by feature (channel by channel)", DATA),
    "standardize-targets": Kind("subtract the targets' mean and divide by their standard deviation", DATA),
}  # fmt: skip
"""Kind → what it is."""


def shown(change: Change) -> str:
    """In one line: "initialize fc1.weight: kaiming_normal, gain 1.414"."""
    return worded(change.kind, change.where, change.to, "" if change.amount is None else f"{change.amount:.4g}")


def worded(kind: str, where: str, to: str, amount: str) -> str:
    """A change in one line, each part in words, "" for a part that it has not."""
    if amount and kind == "initialize":
        amount = f"{'std' if to == 'normal' else 'gain'} {amount}"
    how = ", ".join(word for word in (to, amount) if word)
    what = f"{kind} {where}".rstrip()
    return f"{what}: {how}" if how else what
