"""Which calls of a forward pass are read, and in which module each one runs. torch is imported at module level: import this file inside functions.

A call is seen by its function, not by its module, so that `F.relu(x)`, `x.relu_()` and `nn.ReLU` are alike. Its output is read as soon as it
exists: what is overwritten later in place is read before that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode

from trainaudit.ir.ops import Op

FUNCTIONS: Mapping[str, Op] = {
    "linear": Op.LINEAR, "embedding": Op.EMBEDDING, "embedding_bag": Op.EMBEDDING,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), Op.CONV),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), Op.CONV_TRANSPOSE),
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "rnn_tanh_cell", "rnn_relu_cell"), Op.RNN),
    "lstm": Op.LSTM, "lstm_cell": Op.LSTM, "gru": Op.GRU, "gru_cell": Op.GRU,
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm", "baddbmm"), Op.MATMUL), "einsum": Op.EINSUM,
    "scaled_dot_product_attention": Op.ATTENTION,
    "batch_norm": Op.BATCH_NORM, "layer_norm": Op.LAYER_NORM, "rms_norm": Op.RMS_NORM, "group_norm": Op.GROUP_NORM,
    "instance_norm": Op.INSTANCE_NORM, "local_response_norm": Op.LOCAL_RESPONSE_NORM,
    "relu": Op.RELU, "leaky_relu": Op.LEAKY_RELU, "rrelu": Op.LEAKY_RELU, "prelu": Op.PRELU, "relu6": Op.RELU6,
    "threshold": Op.THRESHOLDED_RELU, "elu": Op.ELU, "selu": Op.SELU, "celu": Op.CELU, "gelu": Op.GELU, "silu": Op.SILU,
    "mish": Op.MISH, "sigmoid": Op.SIGMOID, "expit": Op.SIGMOID, "hardsigmoid": Op.HARD_SIGMOID, "hardswish": Op.HARD_SWISH,
    "tanh": Op.TANH, "hardtanh": Op.HARD_TANH, "softplus": Op.SOFTPLUS, "softsign": Op.SOFTSIGN, "softmax": Op.SOFTMAX,
    "log_softmax": Op.LOG_SOFTMAX, "logsigmoid": Op.LOG_SIGMOID, "glu": Op.GLU, "add": Op.ADD,
}  # fmt: skip
"""Function, without the underscore of the form in place → what it computes."""

NAMED = {**FUNCTIONS, **{f"{name}_": op for name, op in FUNCTIONS.items()}}

_PRODUCTS = frozenset({Op.MATMUL, Op.EINSUM})


def _never(_tensors: object) -> bool:
    return False


def _opened(function: Any) -> Any:
    """A composite function of torch whose parts a mode sees: it does not hand itself over to the mode as one call."""
    body = FunctionType(
        function.__code__,
        {**function.__globals__, "has_torch_function": _never},
        function.__name__,
        function.__defaults__,
    )
    body.__kwdefaults__ = function.__kwdefaults__
    return body


_ATTENTION = torch.nn.functional.multi_head_attention_forward
_OPENED_ATTENTION = _opened(_ATTENTION)

Seen = Callable[[str, str, Any, Callable[[], tuple[Op, str]], Any], None]
"""Called with the module's path, the function's name, the output, what tells the op and the name of the weight ("" where the call has none; asking costs
time), and the call's first operand."""


