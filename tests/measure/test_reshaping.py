"""Where axes go: the arithmetic of strides against NumPy moving the values themselves."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainaudit.ir.graph import Layer
from trainaudit.ir.ops import Op
from trainaudit.measure.static.feature_axes import regrouped
from trainaudit.measure.static.reshaping import Part, Sizes, moved_axis, moved_part

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes before and after a view: prime factors dealt out twice."""
    factors = draw(st.lists(st.sampled_from([2, 2, 3]), min_size=1, max_size=5))

    def dealt() -> tuple[int, ...]:
        order = draw(st.permutations(factors))
        cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=3)))
        bounds = [0, *cuts, len(order)]
        return tuple(prod(order[low:high]) for low, high in pairwise(bounds))

    return dealt(), dealt()


@given(views(), st.data())
def test_moved_part_tells_where_the_samples_are(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    before, after = shapes
    axis = data.draw(st.sampled_from(range(len(before))))
    size = before[axis]
    if size == 1:
        return
    sample = np.broadcast_to(
        np.arange(size).reshape([-1 if k == axis else 1 for k in range(len(before))]), before
    ).reshape(after)
    place = moved_part(before, after, Part(axis - len(before), 1, 1), size)
    if isinstance(place, Part):
        index = np.arange(after[place.axis])
        digit = index // place.right % size
        assert place.left * size * place.right == after[place.axis]
        expected = np.broadcast_to(
            digit.reshape([-1 if k == place.axis + len(after) else 1 for k in range(len(after))]), after
        )
        assert (sample == expected).all()
    else:
        # No single axis tells the samples apart: along every axis alone, some other axis changes the sample too.
        for k in range(len(after)):
            assert any(len(set(np.moveaxis(sample, k, 0)[i].ravel())) > 1 for i in range(after[k]))


@given(views(), st.data())
def test_regrouped_axes_are_those_that_change_the_feature(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    before, after = shapes
    axis = data.draw(st.sampled_from(range(len(before))))
    feature = np.broadcast_to(
        np.arange(before[axis]).reshape([-1 if k == axis else 1 for k in range(len(before))]), before
    ).reshape(after)
    changing = {k - len(after) for k in range(len(after)) if after[k] > 1 and (np.diff(feature, axis=k) != 0).any()}
    found = regrouped(before, after, frozenset({axis - len(before)}))
    if before[axis] > 1 and found is not None:
        assert found == changing


@given(sizes, st.data())
def test_moved_axis_follows_a_transpose(before: tuple[int, ...], data: st.DataObject) -> None:
    perm = tuple(data.draw(st.permutations(range(len(before)))))
    axis = data.draw(st.sampled_from(range(len(before))))
    layer = Layer(0, "t", Op.TRANSPOSE, "Transpose", ("x",), ("y",), {}, {"perm": perm})
    moved = moved_axis(layer, before, None, axis - len(before))
    assert moved is not None
    assert perm[moved + len(before)] == axis


@given(sizes, st.data())
def test_squeeze_undoes_unsqueeze(before: tuple[int, ...], data: st.DataObject) -> None:
    rank = len(before) + 2
    axes = tuple(data.draw(st.lists(st.integers(0, rank - 1), min_size=2, max_size=2, unique=True)))
    axis = data.draw(st.integers(-len(before), -1))
    added = Layer(0, "u", Op.UNSQUEEZE, "Unsqueeze", ("x",), ("y",), {}, {"axes": axes})
    taken = Layer(0, "s", Op.SQUEEZE, "Squeeze", ("x",), ("y",), {}, {"axes": axes})
    there = moved_axis(added, before, None, axis)
    assert there is not None
    wide = [1] * rank
    assert moved_axis(taken, tuple(wide), None, there) == axis


def test_regrouped_axes_of_common_reshapes() -> None:
    channels = frozenset({-3})
    assert regrouped((1000003, 8, 4, 4), (1000003, 128), channels) == {-1}
    assert regrouped((1000003, 8, 4, 4), (1000003, 8, 16), channels) == {-2}
    assert regrouped((1000003, 16, 32), (1000003, 16, 4, 8), frozenset({-1})) == {-1, -2}
    assert regrouped((6, 2), (4, 3), frozenset({-1})) is None


def test_sizes_take_products_of_symbols_apart() -> None:
    sizes = Sizes()
    batch, steps = sizes.of("batch"), sizes.of("steps")
    assert batch is not None
    assert steps is not None
    assert batch != steps
    assert sizes.of("10*batch") == 10 * batch
    assert sizes.reshaped((batch, steps, 8), ("batch*steps", 8)) == (batch * steps, 8)
    assert sizes.reshaped((batch, steps, 8), (None, 4)) == (batch * steps * 2, 4)
    assert sizes.reshaped((batch, 6), ("batch", 4, None)) is None
    assert sizes.of("ceil(n/2)") is None
