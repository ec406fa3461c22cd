"""The vocabulary: every fact that rules may read, with its type, unit and meaning. No measuring happens here. Stdlib, `ir.ops` and `fact_spec`."""

from __future__ import annotations

from trainaudit.ir.ops import Op
from trainaudit.measure.catalog_data import DATA_FACTS
from trainaudit.measure.catalog_dynamic import DYNAMIC_FACTS
from trainaudit.measure.fact_spec import (  # fmt: skip
    DATA,
    FORWARD,
    GRAPH,
    PROBED,
    SETTINGS,
    SIGNAL,
    SINGLE_KINDS,
    SUBJECT_KINDS,
    TRAINING,
    WEIGHTS,
    FactSpec,
)
from trainaudit.measure.fact_spec import boolean as _boolean
from trainaudit.measure.fact_spec import count as _count
from trainaudit.measure.fact_spec import number as _number
from trainaudit.measure.fact_spec import word as _word

__all__ = ["BY_NAME", "CATALOG", "DATA", "FORWARD", "GRAPH", "PROBED", "SETTINGS", "SIGNAL", "SINGLE_KINDS", "SUBJECT_KINDS", "TRAINING", "WEIGHTS",
           "FactSpec"]  # fmt: skip

_OPS = tuple(op.value for op in Op)
_OPS_OR_NONE = ("none", *_OPS)

_MODEL = (
    _word("model.name", GRAPH, "file name of the model"),
    _word("model.form", GRAPH, "form of the exported graph", "training", "inference", "unknown"),
    _word("model.weights_state", WEIGHTS, "what the weights are, by vote of all parameters",
          "fresh", "trained", "mixed", "generated", "unknown"),
    _count("model.layer_count", "layers", GRAPH, "number of layers"),
    _count("model.parameter_count", "parameters", GRAPH, "number of trainable scalars"),
    _count("model.depth", "layers", GRAPH, "weighted layers on the longest path from an input to an output"),
    _number("model.recognition_coverage", "share", GRAPH, "share of the file's nodes whose operator is known"),
    _boolean("model.is_convolutional", GRAPH, "at least two convolutions stand on a path to an output"),
    _word("model.dtype", GRAPH, "type of most of the weights (float32, float16, bfloat16, float64, int8)"),
    _count("model.folded_normalization_count", "layers", GRAPH, "layers whose weights absorbed a normalization at export"),
    _word("model.folded_normalization_evidence", GRAPH, "how the folding was seen", "none", "metadata", "weights"),
    _count("model.leaked_path_count", "paths", GRAPH, "absolute paths of the exporting machine in the file's metadata"),
    _word("model.leaked_path_example", GRAPH, "the place of the first of them, with user names masked"),
    _count("model.output_unit_count", "units", GRAPH, "units or classes of the primary output"),
    _boolean("model.is_output_like_input", GRAPH, "the primary output has the shape of an input, as in autoencoders and denoisers"),
    _boolean("model.rescales_input", GRAPH, "every float input (every input, where none is float) passes a normalization, or arithmetic with stored numbers, before anything else"),
    _word("model.loss", SETTINGS, "the declared loss, or the loss found in the graph",
          "cross-entropy", "nll", "categorical-crossentropy", "bce", "bce-with-logits", "mse", "l1", "huber", "hinge", "kl"),
    _word("model.loss_expects", SETTINGS, "what that loss expects of the model's output",
          "logits", "log-probabilities", "probabilities", "values", "scores"),
    _word("model.logits_loss", SETTINGS, "the loss that computes the same from logits", "cross-entropy", "bce-with-logits"),
    _word("model.loss_activation", SETTINGS, "activation function that a model for that loss ends in", "softmax", "log_softmax", "sigmoid"),
    _word("model.output_layer", GRAPH, "name of the weighted layer that the primary output comes from, with nothing but activation functions and reshapes behind it"),
    _word("model.output_weight", GRAPH, "name of its weight"),
    _word("model.output_bias", GRAPH, "name of its bias"),
    _word("model.output_activation_layer", GRAPH, "name of the activation function that the primary output passes last"),
    _word("model.unnormalized_layers", GRAPH,
          "names of the hidden dense layers and convolutions that an activation function follows and no normalization, one on each line"),
    _word("model.fitting_normalizations", GRAPH, "layer.fitting_normalization of each, in step with them"),
)  # fmt: skip

