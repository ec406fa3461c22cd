"""THE pipeline, read top-down: load → measure → judge → the record. May import every room but the command line and reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from trainaudit.errors import TrainauditError
from trainaudit.frozen import frozen
from trainaudit.ir.graph import Graph, Source
from trainaudit.judge.judging import Judgment, judge
from trainaudit.judge.rule import Rule
from trainaudit.judge.rulefile import load_rules
from trainaudit.judge.selection import active_ignores, select_rules
from trainaudit.load.opening import open_target, require_torch
from trainaudit.load.target import InputSpec, Kind, Target, parse_inputs, split_python
from trainaudit.measure.facts import FactTable, Unmeasured
from trainaudit.measure.measuring import BROKE_DOWN, measure
from trainaudit.measure.static.places import loss_facts
from trainaudit.measure.static.rows import layer_rows
from trainaudit.model_info import evidence_of, model_info, model_warnings, shown_target
from trainaudit.resources import rules_folder
from trainaudit.result import Audit, LayerRow, Location, ModelInfo, Scalar
from trainaudit.settings import LOSSES, Settings, given_options, target_names, with_flags
from trainaudit.suggestion import did_you_mean

if TYPE_CHECKING:
    from trainaudit.trace.trace import Trace


Ranges = Mapping[str, tuple[float, float]]


@frozen
class Audited:
    """One model's record, and what its run says about the settings' ignores (see `selection.ignore_warnings`)."""

    audit: Audit
    judgment: Judgment


@frozen
class Measured:
    """Everything that is known of a model before it is judged. Facts can be shared in this form, without weights."""

    target: str
    model: ModelInfo
    table: FactTable
    locations: Mapping[str, Location]
    layers: tuple[LayerRow, ...]
    timings: Mapping[str, float]
    notes: tuple[str, ...] = ()
    """Sentences about how the model was opened."""
    trace: Trace | None = None
    """What a probe of it saw; its facts are in the table."""


def audit(
    target: object,
    example: object = None,
    *,
    loss: str | None = None,
    input: str | Sequence[str] | Mapping[str, str] = (),
    arguments: Mapping[str, object] | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Audit:
    """Audit one target with the built-in rules, whatever settings files lie around.

    `target` is a torch.nn.Module, or the path or name that the command line takes: "model.onnx", "package.module:build". `example` is what a
    module is called with: a tensor, a tuple of positional arguments or a dict of keyword arguments; without one, the module's own or an
    inferred one is taken. `input` specifies it instead ("float32[8,3,224,224]"), `arguments` are those of a factory. The module is left
    as found.

    `loss` is what the output feeds, by its name on the command line; `select` and `ignore` take rule ids, categories and globs.
    Raises `TrainauditError` where the target cannot be audited.
    """
    settings = with_flags(Settings(), loss=loss, select=select, ignore=ignore)
    rules = chosen_rules(settings)
    inputs = inputs_of(input)
    if isinstance(target, str | Path):
        named = Target(str(target), inputs=inputs, arguments=arguments or {})
        if example is not None:
            raise TrainauditError("bad-input", "An example goes with a module.", f"Give input='…' for {target}.")
        return audit_file(named, settings, rules, detail=True).audit
    return judge_measured(measure_module(target, example, inputs, settings)[1], settings, rules, detail=True).audit


def inputs_of(given: str | Sequence[str] | Mapping[str, str]) -> tuple[InputSpec, ...]:
    """Example inputs as Python code gives them: a text, several, or by name."""
    texts = [f"{name}={text}" for name, text in given.items()] if isinstance(given, Mapping) else given
    return parse_inputs([texts] if isinstance(texts, str) else texts)


def chosen_rules(settings: Settings, *, probed: bool = True) -> tuple[Rule, ...]:
    """The built-in rules and the user's own, with the settings' thresholds, as far as they are selected: at least one.

    Without `probed` there is but an outline of those that only a probe can judge: enough to say that they were not run.
    """
    folders = (rules_folder(), *settings.rules)
    rules = select_rules(load_rules(folders, settings.thresholds, probed=probed), settings)
    if not rules:
        raise TrainauditError(
            "no-rules", "The selection leaves no rule to run.", "Check --select and --ignore, and the settings."
        )
    return rules


def audit_file(target: str | Target, settings: Settings, rules: Sequence[Rule], *, detail: bool) -> Audited:
    """One target through the whole pipeline. `detail`: see `measure_file`."""
    return judge_measured(measure_file(target, settings, detail=detail), settings, rules, detail=detail)


def measure_file(target: str | Target, settings: Settings, *, detail: bool) -> Measured:
    """The first half: load and measure.

    `detail` adds what only reports on disk show and what costs time: the file's hash and the layer table.
    """
    return open_and_measure(Target(target) if isinstance(target, str) else target, settings, detail=detail)[1]


def open_and_measure(target: Target, settings: Settings, *, detail: bool) -> tuple[Graph, Measured]:
    """The graph of a target, and all that is known from it alone."""
    started = time.perf_counter()
    graph = open_target(target)  # first, since it refuses what is no model
    shown = target.name or shown_target(target.spec)
    digest = _digest_beside(target.path) if detail and target.kind not in (Kind.PYTHON, Kind.CONFIG) else None
    ranges = declared_ranges(graph, target.ranges)
    declared = target.loss or settings.loss
    loss = declared or _loss_beside(target)
    measured = _measure(graph, shown, loss, detail, digest, started, ranges)
    notes = ((_UNUSED,) if _has_unused(target) else ()) + ((_ranges_shown(ranges),) if target.ranges else ())
    if loss is not None and declared is None:
        notes += (f"The loss is {loss}: make_loss beside build_model gives it (--loss overrides).",)
    return graph, replace(measured, notes=(*measured.notes, *notes)) if notes else measured


def _loss_beside(target: Target) -> str | None:
    """The loss that `make_loss` gives in the file or module of `build_model`, as a probe would take it, where it is one of torch.nn's own."""
    python = split_python(target.spec) if target.kind is Kind.PYTHON else None
    if python is None or python[1] != "build_model":
        return None
    from trainaudit.load.torch.quiet import aside
    from trainaudit.probe.objectives import of_object
    from trainaudit.probe.user_objects import Caller, spec_of

    caller = Caller(target.root)
    try:
        with aside():
            make = spec_of(python[0], caller).make_loss
            return None if make is None else of_object(make, "make_loss", caller).name or None
    except TrainauditError:
        return None  # a probe says what is wrong with it


