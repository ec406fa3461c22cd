"""Many models: a page with a row for each, and a report of each beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.report import samples
from trainaudit.cli import main
from trainaudit.demo import build
from trainaudit.errors import TrainauditError
from trainaudit.report.files import write_report
from trainaudit.report.model_rows import common_findings, ranked, row
from trainaudit.report.to_html import render_html
from trainaudit.report.to_index import index_files, page_names
from trainaudit.result import Audit, Run


class Table(HTMLParser):
    """The rows of the first table as texts, and every link of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self._tables = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")
        self._tables += tag == "table"
        if self._tables == 1 and tag == "tr":
            self.rows.append([])
        if self._tables == 1 and tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._tables += tag == "table"

    def handle_data(self, data: str) -> None:
        if self._tables == 1 and self.rows and self.rows[-1]:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data}".strip()


def three(tmp_path: Path, path: str = "index.html") -> tuple[str, Path]:
    run = samples.run_of(
        samples.clean_audit(), samples.faulty_audit(), failures=[("models/broken.onnx", "The file is empty.")]
    )
    write_report([run], str(tmp_path / path))
    return (tmp_path / path).read_text("utf-8"), tmp_path


def test_a_row_for_each_model_worst_first(tmp_path: Path) -> None:
    table = Table(three(tmp_path)[0])
    head, *rows = table.rows
    assert head == ["model", "verdict", "errors", "warnings", "notes", "not run", "worst finding", "parameters"]
    assert [(cells[0].replace(" ", ""), cells[1]) for cells in rows] == [
        ("models/broken.onnx", "could not be audited"),
        ("models/a.onnx", "unlikely to train well"),
        ("models/clean.onnx", "nothing found"),
    ]
    assert "The file is empty." in rows[0]
    assert rows[1][2:7] == ["1", "1", "1", rows[1][5], "A hidden layer starts with all weights at zero"]


def test_each_model_has_its_report_and_it_leads_back(tmp_path: Path) -> None:
    text, folder = three(tmp_path, "out/my index.html")
    links = [link for link in Table(text).links if link.endswith(".html")]
    assert sorted(links) == ["my%20index-models/models-a.onnx.html", "my%20index-models/models-clean.onnx.html"]
    for link in links:
        report = folder / "out" / unquote(link)
        assert '<a href="../my%20index.html">All models</a>' in report.read_text("utf-8")
    assert len(list((folder / "out" / "my index-models").iterdir())) == 2


def test_one_model_is_one_file(tmp_path: Path) -> None:
    write_report([samples.faulty()], str(tmp_path / "one.html"))
    assert [path.name for path in tmp_path.iterdir()] == ["one.html"]


def test_several_records_are_one_index(tmp_path: Path) -> None:
    write_report([samples.faulty(), samples.clean()], str(tmp_path / "both.html"))
    assert len(list((tmp_path / "both-models").iterdir())) == 2


def test_nothing_that_could_be_audited_is_said_too(tmp_path: Path) -> None:
    write_report([samples.run_of(failures=[("a.onnx", "It is empty.")])], str(tmp_path / "none.html"))
    text = (tmp_path / "none.html").read_text("utf-8")
    assert "It is empty." in text
    assert not (tmp_path / "none-models").exists()


def test_the_index_stays_as_it_was_where_a_report_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("old")
    (tmp_path / "index-models").write_text("a file in the folder's place")
    with pytest.raises(TrainauditError, match="could not be written"):
        three(tmp_path)
    assert (tmp_path / "index.html").read_text() == "old"


def test_no_name_of_a_model_acts_on_the_page(tmp_path: Path) -> None:
    audits = [
        replace(audit, target=f"{samples.HOSTILE}{index}") for index, audit in enumerate(samples.hostile().audits * 2)
    ]
    write_report([samples.run_of(*audits, failures=[(samples.HOSTILE, samples.HOSTILE)])], str(tmp_path / "index.html"))
    text = (tmp_path / "index.html").read_text("utf-8")
    assert samples.HOSTILE not in text
    scripts = re.findall(r"<script[^>]*>", text)
    assert scripts == ["<script>"]
    assert all(link.startswith(("index-models/", "#")) for link in Table(text).links)
    assert {path.suffix for path in (tmp_path / "index-models").iterdir()} == {".html"}


