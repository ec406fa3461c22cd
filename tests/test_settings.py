"""Settings: discovery, every key, every refusal, and the command line on top."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from trainaudit.errors import TrainauditError
from trainaudit.judge.selection import Ignore
from trainaudit.measure.catalog import BY_NAME
from trainaudit.settings import (
    LOSSES,
    Settings,
    read_settings,
    settings_record,
    target_names,
    with_flags,
)
from trainaudit.targets import is_excluded


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def read(tmp_path: Path, text: str) -> Settings:
    write(tmp_path / "trainaudit.toml", text)
    return read_settings(tmp_path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(TrainauditError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_every_key(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        select = ["initialization", "output"]
        extend-select = "fresh-idea"
        ignore-rules = ["leaked-paths"]
        fail-on = "error"
        targets = ["models/*.onnx", "my_pkg.model:build"]
        exclude = ["third-party"]
        loss = "mse"
        rules = ["lint/rules"]
        output-format = "concise"
        report = ["out/report.html"]
        baseline = "baseline.json"
        [thresholds]
        "excessive-dropout.limit" = 0.9
        tiny-epsilon.single = 1
        [[ignore]]
        rule = "symmetric-init"
        layer = "stem.*"
        target = "models/teacher.onnx"
        reason = "a fixed averaging layer"
        until = 2027-03-01
        [[ignore]]
        rule = "output"
        reason = "embedding model"
        until = "2027-04-01"
        """,
    )
    assert settings == Settings(
        select=("initialization", "output"),
        extend_select=("fresh-idea",),
        ignore_rules=("leaked-paths",),
        ignores=(
            Ignore("symmetric-init", "a fixed averaging layer", "stem.*", "models/teacher.onnx", date(2027, 3, 1)),
            Ignore("output", "embedding model", until=date(2027, 4, 1)),
        ),
        fail_on="error",
        targets=("models/*.onnx", "my_pkg.model:build"),
        exclude=("third-party",),
        loss="mse",
        rules=(Path("lint/rules"),),
        thresholds={"excessive-dropout.limit": 0.9, "tiny-epsilon.single": 1},
        output_format="concise",
        reports=(Path("out/report.html"),),
        baseline=Path("baseline.json"),
        root=tmp_path,
        source=tmp_path / "trainaudit.toml",
    )


def test_the_closest_file_counts_and_nothing_is_merged(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.trainaudit]\nloss = "mse"\nfail-on = "error"\n')
    inner = tmp_path / "a" / "b"
    write(tmp_path / "a" / "pyproject.toml", "[tool.other]\ntrainaudit = 3\n")
    inner.mkdir()
    assert read_settings(inner).loss == "mse"
    write(tmp_path / "a" / ".trainaudit.toml", 'loss = "l1"\n')
    settings = read_settings(inner)
    assert (settings.loss, settings.fail_on) == ("l1", "warning")
    write(tmp_path / "a" / "trainaudit.toml", 'loss = "kl"\n')
    assert read_settings(inner).loss == "kl"
    assert read_settings(inner, isolated=True) == Settings()
    assert read_settings(inner, config=tmp_path / "pyproject.toml").loss == "mse"


def test_the_working_folder_is_where_discovery_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "trainaudit.toml", 'loss = "hinge"\n')
    monkeypatch.chdir(tmp_path)
    assert read_settings().loss == "hinge"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    write(
        tmp_path / "trainaudit.toml",
        'targets = ["m/*.onnx", "pkg.mod:f"]\nrules = ["r"]\nbaseline = "b.json"\nreport = ["/abs.html"]\n',
    )
    settings = read_settings(tmp_path / "deep")
    assert settings.targets == ("../m/*.onnx", "pkg.mod:f")
    assert settings.rules == (Path("../r"),)
    assert settings.baseline == Path("../b.json")
    assert settings.reports == (Path("/abs.html"),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('fail_on = "error"', '"fail_on" is not a key of the settings. Did you mean "fail-on"?'),
        ("zebra = 1", '"zebra" is not a key of the settings. Known keys: select,'),
        ("[tool.trainaudit]", "In trainaudit.toml they stand at the top"),
        ('fail-on = "eror"', 'fail-on is "eror", which is not known. Did you mean "error"?'),
        ('loss = "crossentropy"', 'Did you mean "cross-entropy"?'),
        ("loss = 3", 'loss is "3", which is not known.'),
        ('output-format = "jsn"', 'Did you mean "json"?'),
        ("select = 3", "select is not a list of texts."),
        ("select = [3]", "select is not a text."),
        ('baseline = ""', "baseline is not a text."),
        ('ignore = ["symmetric-init"]', "a list of rules not to run is ignore-rules."),
        ('[[ignore]]\nrule = "x"', "ignore no. 1 has no reason."),
        ('[[ignore]]\nrule = "x"\nreason = " "', "ignore no. 1 has no reason."),
        ('[[ignore]]\nreason = "x"', "ignore no. 1 has no rule."),
        (
            '[[ignore]]\nrule = "x"\nreason = "y"\n[[ignore]]\nrules = "x"',
            '"rules" is not a key of ignore no. 2. Did you mean "rule"?',
        ),
        ('[[ignore]]\nrule = "x"\nreason = "y"\nuntil = "soon"', "until is not a date."),
        ('[[ignore]]\nrule = "x"\nreason = "y"\nuntil = 2027-01-01T00:00:00', "until is not a date."),
        ('[[ignore]]\nrule = "x"\nreason = "y"\nlayer = 3', "ignore no. 1: layer is not a text."),
        ("thresholds = 3", "thresholds is not a table."),
        ('[thresholds]\n"a.b" = "x"', 'The threshold "a.b" is not a finite number.'),
        ('[thresholds]\n"a.b" = true', 'The threshold "a.b" is not a finite number.'),
        ('[thresholds]\n"a.b" = nan', 'The threshold "a.b" is not a finite number.'),
        ("[thresholds]\na.b.c = 1", 'The threshold "a.b" is not a finite number.'),
        ("select = [", "is not valid TOML"),
        ("a = " + "[" * 5_000, "is not valid TOML"),
        ('loss = "mse"\nloss = "l1"', "is not valid TOML"),
    ],
)
def test_refusals_name_the_file_the_key_and_what_to_do(text: str, sentence: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, text)
    assert sentence in message
    assert "trainaudit.toml" in message


