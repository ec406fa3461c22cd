"""The type of charts in a browser: no smaller than 11 pixels, on a phone too."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from tests.report import samples, trace_samples
from tests.report.test_browser import CHROMIUM, browse
from trainaudit.report.to_html import render_html

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

LEAST = 11.0
MEASURE = """
const found = [];
for (const svg of document.querySelectorAll("svg.chart")) {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const title = svg.querySelector("title").textContent;
  for (const text of svg.querySelectorAll("text"))
    found.push([title, text.textContent, parseFloat(getComputedStyle(text).fontSize) * scale]);
}
const note = document.createElement("pre");
note.id = "answer";
note.textContent = JSON.stringify(found);
document.body.append(note);
"""


@pytest.mark.parametrize("width", [320, 355, 880])
def test_type_is_large_enough(width: int, tmp_path: Path) -> None:
    """320 is a card on a phone of 390 pixels, 355 what stands on the page itself there."""
    figures = []
    for run in (trace_samples.probed(), samples.faulty()):
        page = render_html(run)
        figures += re.findall(r'<figure class="figure.*?</figure>', page, re.DOTALL)
    style = "".join(re.findall(r"<style>.*?</style>", page, re.DOTALL))
    body = f'<div style="width: {width}px">{"".join(figures)}</div><script>{MEASURE}</script>'
    document, _ = browse(f"<!doctype html><html><head>{style}</head><body>{body}</body></html>", tmp_path)
    answer = re.search(r'<pre id="answer">(.*?)</pre>', document, re.DOTALL)
    assert answer is not None
    found = json.loads(unescape(answer[1]))
    assert len(found) > 100
    assert [item for item in found if item[2] < LEAST] == []