_INPUT = (
    _word("input.name", GRAPH, "name of the input"),
    _boolean(
        "input.reaches_output", GRAPH, "some output depends on the input's values (its shape alone does not count)"
    ),
)

_OUTPUT = (
    _word("output.name", GRAPH, "name of the output"),
    _boolean("output.depends_on_input", GRAPH, "the output depends on the values of at least one input"),
    _boolean("output.is_primary", GRAPH, "the first output of the model that is a float tensor and depends on an input"),
    _word("output.final_activation", GRAPH,
          "op of the activation function that the output passes last (behind it only reshapes, casts, selections), or none", *_OPS_OR_NONE),
    _word("output.final_activation_layer", GRAPH, "name of that layer"),
    _word("output.final_activation_layers", GRAPH, "names of that layer and of the clamps behind it that keep a logarithm finite, one a line"),
    _word("output.earlier_activation", GRAPH, "op of the activation function straight before the final one, or none", *_OPS_OR_NONE),
    _word("output.earlier_activation_layer", GRAPH, "name of that layer"),
    _word("output.logits_loss", GRAPH, "loss on logits for an output of so many units: of a yes or no for one unit or a sigmoid, else of one class of many"),
    _count("output.unit_count", "units", GRAPH, "size of the axis that counts units or classes: axis 1 or the last"),
    _count("output.rank", "axes", GRAPH, "number of axes of the output"),
    _boolean("output.is_trunk_feature", GRAPH,
             "the output is a feature map or hidden state (no linear head narrows the trunk before it)"),
    _boolean("output.is_normalized_head", GRAPH,
             "the output comes straight out of a normalization, behind a dense layer or convolution with fewer units than inputs"),
    _word("output.final_op", GRAPH, "op of the layer that computes the output (reshapes, casts, selections and dropout behind it aside)", *_OPS_OR_NONE),
    _number("output.final_dropout_rate", "share", GRAPH,
            "rate of the dropout that the output passes with nothing but activation functions, reshapes, casts and selections behind it"),
    _word("output.final_dropout_layer", GRAPH, "name of that dropout"),
)  # fmt: skip

_BLOCK = (
    _word("block.name", GRAPH, "common module path or first layer of a repeated block"),
    _count("block.sibling_count", "blocks", GRAPH, "blocks of the same kind in a row, this one included"),
    _word("block.activation", GRAPH, "the activation functions of the block, in order, joined by +, or none"),
    _word("block.sibling_activation", GRAPH, "what most of its siblings have there"),
    _number("block.sibling_agreement", "share", GRAPH, "share of the siblings that have the common structure"),
    _word("block.missing_part", GRAPH, "what this block lacks and most of its siblings have",
          "none", "normalization", "activation", "bias", "skip"),
    _word("block.row_position", GRAPH, "where the block stands among its siblings", "first", "middle", "last"),
)  # fmt: skip

