"""Weights in an ONNX file: what is drawn, how it is stored, and that no other byte of the file is another one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.fix.file.models import (
    BRAIN,
    DOUBLE,
    FLOAT,
    HALF,
    model,
    notes,
    perceptron,
    run,
    saved,
    tensor,
    value,
    weights,
)
from trainaudit.changes import SCHEMES, Change
from trainaudit.errors import TrainauditError
from trainaudit.fix.file.applying import Plan, Wanted, apply, plan
from trainaudit.load.from_onnx import load_onnx


def changed(path: str, out: Path, *changes: Change | Wanted, unsafe: bool = False, seed: int = 0) -> Plan:
    return apply(path, load_onnx(path), changes, out, unsafe=unsafe, seed=seed)


WIDE = (400, 300, 10)
STD = {
    "kaiming_normal": math.sqrt(2 / 400), "kaiming_uniform": math.sqrt(2 / 400), "lecun_normal": math.sqrt(1 / 400),
    "xavier_normal": math.sqrt(2 / 700), "xavier_uniform": math.sqrt(2 / 700), "normal": 0.02, "zeros": 0.0, "ones": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("spelling", ["Gemm", "MatMul"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_has_its_moments(tmp_path: Path, scheme: str, spelling: str) -> None:
    path = saved(perceptron(WIDE, spelling=spelling), tmp_path / "net.onnx")
    made = changed(path, tmp_path / "fixed.onnx", Change("initialize", "fc0.weight", scheme))
    assert not made.refused
    new = weights(tmp_path / "fixed.onnx")["fc0.weight"]
    if scheme == "orthogonal":
        units = new if spelling == "Gemm" else new.T
        assert np.allclose(units @ units.T, np.eye(300), atol=1e-5)
        return
    assert new.std() == pytest.approx(STD[scheme], rel=0.02)
    assert new.mean() == pytest.approx(float(scheme == "ones"), abs=1e-3)
    if scheme.endswith("uniform"):
        assert np.abs(new).max() <= math.sqrt(3) * STD[scheme] * (1 + 1e-6)
    elif "normal" in scheme:
        kurtosis = ((new - new.mean()) ** 4).mean() / new.var() ** 2
        assert kurtosis == pytest.approx(3, abs=0.1)


def test_an_amount_is_the_gain_or_the_standard_deviation(tmp_path: Path) -> None:
    path = saved(perceptron(WIDE), tmp_path / "net.onnx")
    for scheme, amount, std in (
        ("kaiming_normal", 1.0, 0.05),
        ("normal", 0.3, 0.3),
        ("xavier_uniform", 5 / 3, 5 / 3 * math.sqrt(2 / 700)),
    ):
        changed(path, tmp_path / "fixed.onnx", Change("initialize", "fc0.weight", scheme, amount))
        assert weights(tmp_path / "fixed.onnx")["fc0.weight"].std() == pytest.approx(std, rel=0.02)


def test_a_convolution_counts_its_kernel_and_groups(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "c.weight"], ["y"], group=4, kernel_shape=[3, 3])
    net = model([node], {"c.weight": np.ones((512, 16, 3, 3))}, [value("x", 1, 64, 8, 8)], [value("y", 1, 512, 6, 6)])
    changed(
        saved(net, tmp_path / "net.onnx"), tmp_path / "fixed.onnx", Change("initialize", "c.weight", "kaiming_normal")
    )
    assert weights(tmp_path / "fixed.onnx")["c.weight"].std() == pytest.approx(math.sqrt(2 / (16 * 9)), rel=0.02)


def test_scale_and_set(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    before = weights(path)
    changed(path, tmp_path / "fixed.onnx", Change("scale", "fc0.weight", "", 0.25), Change("set", "fc1.bias", "", -1.5))
    after = weights(tmp_path / "fixed.onnx")
    assert np.array_equal(after["fc0.weight"], before["fc0.weight"] * 0.25)
    assert (after["fc1.bias"] == -1.5).all()
    assert all(np.array_equal(after[name], before[name]) for name in ("fc0.bias", "fc1.weight"))


def test_values_that_are_so_already_are_no_change(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    changed(path, tmp_path / "a.onnx", Change("set", "fc0.bias", "", 0.0))
    made = changed(str(tmp_path / "a.onnx"), tmp_path / "b.onnx", Change("set", "fc0.bias", "", 0.0))
    assert (made.made, made.refused) == ((), ())
    assert notes(tmp_path / "b.onnx") == notes(tmp_path / "a.onnx")


def test_the_seed_decides_what_is_drawn_and_stands_in_the_metadata(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    drawn = []
    for seed in (0, 0, 7):
        wanted = Wanted((Change("initialize", "fc0.weight", "kaiming_normal"),), "undersized-init")
        changed(path, tmp_path / "fixed.onnx", wanted, seed=seed)
        drawn.append(weights(tmp_path / "fixed.onnx")["fc0.weight"])
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert notes(tmp_path / "fixed.onnx") == ["initialize fc0.weight: kaiming_normal, seed 7 (undersized-init)"]


def test_a_file_that_is_fixed_again_keeps_its_notes(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    changed(path, tmp_path / "a.onnx", Change("set", "fc0.bias", "", 0.0))
    changed(str(tmp_path / "a.onnx"), tmp_path / "b.onnx", Change("set", "fc1.bias", "", 0.0))
    assert notes(tmp_path / "b.onnx") == ["set fc0.bias: 0", "set fc1.bias: 0"]
    assert "/" not in "".join(notes(tmp_path / "b.onnx"))


@pytest.mark.parametrize("storage", ["raw", "typed"])
@pytest.mark.parametrize("kind", [FLOAT, HALF, BRAIN, DOUBLE])
def test_every_element_type_and_field(tmp_path: Path, kind: int, storage: str) -> None:
    path = saved(perceptron(WIDE, kind=kind, storage=storage), tmp_path / "net.onnx")
    made = changed(
        path, tmp_path / "fixed.onnx", Change("initialize", "fc0.weight", "kaiming_normal"), Change("scale", "fc1.weight", "", 0.5)
    )  # fmt: skip
    assert not made.refused
    before, after = weights(path), weights(tmp_path / "fixed.onnx")
    assert after["fc0.weight"].std() == pytest.approx(STD["kaiming_normal"], rel=0.02)
    assert np.array_equal(after["fc1.weight"], before["fc1.weight"] * 0.5)
    types = {item.name: item.data_type for item in onnx.load(tmp_path / "fixed.onnx").graph.initializer}
    assert set(types.values()) == {kind}
    onnx.checker.check_model(str(tmp_path / "fixed.onnx"))


def test_values_that_the_element_type_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = saved(perceptron(kind=HALF), tmp_path / "net.onnx")
    made = changed(path, tmp_path / "fixed.onnx", Change("scale", "fc0.weight", "", 1e6))
    assert "float16 cannot hold" in made.refused[0].reason
    assert not (tmp_path / "fixed.onnx").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=5), spelling=st.sampled_from(["Gemm", "MatMul"]),
    kind=st.sampled_from([FLOAT, HALF, BRAIN, DOUBLE]), place=st.integers(0, 3), role=st.sampled_from(["weight", "bias"]), data=st.data(),
)  # fmt: skip
def test_no_other_byte_changes(
    tmp_path: Path, widths: list[int], spelling: str, kind: int, place: int, role: str, data: st.DataObject
) -> None:
    """The new file is the old one with other bytes between two places, those of one tensor's values, and with metadata at its end."""
    name = f"fc{place % (len(widths) - 1)}.{role}"
    net = perceptron(widths, spelling=spelling, kind=kind, seed=data.draw(st.integers(0, 9)))
    # fields that no version of ONNX knows, in the model, in the graph and in a node
    old = net.SerializeToString() + b"\xaa\x3f\x03new"
    path, out = tmp_path / "net.onnx", tmp_path / "fixed.onnx"
    path.write_bytes(old)
    raw = next(item.raw_data for item in net.graph.initializer if item.name == name)
    assert not changed(str(path), out, Change("set", name, "", 0.5)).refused
    new = out.read_bytes()
    place = next(at for at in _occurrences(old, raw) if old[:at] == new[:at])
    end = place + len(raw)
    assert new[end : len(old)] == old[end:]
    note = f"set {name}: 0.5".encode()
    suffix = new[len(old) :]
    assert suffix.endswith(note)
    assert len(suffix) == len(note) + len(b"trainaudit.fix.1") + 6
    stored = {FLOAT: np.float32, DOUBLE: np.float64, HALF: np.float16}.get(kind)
    values = np.frombuffer(new[place:end], stored) if stored else np.frombuffer(new[place:end], np.uint16)
    assert set(values.tolist()) == {0.5 if stored else 0x3F00}


