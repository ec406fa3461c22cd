"""The HTML page: what it says, that it is self-contained, and that nothing in it can act."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import replace
from gzip import decompress
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tests.report import samples, trace_samples
from trainaudit.recipe import STEPS
from trainaudit.report.to_html import MAX_MODELS, page, render_html
from trainaudit.report.to_json import from_json
from trainaudit.result import Evidence, Fix, Run, State

RUNS = ["faulty", "clean", "cascade", "several", "hostile", "large"]


class Page(HTMLParser):
    """Tags with their attributes, texts by tag, and whether what is opened is closed."""

    VOID = frozenset({"meta", "link", "input", "br", "wbr", "hr", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.parts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
            if not {"script", "style", "head"}.intersection(self.open):
                self.parts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def flow(self) -> str:
        """All that can be read, in order."""
        return " ".join(" ".join(self.parts).split())

    @property
    def text(self) -> str:
        shown = (part for tag, parts in self.texts.items() if tag not in ("script", "style") for part in parts)
        return " ".join(" ".join(shown).split())


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    result: Run = getattr(samples, request.param)()
    return result


def test_every_tag_is_closed_and_every_link_leads_somewhere(run: Run) -> None:
    parsed = Page(render_html(run))
    assert parsed.open == []
    ids = Counter(attributes["id"] for _, attributes in parsed.tags if "id" in attributes)
    assert [name for name, number in ids.items() if number > 1] == []
    for attributes in parsed.all("a"):
        if attributes["href"].startswith("#"):
            assert attributes["href"][1:] in ids
        elif attributes.get("id") != "record":
            assert attributes["href"].startswith("https://")
            assert "noopener" in attributes["rel"]
    for _, attributes in parsed.tags:
        for name in attributes.get("aria-labelledby", "").split():
            assert name in ids


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "golden").glob("*.json")), ids=lambda path: path.name
)
def test_a_page_is_made_of_every_saved_record(path: Path) -> None:
    text = path.read_text("utf-8")
    if not text.startswith('{\n"format"'):
        pytest.skip("it is no record")
    assert Page(render_html(from_json(text))).open == []


def test_nothing_is_loaded(run: Run) -> None:
    parsed = Page(render_html(run))
    assert not any(
        name in attributes
        for _, attributes in parsed.tags
        for name in ("src", "srcset", "action", "formaction", "data")
    )
    assert [attributes["href"] for attributes in parsed.all("link")] == ["data:,"]
    assert "@import" not in "".join(parsed.texts["style"])
    assert "url(" not in "".join(parsed.texts["style"])
    assert not any(tag in ("iframe", "object", "embed", "img", "base") for tag, _ in parsed.tags)


def test_the_policy_allows_this_style_and_script_alone(run: Run) -> None:
    parsed = Page(render_html(run))
    policy = next(meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy

    def digest(text: str) -> str:
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

    assert [digest(text) in policy for text in parsed.texts["style"]] == [True, True]
    assert digest(parsed.texts["script"][-1]) in policy
    assert not any(
        "style" in attributes or any(name.startswith("on") for name in attributes) for _, attributes in parsed.tags
    )


def test_hostile_names_stay_text() -> None:
    text = render_html(samples.hostile())
    parsed = Page(text)
    assert len(parsed.all("script")) == 1
    assert "<script>alert(1)</script>\\x1b[31m\\n::error::owned" in parsed.text
    assert "{{ 7 * 7 }}" in parsed.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "javascript:" not in "".join(attributes.get("href", "") for _, attributes in parsed.tags)


def record(parsed: Page) -> str:
    """The JSON that the page carries."""
    link = next(attributes for attributes in parsed.all("a") if attributes.get("id") == "record")
    head, packed = link["href"].split(",")
    assert head == "data:application/gzip;base64"
    return decompress(b64decode(packed)).decode()


@pytest.mark.parametrize("name", ["faulty", "clean", "several", "hostile"])
def test_the_record_stands_in_the_page(name: str) -> None:
    run: Run = getattr(samples, name)()
    assert from_json(record(Page(render_html(run)))) == run


def test_a_large_record_leaves_its_tables_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trace_samples.probed()
    whole = next(link["href"] for link in Page(render_html(run)).all("a") if link.get("id") == "record")
    monkeypatch.setattr("trainaudit.report.to_html.MAX_RECORD", len(whole) - 4_000)
    parsed = Page(render_html(run))
    again = from_json(record(parsed))
    assert again.audits[0].findings == run.audits[0].findings
    assert again.audits[0].trace is None
    assert again.audits[0].layers == ()
    assert "without the tables of facts and layers and the trace of a probe" in parsed.text
    monkeypatch.setattr("trainaudit.report.to_html.MAX_RECORD", 100)
    parsed = Page(render_html(run))
    assert not any(link.get("id") == "record" for link in parsed.all("a"))
    assert "The audit record is too large for this page" in parsed.text


def test_a_page_that_would_be_too_large_shows_less_and_says_so() -> None:
    names = [f"part{index}.{'deep' * 15}" for index in range(100)]
    places = [samples.occurrence(name, evidence=(samples.ZERO,)) for name in names]
    findings = tuple(samples.finding("zero-init-hidden", *places) for _ in range(300))
    run = samples.run_of(replace(samples.clean_audit(), findings=findings))
    text = render_html(run)
    parsed = Page(text)
    assert len(text.encode()) <= 2_000_000
    shown = len(parsed.all("article"))
    assert 0 < shown < 300
    assert f"{300 - shown} more findings would make this page too large; the JSON report holds all." in parsed.text


def test_what_was_audited_comes_first() -> None:
    """Name, hash, parameters, form, evidence, data, device and seed, before the recipe; and how a probe ended that was cut short."""
    text = Page(render_html(trace_samples.probed())).flow
    head = text[: text.index("The recipe")]
    for part in (
        "deep.onnx",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "25.6 M",
        "Form training",
        "level 3 of 3: a training run",
        "real: 32 batches of my_pkg.data:batches",
        "cpu (2 cores), float32",
        "Seed 7",
        "40 of 100 steps; ended by the time budget",
    ):
        assert part in head, part
    static = Page(render_html(samples.clean())).flow
    assert "level 1 of 3: structure and weights Run nothing was run: no data, no device, no seed" in static


def test_each_tip_has_its_state_and_its_evidence() -> None:
    parsed = Page(render_html(trace_samples.probed()))
    ladder = parsed.flow[parsed.flow.index("The recipe") : parsed.flow.index("Contents")]
    assert [step.title in ladder for step in STEPS.values()] == [True] * len(STEPS)
    assert "overfit one batch: loss 2.3 → 1.461 in 60 steps on 32 examples" in ladder
    assert "loss of the run: " in ladder
    links = [link["href"] for link in parsed.all("a") if link["href"].startswith("#")]
    assert links.count("#predicted-vanishing-gradient") >= 2


def test_what_was_not_run_says_what_would_run_it() -> None:
    run = trace_samples.probed()
    audit = run.audits[0]
    waiting = (
        samples.outcome(
            "zero-init-hidden",
            State.NOT_MEASURED,
            "the run was cut after 2 steps: give it more time with --time-budget",
        ),
        samples.outcome(
            "linear-stack", State.NOT_MEASURED, "the experiment was not run: more than the time budget leaves"
        ),
        samples.outcome("half-overflow", State.NOT_MEASURED, "no validation data were given: --validation"),
        samples.outcome("double-softmax", State.NOT_MEASURED, "the graph is not known"),
    )
    text = Page(render_html(replace(run, audits=(replace(audit, outcomes=waiting),)))).flow
    text = text[
        text.index("These rules said nothing") : text.index("Passed and not applicable", text.index("These rules"))
    ]
    command = "trainaudit probe models/deep.onnx --data my_pkg.data:batches"
    assert f"This runs them: {command} --time-budget 300" in text
    assert f"This runs it: {command} --validation MODULE:NAME" in text
    assert text.index("--time-budget 300") < text.index("MODULE:NAME") < text.index("the graph is not known")


@pytest.mark.parametrize(
    ("name", "limit"), [("faulty", 250_000), ("clean", 150_000), ("hostile", 250_000), ("large", 500_000)]
)
def test_size(name: str, limit: int) -> None:
    assert len(render_html(getattr(samples, name)()).encode()) < limit


def test_a_probe_of_forty_eight_layers_stays_under_half_a_megabyte() -> None:
    run = trace_samples.probed()
    (audit,) = run.audits
    assert audit.trace is not None
    trace = audit.trace
    rows, taps, parameters = audit.layers, trace.activations, trace.parameters
    for stage in ("second", "third"):
        rows += tuple(replace(row, name=f"{stage}.{row.name}") for row in audit.layers)
        taps += tuple(
            replace(one, tap=replace(one.tap, name=f"{stage}.{one.tap.name}", layer=f"{stage}.{one.tap.layer}"))
            for one in trace.activations
        )
        parameters += tuple(replace(one, name=f"{stage}.{one.name}") for one in trace.parameters)
    grown = replace(audit, layers=rows, trace=replace(trace, activations=taps, parameters=parameters))
    assert len(rows) == 48
    assert len(render_html(replace(run, audits=(grown,))).encode()) < 500_000


def test_the_layer_table_marks_a_layer_by_its_worst_finding() -> None:
    note, error = samples.finding("bias-before-batchnorm", samples.occurrence("blocks.0.fc")), samples.finding(
        "zero-init-hidden", samples.occurrence("blocks.1.fc"), samples.occurrence("blocks.2.fc"))  # fmt: skip
    both = samples.finding("linear-stack", samples.occurrence("blocks.2.fc"))
    audit = replace(samples.clean_audit(), findings=(note, both, error))
    text = render_html(samples.run_of(audit))
    marks = re.findall(r'<a class="mark" href="#([^"]+)"><svg class="icon i-(\w+)".*?<span class="hidden">(\w+)<', text)
    assert marks == [
        ("bias-before-batchnorm", "note", "note"),
        ("zero-init-hidden", "error", "error"),
        ("zero-init-hidden", "error", "error"),
    ]


def test_synthetic_data_are_said_once() -> None:
    run = trace_samples.probed()
    (audit,) = run.audits
    assert audit.trace is not None
    settings = replace(audit.trace.settings, data="teacher", data_words="synthetic: 16 batches of 32")
    text = Page(render_html(replace(run, audits=(replace(audit, trace=replace(audit.trace, settings=settings)),)))).text
    assert "synthetic: 16 batches of 32" in text
    assert "teacher" not in text
    assert "real: 32 batches of my_pkg.data:batches" in Page(render_html(run)).text


def test_twenty_thousand_layers_stay_under_two_megabytes() -> None:
    assert len(render_html(samples.large(20_000)).encode()) < 2_000_000


def test_fifty_models_stay_under_two_megabytes() -> None:
    audits = [samples.faulty_audit(f"models/{index}.onnx") for index in range(50)]
    text = render_html(samples.run_of(*audits))
    assert len(text.encode()) < 2_000_000
    assert f"The reports of {50 - MAX_MODELS} more models would make this document too long" in Page(text).text


def test_the_verdict_comes_first_and_says_no_more_than_was_checked() -> None:
    text = Page(render_html(samples.faulty())).text
    assert (
        "As it stands, this network is unlikely to train well: a hidden layer starts with all weights at zero" in text
    )
    text = Page(render_html(samples.clean())).text
    assert (
        "Nothing was found that should keep this network from training: 5 rules clean; 1 rule could not be judged."
        in text
    )
    none = replace(samples.clean_audit(), outcomes=(samples.outcome("linear-stack", State.FAILED, "it broke"),))
    text = Page(render_html(samples.run_of(none))).text
    assert "no rule could be judged" in text


def test_findings_have_anchors_numbers_and_fixes() -> None:
    parsed = Page(render_html(samples.faulty()))
    cards = [attributes["id"] for attributes in parsed.all("article")]
    assert cards == ["zero-init-hidden", "linear-stack", "bias-before-batchnorm"]
    assert "zero share: 100 %, expected ≤ 99 %" in parsed.text
    assert "39 other layers with the same cause" in parsed.text
    assert 'nn.init.kaiming_normal_(model.encoder.layers[0].fc1.weight, nonlinearity="relu")' in parsed.text
    assert "encoder.layers.39.fc1" in parsed.text


def test_not_run_ignored_and_by_hand_are_said() -> None:
    text = Page(render_html(samples.faulty())).text
    assert "the loss is not declared" in text
    assert "trainaudit models/a.onnx --loss NAME" in text
    assert "the teacher is frozen" in text
    assert "2027-03-01" in text
    assert "Look at thousands of examples" in text
    assert "changed in the settings" in text


def test_several_models_share_no_anchor() -> None:
    run = samples.run_of(samples.faulty_audit("a.onnx"), samples.faulty_audit("b.onnx"))
    ids = [attributes["id"] for attributes in Page(render_html(run)).all("article")]
    assert ids[:4] == ["zero-init-hidden", "linear-stack", "bias-before-batchnorm", "zero-init-hidden-2"]


def test_tables_and_charts_can_be_heard(run: Run) -> None:
    """Every drawing is either an image with a title and a description or hidden; every header cell says what it heads."""
    text = render_html(run)
    for attributes in Page(text).all("svg"):
        assert attributes.get("aria-hidden") == "true" or (
            attributes["role"] == "img" and len(attributes["aria-labelledby"].split()) == 2
        )
    for attributes in Page(text).all("th"):
        assert attributes["scope"] in ("col", "row")
    assert text.count('role="img"') == text.count("<desc id=")
    assert '<html lang="en">' in text
    levels = [int(level) for level in re.findall(r"<h([1-6])", text[text.index("<main") :])]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_printed_page_is_all_open_and_still() -> None:
    parsed = Page(page(samples.faulty(), is_print=True))
    assert parsed.all("script") == []
    folded = [attributes for attributes in parsed.all("details") if "open" not in attributes]
    assert all(attributes.get("class") in ("data", "others") for attributes in folded)


def test_non_finite_evidence_is_said_and_not_drawn() -> None:
    evidence = Evidence("parameter.absmax", float("inf"), "", ">", 65504.0)
    audit = replace(
        samples.faulty_audit(),
        findings=(samples.finding("half-overflow", samples.occurrence("fc", evidence=(evidence,))),),
    )
    text = render_html(samples.run_of(audit))
    assert "infinity" in text
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL).lower().split('d="')
    assert json.loads(record(Page(text)))["format"] == 1


def test_the_same_record_gives_the_same_page(run: Run) -> None:
    assert render_html(run) == render_html(run)


def test_causes_are_to_be_changed_before_their_consequences() -> None:
    run = samples.decaying()
    audit = run.audits[0]
    fix = Fix("Do this.", "changes-training", "")
    consequence = replace(audit.findings[0], fix=fix)
    cause = replace(samples.finding("zero-init-hidden", samples.occurrence("layers.0")), name="The cause", fix=fix)
    text = render_html(replace(run, audits=(replace(audit, findings=(consequence, cause)),)))
    advice = text[text.index('<ol class="fixes">') :]
    assert 0 < advice.index("The cause") < advice.index("The gradient vanishes")
