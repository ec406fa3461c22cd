"""Repeated blocks, and how one of them differs from its siblings. May import `ir`, `measure.facts` and sibling modules.

Blocks are found by module path ("encoder.layers.3"), and where the layers have none by repetition along a plain chain: a weighted layer with
the normalization and activation function behind it. Siblings are blocks of one kind: the same weighted layers in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field

from trainaudit.frozen import slotted
from trainaudit.ir.graph import Role
from trainaudit.ir.ops import ACTIVATIONS, DROPOUTS, NORMALIZATIONS, SHAPING, WEIGHTED, Op
from trainaudit.measure.facts import Columns, FactValue
from trainaudit.measure.static.index import Index, sole_use
from trainaudit.measure.static.layer_facts import OP_WORDS, layer_width

_FEWEST = 3
"""Siblings below which nothing is said."""
_COUNTED_NORMALIZATIONS = NORMALIZATIONS - {Op.LOCAL_RESPONSE_NORM, Op.LP_NORM}
_COUNTED_ACTIVATIONS = ACTIVATIONS - {Op.SOFTMAX, Op.LOG_SOFTMAX, Op.HARDMAX}
_UNIT_OPS = frozenset({Op.LINEAR, Op.CONV, Op.CONV_TRANSPOSE})
_POOLS = frozenset({Op.MAX_POOL, Op.AVERAGE_POOL})
_PARTS = WEIGHTED | _COUNTED_NORMALIZATIONS | _COUNTED_ACTIVATIONS | _POOLS | {Op.RESIZE}


@slotted(eq=False)
class Block:
    """A block while it is found: its parts in order, and the group of siblings it belongs to. `can_skip` is false where it changes the
    shape, `is_narrowest` where it is the code between wider layers, `ends_branch` where a skip path joins straight behind it."""

    name: str
    first: int
    group: str
    last: int = -1
    last_weighted: int = -1
    weighted: list[str] = field(default_factory=list)
    activations: list[str] = field(default_factory=list)
    normalizations: int = 0
    biases: int = 0
    skips: int = 0
    can_skip: bool = True
    is_narrowest: bool = False
    ends_branch: bool = False


_Home = tuple[Block, ...]


def find_blocks(index: Index, roles: Mapping[str, str]) -> dict[str, Block]:
    """Block name → block, in topological order; only blocks that have at least two siblings."""
    by_path, homes = _blocks_by_path(index, roles)
    units = _units_in_chain(index, roles, by_path, homes)
    groups: dict[tuple[str, str], list[Block]] = {}
    for block in [*by_path.values(), *units]:
        # a code in the middle and the end of a residual branch may lack what the others have: they are no siblings of theirs
        if block.weighted and not block.is_narrowest and not block.ends_branch:
            groups.setdefault((block.group, "+".join(block.weighted)), []).append(block)
    found = [block for siblings in groups.values() if len(siblings) >= _FEWEST for block in siblings]
    for (group, kind), siblings in groups.items():
        for block in siblings:
            block.group = f"{group}|{kind}"
    return {block.name: block for block in sorted(found, key=lambda block: block.first)}


def _blocks_by_path(index: Index, roles: Mapping[str, str]) -> tuple[dict[str, Block], list[_Home]]:
    """Blocks named by an index in the module path that hold two parts or more, and for each layer the blocks around it. A layer without
    a path belongs where its first input comes from, a residual sum where its branch does."""
    blocks: dict[str, Block] = {}
    known: dict[str, _Home] = {"": ()}
    homes: list[_Home] = [()] * (len(index.layers) + 1)
    joins, ops, sources = index.joins, index.ops, index.sources
    parts: list[int] = []
    folded = set(index.graph.folded_normalizations)
    for i, layer in enumerate(index.layers):
        path = layer.source.module
        home: _Home | None
        if path is not None:
            home = known.get(path)
            if home is None:
                home = _home(path, i, known, blocks)
        elif i in joins:
            home = homes[joins[i].branch]
        else:
            home = homes[sources[i][0]] if sources[i] and sources[i][0] >= 0 else ()
            if i in index.merging:
                for source in sources[i][1:]:
                    if source >= 0 and homes[source] is not home:
                        home = tuple(block for block in home if block in homes[source])
        if home:
            homes[i] = home
            if ops[i] in _PARTS or i in joins:
                parts.append(i)
    for i in parts:
        around: Sequence[Block] = homes[i]
        if len(index.uses[i]) > 1 and ops[i] in _COUNTED_ACTIVATIONS:
            shared = _shared_blocks(index, homes, i)
            around = [block for block in around if block not in shared]
        for block in around:
            _add_part(index, block, i)
            if folded and index.layers[i].name in folded:
                block.normalizations += 1
    kept = {name: block for name, block in blocks.items() if _is_composite(block)}
    for block in kept.values():
        block.can_skip = block.can_skip and _keeps_shape(index, block)
        block.ends_branch = (
            not block.skips and roles.get(index.layers[block.last_weighted].name) == "residual-branch-end"
        )
    return kept, homes


def _keeps_shape(index: Index, block: Block) -> bool:
    """Whether what leaves a block has the shape of what enters it."""
    values, before, after = index.graph.values, index.layers[block.first].inputs, index.layers[block.last].outputs
    left = values.get(after[0])
    entered = values.get(before[0]) if before else None
    return left is not None and entered is not None and left.shape is not None and left.shape == entered.shape


def _shared_blocks(index: Index, homes: list[_Home], position: int) -> list[Block]:
    """Of the blocks around an activation function, those whose siblings use its result as they do themselves: an exporter computed once
    what each of them computes."""
    users = [block for user in index.uses[position] for block in homes[user]]
    return [
        block
        for block in homes[position]
        if block in users and any(other is not block and other.group == block.group for other in users)
    ]


def _home(path: str, position: int, known: dict[str, _Home], blocks: dict[str, Block]) -> _Home:
    """The blocks around a layer with this module path: every prefix that ends in a number is one."""
    missing = []
    home = None
    while home is None:
        parent, _, leaf = path.rpartition(".")
        missing.append((path, parent, leaf))
        path = parent
        home = known.get(path)
    for prefix, parent, leaf in reversed(missing):
        if leaf.isdecimal():
            blocks[prefix] = Block(prefix, position, parent)
            home = (*home, blocks[prefix])
        known[prefix] = home
    return home


def _is_composite(block: Block) -> bool:
    parts = len(block.weighted) + len(block.activations) + block.normalizations + block.skips
    return bool(block.weighted) and parts >= 2


def _add_part(index: Index, block: Block, position: int) -> None:
    op = index.ops[position]
    block.last = position
    if op in WEIGHTED:
        if op is not Op.EMBEDDING:
            block.last_weighted = position
            layer = index.layers[position]
            block.weighted.append(OP_WORDS[op])
            if Role.BIAS.value in layer.parameters:
                block.biases += 1
            stride = layer.attributes.get("stride")
            if isinstance(stride, tuple) and any(isinstance(s, int) and s > 1 for s in stride):
                block.can_skip = False
    elif op in _COUNTED_NORMALIZATIONS:
        block.normalizations += 1
    elif op in _COUNTED_ACTIVATIONS:
        block.activations.append(OP_WORDS[op])
    elif position in index.joins:
        block.skips += 1
        if index.joins[position].projected:
            block.can_skip = False
    elif op in _POOLS or op is Op.RESIZE:
        block.can_skip = False


def _units_in_chain(
    index: Index, roles: Mapping[str, str], by_path: Mapping[str, Block], homes: list[_Home]
) -> list[Block]:
    """Runs of weighted layers of one kind that follow each other along a plain chain, each with what stands behind it."""
    outputs = index.output_layers()
    units: dict[int, Block] = {}
    follower: dict[int, int] = {}
    for i, op in enumerate(index.ops):
        if op not in _UNIT_OPS or roles.get(index.layers[i].name) != "hidden":
            continue
        if any(block.name in by_path for block in homes[i]):
            continue
        block = Block(index.layers[i].name, i, "", can_skip=False)
        _add_part(index, block, i)
        current: int | None = i
        while current is not None:
            current = sole_use(index, current, outputs, SHAPING | DROPOUTS | _POOLS)
            if current is None or index.ops[current] in _UNIT_OPS:
                break
            if index.ops[current] not in NORMALIZATIONS and index.ops[current] not in ACTIVATIONS:
                current = None
                break
            _add_part(index, block, current)
        units[i] = block
        if current is not None:
            follower[i] = current
    run = 0
    named: dict[int, str] = {}
    for i, block in units.items():
        group = named.get(i)
        if group is None:
            run += 1
            group = f"chain {run}"
        block.group = group
        after = follower.get(i)
        if after is not None and after in units and index.ops[after] is index.ops[i]:
            named[after] = group
    _mark_latent(index, units, follower)
    return list(units.values())


def _mark_latent(index: Index, units: Mapping[int, Block], follower: Mapping[int, int]) -> None:
    """A unit narrower than both its neighbours is a code in the middle, and may lack what they have."""
    graph, layers = index.graph, index.layers
    for i, block in units.items():
        after = follower.get(i)
        middle = layer_width(graph, layers[i])
        end = None if after is None else layer_width(graph, layers[after])
        begin = layers[i].attributes.get("in_features")
        if isinstance(begin, int) and middle is not None and end is not None:
            block.is_narrowest = middle < begin and middle < end


def measure_blocks(blocks: Mapping[str, Block]) -> Columns:
    """block.* facts."""
    groups: dict[str, list[Block]] = {}
    for block in blocks.values():
        groups.setdefault(block.group, []).append(block)
    columns: dict[str, dict[str, FactValue]] = {
        f"block.{fact}": {}
        for fact in (
            "name",
            "sibling_count",
            "activation",
            "sibling_activation",
            "sibling_agreement",
            "missing_part",
            "row_position",
        )
    }
    for siblings in groups.values():
        common = Counter(_structure(block) for block in siblings).most_common(1)[0][0]
        skips = Counter(block.skips for block in siblings if block.can_skip).most_common(1)
        common_skips = skips[0][0] if skips else 0
        agreeing = sum(
            1
            for block in siblings
            if _structure(block) == common and (block.skips == common_skips or not block.can_skip)
        )
        for place, block in enumerate(siblings):
            columns["block.row_position"][block.name] = (
                "first" if place == 0 else "last" if place == len(siblings) - 1 else "middle"
            )
            columns["block.name"][block.name] = block.name
            columns["block.sibling_count"][block.name] = len(siblings)
            columns["block.activation"][block.name] = "+".join(block.activations) or "none"
            columns["block.sibling_activation"][block.name] = common[0]
            columns["block.sibling_agreement"][block.name] = agreeing / len(siblings)
            columns["block.missing_part"][block.name] = _missing_part(block, common, common_skips, is_first=place == 0)
    return columns


_Structure = tuple[str, int, int]


def _structure(block: Block) -> _Structure:
    return "+".join(block.activations) or "none", block.normalizations, block.biases


def _missing_part(block: Block, common: _Structure, common_skips: int, *, is_first: bool) -> str:
    """What most siblings have more of. The first of the row may do without a normalization or an activation (a stem stands before it);
    a block that changes the shape without a skip; a code in the middle without all."""
    activations, normalizations, biases = common
    if not is_first:
        if block.normalizations < normalizations:
            return "normalization"
        if len(block.activations) < (0 if activations == "none" else activations.count("+") + 1):
            return "activation"
    if block.biases < biases and block.normalizations <= normalizations:
        return "bias"
    if block.skips < common_skips and block.can_skip:
        return "skip"
    return "none"