def _occurrences(content: bytes, part: bytes) -> list[int]:
    return [at for at in range(len(content) - len(part) + 1) if content[at : at + len(part)] == part]


def test_fields_that_no_version_of_onnx_knows_survive(tmp_path: Path) -> None:
    """In the tensor that is changed, and in the graph around it."""
    net = perceptron()
    unknown = b"\xaa\x3f\x03abc"
    item = onnx.TensorProto.FromString(net.graph.initializer[0].SerializeToString() + unknown)
    net.graph.initializer[0].CopyFrom(item)
    path = saved(net, tmp_path / "net.onnx")
    changed(path, tmp_path / "fixed.onnx", Change("initialize", "fc0.weight", "lecun_normal"))
    assert unknown in (tmp_path / "fixed.onnx").read_bytes()


def test_a_graph_in_several_pieces(tmp_path: Path) -> None:
    """Protobuf allows a message to be given in parts, which are one."""
    net = perceptron()
    first, second = onnx.ModelProto(), onnx.ModelProto()
    first.CopyFrom(net)
    del first.graph.initializer[:]
    second.graph.initializer.extend(net.graph.initializer)
    path = tmp_path / "net.onnx"
    path.write_bytes(first.SerializeToString() + second.SerializeToString())
    before = run(path)[0]
    changed(
        str(path), tmp_path / "fixed.onnx", Change("scale", "fc1.weight", "", 1.0), Change("scale", "fc1.bias", "", 1.0)
    )
    assert np.array_equal(run(tmp_path / "fixed.onnx")[0], before)