def test_the_change_against_the_baseline() -> None:
    fresh, known = samples.finding("linear-stack"), samples.finding("excessive-dropout")
    audit = replace(
        samples.faulty_audit(),
        findings=(replace(fresh, is_new=True), replace(known, is_new=False)),
        gone_from_baseline=2,
    )
    assert row(samples.run_of(audit), audit, "").change == "1 new, 2 gone, 1 known"
    same = replace(audit, findings=(), gone_from_baseline=0)
    assert row(samples.run_of(same), same, "").change == "no change"
    without = replace(audit, gone_from_baseline=None)
    assert row(samples.run_of(without), without, "").change_key is None


def test_the_index_shows_what_is_new_and_gone_against_a_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three models; one is mended, one broken, and one stays as it was."""
    monkeypatch.chdir(tmp_path)
    build(tmp_path)
    faulty, repaired = ((tmp_path / f"{name}.onnx").read_bytes() for name in ("faulty", "repaired"))
    for name, model in zip("abc", (faulty, repaired, faulty), strict=True):
        (tmp_path / f"{name}.onnx").write_bytes(model)
    names = ["a.onnx", "b.onnx", "c.onnx"]
    faults = ("--select", "symmetric-init,linear-stack,excessive-dropout")
    CliRunner().invoke(main, [*names, *faults, "--write-baseline", "base.json"])
    (tmp_path / "a.onnx").write_bytes(repaired)
    (tmp_path / "b.onnx").write_bytes(faulty)
    CliRunner().invoke(main, [*names, *faults, "--baseline", "base.json", "--report", "with.html"])
    head, *rows = Table((tmp_path / "with.html").read_text("utf-8")).rows
    assert head[-1] == "since the baseline"
    assert {cells[0].replace(" ", ""): cells[-1] for cells in rows} == {
        "a.onnx": "3 gone",
        "b.onnx": "3 new",
        "c.onnx": "3 known",
    }
    CliRunner().invoke(main, [*names, *faults, "--report", "without.html"])
    head, *rows = Table((tmp_path / "without.html").read_text("utf-8")).rows
    assert head[-1] == "parameters"
    assert {len(cells) for cells in rows} == {len(head)}


def test_one_finding_that_is_gone_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build(tmp_path)
    CliRunner().invoke(main, ["faulty.onnx", "--select", "symmetric-init", "--write-baseline", "base.json"])
    (tmp_path / "repaired.onnx").rename(tmp_path / "faulty.onnx")
    result = CliRunner().invoke(main, ["faulty.onnx", "--select", "symmetric-init", "--baseline", "base.json"])
    said = " ".join(result.output.split())
    assert "1 entry of the baseline was not found again: write it anew with --write-baseline." in said


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pages_of_models_that_are_gone_go_too(tmp_path: Path) -> None:
    """Those that an earlier call wrote; what anybody else put there stays."""
    three(tmp_path)
    folder = tmp_path / "index-models"
    own = folder / "own.html"
    own.write_text(render_html(samples.faulty()))
    other = folder / "other.html"
    other.write_text((folder / "models-a.onnx.html").read_text("utf-8").replace("../index.html", "../elsewhere.html"))
    (folder / "notes.txt").write_text(
        '<meta name="generator" content="trainaudit "> <a href="../index.html">All models</a>'
    )
    (folder / "linked.html").symlink_to(folder / "models-a.onnx.html")
    (folder / "folder.html").mkdir()
    before = listed(folder)
    write_report([samples.run_of(samples.clean_audit(), samples.clean_audit("b.onnx"))], str(tmp_path / "index.html"))
    assert listed(folder) == sorted({*before, "b.onnx.html"} - {"models-a.onnx.html"})


def test_one_model_in_the_place_of_many_leaves_no_pages(tmp_path: Path) -> None:
    three(tmp_path)
    (tmp_path / "index-models" / "notes.txt").write_text("mine")
    three(tmp_path, "other.html")
    write_report([samples.faulty()], str(tmp_path / "index.html"))
    assert listed(tmp_path / "index-models") == ["notes.txt"]
    assert len(listed(tmp_path / "other-models")) == 2
    write_report([samples.faulty()], str(tmp_path / "other.html"))
    assert listed(tmp_path) == ["index-models", "index.html", "other.html"]


@pytest.mark.parametrize(
    ("command", "targets", "alone"),
    [
        ("trainaudit 'm/*.onnx' --loss bce --report all.html", ["m/*.onnx"], "trainaudit m/a.onnx --loss bce"),
        ("trainaudit m/a.onnx m/b.onnx --report=all.html -o x.json", ["m/a.onnx", "m/b.onnx"], "trainaudit m/a.onnx"),
        ("trainaudit probe --seed 1 a.onnx b.onnx", ["far/a.onnx", "far/b.onnx"], "trainaudit probe --seed 1 m/a.onnx"),
        ("trainaudit --write-baseline b.json -q", [], "trainaudit -q m/a.onnx"),
    ],
)
def test_a_page_of_one_model_names_the_command_for_it_alone(command: str, targets: list[str], alone: str) -> None:
    audits = samples.faulty_audit("m/a.onnx"), samples.clean_audit("m/b.onnx")
    run = replace(samples.run_of(*audits), command=command, settings={"targets": targets})
    ((path, text), *_, (_, index)) = index_files([run], "all.html")
    assert path == "all-models/m-a.onnx.html"
    assert f"<code>{alone} --report all-models/m-a.onnx.html</code>" in text
    assert command not in unescape(text)
    assert f"<code>{command}</code>" in unescape(index)


def test_a_record_of_one_model_keeps_its_command() -> None:
    ((_, text), *_) = index_files([samples.faulty(), samples.clean()], "all.html")
    assert f"<code>{samples.faulty().command}</code>" in text


def test_what_stood_in_the_baseline_is_not_passed_off_as_nothing() -> None:
    audit = replace(
        samples.clean_audit(), findings=(replace(samples.finding("linear-stack"), is_new=False),), gone_from_baseline=0
    )
    assert row(samples.run_of(audit), audit, "").verdict == "nothing new found"


def test_what_is_found_most_often() -> None:
    audits = [samples.faulty_audit("a"), samples.faulty_audit("b"), samples.clean_audit()]
    common = common_findings([samples.run_of(*audits)])
    assert [(item.rule, item.models) for item in common] == [
        ("zero-init-hidden", 2), ("linear-stack", 2), ("bias-before-batchnorm", 2)
    ]  # fmt: skip


def test_a_thousand_models(tmp_path: Path) -> None:
    """The page of all stays under a megabyte, and each model has its report."""
    audits: list[Audit] = [
        samples.clean_audit(f"models/family-{index % 7}/model-{index:04d}.onnx") for index in range(999)
    ]
    run: Run = samples.run_of(*audits, samples.faulty_audit())
    write_report([run], str(tmp_path / "index.html"))
    assert (tmp_path / "index.html").stat().st_size < 1_000_000
    assert len(list((tmp_path / "index-models").iterdir())) == 1_000


def test_the_worst_is_first_whatever_the_order() -> None:
    audits = [samples.clean_audit(), samples.faulty_audit()]
    run = samples.run_of(*audits)
    assert [item.worst for item in ranked(row(run, audit, "") for audit in audits)] == ["error", "clean"]


@given(st.lists(st.text(max_size=300), max_size=30))
def test_file_names_are_safe_and_unique(targets: list[str]) -> None:
    names = page_names(targets)
    assert len({name.lower() for name in names}) == len(targets)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.html", name)
        assert len(name) <= 120


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("models/a.onnx", "models-a.onnx.html"),
        ("../../etc/passwd", "etc-passwd.html"),
        ("con.onnx", "model-con.onnx.html"),
        ("…", "model.html"),
        ("hf:org/name", "hf-org-name.html"),
    ],
)
def test_file_names(target: str, name: str) -> None:
    assert page_names([target]) == [name]