_OWN_LOSS = Unmeasured("the loss is one of the user's own, and none of those that rules know by name")
_UNUSED = "--input and -k (input and arguments in the settings) are for targets that are called, and were not used."


def _has_unused(target: Target) -> bool:
    if target.kind is Kind.CONFIG:
        return bool(target.arguments)
    return target.kind is not Kind.PYTHON and bool(target.inputs or target.arguments)


def measure_module(
    module: object, example: object, inputs: Sequence[InputSpec], settings: Settings
) -> tuple[Graph, Measured]:
    """A module that is there already, named by its class."""
    started = time.perf_counter()
    name = type(module).__name__
    require_torch(name)
    from trainaudit.load.torch.opening import open_object

    graph = open_object(module, example, inputs, name)
    return graph, _measure(graph, name, settings.loss, True, None, started, {})


def _measure(
    graph: Graph,
    shown: str,
    loss: str | None,
    detail: bool,
    digest: Callable[[], str] | None,
    started: float,
    ranges: Ranges,
) -> Measured:
    _refuse_unknown(shown, graph)
    loaded = time.perf_counter()
    table = measure(graph, loss=loss, expects=LOSSES, ranges=ranges)
    rows = layer_rows(graph, table.columns) if detail else ()
    model = model_info(shown, graph, table, "" if digest is None else digest())
    timings = {"load": loaded - started, "measure": time.perf_counter() - loaded}
    return Measured(shown, model, table, Places(graph), rows, timings, graph.origin.notes)


def declared_ranges(graph: Graph, ranges: Ranges) -> Ranges:
    """The range of each input by its name in the graph; what is said of all holds for those of numbers with fractions. Raises `TrainauditError` for a name that no input has."""
    for name in ranges:
        if name and name not in graph.inputs:
            has = ", ".join(graph.inputs) or "none that is known"
            hint = did_you_mean(name, graph.inputs) or f"It has {has}."
            raise TrainauditError("no-such-input", f'The model has no input "{name}".', hint)
    floats = [name for name in graph.inputs if "float" in (graph.values[name].dtype or "")]
    general = dict.fromkeys(floats, ranges[""]) if "" in ranges else {}
    return {**general, **{name: ends for name, ends in ranges.items() if name}}


def _ranges_shown(ranges: Ranges) -> str:
    if not ranges:
        return "--input-range (input-range in the settings) was not used: no input of numbers with fractions is known."
    shown = ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in ranges.items())
    return f"Inputs lie where it is declared: {shown}."