def test_a_weight_in_a_constant_node(tmp_path: Path) -> None:
    constant = numpy_helper.from_array(np.ones((4, 4), np.float32))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=constant), helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["y"]),
    ]  # fmt: skip
    path = saved(model(nodes, {}, [value("x", "N", 4)], [value("y", "N", 4)]), tmp_path / "net.onnx")
    assert not changed(path, tmp_path / "fixed.onnx", Change("initialize", "w", "kaiming_normal")).refused
    run(tmp_path / "fixed.onnx")
    assert weights(tmp_path / "fixed.onnx")["w"].std() > 0.2


def test_equal_tensors_that_are_stored_once_are_parted(tmp_path: Path) -> None:
    """torch's exporter stores equal tensors once and gives the others' names by Identity."""
    nodes = [
        helper.make_node("Identity", ["b.weight"], ["a.weight"]),
        helper.make_node("MatMul", ["x", "a.weight"], ["h"], name="a"), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b.weight"], ["y"], name="b"),
    ]  # fmt: skip
    values = np.random.default_rng(0).normal(size=(4, 4))
    path = saved(model(nodes, {"b.weight": values}, [value("x", "N", 4)], [value("y", "N", 4)]), tmp_path / "net.onnx")
    for name, other in (("a.weight", "b.weight"), ("b.weight", "a.weight")):
        assert not changed(path, tmp_path / "fixed.onnx", Change("initialize", name, "kaiming_normal")).refused
        after = weights(tmp_path / "fixed.onnx")
        assert not np.allclose(after[name], values)
        assert np.allclose(after[other], values)
        run(tmp_path / "fixed.onnx")


def test_a_tied_weight_is_changed_for_all_its_layers_and_that_is_said(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="a"), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"], name="b"),
    ]  # fmt: skip
    path = saved(model(nodes, {"w": np.eye(4)}, [value("x", "N", 4)], [value("y", "N", 4)]), tmp_path / "net.onnx")
    made = changed(path, tmp_path / "fixed.onnx", Change("initialize", "w", "normal"))
    assert len(made.made[0].layers) == 2
    assert "shared by" in made.made[0].line


def test_quantized_shared_and_absent_weights_are_refused_with_the_reason(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"], name="a")
    ]  # fmt: skip
    stored = [numpy_helper.from_array(np.ones((4, 4), np.int8), "q"), tensor("s", np.asarray(0.1))]
    path = saved(model(nodes, stored, [value("x", "N", 4)], [value("y", "N", 4)]), tmp_path / "net.onnx")
    name = next(name for name, item in load_onnx(path).parameters.items() if item.quantized)
    reasons = [
        refused.reason
        for refused in changed(
            path, tmp_path / "fixed.onnx", Change("initialize", name, "normal"), Change("scale", "nothing", "", 2.0),
            Change("output-bias", "a"), Change("learning-rate", "", "", 0.1),
        ).refused
    ]  # fmt: skip
    assert "is quantized" in reasons[0]
    assert "holds no parameter nothing" in reasons[1]
    assert "data" in reasons[2]
    assert "training" in reasons[3]
    assert not (tmp_path / "fixed.onnx").exists()


