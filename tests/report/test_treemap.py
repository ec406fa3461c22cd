"""The treemap of parameters: areas are shares, tiles fill their frame and do not overlap."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report import samples
from trainaudit.report.drawing import WIDE, Path, Text
from trainaudit.report.treemap import HEIGHT, MAX_MODULES, modules, tiles_of, treemap
from trainaudit.result import Audit

SIZES = st.lists(st.integers(1, 10**9), min_size=1, max_size=80)


@settings(deadline=None)
@given(SIZES, st.integers(1, 6))
def test_areas_are_proportional(sizes: list[int], width: int) -> None:
    owners = [(f"part{index % width}.sub{index % 2}.fc{index}", size) for index, size in enumerate(sizes)]
    scale = WIDE * HEIGHT / sum(sizes)
    found = tiles_of(owners)
    tiles = [tile for _, _, inside in found for tile in inside]
    assert sum(tile.count for tile in tiles) == len(owners)
    assert sum(tile.size for tile in tiles) == sum(sizes)
    for tile in tiles:
        assert tile.width * tile.height == pytest.approx(tile.size * scale, rel=1e-6, abs=1e-3)
    for _, module, inside in found:
        assert module.width * module.height == pytest.approx(
            sum(tile.width * tile.height for tile in inside), rel=1e-6, abs=1e-3
        )
        for tile in inside:
            assert module.x - 1e-6 <= tile.x
            assert module.y - 1e-6 <= tile.y
            assert tile.x + tile.width <= module.x + module.width + 1e-6
            assert tile.y + tile.height <= module.y + module.height + 1e-6


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 1_000), min_size=2, max_size=30))
def test_tiles_do_not_overlap(sizes: list[int]) -> None:
    tiles = [
        tile for _, _, inside in tiles_of([(f"fc{index}", size) for index, size in enumerate(sizes)]) for tile in inside
    ]
    for one, other in combinations(tiles, 2):
        across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(across, down) <= 1e-6


def test_equal_layers_give_tiles_that_are_nearly_square() -> None:
    tiles = [tile for _, _, inside in tiles_of([(f"fc{index}", 100) for index in range(20)]) for tile in inside]
    assert all(0.3 <= tile.width / tile.height <= 3 for tile in tiles)


def test_the_drawn_areas_are_the_tables_shares() -> None:
    sizes = [400, 300, 200, 100]
    audit = replace(
        samples.clean_audit(),
        layers=tuple(replace(samples.row(i, f"fc{i}"), parameters=size) for i, size in enumerate(sizes)),
    )
    drawing = treemap(audit)
    assert drawing is not None
    boxes = [
        re.fullmatch(r"M\S+ \S+h(\S+)v(\S+)h-\S+z", mark.d)
        for mark in drawing.marks
        if isinstance(mark, Path) and mark.css == "tile"
    ]
    areas = [float(box[1]) * float(box[2]) / (WIDE * HEIGHT) for box in boxes if box]
    assert areas == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.002)
    assert [row[1] for row in drawing.table] == ["40 %", "30 %", "20 %", "10 %"]
    assert [row[2] for row in drawing.table] == ["400", "300", "200", "100"]


def test_layers_are_grouped_by_module() -> None:
    owners = [(f"{part}.{index}.fc", 10) for part in ("encoder", "decoder") for index in range(20)]
    assert list(modules(owners)) == ["encoder", "decoder"]
    assert list(modules([(f"fc{index}", 1) for index in range(40)])) == [""]
    assert len(modules([(f"a.{index % 5}.b{index}", 1) for index in range(40)])) == 5 <= MAX_MODULES


def test_what_cannot_be_seen_is_put_together() -> None:
    owners = [("large", 10**9), *((f"small{index}", 1) for index in range(500))]
    tiles = [tile for _, _, inside in tiles_of(owners) for tile in inside]
    assert [(tile.name, tile.count) for tile in tiles] == [("large", 1), ("500 others", 500)]


def test_many_layers_alike_are_put_together_with_their_neighbors() -> None:
    tiles = [tile for _, _, inside in tiles_of([(str(index), 10) for index in range(1_000)]) for tile in inside]
    assert len(tiles) <= 24
    assert sum(tile.count for tile in tiles) == 1_000
    assert "0 to 41" in [tile.name for tile in tiles]


def test_a_name_is_told_or_left_out() -> None:
    """Three letters of a name tell nobody which layer it is."""
    rows = [replace(samples.row(0, "classifier.fc1"), parameters=1_000_000)]
    rows += [replace(samples.row(1, "stem.conv2"), parameters=45_000)]
    drawing = treemap(replace(samples.clean_audit(), layers=tuple(rows)))
    assert drawing is not None
    names = [mark.text for mark in drawing.marks if isinstance(mark, Text) and mark.css == "strong"]
    assert names == ["classifier.fc1"]
    short = treemap(replace(samples.clean_audit(), layers=(rows[0], replace(rows[1], name="fc2"))))
    assert short is not None
    assert "fc2" in [mark.text for mark in short.marks if isinstance(mark, Text)]


def test_without_two_owners_there_is_no_treemap() -> None:
    audit: Audit = replace(
        samples.clean_audit(), layers=(samples.row(0, "fc"), replace(samples.row(1, "relu"), parameters=0))
    )
    assert treemap(audit) is None
