"""Segments: the weighted layers between two places that set the scale of the signal anew (a normalization, a residual sum), and how long
stretches of the network are plain. May import `ir` and `measure.static.index`.

Along a segment every layer multiplies what the one before it made, so that a factor per layer becomes a power of the segment's length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainaudit.frozen import frozen
from trainaudit.ir.ops import NORMALIZATIONS, RECURRENT, Op
from trainaudit.measure.static.index import INPUT, Index

_LONG_BRANCH = 3
"""Weighted layers from which on a residual branch is a segment: whatever a shorter one adds, the sum keeps the rest."""
_NONE = -3
"""No weighted layer yet."""

_CHAINED = frozenset({Op.LINEAR, Op.CONV, Op.CONV_TRANSPOSE})
_SETTING = NORMALIZATIONS | RECURRENT | {Op.EMBEDDING}
"""Layers whose result has a scale of its own, whatever comes in."""
_SHARP = frozenset({Op.SIGMOID, Op.HARD_SIGMOID, Op.SOFTMAX, Op.HARDMAX})
_AVERAGING = frozenset({Op.AVERAGE_POOL, Op.GLOBAL_AVERAGE_POOL, Op.REDUCE_MEAN, Op.ATTENTION, Op.RESIZE})
_MAY_AVERAGE = _AVERAGING | {Op.MATMUL, Op.EINSUM}
_MERGING = frozenset({Op.CONCAT, Op.ADD, Op.SUB, Op.MAX, Op.MEAN})
_BESIDE = frozenset({"gate", "modulation", "auxiliary", "recurrent-cell", "attention-query", "attention-key"})
"""Roles of layers beside the stream: what they give scales, shifts or selects it."""

_MULTIPLYING = frozenset({Op.MUL, Op.MATMUL, Op.EINSUM})
_TOLD = _CHAINED | _SETTING | _MAY_AVERAGE | _MERGING
"""All others hand on what is known of their source."""

_Ends = dict[int, tuple[str, str, int | None]]

NORMALIZATION, RESIDUAL, RECURRENCE, OUTPUT = "normalization", "residual", "recurrence", "output"


@frozen
class Segment:
    """`chain` holds the positions of its weighted layers along the deepest path, an output head left out; `ends` names the value behind each of
    them: what the next one reads, or, behind the last, the normalized value, the operand of the sum, what the head or the recurrence reads, or the
    output. `closing` says which; `head` is the output head behind it, where there is one.

    Where an average over positions (pooling, attention) stands between, the value before it is named: independent inputs average out as real ones,
    which are alike from position to position, do not."""

    chain: tuple[int, ...]
    ends: tuple[str, ...]
    closing: str
    head: int | None = None
    beside: tuple[int, ...] = ()
    """Weighted layers of paths that run beside the chain and join it again by a concatenation or a plain sum."""


@frozen
class Stack:
    """Residual sums in a row with no normalization on either path: their positions, the value that enters the first of them, and the weighted
    layers that end their branches."""

    joins: tuple[int, ...]
    start: str
    ends: tuple[int, ...]


@frozen
class Layout:
    """`plain_depth` counts the weighted layers of the longest path without a skip connection or recurrence, `plain_first` is the first of them;
    `post_normalized` are the normalizations of the longest stream that alone read its residual sums."""

    segments: tuple[Segment, ...]
    stacks: tuple[Stack, ...]
    plain_depth: int
    plain_first: int | None
    post_normalized: tuple[int, ...]


def find_segments(index: Index, roles: Mapping[str, object]) -> Layout:
    """The layout of a graph. `roles` is the column layer.role. Linear in the edges."""
    layers, ops, joins, sources = index.layers, index.ops, index.joins, index.sources
    count = len(ops)
    last = [_NONE] * (count + 2)  # two more: INPUT and STORED
    length = [0] * (count + 2)
    plain = [0] * (count + 2)
    opening = [_NONE] * (count + 2)
    averaged = [""] * (count + 2)
    before: dict[int, int] = {}
    behind: dict[int, str] = {}
    ends: _Ends = {}
    partner: dict[int, int] = {}
    deepest = INPUT
    for i, op in enumerate(ops):
        row = sources[i]
        source = row[0] if len(row) == 1 else _main(index, i, row, length)
        is_join = i in joins
        if not is_join and op not in _TOLD:
            last[i], length[i], plain[i], opening[i] = last[source], length[source], plain[source], opening[source]
            if averaged[source]:
                averaged[i] = averaged[source]
        elif op in _CHAINED and row and roles.get(layers[i].name) not in _BESIDE:
            before[i] = last[source]
            behind[i] = averaged[source] or layers[i].inputs[0]
            last[i], length[i] = i, length[source] + 1
            plain[i] = plain[source] + 1
            opening[i] = opening[source] if plain[source] else i
            if plain[i] > plain[deepest]:
                deepest = i
        elif is_join or op in _SETTING or op in _CHAINED:
            if is_join:
                branch = joins[i].branch
                _close(ends, last[branch], averaged[branch] or _operand(index, i, branch), RESIDUAL)
            elif op in NORMALIZATIONS and layers[i].outputs:
                _close(ends, last[source], layers[i].outputs[0], NORMALIZATION)
                plain[i], opening[i] = plain[source], opening[source]
            elif op in RECURRENT and layers[i].inputs:
                _close(ends, last[source], averaged[source] or layers[i].inputs[0], RECURRENCE)
        else:
            last[i], length[i], averaged[i] = last[source], length[source], averaged[source]
            if op in _MAY_AVERAGE and not averaged[i] and last[i] >= 0 and _averages(index, i, op):
                averaged[i] = _operand(index, i, source)
            if len(row) > 1 and op in _MERGING and last[i] >= 0:
                partner.update(
                    (last[s], last[i]) for s in index.activations(i) if s >= 0 and INPUT < last[s] != last[i]
                )
            if op is not Op.CONCAT or len(row) < 2:
                plain[i], opening[i] = plain[source], opening[source]
    for name in index.graph.outputs:
        _close_output(index, roles, name, last, before, behind, ends)
    found = []
    chains = {w: _chain(w, before) for w in ends}
    beside = _beside(chains, before, partner)
    for w, (end, closing, head) in sorted(ends.items()):
        chain = chains[w]
        if closing != RESIDUAL or len(chain) >= _LONG_BRANCH:
            found.append(Segment(chain, (*(behind[i] for i in chain[1:]), end), closing, head, beside.get(w, ())))
    inner = {w for segment in found for w in segment.chain[:-1]}
    segments = tuple(segment for segment in found if segment.closing != OUTPUT or segment.chain[-1] not in inner)
    first = None if deepest < 0 else opening[deepest]
    return Layout(segments, _stacks(index, last), max(0, plain[deepest]), first, _post_normalized(index))


def _main(index: Index, i: int, row: Sequence[int], length: Sequence[int]) -> int:
    """The source that carries the stream: an attention's values, of others the one with most weighted layers behind it, gates left out."""
    ops, origin = index.ops, index.origin
    if ops[i] is Op.ATTENTION and len(row) > 2:
        return row[2]
    active = index.activations(i)
    if len(active) < 2:
        return active[0] if active else row[0] if row else INPUT
    if ops[i] in _MULTIPLYING:
        kept = [s for s in active if s < 0 or origin[s] < 0 or ops[origin[s]] not in _SHARP]
        active = kept or active
    return max(active, key=length.__getitem__)