def test_a_weight_that_the_graph_scales_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["v", "g"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"], name="a")]
    net = model(
        nodes, {"v": np.ones((64, 64)), "g": np.full((1, 64), 0.3)}, [value("x", "N", 64)], [value("y", "N", 64)]
    )
    path = saved(net, tmp_path / "net.onnx")
    name = next(name for name, item in load_onnx(path).parameters.items() if item.role == "weight")
    assert changed(path, tmp_path / "fixed.onnx", Change("initialize", name, "normal")).refused


def test_changes_that_belong_together_are_made_all_or_not_at_all(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    group = Wanted((Change("set", "fc0.bias", "", 0.0), Change("scale", "nothing", "", 2.0)), "some-rule")
    made = changed(path, tmp_path / "fixed.onnx", group, Change("set", "fc1.bias", "", 0.0))
    assert [refused.wanted for refused in made.refused] == [group]
    after, before = weights(tmp_path / "fixed.onnx"), weights(path)
    assert np.array_equal(after["fc0.bias"], before["fc0.bias"])
    assert not after["fc1.bias"].any()


def test_two_findings_that_want_the_same_are_one_and_two_that_differ_are_not_both_made(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    first, second = Change("initialize", "fc0.weight", "lecun_normal"), Change("initialize", "fc0.weight", "zeros")
    planned = plan(path, load_onnx(path), [Wanted((first,), "a"), Wanted((first,), "b"), Wanted((second,), "c")])
    assert [group.rule for group in planned.taken] == ["a", "b"]
    assert len(planned.made) == 1
    assert "changed already for a" in planned.refused[0].reason


def lstm(path: Path, hidden: int = 6) -> str:
    random = np.random.default_rng(0)
    stored = {
        "W": random.normal(size=(2, 4 * hidden, 3)),
        "R": random.normal(size=(2, 4 * hidden, hidden)),
        "B": random.normal(size=(2, 8 * hidden)),
    }
    node = helper.make_node(
        "LSTM", ["x", "W", "R", "B"], ["y"], name="lstm", hidden_size=hidden, direction="bidirectional"
    )
    return saved(model([node], stored, [value("x", 5, "N", 3)], [value("y", 5, 2, "N", hidden)]), path)


def test_the_forget_gate_of_an_lstm(tmp_path: Path) -> None:
    path = lstm(tmp_path / "net.onnx")
    name = next(layer.name for layer in load_onnx(path).layers if layer.op == "lstm")
    assert not changed(path, tmp_path / "fixed.onnx", Change("forget-gate-bias", name, "", 1.0)).refused
    before, after = weights(path)["B"].reshape(2, 8, 6), weights(tmp_path / "fixed.onnx")["B"].reshape(2, 8, 6)
    assert (after[:, 2] == 1).all()  # ONNX orders the gates i, o, f, c
    assert (after[:, 6] == 0).all()
    kept = [0, 1, 3, 4, 5, 7]
    assert np.array_equal(after[:, kept], before[:, kept])
    run(tmp_path / "fixed.onnx")


def test_orthogonal_recurrent_weights_are_so_gate_by_gate(tmp_path: Path) -> None:
    path = lstm(tmp_path / "net.onnx")
    name = next(name for name, item in load_onnx(path).parameters.items() if item.role == "recurrent_weight")
    assert not changed(path, tmp_path / "fixed.onnx", Change("initialize", name, "orthogonal")).refused
    gates = weights(tmp_path / "fixed.onnx")["R"].reshape(8, 6, 6)
    assert np.allclose(gates @ gates.transpose(0, 2, 1), np.eye(6), atol=1e-5)


# --- external data


def hashes(folder: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in folder.iterdir()}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_external_data(tmp_path: Path, elsewhere: bool) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "other").mkdir()
    path = saved(perceptron(WIDE), tmp_path / "given/net.onnx", external=True)
    before, theirs, result = weights(path), hashes(tmp_path / "given"), run(path)[0]
    out = tmp_path / ("other" if elsewhere else "given") / "fixed.onnx"
    assert not changed(
        path, out, Change("initialize", "fc0.weight", "kaiming_normal"), Change("scale", "fc1.bias", "", 1.0)
    ).refused
    after = weights(out)
    assert after["fc0.weight"].std() == pytest.approx(STD["kaiming_normal"], rel=0.02)
    assert all(np.array_equal(after[name], before[name]) for name in before if name != "fc0.weight")
    assert run(out)[0].shape == result.shape
    now = hashes(tmp_path / "given")
    assert {name: now[name] for name in theirs} == theirs
    places = {
        item.name: item.external_data[0].value for item in onnx.load(out, load_external_data=False).graph.initializer
    }
    assert places["fc0.weight"] == "fixed.onnx.data"
    assert places["fc1.weight"] == "net.onnx.data"
    assert sorted(item.name for item in out.parent.iterdir() if "fixed" in item.name) == [
        "fixed.onnx",
        "fixed.onnx.data",
    ]
    # again, over the files that are there now
    assert not changed(path, out, Change("initialize", "fc0.weight", "zeros")).refused
    assert not weights(out)["fc0.weight"].any()


def test_data_that_the_model_reads_are_never_written_to(tmp_path: Path) -> None:
    net = perceptron()
    onnx.save(net, tmp_path / "net.onnx", save_as_external_data=True, location="fixed.onnx.data", size_threshold=0)
    theirs = (tmp_path / "fixed.onnx.data").read_bytes()
    path = str(tmp_path / "net.onnx")
    changed(path, tmp_path / "fixed.onnx", Change("set", "fc0.weight", "", 0.0))
    assert (tmp_path / "fixed.onnx.data").read_bytes() == theirs
    assert not weights(tmp_path / "fixed.onnx")["fc0.weight"].any()
    with pytest.raises(TrainauditError, match="stay as they are"):
        changed(path, tmp_path / "fixed.onnx.data", Change("set", "fc0.weight", "", 0.0))
    assert (tmp_path / "fixed.onnx.data").read_bytes() == theirs


# --- where the file goes


def test_the_model_itself_is_not_overwritten(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    before = Path(path).read_bytes()
    (tmp_path / "link.onnx").symlink_to(path)
    for out in ("net.onnx", "link.onnx", "../" + tmp_path.name + "/net.onnx"):
        with pytest.raises(TrainauditError, match="stay as they are"):
            changed(path, tmp_path / out, Change("set", "fc0.bias", "", 0.0))
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("out", ["missing/fixed.onnx", ".", "/proc/fixed.onnx"])
def test_places_that_take_no_file(tmp_path: Path, out: str) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    with pytest.raises(TrainauditError) as caught:
        changed(path, tmp_path / out, Change("set", "fc0.bias", "", 0.0))
    assert str(caught.value).count("\n") == 0
    assert [item.name for item in tmp_path.iterdir()] == ["net.onnx"]


def test_nothing_is_left_behind_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(perceptron(WIDE), tmp_path / "net.onnx", external=True)
    before = hashes(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainaudit.fix.file.saving._write", full)
    with pytest.raises(TrainauditError, match="no space left on device"):
        changed(path, tmp_path / "fixed.onnx", Change("set", "fc0.weight", "", 0.0))
    assert hashes(tmp_path) == before


def test_a_file_that_became_another_one_is_refused(tmp_path: Path) -> None:
    path = saved(perceptron(), tmp_path / "net.onnx")
    graph = load_onnx(path)
    Path(path).write_bytes(b"\x3a\xff\xff\xff\x7f" + b"junk" * 10)
    with pytest.raises(TrainauditError, match="damaged"):
        apply(path, graph, [Change("set", "fc0.bias", "", 0.0)], tmp_path / "fixed.onnx")


def test_files_of_the_oldest_versions_list_new_tensors_among_the_inputs(tmp_path: Path) -> None:
    path = saved(perceptron(ir_version=3, opset=8), tmp_path / "net.onnx")
    layer = next(layer.name for layer in load_onnx(path).layers if layer.op == "relu")
    made = changed(path, tmp_path / "fixed.onnx", Change("scale-branch", layer, "", 0.5), unsafe=True)
    assert not made.refused
    onnx.checker.check_model(str(tmp_path / "fixed.onnx"))
    loaded = onnx.load(tmp_path / "fixed.onnx")
    assert {item.name for item in loaded.graph.initializer} <= {item.name for item in loaded.graph.input}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_hostile_file_is_refused_or_fixed(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes turned anywhere: one sentence, or a file that is read again."""
    content = bytearray(perceptron((3, 4, 2)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    said = ""
    try:
        graph = load_onnx(str(path))
        changes = [Change("initialize", name, "normal") for name in graph.parameters]
        changes += [Change("swap-activation", layer.name, "gelu") for layer in graph.layers]
        changes += [
            Change(kind, layer.name, "", 0.5) for layer in graph.layers for kind in ("drop-bias", "scale-branch")
        ]
        apply(str(path), graph, changes, tmp_path / "fixed.onnx", unsafe=True)
    except TrainauditError as error:
        said = str(error)
    assert "\n" not in said
