"""What changed between two records, as a page and as a PDF."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report import samples, trace_samples
from tests.report.test_to_html import Page
from trainaudit.errors import TrainauditError
from trainaudit.report.diff import compare
from trainaudit.report.diff_view import _order, changed_numbers, pairs
from trainaudit.report.to_diff import diff_page, render_comparison
from trainaudit.report.to_pdf import missing
from trainaudit.result import Audit, Run, State

needs_weasyprint = pytest.mark.skipif(bool(missing()), reason=missing())


def cards(text: str, anchor: str) -> list[str]:
    """The rules of the cards in the section whose heading has this anchor."""
    match = re.search(rf'<section aria-labelledby="{anchor}">(.*?)</section>', text, re.DOTALL)
    return re.findall(r'<article class="card [^>]*id="([^"]+)"', match[1]) if match else []


def test_new_fixed_and_unchanged_findings_are_cards() -> None:
    faulty = samples.faulty_audit()
    zero, linear, bias = (
        samples.finding(name, samples.occurrence("fc"))
        for name in ("zero-init-hidden", "linear-stack", "bias-before-batchnorm")
    )
    old = samples.run_of(replace(faulty, findings=(zero, linear)))
    new = samples.run_of(
        replace(faulty, findings=(linear, bias), outcomes=(*faulty.outcomes, samples.outcome(zero.rule, State.CLEAN)))
    )
    text = diff_page(old, new)
    assert cards(text, "new") == ["bias-before-batchnorm"]
    assert cards(text, "fixed") == ["zero-init-hidden"]
    assert cards(text, "unchanged") == ["linear-stack"]
    assert "1 new finding, 1 fixed, 1 unchanged." in Page(text).text
    assert "more model" not in Page(diff_page(old, samples.clean())).text


def test_what_was_not_judged_again_is_not_fixed() -> None:
    old, new = samples.faulty(), samples.run_of(replace(samples.faulty_audit(), findings=(), outcomes=()))
    text = diff_page(old, new)
    assert cards(text, "fixed") == []
    assert len(cards(text, "unseen")) == 3


def test_the_page_says_that_two_models_are_not_one() -> None:
    text = diff_page(samples.faulty(), samples.clean())
    said = Page(text).text
    assert "models/a.onnx and models/clean.onnx: no layer's name is in both" in said
    assert cards(text, "fixed") == []
    assert len(cards(text, "unseen")) == 3
    assert "The two have no layer in common." in said
    assert "layers changed" not in said
    assert "two different models" not in Page(diff_page(samples.faulty(), samples.mended())).text


def test_two_records_without_findings() -> None:
    assert "next and previous finding" not in Page(diff_page(samples.clean(), samples.clean())).text
    assert "Neither record has a finding." in Page(diff_page(samples.clean(), samples.clean())).text


@pytest.mark.parametrize("is_print", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (samples.faulty(), samples.clean()),
        (samples.several(), samples.clean()),
        (trace_samples.probed(), trace_samples.probed()),
        (samples.hostile(), samples.faulty()),
        (samples.hostile(), samples.hostile()),
        (samples.large(), samples.large(900)),
    ],
)
def test_the_page_is_well_formed_and_stands_alone(old: Run, new: Run, is_print: bool) -> None:
    text = diff_page(old, new, is_print=is_print)
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for _, attributes in page.tags if attributes.get("href", "").startswith("#")}
    assert {link for link in links if not link.startswith("s-")} <= set(ids)
    assert samples.HOSTILE not in text
    assert len(text.encode()) < 500_000
    assert ("<script>" in text) is not is_print


def test_both_losses_and_both_signals_stand_in_one_chart() -> None:
    probed = trace_samples.probed()
    (audit,) = probed.audits
    assert audit.trace is not None
    assert audit.trace.run is not None
    shorter = replace(audit.trace.run, loss=audit.trace.run.loss[:20])
    old = replace(probed, audits=(replace(audit, trace=replace(audit.trace, run=shorter)),))
    (pair,) = pairs(old, probed)
    loss, overfit, signal, gradient = pair.charts
    assert loss.columns[1:] == ("after", "before")
    assert loss.table[25][1] != ""
    assert loss.table[25][2] == ""
    assert overfit.title.startswith("Overfitting one batch")
    assert signal.columns[1:] == ("after, measured", "before, measured")
    assert len(gradient.table) == 16


def test_a_prediction_is_held_against_a_prediction() -> None:
    """Where one of the records has no probe, what both can say is compared, and nothing else."""
    (pair,) = pairs(samples.decaying(), trace_samples.probed())
    assert [chart.title.split(" over")[0] for chart in pair.charts] == ["Signal", "Gradient"]
    assert {chart.columns[1:] for chart in pair.charts} == {("after, predicted", "before, predicted")}


def test_networks_without_common_layers_are_drawn_from_end_to_end() -> None:
    probed = trace_samples.probed()
    (audit,) = probed.audits
    other = replace(audit, layers=tuple(replace(row, name=f"other.{row.name}") for row in audit.layers[::2]))
    (pair,) = pairs(probed, replace(probed, audits=(other,)))
    (signal,) = [chart for chart in pair.charts if chart.title.startswith("Signal")]
    assert signal.columns[0] == "from the first layer (0) to the last (1)"
    first, last = signal.table[0], signal.table[-1]
    assert "" not in (*first, *last)
    assert (first[0], last[0]) == ("0", "1")


def test_changes_of_the_model_are_told() -> None:
    audit = samples.clean_audit()
    rows = (*audit.layers[1:4], replace(audit.layers[4], parameters=7), samples.row(9, "extra"))
    new = replace(audit, layers=rows, model=replace(audit.model, parameter_count=5))
    (pair,) = pairs(samples.run_of(audit), samples.run_of(new))
    assert ("parameters", f"{audit.model.parameter_count:,}", "5") in pair.rows
    told = dict(pair.layers)
    assert told["blocks.0.fc"].startswith("removed")
    assert told["extra"].startswith("added")
    assert "→" in told["blocks.4.fc"]
    assert "blocks.2.fc" not in told


def test_numbers_of_what_is_still_there() -> None:
    def run(value: float) -> Run:
        occurrence = samples.occurrence("fc", evidence=(replace(samples.ZERO, value=value),))
        return samples.run_of(replace(samples.faulty_audit(), findings=(samples.finding("linear-stack", occurrence),)))

    old, new = run(1.0), run(0.995)
    (number,) = changed_numbers(compare(old, new), old, new)
    assert (number.before, number.after, number.expected) == ("100 %", "99.5 %", "≤ 99 %")
    assert changed_numbers(compare(old, old), old, old) == []


def test_the_order_of_layers_keeps_both_orders() -> None:
    assert _order(["a", "b", "d"], ["a", "c", "d", "e"]) == ["a", "b", "c", "d", "e"]
    assert _order([], ["a"]) == ["a"]


def test_a_comparison_of_many_models_stays_small() -> None:
    audits: list[Audit] = [samples.faulty_audit(f"m{index}.onnx") for index in range(300)]
    text = diff_page(samples.run_of(*audits), samples.run_of(*audits[:200]))
    assert len(text.encode()) < 2_000_000
    assert "more findings" in Page(text).text


@needs_weasyprint
def test_as_a_pdf() -> None:
    assert render_comparison(samples.faulty(), samples.clean(), "pdf").startswith(b"%PDF-")


def test_kinds(tmp_path: Path) -> None:
    assert render_comparison(samples.faulty(), samples.clean(), "markdown").startswith(b"## trainaudit: 0 new")
    with pytest.raises(TrainauditError, match=r"End the name in .html, .pdf or .md"):
        render_comparison(samples.faulty(), samples.clean(), "sarif")