class Watch(TorchFunctionMode):
    """While it is entered, `seen` is called for every call in `FUNCTIONS` that a module below `root` makes outside of the backward pass, in order.
    `begins` is called when the root's forward pass begins. Calls of torch outside of modules (losses, the optimizer) take their usual way, unless `everywhere`."""

    def __init__(
        self, root: Any, seen: Seen, begins: Callable[[], None] = lambda: None, *, everywhere: bool = False
    ) -> None:
        super().__init__()
        self.seen, self.begins, self.everywhere = seen, begins, everywhere
        self.paths = {
            id(part): path.replace("_orig_mod.", "").removesuffix("_orig_mod") for path, part in root.named_modules()
        }
        self.root = id(root)
        self.weights: dict[int, str] = {id(tensor): name for name, tensor in root.named_parameters()}
        self.stack: list[str] = []
        self.handles: list[Any] = []
        self.is_on = False

    def __enter__(self) -> Watch:
        self.stack.clear()
        self.handles = [
            module_hooks.register_module_forward_pre_hook(self._enter_module),
            module_hooks.register_module_forward_hook(self._leave_module, always_call=True),
        ]
        if self.everywhere:
            self._turn(on=True)
        return self

    def __exit__(self, *_raised: Any) -> None:
        self._turn(on=False)
        for handle in self.handles:
            handle.remove()

    def _turn(self, *, on: bool) -> None:
        if on and not self.is_on:
            super().__enter__()  # type: ignore[no-untyped-call]
        elif self.is_on and not on:
            super().__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self.is_on = on

    def _enter_module(self, module: Any, _inputs: Any) -> None:
        is_forward = torch._C._current_graph_task_id() == -1
        if id(module) == self.root and is_forward:
            self.stack.clear()
            self.begins()
        path = self.paths.get(id(module))
        if path is None and self.stack:
            path = self.stack[-1]  # a module that its owner has not registered
        self.stack.append("?" if path is None else path)
        if is_forward:
            self._turn(on=True)

    def _leave_module(self, _module: Any, _inputs: Any, _output: Any) -> None:
        if self.stack:
            self.stack.pop()
        if not (self.stack or self.everywhere):
            self._turn(on=False)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _ATTENTION:
            super().__enter__()  # type: ignore[no-untyped-call]
            try:
                return _OPENED_ATTENTION(*args, **(kwargs or {}))
            finally:
                super().__exit__(None, None, None)  # type: ignore[no-untyped-call]
        result = func(*args, **kwargs) if kwargs else func(*args)
        self.observe(func, args, kwargs or {}, result)
        return result

    def observe(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """After each call of torch, made by a module or not."""
        name = getattr(func, "__name__", "")
        if name in NAMED and self.stack and self.stack[-1] != "?" and torch._C._current_graph_task_id() == -1:
            output = result[0] if isinstance(result, tuple) else result
            if isinstance(output, torch.Tensor):
                identified = partial(self.identified, NAMED[name], args, kwargs)
                self.seen(self.stack[-1], name.rstrip("_"), output, identified, args[0] if args else None)

    def identified(self, op: Op, args: Any, kwargs: Any) -> tuple[Op, str]:
        """What a call computes, as the graph has it, and the name of its weight."""
        weight = self._weight(args, kwargs)
        if op in _PRODUCTS and weight:
            op = Op.LINEAR
        elif op is Op.HARD_TANH and _bounds(args, kwargs) == (0.0, 6.0):
            op = Op.RELU6
        return op, weight

    def _weight(self, args: Any, kwargs: Any) -> str:
        """The name of the first parameter among the operands, or of that which an operand is a view of."""
        for operand in (*args[:3], *kwargs.values()):
            if isinstance(operand, torch.Tensor):
                name = self.weights.get(id(operand))
                if name is None and operand._base is not None:
                    name = self.weights.get(id(operand._base))
                if name is not None:
                    return name
            elif isinstance(operand, (list, tuple)):
                names = [self.weights[id(item)] for item in operand if id(item) in self.weights]
                if names:  # of a stack of recurrent layers the last, whose output the call gives
                    inputs = [name for name in names if "weight_ih" in name and not name.endswith("_reverse")]
                    return inputs[-1] if inputs else names[0]
        return ""


def _bounds(args: Any, kwargs: Any) -> tuple[Any, Any]:
    return tuple(
        args[place] if len(args) > place else kwargs.get(word) for place, word in ((1, "min_val"), (2, "max_val"))
    )


def is_readable(output: Any) -> bool:
    """A dense tensor of real numbers with an axis; not a stand-in, a part of a vmap, or a shard."""
    return (
        type(output) in (torch.Tensor, torch.nn.Parameter)
        and output.is_floating_point()
        and output.ndim > 0
        and output.numel() > 0
        and output.layout is torch.strided
        and not output.is_meta
        and not torch._C._functorch.is_functorch_wrapped_tensor(output)
    )
