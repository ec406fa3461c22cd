"""`load_module` and `load_program`: a torch module or an exported program as a canonical graph. torch is imported inside functions only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainaudit.errors import TrainauditError
from trainaudit.ir.graph import ON_META, Graph, Origin, Parameter
from trainaudit.load.canonical import canonicalize
from trainaudit.load.module_tree import module_tree
from trainaudit.load.raw import RawGraph
from trainaudit.load.shapes.inference import infer_shapes
from trainaudit.load.torch.calls import translate
from trainaudit.load.torch.capture import Captured, capture, from_exported
from trainaudit.load.torch.detaching import without_idle
from trainaudit.load.torch.emit import Emitter
from trainaudit.load.torch.prepare import example_of, materialized, on_device, refuse_quantized, unwrapped
from trainaudit.load.torch.sizes import name_symbols, shape_of
from trainaudit.load.torch.tensors import data_of, is_unread, type_word

OPSET = 24
"""The opset in whose operators traced calls are written."""


def load_module(module: Any, example: Any, *, name: str, training: bool = True) -> Graph:
    """An nn.Module as a canonical graph; weights stay in the module's tensors until they are read, and the module is left as found.

    `example` is what it is called with: a tensor, a tuple of positional arguments, a dict of keyword arguments, or None where nothing is
    known. `origin.format` says how it was captured: "torch.export", "make_fx" or "module tree", and `origin.notes` what that means where
    it is a fallback. Raises `TrainauditError` where nothing of it can be read, and `ForwardError` where the module itself cannot be run on the example.
    """
    module = unwrapped(module)
    refuse_quantized(module, name)
    if example is None:
        return _tree(module, name, "No example input was given")
    called = on_device(module, example_of(example))
    ready = materialized(module, called, training=training)
    captured = capture(ready, called, training=training)
    if isinstance(captured, str):
        return _tree(ready, name, f"Neither torch.export nor make_fx could capture the module ({captured})")
    if ready is not module:
        captured = replace(captured, notes=(*captured.notes, _COPIED))
    state = State.of(ready.named_parameters(remove_duplicate=False), ready.named_buffers(remove_duplicate=False))
    return _graph(captured, state, name, "training" if training else "inference")


_COPIED = "Its lazy parameters were initialized on a copy, which ran once on the example input."


def _tree(module: Any, name: str, why: str) -> Graph:
    """The module's layers by their classes and weights alone, without edges."""
    import torch

    state = State.of(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    lazy = next((word for word, tensor in state.tensors.items() if torch.nn.parameter.is_lazy(tensor)), None)
    if lazy is not None:
        raise TrainauditError("lazy-module", f"{lazy} has no shape yet (a lazy module).", "Give an example input.")
    first = {word: data_of(tensor, word) for word, tensor in state.tensors.items()}
    tensors = {word: first[state.names[id(tensor)]] for word, tensor in state.all_names.items()}
    classes = {path: type(part).__name__ for path, part in module.named_modules()}
    note = f"{why}: its layers stand without edges, and rules that follow the graph were not run."
    origin = Origin(
        path=name, format="module tree", size=sum(data.nbytes for data in first.values()), producer=f"torch {torch.__version__}",
        capture="module tree", notes=(note,),
    )  # fmt: skip
    graph = module_tree(tensors, origin, classes)
    emit = Emitter({})
    trained = {word for word, is_trained in state.trainable.items() if is_trained}
    return replace(
        graph, parameters={key: _as_in_module(item, state, emit, trained) for key, item in graph.parameters.items()}
    )


def load_program(program: Any, *, name: str) -> Graph:
    """A torch.export.ExportedProgram as a canonical graph. Whether it was exported for training shows in its calls alone."""
    return _graph(from_exported(program), State.of(program.named_parameters(), program.named_buffers()), name, "")


class State:
    """A module's tensors by name, each under the first name that it has. `trainable` says which of them an optimizer may change."""

    def __init__(self) -> None:
        self.all_names: dict[str, Any] = {}
        self.tensors: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        self.trainable: dict[str, bool] = {}

    @classmethod
    def of(cls, parameters: Any, buffers: Any) -> State:
        state = cls()
        for items, are_parameters in ((parameters, True), (buffers, False)):
            for name, tensor in items:
                state.all_names[name] = tensor
                if id(tensor) not in state.names:
                    state.names[id(tensor)] = name
                    state.tensors[name] = tensor
                    state.trainable[name] = are_parameters and bool(tensor.requires_grad)
        return state


def _graph(captured: Captured, state: State, name: str, form: str) -> Graph:
    raw, emit = raw_graph(captured, state, name)
    graph = canonicalize(raw, infer_shapes(raw))
    derived = _derived(emit, state)
    parameters = {key: _as_in_module(item, state, emit, derived) for key, item in graph.parameters.items()}
    return replace(graph, parameters=parameters, form=form or graph.form)


def raw_graph(captured: Captured, state: State, name: str) -> tuple[RawGraph, Emitter]:
    """The captured calls in ONNX's operators, and what the translation knows beside them."""
    import torch

    emit = Emitter(name_symbols([node.meta["val"] for node in captured.inputs]))
    emit.stored = captured.stored
    for node, (word, tensor) in captured.stored.items():
        emit.values[node] = _store(emit, state.names.get(id(tensor), word), tensor)
    for word, tensor in state.tensors.items():
        if isinstance(tensor, torch.nn.Parameter):  # buffers that nothing reads are of no interest, parameters are
            _store(emit, word, tensor)
    inputs: list[str] = []
    for node in captured.inputs:
        word, value = emit.fresh(node.name), node.meta["val"]
        emit.values[node] = word
        emit.shapes[word], emit.dtypes[word] = shape_of(value, emit.symbols), type_word(value.dtype)
        inputs.append(word)
    trained = {word for word, is_trained in state.trainable.items() if is_trained}
    trained.update(word for word, parts in emit.joined.items() if not trained.isdisjoint(parts))
    returned = without_idle(emit, inputs, trained, translate(emit, captured.graph))
    outputs = _named_outputs(emit, returned, captured.outputs)
    origin = Origin(
        path=name, format=captured.how, size=sum(data.nbytes for data in emit.tensors.values()), producer=f"torch {torch.__version__}",
        capture=captured.how, notes=captured.notes,
    )  # fmt: skip
    raw = RawGraph(
        nodes=emit.nodes, tensors=emit.tensors, constants=emit.constants, inputs=inputs, outputs=outputs,
        shapes=emit.shapes, dtypes=emit.dtypes, origin=origin, opset=OPSET, node_count=len(emit.nodes),
    )  # fmt: skip
    return raw, emit


def _named_outputs(emit: Emitter, found: list[str], wanted: tuple[str, ...]) -> list[str]:
    """The user's outputs, each tensor once, under names from the structure that the module returns."""
    new: dict[str, str] = {}
    made = {name for node in emit.nodes for name in node.outputs}
    for name, word in zip(found[len(found) - len(wanted) :], wanted, strict=True):
        if name and name not in new:
            new[name] = emit.fresh(word) if name in made else name
    for node in emit.nodes:
        node.inputs = [new.get(name, name) for name in node.inputs]
        node.outputs = [new.get(name, name) for name in node.outputs]
    for known in (emit.shapes, emit.dtypes):
        known.update({word: known[name] for name, word in new.items() if name in known})  # type: ignore[misc]
    return list(new.values())


def _store(emit: Emitter, name: str, tensor: Any) -> str:
    """Enter a tensor under its name in the module, one without a name as a constant of the code."""
    if name and name in emit.tensors:
        return name
    word = emit.fresh(name or "val_0")
    emit.tensors[word] = data_of(tensor, word)
    if not name:
        emit.constants.add(word)
    return word


def _derived(emit: Emitter, state: State) -> set[str]:
    """Values that an optimizer changes by changing the parameters they are computed from (a weight under weight_norm)."""
    found = {name for name, is_trained in state.trainable.items() if is_trained}
    for node in emit.nodes:
        if not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found


def _as_in_module(parameter: Parameter, state: State, emit: Emitter, derived: set[str]) -> Parameter:
    """A parameter with what only the module knows: whether it is trained, and whether it has values at all."""
    name = next(
        (form for form in _forms(parameter.name) if form in state.tensors or form in emit.joined), parameter.name
    )
    names = emit.joined.get(name, (name,))
    return replace(
        parameter,
        trainable=parameter.trainable and not derived.isdisjoint(names),
        generated=ON_META
        if any(is_unread(state.tensors[part]) for part in names if part in state.tensors)
        else parameter.generated,
    )


def _forms(name: str) -> tuple[str, ...]:
    """A parameter's name, and the one it has in the module where it is a part of a tensor or one of its two natures (see `assemble`)."""
    return name, name.partition("[")[0], name.rpartition(" (")[0], name.removesuffix(":data")
