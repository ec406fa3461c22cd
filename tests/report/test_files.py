"""Reports on disk: whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.report import samples
from trainaudit.errors import TrainauditError
from trainaudit.report.files import write_report, write_whole
from trainaudit.report.formats import FORMATS, KINDS, render, report_kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/report.html", "html"),
        ("REPORT.PDF", "pdf"),
        ("a.json", "json"),
        ("a.sarif", "sarif"),
        ("a.sarif.json", "sarif"),
        ("summary.md", "markdown"),
        ("junit.xml", "junit"),
    ],
)
def test_the_suffix_names_the_kind(path: str, kind: str) -> None:
    assert report_kind(path) == kind


@pytest.mark.parametrize("path", ["report", "report.docx", "-", ".html.bak", "report.txt"])
def test_other_names_are_refused(path: str) -> None:
    with pytest.raises(TrainauditError, match=r"End the name in one of \.html") as caught:
        report_kind(path)
    assert caught.value.slug == "unknown-report-kind"


@pytest.mark.parametrize("suffix", [suffix for suffix in KINDS if suffix != ".pdf"])
def test_every_kind_is_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"report{suffix}"
    write_report([samples.faulty()], str(path))
    assert path.read_text("utf-8") == render(samples.faulty(), KINDS[suffix])
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(TrainauditError, match="no output format 'yaml'"):
        render(samples.faulty(), "yaml")
    assert json.loads(render(samples.faulty(), FORMATS[2]))["format"] == 1


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_whole(str(path), "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(TrainauditError, match="could not be written: no space left on device") as caught:
        write_whole(str(path), "new")
    assert caught.value.slug == "cannot-write"
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_whole(str(tmp_path / "a.txt"), "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(TrainauditError, match="is a folder, not a file"):
        write_whole(str(tmp_path / "report.html"), "x")


@pytest.mark.skipif(os.name == "nt", reason="paths of POSIX")
def test_no_folder_is_made_under_the_root() -> None:
    path = "/trainaudit-no-such-folder/deep/report.html"
    with pytest.raises(TrainauditError, match="there is no folder /trainaudit-no-such-folder") as caught:
        write_whole(path, "x")
    assert caught.value.slug == "cannot-write"
    assert not Path(path).parents[1].exists()


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(TrainauditError, match="could not be written"):
        write_whole(str(tmp_path / "a" / "report.html"), "x")


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_links_and_long_names_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / f"{'a' * 250}.md", tmp_path / "link.md"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(str(link), "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    mask = os.umask(0)
    os.umask(mask)
    write_whole(str(tmp_path / "fresh.md"), "x")
    assert (tmp_path / "fresh.md").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_stream_is_written_to(tmp_path: Path) -> None:
    write_whole(os.devnull, "x")
    assert not Path(os.devnull).is_file()


def test_lone_surrogates_are_written_visibly(tmp_path: Path) -> None:
    write_whole(str(tmp_path / "a"), "a\ud800")
    assert (tmp_path / "a").read_bytes() == b"a\\ud800"
