"""Recording what a module computes: torch.export first, make_fx with the example's own values as the fallback.

torch is imported inside functions only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainaudit.load.torch.calls import live_calls, writes_through_views
from trainaudit.load.torch.prepare import Example, made_ready
from trainaudit.load.torch.quiet import quiet
from trainaudit.load.torch.restore import left_as_found


@dataclass(frozen=True, slots=True)
class Captured:
    """A traced graph. `stored` gives for placeholders and attributes that hold tensors the name in the module's state and the tensor,
    `inputs` the placeholders of the user's tensors. `notes` are sentences for the report."""

    graph: Any
    stored: dict[Any, tuple[str, Any]]
    inputs: list[Any]
    how: str
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    """Names for the last outputs of the graph, which are the user's."""


class ForwardError(Exception):
    """A module raises on its example, outside of any tracing; `__cause__` is what it raises."""


def capture(module: Any, example: Example, *, training: bool) -> Captured | str:
    """The module's calls, in training mode or not; where neither way works, what stopped the first. The module is left as found.

    Raises `ForwardError` where the module itself cannot be run on the example.
    """
    with left_as_found(module, computes=False), quiet():
        made_ready(module, training=training)
        exported = _exported(module, example)
    if isinstance(exported, Captured):
        return exported
    with left_as_found(module, computes=True), quiet():
        made_ready(module, training=training)
        try:
            return _recorded(module, example, exported)
        except Exception:  # whatever a user's module raises while it runs
            pass
    import torch

    with left_as_found(module, computes=True), quiet(), torch.no_grad():
        made_ready(module, training=training)
        try:
            module(*example.args, **example.kwargs)
        except Exception as error:
            raise ForwardError(str(error)) from error
    return first_line(exported)


def from_exported(program: Any, how: str = "torch.export") -> Captured:
    """The graph of an ExportedProgram, its changes in place made explicit where views make them hard to follow."""
    if writes_through_views(program.graph):
        with quiet():
            program = program.run_decompositions({})
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = signature.inputs_to_lifted_tensor_constants
    stored: dict[Any, tuple[str, Any]] = {}
    inputs: list[Any] = []
    users = set(signature.user_inputs)
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        name = named.get(node.name)
        if name is not None:
            tensor = program.state_dict.get(name)
            stored[node] = (name, program.constants.get(name) if tensor is None else tensor)
        elif node.name in constants:
            stored[node] = ("", program.constants[constants[node.name]])
        elif node.name in users and hasattr(node.meta.get("val"), "shape"):
            inputs.append(node)
    return Captured(program.graph, stored, inputs, how, outputs=_output_names(program.call_spec.out_spec))


def _output_names(structure: Any) -> tuple[str, ...]:
    """A name for each leaf of what a module returns: the keys on the way to it, "output" before places in a tuple."""
    from torch.utils._pytree import tree_flatten_with_path, tree_unflatten

    leaves, _ = tree_flatten_with_path(tree_unflatten(list(range(structure.num_leaves)), structure))
    names: list[str] = []
    for path, _place in leaves:
        words = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
        names.append(".".join(words) if words and not words[0].isdigit() else "output" + ".".join(words))
    return tuple(names)


def _exported(module: Any, example: Example) -> Captured | Exception:
    """With an open batch axis, else with the example's sizes."""
    import torch

    failure: Exception | None = None
    for args, kwargs, shapes in _attempts(module, example):
        try:
            program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
            return from_exported(program)
        except Exception as error:  # torch.export raises whatever the module raises, and much of its own
            failure = failure or error
            if "DataDependent" in type(error).__name__:
                break
    assert failure is not None
    return failure


