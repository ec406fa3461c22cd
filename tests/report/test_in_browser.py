"""Every kind of page in a real browser, light and dark, wide and narrow: no accessibility violation (axe-core), no message on the console, nothing
fetched, nothing wider than the screen; and the table of many models sorts by keyboard and reads without scripts.

Playwright drives the Chromium that is installed; axe-core comes with `axe-playwright-python`. Nothing is downloaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.report import samples, trace_samples
from trainaudit.report.files import write_report
from trainaudit.report.to_diff import diff_page
from trainaudit.report.to_html import render_html
from trainaudit.result import Run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
if CHROMIUM is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra dev has it)")
AXE = resources.files(pytest.importorskip("axe_playwright_python")) / "axe.min.js"

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENS = [(1440, "light", "all"), (1440, "dark", "contrast"), (390, "light", "contrast"), (390, "dark", "all")]
"""Width, color scheme, and which rules of axe-core are run: structure does not hang on the scheme, contrast does."""


def report(run: Callable[[], Run]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_report([run()], str(folder / "report.html"))
        return folder / "report.html"

    return write


def write_all(folder: Path) -> Path:
    (folder / "all.html").write_text(render_html(samples.several()), "utf-8")
    return folder / "all.html"


def many(count: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        audits = [samples.clean_audit(f"models/family-{index % 7}/model-{index}.onnx") for index in range(count - 2)]
        audits += [replace(samples.faulty_audit(), gone_from_baseline=1), samples.hostile().audits[0]]
        run = samples.run_of(*audits, failures=[("models/broken.onnx", "The file is empty.")])
        write_report([run], str(folder / "index.html"))
        return folder / "index.html"

    return write


def comparison(old: Run, new: Run) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "diff.html").write_text(diff_page(old, new), "utf-8")
        return folder / "diff.html"

    return write


PAGES: dict[str, tuple[Callable[[Path], Path], int]] = {
    "clean": (report(samples.clean), 500_000),
    "faulty": (report(samples.faulty), 500_000),
    "cascade": (report(samples.cascade), 500_000),
    "several in one": (write_all, 500_000),
    "probed and cut short": (report(trace_samples.probed), 500_000),
    "a thousand layers": (report(samples.large), 2_000_000),
    "hostile": (report(samples.hostile), 500_000),
    "index": (many(6), 500_000),
    "diff": (comparison(samples.faulty(), samples.mended()), 500_000),
    "diff of two models": (comparison(samples.faulty(), samples.clean()), 500_000),
    "diff of probes": (comparison(trace_samples.probed(), trace_samples.probed()), 500_000),
}
"""Kind of page → how it is made, and how many bytes it may have."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """The browser; what a test opened in it is closed behind it."""
    yield chromium
    for context in chromium.contexts:
        context.close()


class Seen:
    """An open page, with what it said and what it asked for."""

    def __init__(
        self, browser: Any, path: Path, width: int = 1440, scheme: str = "light", *, scripts: bool = True
    ) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        self.page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def violations(self, rules: str = "all") -> list[Any]:
        """What axe-core finds with every folded part open: impact, rule, and the first elements."""
        chosen = {"type": "tag", "values": TAGS} if rules == "all" else {"type": "rule", "values": ["color-contrast"]}
        self.page.evaluate(AXE.read_text("utf-8"))
        return self.page.evaluate(
            """chosen => {
              document.querySelectorAll("details").forEach((element) => { element.open = true; });
              return axe.run(document, { runOnly: chosen, resultTypes: ["violations"] }).then((found) => found.violations
                .map((item) => [item.impact, item.id, item.nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]));
            }""",
            chosen,
        )

    def overflow(self) -> list[str]:
        """Elements that reach beyond the screen and do not scroll in a part of the page, where the page itself can be scrolled sideways."""
        return self.page.evaluate(
            """() => document.documentElement.scrollWidth <= innerWidth ? [] : Array.from(document.querySelectorAll("body *"))
              .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll, pre, svg"))
              .map((element) => element.outerHTML.slice(0, 160)).slice(0, 5).concat("wide")"""
        )


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    write, bound = PAGES[request.param]
    return write(tmp_path_factory.mktemp("page")), bound


@pytest.mark.parametrize(("width", "scheme", "rules"), SCREENS)
def test_it_is_accessible_silent_alone_and_fits(
    browser: Any, page: tuple[Path, int], width: int, scheme: str, rules: str
) -> None:
    seen = Seen(browser, page[0], width, scheme)
    assert seen.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is (scheme == "dark")
    assert seen.violations(rules) == []
    assert seen.overflow() == []
    assert seen.said == []
    assert [url for url in seen.asked if not url.startswith("data:")] == [page[0].as_uri()]


def test_sizes(page: tuple[Path, int]) -> None:
    path, bound = page
    assert path.stat().st_size < bound


def test_what_is_amiss_is_seen(browser: Any, tmp_path: Path) -> None:
    """The other tests could fail: a page that does all that they forbid."""
    path = tmp_path / "bad.html"
    path.write_text(
        '<html><title></title><p style="color:#bbb;width:3000px">pale</p><img src="http://127.0.0.1:9/x.png">'
        "<script>console.log('hello')</script>"
    )
    seen = Seen(browser, path)
    rules = {rule for _, rule, _ in seen.violations()}
    assert {"document-title", "html-has-lang", "image-alt", "color-contrast"} <= rules
    assert seen.overflow()[-1] == "wide"
    assert "hello" in seen.said
    assert "http://127.0.0.1:9/x.png" in seen.asked


def names(seen: Seen) -> list[str]:
    return [text.strip() for text in seen.page.locator(".models tbody tr:visible th").all_inner_texts()]


def test_the_table_of_models_sorts_and_filters_by_keyboard(browser: Any, tmp_path: Path) -> None:
    seen = Seen(browser, many(6)(tmp_path))
    first = names(seen)
    assert first[0] == "models/broken.onnx"
    errors = seen.page.locator(".models thead th", has_text="errors")
    errors.locator("button").focus()
    seen.page.keyboard.press("Enter")
    assert errors.get_attribute("aria-sort") == "descending"
    assert seen.page.locator(".models [aria-sort]").count() == 1
    assert names(seen)[-1] == "models/broken.onnx"  # it has no number of errors, so it stands last either way
    seen.page.keyboard.press("Enter")
    assert errors.get_attribute("aria-sort") == "ascending"
    assert names(seen)[-1] == "models/broken.onnx"
    seen.page.locator(".models thead th", has_text="model").first.locator("button").click()
    assert names(seen) == sorted(names(seen))
    seen.page.keyboard.press("/")
    seen.page.keyboard.type("MODEL-2")
    assert names(seen) == ["models/family-2/model-2.onnx"]
    assert seen.page.locator(".filters output").inner_text() == "1 of 7 shown"
    seen.page.keyboard.press("Control+A")
    seen.page.keyboard.press("Delete")
    seen.page.locator("select[name=verdict]").select_option("clean")
    assert len(names(seen)) == 4
    assert seen.said == []


def test_the_table_of_models_reads_without_scripts(browser: Any, tmp_path: Path) -> None:
    seen = Seen(browser, many(6)(tmp_path), scripts=False)
    assert len(names(seen)) == 7
    assert names(seen)[0] == "models/broken.onnx"
    assert not seen.page.locator(".filters").is_visible()
    assert seen.page.locator(".models button").count() == 0
    seen.page.locator(".models a").last.click()
    seen.page.get_by_role("link", name="All models").click()
    assert seen.page.title() == "7 models: audits"


def test_a_thousand_models_can_be_sorted(browser: Any, tmp_path: Path) -> None:
    path = many(1_000)(tmp_path)
    assert path.stat().st_size < 1_000_000
    seen = Seen(browser, path)
    seen.page.locator(".models thead th", has_text="parameters").locator("button").click()
    assert seen.page.locator(".models tbody tr").count() == 1_001
    assert seen.said == []