def _close(ends: _Ends, last: int, value: str, closing: str, head: int | None = None) -> None:
    if last >= 0 and last not in ends:
        ends[last] = (value, closing, head)


def _close_output(
    index: Index,
    roles: Mapping[str, object],
    name: str,
    last: Sequence[int],
    before: Mapping[int, int],
    behind: Mapping[int, str],
    ends: _Ends,
) -> None:
    value = index.graph.values.get(name)
    if value is None or value.producer is None:
        return
    w = last[value.producer]
    if w >= 0 and roles.get(index.layers[w].name) == "output-head":
        _close(ends, before[w], behind[w], OUTPUT, w)
    else:
        _close(ends, w, name, OUTPUT)


def _averages(index: Index, i: int, op: Op) -> bool:
    """Of what may average: a product of a softmax with values is an attention written out."""
    if op not in _AVERAGING:
        above = [index.origin[s] for s in index.sources[i] if s >= 0]
        return any(s >= 0 and index.ops[s] is Op.SOFTMAX for s in above)
    return True


def _operand(index: Index, at: int, source: int) -> str:
    """The value that a layer takes from one of its sources."""
    return index.layers[at].inputs[index.sources[at].index(source)]


def _chain(last: int, before: Mapping[int, int]) -> tuple[int, ...]:
    chain = [last]
    while before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return tuple(reversed(chain))


