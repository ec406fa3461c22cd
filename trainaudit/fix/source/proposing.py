"""What would be changed in the user's Python: patches where the place is certain, and for the rest why it is not. The room's front door."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainaudit.changes import KINDS, PARAMETER, Change
from trainaudit.errors import TrainauditError
from trainaudit.fix.file.applying import Wanted
from trainaudit.fix.refusal import NotApplicableError
from trainaudit.fix.source import rewriting
from trainaudit.fix.source.code import MODULES, initialization, normalization, number
from trainaudit.fix.source.places import Home, home_of, refuse_later_initialization
from trainaudit.fix.source.trees import prefix_of
from trainaudit.frozen import frozen, slotted
from trainaudit.ir.graph import Graph, Layer

if TYPE_CHECKING:
    import libcst as cst


@frozen
class Patch:
    """A file as it was read and as it would be; `name` is its path from the working directory."""

    path: Path
    name: str
    before: bytes
    after: bytes


@frozen
class Unplaced:
    """Changes whose place is not certain, and why: code to paste is all there is."""

    wanted: Wanted
    reason: str


@frozen
class Proposal:
    patches: tuple[Patch, ...]
    taken: tuple[Wanted, ...]
    unplaced: tuple[Unplaced, ...]

    @property
    def diff(self) -> str:
        """One unified diff, with paths from the working directory, as `git apply` and `patch -p1` take it."""
        return "".join(_difference(patch) for patch in self.patches)


def _difference(patch: Patch) -> str:
    old, new = (
        text.decode("utf-8", "surrogateescape").splitlines(keepends=True) for text in (patch.before, patch.after)
    )
    lines = difflib.unified_diff(old, new, f"a/{patch.name}", f"b/{patch.name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@slotted(eq=False)
class _Sources:
    """The user's files as they were read and as they are by now; what was asked for, by everything but the place."""

    model: Any
    factory: Any
    graph: Graph
    folder: Path
    spec: Path | None
    asked: Mapping[tuple[str, str, float | None], frozenset[str]]
    before: dict[Path, bytes] = field(default_factory=dict)
    now: dict[Path, bytes] = field(default_factory=dict)
    done: set[tuple[str, str, float | None, str, tuple[str, ...]]] = field(default_factory=set)

    def read(self, path: Path) -> bytes:
        if path not in self.now:
            try:
                self.before[path] = self.now[path] = path.read_bytes()
            except OSError as error:
                raise NotApplicableError(f"{path.name} cannot be read") from error
        return self.now[path]


def propose(
    model: Any,
    factory: Any,
    graph: Graph,
    wanted: Sequence[Wanted],
    folder: Path,
    *,
    spec: str = "",
    unsafe: bool = False,
) -> Proposal:
    """Patches for the code of `model`, which `factory` (a function, or the class itself) made and `graph` was read from.

    Only files below `folder` are looked at, and nothing is written. `spec` is the file whose make_optimizer counts. Raises `TrainauditError` where libcst
    is not installed.
    """
    _require_libcst()
    asked: dict[tuple[str, str, float | None], set[str]] = {}
    for group in wanted:
        for change in group.changes:
            asked.setdefault((change.kind, change.to, change.amount), set()).add(change.where)
    sources = _Sources(
        model,
        factory,
        graph,
        folder.resolve(),
        Path(spec) if spec else None,
        {key: frozenset(places) for key, places in asked.items()},
    )
    taken: list[Wanted] = []
    unplaced: list[Unplaced] = []
    for group in wanted:
        kept, known = dict(sources.now), set(sources.done)
        try:
            for change in group.changes:
                if KINDS[change.kind].part == "graph" and not unsafe:
                    raise NotApplicableError("it changes the architecture; --unsafe admits that")
                _make(sources, change)
        except NotApplicableError as error:
            sources.now, sources.done = {**sources.before, **kept}, known
            unplaced.append(Unplaced(group, error.reason))
        else:
            taken.append(group)
    patches = tuple(
        Patch(path, path.relative_to(sources.folder).as_posix(), sources.before[path], text)
        for path, text in sorted(sources.now.items())
        if text != sources.before[path]
    )
    return Proposal(patches, tuple(taken), tuple(unplaced))


