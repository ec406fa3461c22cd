"""The closed set of layer kinds. Only loaders see raw spellings; everything else speaks `Op`. Stdlib only.

What `Layer.attributes` carries, in torch's words (axes are non-negative where the rank is known, else as written; an attribute
that the file does not tell is absent):

    linear                      in_features, out_features
    conv, conv_transpose        kernel_size, stride, padding (begins then ends), dilation, groups
    embedding                   vocabulary_size, width
    rnn, lstm, gru              hidden_size, bidirectional
    matmul                      -
    attention                   scale (the product of every scalar factor on the way to the softmax), head_dim (size of the axis that
                                q·k sums over), is_causal, mask_value (the most negative stored mask constant);
                                inputs are query, key, value and then masks. The softmax inside it is not a layer.
    batch_norm                  eps, momentum, training (bool), num_features
    layer_norm, rms_norm        eps, axes, normalized_shape
    group_norm, instance_norm   eps, num_groups, num_channels
    softmax, log_softmax, hardmax   dim
    leaky_relu                  negative_slope           elu, celu   alpha
    gelu                        approximate: "none", "tanh" or "quick"
    hard_tanh, clip             min, max                 thresholded_relu   threshold
    dropout, alpha_dropout      p
    add, sub, mul, div, pow     scalar (where one operand is one stored number), scalar_side: "left" or "right"
    log, sqrt, div, reciprocal  epsilon_dropped: an ε before it was (or was not) left out of the file, where the exporter's note tells
    where                       fill (where one branch is one stored number)
    reshape                     shape (ints as ONNX writes them: 0 copies, -1 infers), where it is stored
    transpose                   perm                     flatten    start_dim
    squeeze, unsqueeze          axes                     concat     dim
    split                       dim, sizes               gather     dim
    slice                       axes, starts, ends, steps
    reduce_*                    axes, keepdim            cumsum     dim
    cast                        to (dtype)               pad        pads, mode, value
    constant, expand            value (where all are one stored number)
    max_pool, average_pool      kernel_size, stride, padding
    einsum                      equation                 loss       name, reduction
"""

from __future__ import annotations

from enum import StrEnum


class Op(StrEnum):
    """Kind of a layer. `OTHER` is what the loader did not recognise; it is counted and printed, never guessed."""

    # weighted
    LINEAR = "linear"
    CONV = "conv"
    CONV_TRANSPOSE = "conv_transpose"
    EMBEDDING = "embedding"
    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"
    # products of activations
    MATMUL = "matmul"
    EINSUM = "einsum"
    ATTENTION = "attention"
    # normalization
    BATCH_NORM = "batch_norm"
    LAYER_NORM = "layer_norm"
    RMS_NORM = "rms_norm"
    GROUP_NORM = "group_norm"
    INSTANCE_NORM = "instance_norm"
    LOCAL_RESPONSE_NORM = "local_response_norm"
    LP_NORM = "lp_norm"
    # activation functions
    RELU = "relu"
    LEAKY_RELU = "leaky_relu"
    PRELU = "prelu"
    RELU6 = "relu6"
    THRESHOLDED_RELU = "thresholded_relu"
    ELU = "elu"
    SELU = "selu"
    CELU = "celu"
    GELU = "gelu"
    SILU = "silu"
    MISH = "mish"
    SIGMOID = "sigmoid"
    HARD_SIGMOID = "hard_sigmoid"
    HARD_SWISH = "hard_swish"
    TANH = "tanh"
    HARD_TANH = "hard_tanh"
    SOFTPLUS = "softplus"
    SOFTSIGN = "softsign"
    SOFTMAX = "softmax"
    LOG_SOFTMAX = "log_softmax"
    LOG_SIGMOID = "log_sigmoid"
    HARDMAX = "hardmax"
    GLU = "glu"
    # elementwise arithmetic
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    POW = "pow"
    NEG = "neg"
    ABS = "abs"
    EXP = "exp"
    LOG = "log"
    SQRT = "sqrt"
    RECIPROCAL = "reciprocal"
    ERF = "erf"
    SIN = "sin"
    COS = "cos"
    TRIGONOMETRIC = "trigonometric"
    CLIP = "clip"
    MIN = "min"
    MAX = "max"
    MOD = "mod"
    MEAN = "mean"
    # steps: zero derivative almost everywhere, or integer / boolean results
    SIGN = "sign"
    ROUND = "round"
    FLOOR = "floor"
    CEIL = "ceil"
    ARGMAX = "argmax"
    COMPARE = "compare"
    LOGICAL = "logical"
    BITWISE = "bitwise"
    IS_FINITE = "is_finite"
    NONZERO = "nonzero"
    ONE_HOT = "one_hot"
    NON_MAX_SUPPRESSION = "non_max_suppression"
    UNIQUE = "unique"
    # reductions and pooling
    REDUCE_MEAN = "reduce_mean"
    REDUCE_SUM = "reduce_sum"
    REDUCE_MAX = "reduce_max"
    REDUCE_MIN = "reduce_min"
    REDUCE_PRODUCT = "reduce_product"
    REDUCE_L1 = "reduce_l1"
    REDUCE_L2 = "reduce_l2"
    REDUCE_SUM_SQUARE = "reduce_sum_square"
    REDUCE_LOG_SUM_EXP = "reduce_log_sum_exp"
    CUMSUM = "cumsum"
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"
    LP_POOL = "lp_pool"
    GLOBAL_MAX_POOL = "global_max_pool"
    GLOBAL_AVERAGE_POOL = "global_average_pool"
    # shape and data movement
    RESHAPE = "reshape"
    FLATTEN = "flatten"
    TRANSPOSE = "transpose"
    SQUEEZE = "squeeze"
    UNSQUEEZE = "unsqueeze"
    EXPAND = "expand"
    TILE = "tile"
    CONCAT = "concat"
    SPLIT = "split"
    SLICE = "slice"
    GATHER = "gather"
    SCATTER = "scatter"
    PAD = "pad"
    RESIZE = "resize"
    DEPTH_TO_SPACE = "depth_to_space"
    SPACE_TO_DEPTH = "space_to_depth"
    GRID_SAMPLE = "grid_sample"
    ROI_POOL = "roi_pool"
    UNFOLD = "unfold"
    TOP_K = "top_k"
    WHERE = "where"
    TRIANGLE = "triangle"
    IDENTITY = "identity"
    ROTARY = "rotary"
    """Rotary positions (Su et al. 2021): pairs of features turned by an angle, which keeps their length."""
    CAST = "cast"
    QUANTIZE = "quantize"
    DEQUANTIZE = "dequantize"
    SEQUENCE = "sequence"
    DETACH = "detach"
    """Passes values and no gradient: detach, and what leaves torch.no_grad. ONNX has no such operator."""
    # made from nothing but shapes
    CONSTANT = "constant"
    SHAPE = "shape"
    RANGE = "range"
    RANDOM = "random"
    # regularization
    DROPOUT = "dropout"
    ALPHA_DROPOUT = "alpha_dropout"
    # loss in the graph
    LOSS = "loss"
    # control flow (bodies are inlined; these join or enter them)
    BRANCH = "branch"
    LOOP_ENTRY = "loop_entry"
    LOOP_EXIT = "loop_exit"
    # trees, preprocessing and other classical estimators of ai.onnx.ml; signal processing
    ESTIMATOR = "estimator"
    PREPROCESSING = "preprocessing"
    TEXT = "text"
    SPECTRAL = "spectral"
    LINEAR_ALGEBRA = "linear_algebra"
    OTHER = "other"


