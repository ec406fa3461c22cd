"""From the file's flat graph and the canonical one to the module: which tensors are trained is the canonical graph's word."""

from __future__ import annotations

from collections.abc import Mapping

from trainaudit.ir.graph import Graph
from trainaudit.ir.ops import Op
from trainaudit.load.raw import RawGraph
from trainaudit.probe.onnx_module.binding import to_tensor
from trainaudit.probe.onnx_module.module import OnnxModule
from trainaudit.probe.onnx_module.planner import make_plan
from trainaudit.probe.onnx_module.values import NAMED_TYPES


def trained_tensors(raw: RawGraph, graph: Graph) -> frozenset[str]:
    """The tensors of the file that are parameters: floats that the canonical graph calls trainable."""
    names = set()
    for name, parameter in graph.parameters.items():
        stored = _stored_name(name, raw)
        kind = NAMED_TYPES.get(raw.tensors[stored].dtype) if stored else None
        if stored and parameter.trainable and kind is not None and kind.is_floating_point and kind.itemsize > 1:
            names.add(stored)
    return frozenset(names)


def _stored_name(name: str, raw: RawGraph) -> str:
    """The file's tensor behind a parameter's name, which has a suffix where one tensor has two natures (see `load.assemble`)."""
    for candidate in (name, name.removesuffix(":data"), name.rpartition(" (")[0]):
        if candidate in raw.tensors:
            return candidate
    return ""


def written_out_dropouts(raw: RawGraph, graph: Graph) -> dict[str, str]:
    """The result of each dropout (of elements, or of a whole branch) that stands in the file as several nodes, and the value that it passes
    on in evaluation."""
    dropouts = _stochastic_depths(raw)
    for layer in graph.layers:
        is_dropout = layer.op in (Op.DROPOUT, Op.ALPHA_DROPOUT) and layer.nodes > 1
        if is_dropout and len(layer.inputs) == len(layer.outputs) == 1:
            dropouts[layer.outputs[0]] = layer.inputs[0]
    return dropouts


def _stochastic_depths(raw: RawGraph) -> dict[str, str]:
    """Branches that whole examples leave out (Huang et al. 2016, arXiv:1603.09382), as transformers writes them: x / keep · ⌊keep + uniform⌋."""
    maker = {name: node for node in raw.nodes for name in node.outputs if name}

    def made_by(names: list[str], op: str) -> list[str]:
        """What the node `op` among the makers of `names` reads; nothing where there is none."""
        nodes = [maker[name] for name in names if name in maker]
        return next((node.inputs for node in nodes if node.op == op), [])

    found = {}
    for node in raw.nodes:
        if node.op != "Mul":
            continue
        summed = made_by(made_by(node.inputs, "Floor"), "Add")
        divided = made_by(node.inputs, "Div")
        if divided and any(name in maker and maker[name].op.startswith("RandomUniform") for name in summed):
            found[node.outputs[0]] = divided[0]
    return found


def build(raw: RawGraph, graph: Graph, dropouts: Mapping[str, str]) -> OnnxModule:
    """The module, not yet held against anything. Raises `TrainauditError` that names every unsupported operator."""
    trained = trained_tensors(raw, graph)
    plan = make_plan(raw, trained, dropouts)
    parameters = {name: to_tensor(raw.tensors[name]) for name in raw.tensors if name in trained and name in plan.stored}
    statistics = {name: to_tensor(raw.tensors[source]) for name, source in plan.statistics.items()}
    return OnnxModule(plan, parameters, statistics)