def _require_libcst() -> None:
    try:
        import libcst  # noqa: F401
    except ImportError:
        what = "Code is changed with libcst, which is not installed."
        raise TrainauditError("libcst-not-installed", what, "Install it: pip install 'trainaudit[fix]'.") from None


def _parsed(sources: _Sources, path: Path) -> cst.Module:
    import libcst as cst

    try:
        return cst.parse_module(sources.read(path))
    except (cst.ParserSyntaxError, UnicodeDecodeError) as error:
        raise NotApplicableError(f"{path.name} cannot be parsed") from error


def _make(sources: _Sources, change: Change) -> None:
    if change.kind in _KEYWORDS:
        _in_spec(sources, change)
        return
    if KINDS[change.kind].part not in ("weights", "graph") or change.kind in ("output-bias", "scale-branch", "guard"):
        raise NotApplicableError("where in the code it goes is for a person to say")
    is_parameter = KINDS[change.kind].subject == PARAMETER
    path, _, tensor = (
        change.where.rpartition(".") if is_parameter else (_layer(sources, change).source.module or "", "", "")
    )
    layer = None if is_parameter else _layer(sources, change)
    if layer is not None and _is_called_alone(sources, layer):
        _in_forward(sources, layer, change)
        return
    home = home_of(sources.model, sources.factory, path, sources.folder)
    key = (change.kind, change.to, change.amount, f"{home.file}:{home.owner}", (*home.names, tensor))
    if key in sources.done:
        return  # for another instance of the same class
    _refuse_others(sources, change, home, tensor)
    tree = _in_module(sources, _parsed(sources, home.file), home, change, layer, tensor)
    sources.now[home.file] = tree.bytes
    sources.done.add(key)


def _layer(sources: _Sources, change: Change) -> Layer:
    found = next((layer for layer in sources.graph.layers if layer.name == change.where), None)
    if found is None:
        raise NotApplicableError(f"the model has no layer {change.where}")
    return found


def _is_called_alone(sources: _Sources, layer: Layer) -> bool:
    """The layer is a function's call in a `forward`, and no module of torch's own."""
    path = layer.source.module or ""
    try:
        module = sources.model.get_submodule(path)
    except AttributeError:
        return True
    return type(module).__module__.split(".")[0] != "torch" or type(module).__name__ in ("Sequential", "ModuleList")


def _refuse_others(sources: _Sources, change: Change, home: Home, tensor: str) -> None:
    """The same code makes other modules too: all of them must be meant."""
    meant = sources.asked[change.kind, change.to, change.amount]
    if tensor:
        names = {parameter for owner in home.made if (parameter := f"{owner}.{tensor}") in sources.graph.parameters}
    else:
        ops = {
            layer.op for layer in sources.graph.layers if layer.name in meant
        }  # a recurrent module has others inside
        names = {layer.name for layer in sources.graph.layers if layer.source.module in home.made and layer.op in ops}
    others = sorted(names - meant)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise NotApplicableError(f"the same line makes {others[0]}{more}, which is not meant")


def _in_module(
    sources: _Sources, tree: cst.Module, home: Home, change: Change, layer: Layer | None, tensor: str
) -> cst.Module:
    kind = change.kind
    if kind in _REWRITERS:
        return _REWRITERS[kind](tree, home, change)
    if kind == "insert-activation":
        return rewriting.insert_module(tree, home, MODULES[change.to])
    module = sources.model.get_submodule(".".join(next(iter(sorted(home.made))).split(".")))
    if kind == "insert-normalization":
        assert layer is not None
        features = getattr(module, "out_features", None) or getattr(module, "out_channels", None)
        shape = sources.graph.values[layer.outputs[0]].shape
        if features is None or shape is None:
            raise NotApplicableError("how many features are to be normalized is not known")
        return rewriting.insert_module(tree, home, normalization(change.to, features, len(shape)))
    refuse_later_initialization(sources.model, sources.factory, home)
    return rewriting.append(tree, home, _statement(sources, tree, change, module, tensor))