def _beside(
    chains: Mapping[int, tuple[int, ...]], before: Mapping[int, int], partner: Mapping[int, int]
) -> dict[int, tuple[int, ...]]:
    """Last layer of a chain → the layers of paths beside it. `partner` maps the last layer of such a path to the layer that goes on for it."""
    if not partner:
        return {}
    home = {i: w for w, chain in chains.items() for i in chain}
    found: dict[int, tuple[int, ...]] = {}
    for start, goes_on in partner.items():
        seen = {start}
        while goes_on not in home and goes_on in partner and goes_on not in seen:
            seen.add(goes_on)
            goes_on = partner[goes_on]
        current = start
        while goes_on in home and current >= 0 and current not in home:
            home[current] = home[goes_on]
            found[home[goes_on]] = (*found.get(home[goes_on], ()), current)
            current = before[current]
    return found


def _stacks(index: Index, last: Sequence[int]) -> tuple[Stack, ...]:
    """A sum belongs to the stack of the sum before it, if nothing but activation functions and reshapes stands between."""
    ops, sources, joins = index.ops, index.sources, index.joins
    if not joins:
        return ()
    normalized = [0] * (len(ops) + 2)
    for i, op in enumerate(ops) if not NORMALIZATIONS.isdisjoint(index.places) else ():
        row = sources[i]
        above = normalized[row[0]] if len(row) == 1 else max((normalized[s] for s in row), default=0)
        normalized[i] = above + (op in NORMALIZATIONS)
    stack_of: dict[int, int] = {}
    stacks: dict[int, list[int]] = {}
    for i, join in joins.items():
        if max(normalized[join.branch], normalized[join.skip]) > normalized[join.fork]:
            continue
        current = join.fork
        while current >= 0 and current not in joins and ops[current] not in _SETTING and ops[current] not in _CHAINED:
            current = sources[current][0] if sources[current] else INPUT
        root = stack_of.get(current, i)
        stack_of[i] = root
        stacks.setdefault(root, []).append(i)
    found = []
    for members in stacks.values():
        first = joins[members[0]]
        ends = tuple(w for w in (last[joins[i].branch] for i in members) if w >= 0)
        found.append(Stack(tuple(members), _operand(index, members[0], first.skip), ends))
    return tuple(found)


def _post_normalized(index: Index) -> tuple[int, ...]:
    """Normalizations over features that alone read a residual sum, of the longest stream: where both paths are normalized, the stream itself is.
    Each sum of a stream forks from the normalization before."""
    streams: dict[int, tuple[int, ...]] = {}
    for i, join in index.joins.items():
        users = index.uses[i]
        if len(users) == 1 and index.ops[users[0]] in (Op.LAYER_NORM, Op.RMS_NORM):
            streams[users[0]] = (*streams.get(join.fork, ()), users[0])
    return max(streams.values(), key=len, default=())