_LAYER_GRAPH = (
    _word("layer.name", GRAPH, "human name of the layer"),
    _word("layer.op", GRAPH, "kind of the layer", *_OPS),
    _word("layer.code", GRAPH, "Python expression that names the layer's module, such as model.encoder.layers[0].fc1"),
    _word("layer.role", GRAPH, "what the layer is for",
          "hidden", "output-head", "gate", "attention-query", "attention-key", "attention-value", "attention-out",
          "attention-input", "residual-branch-end", "embedding", "downsample", "recurrent-cell", "modulation", "auxiliary"),
    _count("layer.depth", "layers", GRAPH, "weighted layers on the longest path from an input to this layer, itself included"),
    _count("layer.width", "units", GRAPH, "output units (features or channels) of a weighted layer"),
    _count("layer.fan_in", "values", GRAPH, "inputs to one unit: groups, kernel size and transposes counted"),
    _boolean("layer.reaches_output", GRAPH, "some output depends on the layer"),
    _boolean("layer.has_bias", GRAPH, "the weighted layer has a bias"),
    _word("layer.activation", GRAPH, "op of the activation function that alone consumes the weighted or normalization layer, or none", *_OPS_OR_NONE),
    _word("layer.previous_activation", GRAPH,
          "op of the activation function that feeds this activation, logarithm or loss directly (reshapes, casts and dropout aside), or none", *_OPS_OR_NONE),
    _word("layer.previous_activation_layer", GRAPH, "name of that layer"),
    _word("layer.next_normalization", GRAPH,
          "op of the normalization that alone consumes the layer's output (reshapes and casts aside), or none", *_OPS_OR_NONE),
    _word("layer.next_normalization_layer", GRAPH, "name of that layer"),
    _word("layer.next_dropout", GRAPH, "kind of the dropout that consumes the activation's output", "none", "dropout", "alpha_dropout"),
    _boolean("layer.is_beside_normalization", GRAPH, "a normalization feeds the activation or consumes its output"),
    _word("layer.linear_predecessor", GRAPH,
          "name of the weighted layer that feeds this one through linear layers (between convolutions max-pools too) alone, or none"),
    _word("layer.linear_idiom", GRAPH,
          "the known design in which two linear layers follow each other; max-pooled is no design: max-pools alone stand between two convolutions",
          "none", "low-rank", "depthwise-separable", "attention", "embedding", "parallel-branches", "bottleneck-projection",
          "normalized", "residual", "position-mixing", "gated", "patch-embedding", "latent", "max-pooled"),
    _word("layer.softmax_use", GRAPH, "what a softmax or sigmoid is for",
          "output", "attention", "gate", "routing", "sampling", "hidden", "loss"),
    _count("layer.softmax_axis_size", "values", GRAPH, "size of the axis that a softmax sums over"),
    _boolean("layer.softmax_over_batch", GRAPH, "a softmax sums over the batch axis"),
    _boolean("layer.normalizes_features", GRAPH, "the axes of a layer normalization include a feature axis"),
    _count("layer.normalized_count", "values", GRAPH,
           "values that share one mean and variance in a normalization (batch axis left out)"),
    _count("layer.channels_per_group", "channels", GRAPH, "channels in one group of a group normalization"),
    _number("layer.epsilon", "", GRAPH, "ε of a normalization"),
    _word("layer.compute_dtype", GRAPH, "type that the layer computes in"),
    _number("layer.dropout_rate", "share", GRAPH, "probability that dropout zeroes a value"),
    _boolean("layer.is_batch_mixing", GRAPH, "a reshape or transpose moves the batch axis into another axis and never back"),
    _number("layer.parameter_share", "share", GRAPH, "share of the model's parameters, trained or frozen, that the layer owns"),
    _number("layer.attention_scale_ratio", "ratio", GRAPH, "scale of the attention scores times the square root of the head size; 1 is the usual 1/√d"),
    _count("layer.attention_head_size", "features", GRAPH, "size of the axis that the product of queries and keys sums over"),
    _number("layer.mask_value", "", GRAPH, "most extreme stored number that is added to, or filled into, attention scores"),
    _number("layer.dtype_max", "", GRAPH, "largest finite number of the type that the layer computes in"),
)  # fmt: skip

