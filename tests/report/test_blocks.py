"""The map of blocks: every layer stands in one box, repeats are folded, skip connections and findings are where the record says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report import samples
from trainaudit.report.block_map import block_map
from trainaudit.report.blocks import MAX_BLOCKS, Block, blocks_of, boxes
from trainaudit.report.drawing import Drawing, Icon, Path, Text
from trainaudit.report.to_html import render_html
from trainaudit.result import Audit, LayerRow, Severity


def layer(name: str, op: str, before: str = "", joined: Sequence[str] = ()) -> LayerRow:
    return replace(samples.row(0, name, op), inputs=(before,) if before else (), joined=tuple(joined))


def chained(pairs: Sequence[tuple[str, str]]) -> tuple[LayerRow, ...]:
    rows: list[LayerRow] = []
    for name, op in pairs:
        rows.append(layer(name, op, rows[-1].name if rows else ""))
    return tuple(rows)


def resnet(repeats: int = 4) -> tuple[LayerRow, ...]:
    rows = [layer("stem.conv", "conv"), layer("stem.relu", "relu", "stem.conv")]
    for index in range(repeats):
        start = rows[-1].name
        block = f"blocks.{index}"
        rows.append(layer(f"{block}.conv1", "conv", start))
        rows.append(layer(f"{block}.relu", "relu", f"{block}.conv1"))
        rows.append(layer(f"{block}.conv2", "conv", f"{block}.relu", [start]))
    return (*rows, layer("head", "linear", rows[-1].name))


def transformer(repeats: int = 12) -> tuple[LayerRow, ...]:
    rows = [layer("embed", "embedding")]
    for index in range(repeats):
        start, name = rows[-1].name, f"h.{index}"
        rows += [
            layer(f"{name}.ln_1", "layer_norm", start),
            layer(f"{name}.attn.qkv", "linear", f"{name}.ln_1"),
            layer(f"{name}.attn.core", "attention", f"{name}.attn.qkv"),
            layer(f"{name}.attn.out", "linear", f"{name}.attn.core", [start]),
            layer(f"{name}.ln_2", "layer_norm", f"{name}.attn.out"),
            layer(f"{name}.mlp.up", "linear", f"{name}.ln_2"),
            layer(f"{name}.mlp.act", "gelu", f"{name}.mlp.up"),
            layer(f"{name}.mlp.mid", "linear", f"{name}.mlp.act"),
            layer(f"{name}.mlp.act2", "gelu", f"{name}.mlp.mid"),
            layer(f"{name}.mlp.down", "linear", f"{name}.mlp.act2", [f"{name}.attn.out"]),
        ]
    return (*rows, layer("head", "linear", rows[-1].name))


def drawn(*rows: LayerRow, **more: object) -> Drawing:
    audit = replace(samples.clean_audit(), layers=tuple(rows))
    found = block_map(audit, more.get("findings", ()))  # type: ignore[arg-type]
    assert found is not None
    return found


def texts(drawing: Drawing) -> list[str]:
    return [mark.text for mark in drawing.marks if isinstance(mark, Text)]


def css(drawing: Drawing, name: str) -> list[Path]:
    return [mark for mark in drawing.marks if isinstance(mark, Path) and mark.css == name]


def test_equal_blocks_are_folded() -> None:
    stem, body, head = blocks_of(resnet(4))
    assert [len(block.copies) for block in (stem, body, head)] == [1, 4, 1]
    assert body.rows == (2, 3, 4)
    drawing = drawn(*resnet(4))
    assert "× 4" in texts(drawing)
    assert "blocks.0 to blocks.3" in texts(drawing)
    assert "conv → relu → conv" in texts(drawing)


def test_a_large_block_is_opened_and_its_skip_connections_are_drawn() -> None:
    drawing = drawn(*transformer(12))
    assert "× 12" in texts(drawing)
    assert {"ln_1", "attn", "ln_2", "mlp"} <= {*texts(drawing)}
    assert len(css(drawing, "skip")) == 2
    assert len(css(drawing, "join")) == 2
    assert "2 skip connections between boxes" in drawing.description
    assert "12 times" in drawing.description


def test_a_block_that_differs_is_not_folded() -> None:
    rows = list(resnet(5))
    rows[9] = replace(rows[9], op="tanh")
    shown = dict.fromkeys(boxes(blocks_of(rows)).values())
    counts = [len(block.copies) for block in shown]
    assert counts == [1, 2, 1, 2, 1]


def test_a_flat_chain_is_folded_by_its_pattern() -> None:
    rows = chained([(str(index), ("linear", "relu")[index % 2]) for index in range(41)])
    first, last = blocks_of(rows)
    assert (len(first.copies), first.rows) == (20, (0, 1))
    assert last.rows == (40,)


def test_a_thousand_layers_fit_on_a_page() -> None:
    rows = chained(
        [(str(index), "linear" if index % 7 % 3 else "relu" if index % 11 else "tanh") for index in range(1_000)]
    )
    found = blocks_of(rows)
    assert len({id(block) for block in boxes(found).values()}) <= MAX_BLOCKS
    assert drawn(*rows).height < 1_400


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c.d", "c.e", "f.0.x", "f.1.x", "f.2.x"]),
            st.sampled_from(["conv", "relu", "linear"]),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 3),
)
def test_every_layer_stands_in_one_box(pairs: list[tuple[str, str]], times: int) -> None:
    named = [
        (f"{name}.{index}" if times else f"{name}{index}", op)
        for index, (name, op) in enumerate(pairs * (1 + 3 * times))
    ]
    rows = list(chained(named))
    for index in range(5, len(rows), 5):
        rows[index] = replace(rows[index], joined=(rows[index - 3].name,))
    found = blocks_of(rows)
    home = boxes(found)
    assert sorted(home) == list(range(len(rows)))
    leaves = {id(block): block for block in home.values()}
    assert len(leaves) <= MAX_BLOCKS

    def covered(blocks: Sequence[Block]) -> list[int]:
        return [row for block in blocks for copy in block.copies for row in copy]

    assert covered(found) == list(range(len(rows)))
    for block in leaves.values():
        assert len({tuple(rows[row].op for row in copy) for copy in block.copies}) == 1
    drawing = drawn(*rows) if len(rows) > 1 else None
    if drawing is not None:
        for mark in drawing.marks:
            if isinstance(mark, Path):
                for y in re.findall(r"[ML]-?[\d.]+ (-?[\d.]+)", mark.d):
                    assert -1 <= float(y) <= drawing.height


def test_findings_stand_beside_their_box_with_shape_and_words() -> None:
    rows = transformer(3)
    error = samples.finding("zero-init-hidden", *(samples.occurrence(f"h.{index}.mlp.up") for index in range(3)))
    note = replace(samples.finding("bias-before-batchnorm", samples.occurrence("embed")), severity=Severity.NOTE)
    drawing = drawn(*rows, findings=(note, error))
    assert [mark.name for mark in drawing.marks if isinstance(mark, Icon)] == [
        "note",
        "note",
        "error",
        "error",
    ]  # in the box and beside it
    assert {"zero-init-hidden, 3 layers", "bias-before-batchnorm"} <= {*texts(drawing)}
    assert len(css(drawing, "node-error")) == 1
    assert len(css(drawing, "node-note")) == 1
    found = {row[0]: row[-1] for row in drawing.table}
    assert found["mlp"] == "error zero-init-hidden (3)"
    assert found["attn"] == ""


def test_what_is_said_of_the_whole_model_stands_at_the_top() -> None:
    finding = replace(samples.finding("double-softmax", samples.occurrence("model")), kind="model")
    drawing = drawn(*resnet(2), findings=(finding,))
    assert {"the model as a whole", "double-softmax"} <= {*texts(drawing)}
    assert drawing.description.endswith("Of the model as a whole: double-softmax.")


def test_parameters_in_the_table_are_the_records() -> None:
    rows = [replace(row, parameters=10**index % 997) for index, row in enumerate(transformer(3))]
    drawing = drawn(*rows)
    assert sum(int(row[2].replace(",", "")) for row in drawing.table) == sum(row.parameters for row in rows)
    assert sum(int(row[1]) for row in drawing.table) == len(rows)


def test_a_record_without_edges_is_a_chain() -> None:
    rows = [replace(row, inputs=(), joined=()) for row in resnet(2)]
    drawing = drawn(*rows)
    assert css(drawing, "skip") == []
    boxes_drawn = len({id(block) for block in boxes(blocks_of(rows)).values()})
    assert len(css(drawing, "spine")) >= boxes_drawn + 1


def test_long_connections_of_a_u_net_are_drawn_beside_the_boxes() -> None:
    down = [
        layer("down.0.conv", "conv"),
        layer("down.0.norm", "batch_norm", "down.0.conv"),
        layer("down.1.pool", "conv", "down.0.norm"),
        layer("down.1.act", "relu", "down.1.pool"),
    ]
    up = [
        layer("up.conv", "conv_transpose", "down.1.act", ["down.0.norm"]),
        layer("up.act", "relu", "up.conv"),
        layer("head.conv", "conv", "up.act"),
    ]
    assert len(css(drawn(*down, *up), "skip")) == 1


def test_connections_without_room_are_counted() -> None:
    """A network in which every block reads all before it."""
    rows: list[LayerRow] = []
    for index in range(14):
        names = [row.name for row in rows]
        rows.append(replace(layer(f"b{index}.conv", ("conv", "linear", "matmul")[index % 3]), inputs=tuple(names)))
        rows.append(layer(f"b{index}.act", ("relu", "tanh", "gelu", "silu")[index % 4], rows[-1].name))
    drawing = drawn(*rows)
    assert len(css(drawing, "branch")) >= 8
    assert "more connections had no room in the drawing" in drawing.note


def test_an_input_called_input_is_said_once() -> None:
    model = samples.clean_audit().model
    rows = chained([("a", "linear"), ("b", "relu"), ("c", "linear")])
    for names, said in ((("input: float32[8, 32]",), "input: float32[8, 32]"), (("image: float32[8, 32]",), "input: image: float32[8, 32]")):  # fmt: skip
        found = block_map(replace(samples.clean_audit(), layers=rows, model=replace(model, inputs=names)), ())
        assert found is not None
        assert said in texts(found)


def test_one_layer_is_no_map() -> None:
    audit: Audit = replace(samples.clean_audit(), layers=(samples.row(0, "fc"),))
    assert block_map(audit, ()) is None
    assert block_map(replace(audit, layers=()), ()) is None


def test_names_with_many_dots_do_no_harm() -> None:
    rows = chained([("." * 5_000 + str(index), "linear") for index in range(30)] + [("a." * 3_000, "relu")])
    assert drawn(*rows)


def test_hostile_names_stay_text() -> None:
    rows = [
        replace(samples.row(index, f"{samples.HOSTILE}.{index}"), op=samples.HOSTILE, output_shape=samples.HOSTILE)
        for index in range(4)
    ]
    text = render_html(samples.run_of(replace(samples.clean_audit(), layers=tuple(rows))))
    svg = "".join(re.findall(r'<svg class="chart".*?</svg>', text, re.DOTALL))
    assert "<script" not in svg
    assert "\x1b" not in svg
