"""Nothing that a model or a rule file holds may act on the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainaudit.report.escaping import shortened, visible, visible_lines
from trainaudit.report.prose import code, code_block, code_spans, markdown

CONTROLS = [
    chr(number)
    for number in (*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x200E, 0x202E, 0x2028, 0x2066, 0xFEFF, 0xE0041)
]


@pytest.mark.parametrize("char", CONTROLS, ids=ascii)
def test_characters_that_act_are_made_visible(char: str) -> None:
    shown = visible(f"a{char}b")
    assert char not in shown
    assert shown.startswith("a\\")
    assert shown.endswith("b")


@given(st.text())
def test_visible_text_is_printable_and_stays_so(text: str) -> None:
    shown = visible(text)
    assert all(char.isprintable() or char in "\u00a0\u2009\u202f" for char in shown)
    assert visible(shown) == shown


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S"))))
def test_plain_text_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_lone_surrogates_can_be_written() -> None:
    assert visible("a\ud800b") == "a\\ud800b"


def test_lines_keep_their_breaks_and_nothing_else() -> None:
    assert visible_lines("a\tb\n\x1b[2Jc\n\n") == ["a   b", "\\x1b[2Jc"]


def test_long_names_keep_both_ends() -> None:
    name = "encoder." * 20 + "fc1"
    assert shortened(name, 30).startswith("encoder.")
    assert shortened(name, 30).endswith("fc1")
    assert len(shortened(name, 30)) == 30
    assert shortened("fc1", 30) == "fc1"


def test_backticks_mark_code() -> None:
    assert code_spans("use `nn.ReLU` here") == [(False, "use "), (True, "nn.ReLU"), (False, " here")]
    assert code_spans("a ` b") == [(False, "a ` b")]


@given(st.text(alphabet="`<>[]()*_|\\ab\n:@#!-+=1. ~"))
def test_markdown_holds_no_markup_but_code(text: str) -> None:
    """A parser of its own finds nothing but text and code spans."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    allowed = {"text", "code_inline", "softbreak", "paragraph_open", "inline", "paragraph_close"}
    for rendered in (markdown(text), f"x {markdown(text)}", f"x {code(text)}", f"x: {markdown(text)} {code(text)}"):
        found = {token.type for outer in parser.parse(rendered) for token in (outer, *(outer.children or ()))}
        assert found <= allowed, (rendered, found)


@given(st.text(alphabet="`ab\n "))
def test_a_code_block_ends_where_it_should(text: str) -> None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(f"{code_block(text, 'python')}\n\nafter")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