_LAYER_SIZES = (
    _count("layer.kernel_size", "values", GRAPH, "longest side of the window of a convolution or pooling"),
    _count("layer.stride", "values", GRAPH, "largest step of a convolution or pooling"),
    _count("layer.map_side", "values", GRAPH, "longest side of the feature map that a convolution or pooling reads"),
    _word("layer.dense_axis", GRAPH,
          "what a dense layer sums over: plain features, the channels at each place of a convolution's map, or the width of such a map",
          "features", "map-channels", "map-width"),
    _number("layer.map_share", "share", GRAPH, "places of the feature map that a dense layer works on and the model gives out, over those of the input image"),
    _number("layer.flattened_share", "share", GRAPH, "places of the feature map that was flattened for a dense layer, over those of the input image"),
    _boolean("layer.is_before_max_pool", GRAPH, "a max-pooling alone consumes the dropout's result"),
    _count("layer.previous_width", "units", GRAPH, "output units of the layer of the same kind that plainly stands before this one"),
    _count("layer.previous_kernel_size", "values", GRAPH, "longest side of the kernel of the convolution with stride 1 that plainly stands before this one"),
    _boolean("layer.is_coarsened", GRAPH, "a pooling stands between the convolution before and this one, or this one has a stride"),
    _count("layer.growth_run", "layers", GRAPH, "dense layers that plainly follow each other up to this one, each wider than the one before"),
    _number("layer.trunk_width_ratio", "ratio", GRAPH,
            "output units over the widest that the stream was before, for dense layers and convolutions that every path to the output crosses"),
)  # fmt: skip

_LAYER_WEIGHTS = (
    _number("layer.gain", "ratio", WEIGHTS, "standard deviation of the weight times √fan_in"),
    _number("layer.wanted_gain", "ratio", WEIGHTS,
            "gain that keeps the second moment through the activation that follows: 1/√E[φ(z)²], z ~ N(0, 1)"),
    _number("layer.gain_ratio", "ratio", WEIGHTS, "gain over wanted gain"),
    _word("layer.weight_scheme", WEIGHTS, "named initializers that fit the weight, joined by |, or trained, or unknown"),
    _word("layer.initializer", WEIGHTS,
          "what the weights were drawn from, in words: uniform, bound 1/√fan_in (PyTorch's default); the standard deviation where no name fits"),
    _number("layer.forget_gate_bias", "", WEIGHTS, "mean bias of an LSTM's forget gate (input and recurrent bias added)"),
    _number("layer.recurrent_spectral_radius", "ratio", WEIGHTS, "largest absolute eigenvalue of a vanilla recurrent weight, worst direction"),
    _number("layer.running_mean_absmax", "", WEIGHTS, "largest absolute running mean of a BatchNorm"),
    _number("layer.running_variance_deviation", "", WEIGHTS, "largest distance of a BatchNorm's running variances from 1"),
    _number("layer.collapsed_channel_share", "share", WEIGHTS,
            "share of a BatchNorm's channels with |γ| < 1e-3 of the layer's median |γ| or running variance < 1e-8"),
    _number("layer.attention_logit_std", "", WEIGHTS,
            "standard deviation of the attention scores that standardised, independent inputs would give: scale·√d·gain(q)·gain(k)"),
    _number("layer.feeding_gain", "ratio", WEIGHTS,
            "gain of the fresh weighted layer whose output this activation function takes directly (reshapes and casts aside)"),
    _word("layer.feeding_layer", GRAPH, "name of the weighted layer whose output this activation function takes directly (reshapes and casts aside)"),
    _word("layer.feeding_weight", GRAPH, "name of its weight"),
    _word("layer.feeding_bias", GRAPH, "name of its bias"),
    _word("layer.feeding_normalization", GRAPH, "normalization that is usual behind that layer", "layer_norm", "batch_norm"),
    _word("layer.weight", GRAPH, "name of a weighted layer's weight (of a recurrent one, for its input)"),
    _word("layer.recurrent_weight", GRAPH, "name of a recurrent layer's weight for its state"),
    _word("layer.bias", GRAPH, "name of the layer's bias, or of its shift"),
    _word("layer.activation_layer", GRAPH, "name of the activation function that alone takes a weighted layer's or normalization's output (reshapes aside)"),
    _word("layer.fitting_normalization", GRAPH, "normalization for what such a layer gives: by channel behind convolutions, by unit behind dense layers of fewer than 16 units, else over features", "layer_norm", "batch_norm"),
)  # fmt: skip