@pytest.mark.parametrize(
    ("folder", "shown"),
    [(".", "trainaudit.toml: "), ("a/b", "../../trainaudit.toml: "), ("a/b/c/d", "trainaudit.toml: ")],
)
def test_refusals_name_the_file_as_seen_from_here(
    folder: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "trainaudit.toml", "loss = 3\n")
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / folder)
    with pytest.raises(TrainauditError) as caught:
        read_settings()
    assert caught.value.what.replace("\\", "/").startswith(shown)


def test_a_missing_or_foreign_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainauditError, match="There is no settings file"):
        read_settings(tmp_path, config=tmp_path / "none.toml")
    other = write(tmp_path / "pyproject.toml", "[project]\nname = 'x'\n")
    with pytest.raises(TrainauditError, match=r"has no \[tool.trainaudit\] table"):
        read_settings(tmp_path, config=other)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(TrainauditError, match="is not valid TOML"):
        read_settings(tmp_path, config=binary)


def test_flags_go_on_top() -> None:
    base = Settings(select=("output",), ignore_rules=("a",), loss="mse", rules=(Path("r"),), targets=("x.onnx",))
    assert with_flags(base) == base
    merged = with_flags(
        base,
        select=["structure"],
        extend_select=["b"],
        ignore=["c"],
        rule_folders=[Path("s")],
        loss="l1",
        fail_on="note",
        targets=["y.onnx"],
        output_format="json",
        reports=[Path("r.html")],
        baseline=Path("b.json"),
    )
    assert merged == Settings(
        select=("structure",),
        extend_select=("b",),
        ignore_rules=("a", "c"),
        rules=(Path("r"), Path("s")),
        loss="l1",
        fail_on="note",
        targets=("y.onnx",),
        output_format="json",
        reports=(Path("r.html"),),
        baseline=Path("b.json"),
    )
    with pytest.raises(TrainauditError, match='Did you mean "cross-entropy"'):
        with_flags(base, loss="cross_entropy")


def test_the_losses_are_those_of_the_catalog() -> None:
    assert tuple(LOSSES) == BY_NAME["model.loss"].words
    assert set(LOSSES.values()) == set(BY_NAME["model.loss_expects"].words)


def test_names_of_a_target_and_exclusion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(exclude=("models/third-party", "*.tmp.onnx"), root=tmp_path.parent)
    assert target_names("./m.onnx", settings) == ("m.onnx", f"{tmp_path.name}/m.onnx")
    here = Settings(exclude=settings.exclude, root=tmp_path)
    assert is_excluded("models/third-party/deep/m.onnx", here)
    assert is_excluded(str(tmp_path / "models/third-party/m.onnx"), here)
    assert is_excluded("x.tmp.onnx", here)
    assert not is_excluded("models/third-party-2/m.onnx", here)


def test_the_record_holds_no_absolute_path(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        'rules = ["/somewhere/private/rules"]\nbaseline = "/private/b.json"\n[[ignore]]\nrule = "x"\nreason = "y"\n',
    )
    record = settings_record(settings)
    assert str(tmp_path) not in str(record)
    assert "private" not in str(record)
    assert record["ignore"] == [{"rule": "x", "layer": "", "target": "", "reason": "y", "until": None}]
