"""Changes of the architecture, made on a copy of the model: at the calls of the user's modules, or at the steps of an ONNX file's plan. torch is
imported inside functions only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainaudit.changes import Change
from trainaudit.fix.module.edits import Computing, Edit, dropout, edit_of
from trainaudit.fix.module.parameters import layer_of, tensors_of
from trainaudit.fix.module.training import include, with_optimizer
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.ir.graph import Graph, Layer, Role
from trainaudit.ir.ops import DROPOUTS, NORMALIZATIONS, Op
from trainaudit.probe.trainee import Trainee

_BEHIND_DROPOUT = NORMALIZATIONS | {Op.MAX_POOL, Op.GLOBAL_MAX_POOL}


def with_architecture(trainee: Trainee, graph: Graph | None, changes: Sequence[Change]) -> Trainee:
    """The trainee with another architecture; `trainee.model` is a copy, which gets what new parameters there are, and so does the optimizer."""
    if graph is None or not graph.is_connected:
        raise NotApplicableError("the graph of the model is not known")
    targets = {change.where: layer_of(graph, change.where) for change in changes}
    for change in changes:
        if change.kind == "move-dropout":
            behind = _follower(graph, targets[change.where])
            targets[behind.name] = behind
    is_file = hasattr(trainee.model, "plan")
    edits: list[tuple[Layer, Edit]] = []
    places = _places(trainee, graph, [change for change in changes if change.kind != "drop-bias"], targets)
    for change in changes:
        layer = targets[change.where]
        if change.kind == "drop-bias":
            _freeze_bias(trainee.model, layer)
        elif change.kind == "epsilon":
            _set_epsilon(trainee.model, layer, change.amount, None if is_file else places[layer.name].place[0])
        elif change.kind == "move-dropout":
            edits += _moved(layer, _follower(graph, layer), "" if is_file else places[layer.name].place[1])
        else:
            shape = places[layer.name] if is_file else places[layer.name].shape
            edits.append((layer, edit_of(change, layer, shape, "" if is_file else places[layer.name].place[1])))
    return _with_edits(trainee, edits, places)


def _places(
    trainee: Trainee, graph: Graph, changes: Sequence[Change], targets: Mapping[str, Layer]
) -> Mapping[str, Any]:
    """For a file the shapes of the layers' results, for the user's modules their sites."""
    wanted = dict.fromkeys(change.where for change in changes)
    wanted |= dict.fromkeys(name for name in targets if not any(change.where == name for change in changes))
    names = [name for name in wanted if changes]
    if not names:
        return {}
    if hasattr(trainee.model, "plan"):
        from trainaudit.fix.module.plans import shapes

        return shapes(trainee, graph, names)
    from trainaudit.fix.module.calls import sites

    return sites(trainee, graph, names)


def _follower(graph: Graph, layer: Layer) -> Layer:
    """The normalization or pooling that a dropout's result comes to, with nothing else that reads it on the way."""
    if layer.op not in DROPOUTS:
        raise NotApplicableError(f"{layer.name} ({layer.op.value}) is no dropout")
    here = layer
    for _ in range(len(graph.layers)):
        readers = graph.values[here.outputs[0]].consumers
        if len(readers) != 1 or here.outputs[0] in graph.outputs:
            break
        here = graph.layers[readers[0]]
        if here.op in _BEHIND_DROPOUT:
            return here
    raise NotApplicableError(f"neither a normalization nor a pooling alone reads what {layer.name} gives")


def _moved(layer: Layer, behind: Layer, function: str) -> list[tuple[Layer, Edit]]:
    rate, drop = layer.attributes.get("p"), dropout(layer, function)
    if not isinstance(rate, (int, float)):
        raise NotApplicableError(f"the rate of {layer.name} is not known")
    share = float(rate)

    def dropping(at: Computing) -> Any:
        return drop(at.run(at.operand), share, at.training)

    return [(layer, Edit(lambda at: at.operand)), (behind, Edit(dropping))]


def _freeze_bias(model: Any, layer: Layer) -> None:
    """A bias of zero that is not trained is none; its place stays, so that the user's code finds what it expects."""
    name = layer.parameters.get(Role.BIAS)
    if name is None:
        raise NotApplicableError(f"{layer.name} has no bias")
    for _, tensor in tensors_of(model, name):
        tensor.requires_grad_(False)
        tensor.zero_()


def _set_epsilon(model: Any, layer: Layer, amount: float | None, path: str | None) -> None:
    if layer.op not in NORMALIZATIONS or amount is None:
        raise NotApplicableError(f"{layer.name} ({layer.op.value}) has no ε")
    if path is None:
        from trainaudit.fix.module.plans import with_epsilon

        with_epsilon(model, layer, amount)
        return
    module = model.get_submodule(path)
    known = [name for name in ("eps", "variance_epsilon", "epsilon") if isinstance(getattr(module, name, None), float)]
    if not path or not known:
        raise NotApplicableError(f"the ε of {layer.name} is no attribute of its module")
    setattr(module, known[0], amount)


def _with_edits(trainee: Trainee, edits: Sequence[tuple[Layer, Edit]], places: Mapping[str, Any]) -> Trainee:
    if not edits:
        return trainee
    model, is_file, added = trainee.model, hasattr(trainee.model, "plan"), list[str]()
    at_calls: dict[Any, list[tuple[Edit, Mapping[str, str]]]] = {}
    for layer, edit in edits:
        names = _registered(model, edit, is_file)
        added += [names[own] for own in edit.parameters]
        if is_file:
            from trainaudit.fix.module.plans import put

            put(model, layer, edit, names)
        else:
            at_calls.setdefault(places[layer.name].place, []).append((edit, names))
    if at_calls:
        from trainaudit.fix.module.calls import carry, edited

        carry(model, at_calls)
        trainee = replace(trainee, compute=edited(trainee.compute, at_calls))
    if not added:
        return trainee

    def train_too(optimizer: Any, made: Any) -> None:
        held = dict(made.named_parameters())
        include(optimizer, [held[name] for name in added])

    return with_optimizer(trainee, [train_too])


def _registered(model: Any, edit: Edit, is_file: bool) -> dict[str, str]:
    """New tensors of the model itself, so that they are copied, moved and trained with it; their names by the edit's. They are no modules: a model may
    run through its children."""
    import torch

    like = next((item for item in model.parameters() if item.is_floating_point()), None)
    where = {} if like is None else {"device": like.device, "dtype": like.dtype}
    count = sum(name.startswith("added_") for name, _ in (*model.named_parameters(), *model.named_buffers()))
    names: dict[str, str] = {}
    for own, (size, value) in (*edit.parameters.items(), *edit.buffers.items()):
        name = names[own] = f"added_{count}_{own}"
        tensor = torch.full((size,), value, **where)
        made = torch.nn.Parameter(tensor) if own in edit.parameters else tensor
        if is_file:
            registered = model._register(name, made)
            if own in edit.parameters:
                model.parameter_names[registered] = name
        elif own in edit.parameters:
            model.register_parameter(name, made)
        else:
            model.register_buffer(name, made)
    return names