_SIGNAL = (
    _number("model.signal_coverage", "share", SIGNAL, "share of the layers whose output is predicted, of those that depend on an input"),
    _number("model.predicted_gradient_ratio", "ratio", SIGNAL,
            "predicted rms of the weight gradient of the first trainable layer over that of the last"),
    _count("model.plain_depth", "layers", SIGNAL, "weighted layers on the longest path without a skip connection, concatenation or recurrence"),
    _count("model.longest_segment", "layers", SIGNAL, "weighted layers of the longest segment"),
    _count("model.post_norm_count", "layers", SIGNAL, "residual sums in a row that nothing but a layer normalization of the stream reads"),
    _number("model.predicted_post_norm_ratio", "ratio", SIGNAL,
            "predicted norm of the gradient behind the first of these normalizations over that behind the last"),
    _number("layer.predicted_std", "", SIGNAL,
            "predicted standard deviation of a weighted layer's output over samples and positions, for standardised inputs"),
    _number("layer.predicted_rms", "", SIGNAL, "predicted √E[x²] of a weighted layer's output"),
    _number("layer.predicted_backward_ratio", "ratio", SIGNAL,
            "predicted norm of the gradient by a weighted layer's output, over that by the output of the last weighted layer"),
    _number("layer.predicted_segment_end_std", "", SIGNAL, "segment.predicted_end_std of the segment that the layer stands in, if that is no residual branch"),
    _count("layer.segment_sigmoid_count", "layers", SIGNAL, "segment.sigmoid_count of that segment"),
    _number("layer.predicted_input_rms", "", SIGNAL, "predicted √E[x²] of a weighted layer's input"),
    _number("layer.predicted_input_variation", "ratio", SIGNAL,
            "predicted standard deviation of a weighted layer's input over samples and positions, over its √E[x²]: near 0 all samples look alike"),
    _number("layer.predicted_logit_std", "", SIGNAL, "predicted standard deviation of the model's primary output before its last activation function, where its layer shares no weight"),
    _number("layer.predicted_input_std", "", SIGNAL, "predicted standard deviation of what a hidden sigmoid or tanh layer reads"),
    _number("layer.predicted_saturated_share", "share", SIGNAL,
            "predicted share of a hidden layer's values with |tanh| > 0.97 or a sigmoid outside [0.03, 0.97]"),
    _number("layer.predicted_dead_share", "share", SIGNAL,
            "share of a rectified layer's units that fire with probability < 1e-3 under their predicted pre-activation"),
    _number("layer.rarely_firing_share", "share", SIGNAL, "the part of them that would fire more often without their bias"),
    _number("layer.shut_by_bias_share", "share", SIGNAL,
            "the part of those whose bias is below minus the norm of their weights, which is their response to a standardised input"),
    _number("layer.predicted_residual_growth", "ratio", SIGNAL,
            "predicted second moment behind a stack of residual sums without normalization, over that before it; at the layers that end its branches"),
    _count("layer.residual_count", "layers", SIGNAL, "residual sums of that stack"),
    _number("layer.predicted_gradient_ratio", "ratio", SIGNAL, "predicted rms of the layer's weight gradient over that of the last trainable layer"),
    _number("layer.predicted_end_to_end_ratio", "ratio", SIGNAL,
            "model.predicted_gradient_ratio; at the layer where the change starts: the earliest whose own factor is at least half of the largest, in logarithms"),
    _count("segment.weighted_count", "layers", SIGNAL,
           "weighted layers on the deepest path between two places that set the scale anew (normalization, residual sum), an output head left out"),
    _word("segment.first_layer", SIGNAL, "name of the first of them"),
    _word("segment.last_layer", SIGNAL, "name of the last of them"),
    _word("segment.weighted_layers", SIGNAL, "names of all of them, one on each line"),
    _word("segment.fitting_normalizations", SIGNAL, "layer.fitting_normalization of each, in step with them"),
    _word("segment.weights", SIGNAL, "names of their weights, in step with them"),
    _word("segment.biases", SIGNAL, "names of their biases, in step with them; an empty line where there is none"),
    _word("segment.wanted_gains", SIGNAL, "layer.wanted_gain of each, in step with them"),
    _word("segment.squashed_layers", SIGNAL, "names of the sigmoid, tanh and softsign functions behind them, one on each line"),
    _word("segment.worst_layer", SIGNAL, "name of the layer where the damage starts: the earliest whose own factor is at least half of the largest, in logarithms"),
    _word("segment.closing", SIGNAL, "what stands behind the last of them", "normalization", "residual", "recurrence", "output"),
    _count("segment.sigmoid_count", "layers", SIGNAL, "most sigmoid layers in a row, that of the output head included"),
    _count("segment.tanh_count", "layers", SIGNAL, "most tanh or softsign layers in a row, that of the output head included"),
    _number("segment.predicted_start_std", "", SIGNAL, "predicted standard deviation, over samples and positions, of what its first layer reads"),
    _number("segment.predicted_end_std", "", SIGNAL,
            "predicted standard deviation, over samples and positions, at its far end: behind a closing normalization, before an output head"),
    _number("segment.predicted_forward_change", "ratio", SIGNAL, "segment.predicted_end_std over segment.predicted_start_std"),
    _number("segment.predicted_backward_change", "ratio", SIGNAL, "predicted norm of the gradient at its start over that at its far end"),
    _number("segment.predicted_change", "ratio", SIGNAL, "geometric mean of the forward and the backward change: by how much a weight gradient in its middle changes"),
)  # fmt: skip

