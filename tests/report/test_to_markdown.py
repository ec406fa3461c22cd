"""The job summary."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from tests.report import samples
from trainaudit.report.to_markdown import render_markdown
from trainaudit.result import Evidence, Run

RUNS = ["faulty", "clean", "several", "hostile", "large"]


def _tokens(text: str) -> list[tuple[str, str]]:
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    return [(token.type, token.content) for outer in parser.parse(text) for token in (outer, *(outer.children or ()))]


@pytest.mark.parametrize("name", RUNS)
def test_only_our_own_markup_is_markup(name: str) -> None:
    """As a parser reads it: the only HTML is ours, and no link but to references."""
    run: Run = getattr(samples, name)()
    for kind, content in _tokens(render_markdown(run)):
        if kind == "html_inline":
            assert content in ("<br>",)
        if kind == "html_block":
            assert content.startswith(("<details><summary>", "</details>", "<!-- trainaudit -->"))
            assert "<script" not in content
        assert kind not in ("link_open", "image")


def test_it_says_what_matters() -> None:
    text = render_markdown(samples.several())
    assert "## trainaudit: Found 3 problems in 2 models (1 error, 1 warning, 1 note; 1 ignored)." in text
    assert "`encoder.layers.0.fc1` +39 more layers<br>`src/model.py:40` | zero share 100 % | ≤ 99 % |" in text
    assert '```python\nnn.init.kaiming_normal_(model.encoder.layers[0].fc1.weight, nonlinearity="relu")\n' in text
    assert "- ❌ `models/broken.onnx`: The file is empty." in text
    assert "| 2. Set up the skeleton and dumb baselines | violated | 1 violated," in text
    assert "- `double-softmax`: the loss is not declared. Run `trainaudit models/a.onnx --loss NAME`" in text


def test_what_may_follow_stands_under_its_cause() -> None:
    text = render_markdown(samples.cascade())
    rows = [line for line in text.splitlines() if line.startswith("| ") and "<br>" in line]
    assert [row.startswith("| ↳ ") for row in rows] == [False, True, False]
    assert "predicted-vanishing-gradient" in rows[1]
    inner = text.index("<details><summary>error: The gradient vanishes")
    assert text.index("**1 finding that may follow from it:**") < inner < text.index("</details>")


def test_tables_keep_their_columns() -> None:
    for name in RUNS:
        for block in render_markdown(getattr(samples, name)()).split("\n\n"):
            if block.startswith("|"):
                cells = {line.replace("\\|", "").count("|") for line in block.splitlines()}
                assert len(cells) == 1


def test_where_nothing_was_compared_the_row_gives_the_facts() -> None:
    audit = samples.faulty_audit()

    def row(*evidence: Evidence) -> str:
        finding = samples.finding("linear-stack", samples.occurrence("fc2", evidence=evidence))
        text = render_markdown(samples.run_of(replace(audit, findings=(finding,))))
        return next(line for line in text.splitlines() if "`linear-stack`" in line)

    word, count = Evidence("layer.linear_predecessor", "fc1", ""), Evidence("layer.width", 32, "units")
    assert row(word, count).endswith("| linear predecessor: fc1, width: 32 units | – |")
    assert row(word, Evidence("layer.gain", 3.0, "ratio", ">", 2.0)).endswith("| gain 3 | ≤ 2 |")
    assert row().endswith("| – | – |")


def test_what_is_too_long_is_cut_between_blocks() -> None:
    audit = samples.faulty_audit()
    findings = [
        samples.finding("zero-init-hidden", samples.occurrence(f"layer{index}", message="ü" * 400))
        for index in range(200)
    ]
    run = samples.run_of(replace(audit, findings=tuple(findings)))
    limit = 60_000
    assert len(render_markdown(run).encode()) > limit
    text = render_markdown(run, limit=limit)
    assert len(text.encode()) <= limit
    assert text.count("<details>") == text.count("</details>")
    assert "more parts left out here" in text
    assert text.startswith("<!-- trainaudit -->\n\n## trainaudit: Found 200 problems")