def judge_measured(measured: Measured, settings: Settings, rules: Sequence[Rule], *, detail: bool) -> Audited:
    """The second half: rules against facts. `detail` keeps all facts in the record."""
    started = time.perf_counter()
    names = (*target_names(measured.target, settings), *target_names(measured.model.file or measured.target, settings))
    ignores = active_ignores(settings.ignores, names, date.today())
    judgment = judge(
        rules,
        measured.table,
        target=measured.target,
        locations=measured.locations,
        ignores=ignores,
        given=given_options(settings),
    )
    facts, unmeasured = _plain_facts(measured.table) if detail else ({}, {})
    audit = Audit(
        target=measured.target,
        evidence=evidence_of(measured.model) + (() if measured.trace is None else (measured.trace.settings.evidence,)),
        model=measured.model,
        findings=judgment.findings,
        outcomes=judgment.outcomes,
        layers=measured.layers,
        facts=facts,
        unmeasured=unmeasured,
        warnings=(*measured.notes, *model_warnings(measured.model), *_broken(measured.table)),
        timings={**measured.timings, "judge": time.perf_counter() - started},
        trace=measured.trace,
    )
    return Audited(audit, judgment)


def _broken(table: FactTable) -> tuple[str, ...]:
    """A sentence for each measurement that broke down: a part of the audit is missing then, which must not look like a pass."""
    firsts = (next(iter(column.values()), None) for column in table.columns.values())
    reasons = dict.fromkeys(first.reason for first in firsts if isinstance(first, Unmeasured))
    return tuple(
        f"A part of the audit was not made: {reason}. Please report it."
        for reason in reasons
        if reason.startswith(BROKE_DOWN)
    )


def _refuse_unknown(target: str, graph: Graph) -> None:
    """A file of operators that are all unknown would pass every rule; that is no audit."""
    unknown = sum(times for _, times in graph.unrecognized)
    if graph.is_connected and graph.node_count and unknown == graph.node_count:
        names = ", ".join(name for name, _ in graph.unrecognized[:3])
        what = f"{target} holds no operator that is known here ({names})."
        raise TrainauditError("nothing-recognized", what, "Export it with the operators of ONNX, without custom ones.")


def with_loss(measured: Measured, loss: str | None) -> Measured:
    """The same facts under another declared loss; None changes nothing."""
    if loss is None:
        return measured
    facts = loss_facts(loss, LOSSES[loss])
    return replace(measured, table=replace(measured.table, columns={**measured.table.columns, **facts}))


def with_own_loss(measured: Measured) -> Measured:
    """The same facts, where no loss was declared by name, under one of the user's own: nothing is left that could be declared."""
    facts = loss_facts(None, None, _OWN_LOSS)
    if not isinstance(measured.table.columns["model.loss"].get("model"), Unmeasured):
        return measured
    return replace(measured, table=replace(measured.table, columns={**measured.table.columns, **facts}))


class Places(Mapping[str, Location]):
    """Layer name → where it stands, made when asked for: an audit of 20,000 layers asks for a few."""

    def __init__(self, graph: Graph) -> None:
        self._layers = {layer.name: layer for layer in graph.layers}

    def __getitem__(self, name: str) -> Location:
        layer = self._layers[name]
        source: Source = layer.source
        return Location(layer.name, layer.op.value, layer.node, source.module, source.file, source.line)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _plain_facts(table: FactTable) -> tuple[dict[str, dict[str, Scalar | None]], dict[str, str]]:
    """Facts as the record holds them: None for what was not measured, and the first reason for each such fact."""
    facts: dict[str, dict[str, Scalar | None]] = {}
    unmeasured: dict[str, str] = {}
    for name, column in table.columns.items():
        values: dict[str, Scalar | None] = {}
        for subject, value in column.items():
            if isinstance(value, Unmeasured):
                unmeasured.setdefault(name, value.reason)
                values[subject] = None
            else:
                values[subject] = value
        facts[name] = values
    return facts, unmeasured


def _digest_beside(target: str) -> Callable[[], str]:
    """Starts to hash the file, which releases the interpreter's lock, beside the rest; what is returned waits for the digest."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    digest = pool.submit(_sha256, target)
    pool.shutdown(wait=False)
    return digest.result


def _sha256(target: str) -> str:
    """Of the model file itself; external data is not part of it."""
    import hashlib

    with Path(target).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