def _statement(sources: _Sources, tree: cst.Module, change: Change, module: Any, tensor: str) -> str:
    nn = prefix_of(tree)
    if change.kind == "forget-gate-bias":
        hidden = getattr(module, "hidden_size", None)
        names = [name for name, _ in module.named_parameters() if name.startswith("bias_")]
        if hidden is None or not names:
            raise NotApplicableError("it is no LSTM with a bias")
        values = {name: (change.amount or 1.0) if name.startswith("bias_ih") else 0.0 for name in names}
        lines = [f"    {{it}}.{name}[{hidden}:{2 * hidden}] = {value}" for name, value in values.items()]
        return "\n".join(["with torch.no_grad():", *lines, ""])
    target = f"{{it}}.{tensor}"
    if change.kind == "scale":
        return f"with torch.no_grad():\n    {target}.mul_({number(change.amount or 0.0)})\n"
    if change.kind == "set":
        return f"{nn}init.constant_({target}, {number(change.amount or 0.0)})\n"
    fans = {parameter.fan_in for name, parameter in sources.graph.parameters.items() if name == change.where}
    made = initialization(change, target, nn, next(iter(fans), None))
    if made is None:
        raise NotApplicableError("its fan-in is not known")
    return f"{made}\n"


_REWRITERS = {
    "swap-activation": rewriting.swap_module,
    "drop-layer": rewriting.drop_module,
    "drop-bias": rewriting.drop_bias,
    "move-dropout": rewriting.move_dropout,
    "dropout-rate": rewriting.set_argument,
    "epsilon": rewriting.set_argument,
    "softmax-axis": rewriting.set_argument,
}

_KEYWORDS = {"learning-rate": "lr", "weight-decay": "weight_decay"}
"""Kind → the argument of an optimizer."""


def _in_spec(sources: _Sources, change: Change) -> None:
    if sources.spec is None:
        raise NotApplicableError("no file with a make_optimizer was named")
    path = sources.spec.resolve()
    if not path.is_relative_to(sources.folder):
        raise NotApplicableError("the file with make_optimizer is not in the working directory")
    tree = rewriting.set_keyword(_parsed(sources, path), "make_optimizer", _KEYWORDS[change.kind], change.amount or 0.0)
    sources.now[path] = tree.bytes


def _in_forward(sources: _Sources, layer: Layer, change: Change) -> None:
    """A function's call, on the line where the exported program says that it stands."""
    if change.kind not in ("swap-activation", "drop-layer", "softmax-axis"):
        raise NotApplicableError("the layer is a call in forward, and where it belongs there is for a person to say")
    file, line = layer.source.file, layer.source.line
    if not file or line is None:
        raise NotApplicableError("where in the code it is called is not known")
    path = (sources.folder / file).resolve()
    if not path.is_relative_to(sources.folder) or not path.is_file():
        raise NotApplicableError("its code is not in the working directory")
    place = (file, line, layer.op)
    same = {
        other.name
        for other in sources.graph.layers
        if (other.source.file, other.source.line, other.op) == place and _is_called_alone(sources, other)
    }
    others = sorted(same - sources.asked[change.kind, change.to, change.amount])
    if others:
        raise NotApplicableError(f"the same line computes {others[0]}, which is not meant")
    key = (change.kind, change.to, change.amount, f"{path}:{line}", ())
    if key in sources.done:
        return
    tree = _parsed(sources, path)
    sources.now[path] = rewriting.swap_call(
        tree, _moved(sources.before[path], sources.now[path], line), layer.op.value, change
    ).bytes
    sources.done.add(key)


def _moved(before: bytes, now: bytes, line: int) -> int:
    """Where a line stands after what was changed so far."""
    if before == now:
        return line
    matcher = difflib.SequenceMatcher(None, before.splitlines(), now.splitlines(), autojunk=False)
    for tag, start, stop, begin, end in matcher.get_opcodes():
        if start <= line - 1 < stop and (tag == "equal" or stop - start == end - begin):
            return begin + line - start
    raise NotApplicableError("the line is changed already")


def write_patches(patches: Iterable[Patch]) -> None:
    """Writes the files, each whole or not at all, and none where one of them is not what was read. Raises `TrainauditError`."""
    from trainaudit.report.files import write_whole

    patches = tuple(patches)
    for patch in patches:
        if not patch.path.is_file() or patch.path.read_bytes() != patch.before:
            raise TrainauditError("file-changed", f"{patch.name} changed since it was read.", "Run the command again.")
    for patch in patches:
        write_whole(str(patch.path), patch.after)
