"""The page in a real browser, as the command line drives it: filters and keys that work, and a policy that holds. Needs Chromium.

What holds for every kind of page on every screen is in `test_in_browser`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.report import samples
from trainaudit.report.to_html import render_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def browse(page: str, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what was written to the console."""
    path = folder / "page.html"
    path.write_text(page, "utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM),
            *(
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
            ),
            *(
                "--disable-sync",
                "--no-first-run",
                "--enable-logging=stderr",
                "--virtual-time-budget=20000",
                "--window-size=1280,900",
            ),
            *(f"--user-data-dir={folder / 'profile'}", "--dump-dom", *flags, path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_console_is_watched(tmp_path: Path) -> None:
    """The policy stops a script that is not the page's own, and that is seen."""
    page = render_html(samples.clean()).replace("</body>", "<script>document.title = 'owned'</script></body>")
    document, console = browse(page, tmp_path)
    assert any("Content Security Policy" in line for line in console)
    assert "<title>owned" not in document


def _with_script(page: str, script: str) -> str:
    """The page without its policy and with a script at its end, whose answer is left in an element."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    return page.replace("</body>", f"<script>{script}</script></body>")


def _answer(document: str) -> Any:
    match = re.search(r'<pre id="answer">(.*?)</pre>', document, re.DOTALL)
    assert match, "the script left no answer"
    return json.loads(unescape(match[1]))


_LEAVE = """const leave = (answer) => { const element = document.createElement("pre"); element.id = "answer";
element.textContent = JSON.stringify(answer); document.body.append(element); };"""


def test_filters_and_keys(tmp_path: Path) -> None:
    script = """
const cards = () => Array.from(document.querySelectorAll(".card")).filter((card) => !card.hidden).map((card) => card.id);
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const form = document.querySelector(".filters");
const answer = { formIsShown: !form.hidden, all: cards() };
form.elements.severity[1].click(); answer.withoutWarnings = cards(); form.elements.severity[1].click();
form.elements.stage.value = "3"; form.dispatchEvent(new Event("input")); answer.stage3 = cards(); form.reset();
form.elements.search.value = "STEM.CONV"; form.dispatchEvent(new Event("input")); answer.search = cards();
answer.status = form.querySelector("output").textContent;
form.reset(); form.dispatchEvent(new Event("input"));
press("j"); answer.first = document.activeElement.id; press("j"); answer.second = document.activeElement.id;
press("k"); answer.back = document.activeElement.id; press("/"); answer.slash = document.activeElement.name;
answer.copyButtons = document.querySelectorAll(".code .copy").length === document.querySelectorAll(".code").length;
leave(answer);"""
    document, console = browse(_with_script(render_html(samples.faulty()), _LEAVE + script), tmp_path)
    assert console == []
    every = ["zero-init-hidden", "linear-stack", "bias-before-batchnorm"]
    assert _answer(document) == {
        "formIsShown": True,
        "all": every,
        "withoutWarnings": [every[0], every[2]],
        "stage3": [every[1]],
        "search": [every[2]],
        "status": "1 of 3 shown",
        "first": every[0],
        "second": every[1],
        "back": every[0],
        "slash": "search",
        "copyButtons": True,
    }


def test_what_follows_is_folded_and_found(tmp_path: Path) -> None:
    script = """
const shown = () => Array.from(document.querySelectorAll(".card")).filter((card) => card.checkVisibility()).map((card) => card.id);
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const form = document.querySelector(".filters"), below = document.querySelector(".following");
const choose = (name, value) => { form.elements[name].value = value; form.dispatchEvent(new Event("input")); };
const later = () => new Promise((done) => setTimeout(done, 50));
(async () => {
  const answer = { atFirst: shown() };
  press("j"); press("o"); answer.opened = shown(); press("o"); answer.folded = shown();
  choose("layer", "LAYERS.0"); answer.layer = shown();
  press("x"); await later(); answer.cleared = form.elements.layer.value; below.open = false;
  answer.layers = Array.from(document.querySelectorAll("#finding-layers option")).map((option) => option.value);
  location.hash = "#predicted-vanishing-gradient"; await later(); answer.linked = shown();
  press("2"); answer.stage = document.getElementById("stage-2").open; press("?"); answer.help = document.activeElement.parentElement.className;
  choose("stage", "3"); answer.stage3 = shown(); location.hash = "#zero-init-hidden"; await later(); answer.back = shown();
  leave(answer);
})();"""
    document, console = browse(_with_script(render_html(samples.cascade()), _LEAVE + script), tmp_path)
    assert console == []
    cause, consequence, other = every = ["zero-init-hidden", "predicted-vanishing-gradient", "linear-stack"]
    assert _answer(document) == {
        "atFirst": [cause, other],
        "opened": every,
        "folded": [cause, other],
        "layer": [consequence],
        "cleared": "",
        "layers": ["layers.3", "layers.0", "layers.9"],
        "linked": every,
        "stage": True,
        "help": "keys js",
        "stage3": [other],
        "back": every,
    }


def test_the_record_is_saved_unpacked(tmp_path: Path) -> None:
    script = """
const link = document.getElementById("record");
link.addEventListener("click", (event) => { if (link.href.startsWith("blob:")) event.preventDefault(); });
link.click();
const wait = setInterval(async () => {
  if (!link.href.startsWith("blob:")) return;
  clearInterval(wait);
  leave({ name: link.download, tool: (await (await fetch(link.href)).json()).tool.name });
}, 50);"""
    document, console = browse(_with_script(render_html(samples.faulty()), _LEAVE + script), tmp_path)
    assert console == []
    assert _answer(document) == {"name": "audit.json", "tool": "trainaudit"}


def test_it_reads_without_javascript(tmp_path: Path) -> None:
    """Scripts off: the findings stand there, and controls that would do nothing do not."""
    page = re.sub(r"<script>.*?</script>", "", render_html(samples.faulty()), flags=re.DOTALL)
    document, console = browse(page, tmp_path)
    assert console == []
    assert document.count('<article class="card') == 3
    assert re.search(r'<form class="filters js" hidden', document)