_LAYER_RANGES = (
    _number("layer.smallest_operand", "", WEIGHTS,
            "smallest number under a logarithm or root: a bound where a guard holds one above zero, else where standardised inputs bring it"),
    _number("layer.operand_bound", "", WEIGHTS, "number that a root's operand is at or above for every input; absent where it has no such bound"),
    _boolean("layer.operand_has_zeros", WEIGHTS,
             "the number under a root is exactly zero on some inputs and passes a gradient on: a masked or dropped value, or the distance of a point to itself"),
    _number("layer.smallest_divisor", "", WEIGHTS,
            "smallest absolute value of a divisor: a bound where a guard holds one above zero, else where standardised inputs bring it"),
    _number("layer.largest_exponent", "", WEIGHTS,
            "largest operand of an exponential (or of a softmax written with one) on standardised inputs: mean + 3 standard deviations"),
    _number("layer.exponent_limit", "", WEIGHTS, "natural logarithm of the largest number of the type that the exponential computes in"),
)  # fmt: skip

_PARAMETER = (
    _word("parameter.name", GRAPH, "name of the parameter in the file"),
    _word("parameter.code", GRAPH, "Python expression that names the parameter, such as model.fc1.weight"),
    _word("parameter.role", GRAPH, "what the parameter does in its layer"),
    _boolean("parameter.is_trainable", GRAPH, "a floating-point parameter in a role that training changes"),
    _count("parameter.size", "values", GRAPH, "number of elements"),
    _word("parameter.dtype", GRAPH, "stored type"),
    _count("parameter.unit_count", "units", GRAPH, "output units of a weight"),
    _boolean("parameter.is_read", GRAPH, "some layer reads the parameter, or it is an output itself"),
    _boolean("parameter.reaches_output", GRAPH, "some output depends on the parameter"),
    _boolean("parameter.is_gradient_blocked", GRAPH,
             "the parameter reaches outputs, but every path crosses a layer that passes no gradient"),
    _word("parameter.gradient_blocker", GRAPH, "name of the first such layer, with its line of code where that is known"),
    _word("parameter.gradient_blocker_op", GRAPH, "its raw operator, or none where nothing blocks"),
    _boolean("parameter.is_blocker_before_weights", GRAPH,
             "the gradient is blocked, and a weighted layer or a product of activations follows the first blocker on a path to an output"),
    _word("parameter.zero_init_idiom", GRAPH, "the known design in which a zero weight is meant",
          "none", "residual-branch-end", "low-rank-adapter", "modulation", "output-head", "gate"),
    _boolean("parameter.is_tied_to_head", GRAPH, "an embedding that is also the output layer's weight"),
    _word("parameter.state", WEIGHTS, "what the values are", "fresh", "trained", "quantized", "unknown"),
    _number("parameter.trained_behind_share", "share", WEIGHTS, "share of the weights further on in the model that are trained"),
    _word("parameter.family", WEIGHTS, "distribution that the values follow",
          "zeros", "constant", "identity", "uniform", "normal", "truncated-normal", "orthogonal", "sparse", "quantized", "trained", "unknown"),
    _word("parameter.scheme", WEIGHTS, "named initializers that fit, joined by |, or unknown"),
    _number("parameter.mean", "", WEIGHTS, "mean of the values"),
    _number("parameter.std", "", WEIGHTS, "standard deviation of the values"),
    _number("parameter.absmax", "", WEIGHTS, "largest absolute finite value"),
    _number("parameter.extremity", "ratio", WEIGHTS, "largest absolute value over the standard deviation"),
    _number("parameter.zero_share", "share", WEIGHTS, "share of values that are exactly zero"),
    _number("parameter.denormal_share", "share", WEIGHTS, "share of values, other than zero, below the type's smallest normal number"),
    _count("parameter.non_finite_count", "values", WEIGHTS, "NaN and infinite values"),
    _count("parameter.nan_count", "values", WEIGHTS, "NaN values"),
    _word("parameter.first_non_finite", WEIGHTS, "index of the first NaN or infinite value, such as [3, 17]"),
    _number("parameter.duplicate_unit_share", "share", WEIGHTS,
            "share of units whose incoming weights equal those of another unit of the same group, bit for bit"),
    _count("parameter.identical_count", "parameters", WEIGHTS,
           "other parameters of the same role and shape that are not tied and hold the same bits"),
    _word("parameter.identical_example", WEIGHTS, "name of the first of them"),
    _number("parameter.stable_rank_ratio", "ratio", WEIGHTS,
            "stable rank ‖W‖F²/‖W‖₂² over what independent entries of that shape give (Marchenko–Pastur)"),
    _number("parameter.tied_logit_std", "", WEIGHTS,
            "standard deviation of the logits that a tied embedding gives to a unit-variance hidden state: std·√width, stored scale factors counted"),
    _number("parameter.position_scale_ratio", "ratio", WEIGHTS,
            "standard deviation of a token embedding over that of the positional embedding it is added to"),
)  # fmt: skip

CATALOG: tuple[FactSpec, ...] = (
    _MODEL
    + _INPUT
    + _OUTPUT
    + _BLOCK
    + _LAYER_GRAPH
    + _LAYER_SIZES
    + _LAYER_WEIGHTS
    + _LAYER_RANGES
    + _SIGNAL
    + _PARAMETER
    + DYNAMIC_FACTS
    + DATA_FACTS
)
"""Every fact. Explicit: a measurement that is not listed here does not exist."""

BY_NAME: dict[str, FactSpec] = {spec.name: spec for spec in CATALOG}