WEIGHTED = frozenset({Op.LINEAR, Op.CONV, Op.CONV_TRANSPOSE, Op.EMBEDDING, Op.RNN, Op.LSTM, Op.GRU})
"""Layers that hold a trainable weight matrix or kernel."""

RECURRENT = frozenset({Op.RNN, Op.LSTM, Op.GRU})

NORMALIZATIONS = frozenset(
    {Op.BATCH_NORM, Op.LAYER_NORM, Op.RMS_NORM, Op.GROUP_NORM, Op.INSTANCE_NORM, Op.LOCAL_RESPONSE_NORM, Op.LP_NORM}
)

RECTIFIERS = frozenset({Op.RELU, Op.RELU6, Op.THRESHOLDED_RELU})
"""Activation functions whose output is zero, with zero gradient, on a half line."""

ACTIVATIONS = frozenset(
    {
        Op.RELU, Op.LEAKY_RELU, Op.PRELU, Op.RELU6, Op.THRESHOLDED_RELU, Op.ELU, Op.SELU, Op.CELU, Op.GELU, Op.SILU,
        Op.MISH, Op.SIGMOID, Op.HARD_SIGMOID, Op.HARD_SWISH, Op.TANH, Op.HARD_TANH, Op.SOFTPLUS, Op.SOFTSIGN,
        Op.SOFTMAX, Op.LOG_SOFTMAX, Op.LOG_SIGMOID, Op.HARDMAX, Op.GLU,
    }
)  # fmt: skip
"""Activation functions in the sense of torch.nn (softmax among them; sin, exp and the like are arithmetic)."""

STEPS = frozenset(
    {
        Op.SIGN, Op.ROUND, Op.FLOOR, Op.CEIL, Op.ARGMAX, Op.COMPARE, Op.LOGICAL, Op.BITWISE, Op.IS_FINITE, Op.NONZERO,
        Op.ONE_HOT, Op.NON_MAX_SUPPRESSION, Op.UNIQUE, Op.HARDMAX, Op.SHAPE, Op.DETACH,
    }
)  # fmt: skip
"""Layers that pass no gradient to any input."""

SHAPING = frozenset(
    {
        Op.RESHAPE, Op.FLATTEN, Op.TRANSPOSE, Op.SQUEEZE, Op.UNSQUEEZE, Op.EXPAND, Op.TILE, Op.SLICE, Op.SPLIT,
        Op.IDENTITY, Op.ROTARY, Op.CAST, Op.QUANTIZE, Op.DEQUANTIZE, Op.PAD, Op.DEPTH_TO_SPACE, Op.SPACE_TO_DEPTH, Op.DETACH,
    }
)  # fmt: skip
"""Layers that move or relabel values of one tensor and compute nothing."""

DROPOUTS = frozenset({Op.DROPOUT, Op.ALPHA_DROPOUT})