def _attempts(module: Any, example: Example) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], Any]]:
    """What to call torch.export with: the batch axis open, a batch of one doubled (torch treats a size of 1 as fixed), then as given."""
    import torch
    from torch.utils._pytree import tree_leaves, tree_map

    args, kwargs = example.args, dict(example.kwargs)
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.ndim]
    batch = leaves[0].shape[0] if leaves else 0

    def is_batched(leaf: Any) -> bool:
        return isinstance(leaf, torch.Tensor) and leaf.ndim > 0 and leaf.shape[0] == batch

    def open_axis(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return None
        return {0: torch.export.Dim.AUTO} if is_batched(leaf) else {}

    bound = _bound(module, args, kwargs)
    if batch and bound is not None:
        shapes = {key: tree_map(open_axis, value) for key, value in bound.items()}
        if batch == 1:
            doubled = tree_map(lambda leaf: torch.cat([leaf, leaf]) if is_batched(leaf) else leaf, (args, kwargs))
            yield *doubled, shapes
        else:
            yield args, kwargs, shapes
    yield args, kwargs, None


def _bound(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any] | None:
    """The example by the names of forward's parameters, None where it does not fit them."""
    try:
        return inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except TypeError:
        return None


# --- the fallback --------------------------------------------------------------------------------------------------------


def _recorded(module: Any, example: Example, failure: Exception) -> Captured:
    """The calls that the module makes with the example's own values."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils._pytree import tree_flatten, tree_unflatten

    leaves, structure = tree_flatten((example.args, dict(example.kwargs)))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    returned: list[Any] = []

    def call(*tensors: Any) -> Any:
        given = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            given[place] = tensor
        args, kwargs = tree_unflatten(given, structure)
        results, form = tree_flatten(module(*args, **kwargs))
        returned.append(form)
        return results

    trace = make_fx(
        call, tracing_mode="real", pre_dispatch=True, record_stack_traces=True, _error_on_data_dependent_ops=False
    )
    with _module_paths(module):
        recorded = trace(*(leaves[place].detach().clone() for place in places))
    names = {id(tensor): name for name, tensor in (*module.named_buffers(), *module.named_parameters())}
    stored: dict[Any, tuple[str, Any]] = {}
    inputs: list[Any] = []
    for node in recorded.graph.nodes:
        if node.op == "placeholder":
            inputs.append(node)
        elif node.op == "get_attr":
            tensor = getattr(recorded, str(node.target), None)
            if isinstance(tensor, torch.Tensor):
                stored[node] = (names.get(id(tensor), ""), tensor)
    if inputs and live_calls(recorded.graph).isdisjoint(inputs):
        raise RuntimeError("what the module makes of its inputs was computed outside torch")
    _name_inputs(module, example, inputs)
    notes = (_why_recorded(failure), *((_THROUGH_VIEWS,) if writes_through_views(recorded.graph) else ()))
    return Captured(recorded.graph, stored, inputs, "make_fx", notes, _output_names(returned[-1]))


_THROUGH_VIEWS = (
    "Some values are changed in place through views: what reads them later may be shown as it was before the change."
)


def _name_inputs(module: Any, example: Example, inputs: list[Any]) -> None:
    """The names of forward's parameters for the recorded inputs, numbered where one holds several tensors."""
    import torch
    from torch.utils._pytree import tree_leaves

    bound = inspect.signature(module.forward).bind(*example.args, **dict(example.kwargs)).arguments
    words: list[str] = []
    for key, value in bound.items():
        count = sum(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(value))
        words += [key] if count == 1 else [f"{key}_{place}" for place in range(count)]
    for node, word in zip(inputs, words, strict=len(words) == len(inputs)):
        node.name = word


def _why_recorded(failure: Exception) -> str:
    return (
        f"torch.export could not capture the module ({first_line(failure)}), so its calls were recorded with the example's own values "
        "(make_fx): where the path depends on data, only the one that the example takes was checked."
    )


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says, without the full stop."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}".rstrip(".: ")[:200]


@contextmanager
def _module_paths(module: Any) -> Iterator[None]:
    """While a module runs, the tracer notes for each call which submodule makes it."""
    import torch.fx.traceback as annotations

    stack: list[tuple[str, str]] = []

    def enter(path: str, kind: str) -> Any:
        def hook(_module: Any, _args: Any) -> None:
            stack.append((path, kind))
            note()

        return hook

    def leave(_module: Any, _args: Any, _result: Any) -> None:
        stack.pop()
        note()

    def note() -> None:
        annotations.current_meta["nn_module_stack"] = {f"{place}": entry for place, entry in enumerate(stack)}

    handles = []
    for path, part in module.named_modules(remove_duplicate=True):
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        handles.append(part.register_forward_pre_hook(enter(path, kind)))
        handles.append(part.register_forward_hook(leave, always_call=True))
    try:
        with annotations.preserve_node_meta():
            yield
    finally:
        for handle in handles:
            handle.remove()
