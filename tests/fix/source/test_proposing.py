"""Changes in the user's Python: what the diff says, what stays as it was, and what the module is that the changed code builds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("libcst")

from trainaudit.changes import Change  # noqa: E402
from trainaudit.errors import TrainauditError  # noqa: E402
from trainaudit.fix.file.applying import Wanted  # noqa: E402
from trainaudit.fix.source.proposing import Proposal, propose, write_patches  # noqa: E402
from trainaudit.load.opening import open_target  # noqa: E402
from trainaudit.load.target import Target, parse_inputs  # noqa: E402
from trainaudit.load.torch.importing import attribute_of, import_target  # noqa: E402
from trainaudit.load.torch.resolving import resolve  # noqa: E402

NET = '''"""A net."""  # keep me
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.fc1 = nn.Linear(6, width)   # first
        self.act = nn.Sigmoid()
        self.body = nn.Sequential(
            nn.Linear(width, width),  # in the body
            nn.Tanh(),
            nn.Dropout(0.9),
            nn.BatchNorm1d(width, eps=1e-12),
            nn.Linear(width, 4),
            nn.Softmax(dim=1),
        )

    def forward(self, x):
        x = self.act(self.fc1(x))
        x = F.relu(torch.tanh(x) + 1)
        return F.softmax(self.body(x), dim=1)
'''

FACTORY = """from collections import OrderedDict
import torch.nn as nn


def build_model(seed=0):
    model = nn.Sequential(OrderedDict([
        ('dense1', nn.Linear(6, 8, bias=True)),
        ('act1', nn.Sigmoid()),
        ('dense2', nn.Linear(8, 3)),
        ('act2', nn.Softmax(dim=1)),
    ]))
    return model.train()
"""

BLOCKS = """import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.act = nn.Sigmoid()

    def forward(self, x):
        return x + self.act(self.fc(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        for name in ("left", "right"):
            setattr(self, name, nn.Linear(6, 6))
        if True:
            self.maybe = nn.ReLU()

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.maybe(self.left(x) + self.right(x))
"""


def proposal(tmp_path: Path, code: str, name: str, *wanted: Any, unsafe: bool = True, spec: str = "") -> Proposal:
    """For `net.py:name`, whose working directory is tmp_path."""
    target = Target(f"{tmp_path / 'net.py'}:{name}", inputs=parse_inputs(["float32[5,6]"]))
    (tmp_path / "net.py").write_text(code)
    sys.modules.pop("net", None)
    graph = open_target(target)
    model = resolve(target).model
    factory = attribute_of(import_target(str(tmp_path / "net.py"), ""), name, "net.py")
    groups = [item if isinstance(item, Wanted) else Wanted((item,)) for item in wanted]
    return propose(model, factory, graph, groups, tmp_path, spec=spec, unsafe=unsafe)


def changed_lines(done: Proposal) -> list[str]:
    """Lines of the diff that go and come."""
    return [line for line in done.diff.splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]


def built(done: Proposal, name: str) -> Any:
    """The module that the changed code makes."""
    (patch,) = done.patches
    scope: dict[str, Any] = {"__name__": "fixed"}
    exec(compile(patch.after, "fixed.py", "exec"), scope)
    torch.manual_seed(0)
    return scope[name]()


def layer(graph_name: str, kind: str, to: str = "", amount: float | None = None) -> Change:
    return Change(kind, graph_name, to, amount)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_constructor_is_exchanged(tmp_path: Path) -> None:
    done = proposal(
        tmp_path, NET, "Net", Change("swap-activation", "act", "relu"), Change("swap-activation", "body.1", "gelu")
    )
    assert not done.unplaced
    assert changed_lines(done) == [
        "-        self.act = nn.Sigmoid()", "+        self.act = nn.ReLU()", "-            nn.Tanh(),", "+            nn.GELU(),"
    ]  # fmt: skip
    module = built(done, "Net")
    assert isinstance(module.act, torch.nn.ReLU)
    assert isinstance(module.body[1], torch.nn.GELU)
    assert done.diff.startswith("--- a/net.py\n+++ b/net.py\n")


RECURRENT = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(6, 8, batch_first=True)

    def forward(self, x):
        return self.rnn(x[None])[0][:, -1]
"""


def test_a_recurrent_module_is_one_layer_whatever_is_inside(tmp_path: Path) -> None:
    done = proposal(tmp_path, RECURRENT, "Net", Change("forget-gate-bias", "rnn", "", 1.0))
    assert not done.unplaced
    assert any("bias_ih_l0[8:16] = 1.0" in line for line in changed_lines(done))


def test_the_diff_can_be_applied(tmp_path: Path) -> None:
    done = proposal(tmp_path, NET, "Net", Change("swap-activation", "act", "relu"))
    ran = subprocess.run(["patch", "-p1"], input=done.diff, text=True, cwd=tmp_path, capture_output=True)
    assert ran.returncode == 0, ran.stdout
    assert (tmp_path / "net.py").read_bytes() == done.patches[0].after


def test_a_bias_is_left_out(tmp_path: Path) -> None:
    done = proposal(tmp_path, NET, "Net", Change("drop-bias", "fc1"))
    assert changed_lines(done)[1] == "+        self.fc1 = nn.Linear(6, width, bias=False)   # first"
    assert built(done, "Net").fc1.bias is None
    done = proposal(tmp_path, FACTORY, "build_model", Change("drop-bias", "dense1"))
    assert "+        ('dense1', nn.Linear(6, 8, bias=False))," in done.diff
    used = FACTORY.replace("    return", "    nn.init.zeros_(model.dense1.bias)\n    return")
    assert "used elsewhere" in proposal(tmp_path, used, "build_model", Change("drop-bias", "dense1")).unplaced[0].reason


def test_a_last_element_goes_and_one_that_others_follow_becomes_an_identity(tmp_path: Path) -> None:
    done = proposal(tmp_path, NET, "Net", Change("drop-layer", "body.5"), Change("drop-layer", "body.1"))
    assert changed_lines(done) == [
        "-            nn.Tanh(),",
        "+            nn.Identity(),",
        "-            nn.Softmax(dim=1),",
    ]
    assert len(built(done, "Net").body) == 5
    done = proposal(tmp_path, FACTORY, "build_model", Change("drop-layer", "act1"))
    assert changed_lines(done) == ["-        ('act1', nn.Sigmoid()),"]
    assert [name for name, _ in built(done, "build_model").named_children()] == ["dense1", "dense2", "act2"]


def names_of(tmp_path: Path, code: str, name: str, op: str) -> list[str]:
    target = Target(f"{tmp_path / 'net.py'}:{name}", inputs=parse_inputs(["float32[5,6]"]))
    (tmp_path / "net.py").write_text(code)
    return [item.name for item in open_target(target).layers if item.op == op]


def test_calls_in_forward(tmp_path: Path) -> None:
    softmax = names_of(tmp_path, NET, "Net", "softmax")[-1]
    relu = names_of(tmp_path, NET, "Net", "relu")[0]
    done = proposal(tmp_path, NET, "Net", Change("drop-layer", softmax), Change("swap-activation", relu, "silu"))
    assert not done.unplaced
    assert changed_lines(done) == [
        "-        x = F.relu(torch.tanh(x) + 1)", "-        return F.softmax(self.body(x), dim=1)",
        "+        x = F.silu(torch.tanh(x) + 1)", "+        return self.body(x)",
    ]  # fmt: skip
    built(done, "Net")(torch.randn(5, 6))


def test_calls_keep_their_parentheses_and_lines_that_moved_are_found(tmp_path: Path) -> None:
    relu = names_of(tmp_path, NET, "Net", "relu")[0]
    init = Change("initialize", "fc1.weight", "orthogonal")
    done = proposal(tmp_path, NET, "Net", init, Change("drop-layer", relu))
    assert "+        x = (torch.tanh(x) + 1)" in done.diff
    assert not done.unplaced


@pytest.mark.parametrize(
    ("scheme", "amount", "code"),
    [
        ("kaiming_normal", None, 'nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="relu")'),
        ("kaiming_uniform", 1.4142135, 'nn.init.kaiming_uniform_(self.fc1.weight, nonlinearity="relu")'),
        ("lecun_normal", None, 'nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="linear")'),
        ("xavier_uniform", 1.6666666, "nn.init.xavier_uniform_(self.fc1.weight, gain=1.667)"),
        ("orthogonal", None, "nn.init.orthogonal_(self.fc1.weight)"),
        ("normal", 0.1, "nn.init.normal_(self.fc1.weight, std=0.1)"),
        ("kaiming_normal", 1.0, "nn.init.normal_(self.fc1.weight, std=1 / 6 ** 0.5)"),
        ("zeros", None, "nn.init.zeros_(self.fc1.weight)"),
    ],
)
def test_an_initializer_stands_at_the_end_of_init(tmp_path: Path, scheme: str, amount: float | None, code: str) -> None:
    done = proposal(tmp_path, NET, "Net", Change("initialize", "fc1.weight", scheme, amount), unsafe=False)
    assert changed_lines(done) == [f"+        {code}"]
    after = done.patches[0].after.decode()
    assert after.index("self.body") < after.index(code) < after.index("def forward")
    built(done, "Net")


def test_the_weights_of_the_changed_code_have_the_scheme(tmp_path: Path) -> None:
    wide = NET.replace("width: int = 8", "width: int = 2000")
    done = proposal(
        tmp_path,
        wide,
        "Net",
        Change("initialize", "fc1.weight", "kaiming_normal", 1.0),
        Change("set", "fc1.bias", "", 0.5),
    )
    module = built(done, "Net")
    assert float(module.fc1.weight.detach().std()) == pytest.approx(6**-0.5, rel=0.03)
    assert bool((module.fc1.bias == 0.5).all())


def test_what_is_initialized_again_afterwards_is_not_certain(tmp_path: Path) -> None:
    drawn = [Change("initialize", f"blocks.{place}.fc.weight", "orthogonal") for place in range(3)]
    again = BLOCKS.replace("        if True:\n", "        self.apply(print)\n        if True:\n")
    assert "Net.__init__ initializes it once more" in proposal(tmp_path, again, "Net", *drawn).unplaced[0].reason
    built_by = NET + "\n\ndef build():\n    net = Net()\n    nn.init.zeros_(net.fc1.weight)\n    return net\n"
    done = proposal(tmp_path, built_by, "build", Change("initialize", "fc1.weight", "orthogonal"))
    assert "build initializes it once more" in done.unplaced[0].reason
    own = NET.replace("        self.act =", "        self.apply(print)\n        self.act =")
    assert not proposal(tmp_path, own, "Net", Change("initialize", "fc1.weight", "orthogonal")).unplaced


def test_an_initializer_of_a_factory_stands_before_its_return(tmp_path: Path) -> None:
    done = proposal(tmp_path, FACTORY, "build_model", Change("initialize", "dense2.weight", "zeros"), unsafe=False)
    assert changed_lines(done) == ["+    nn.init.zeros_(model.dense2.weight)"]
    assert not built(done, "build_model").dense2.weight.any()


def test_elements_are_put_into_a_sequential(tmp_path: Path) -> None:
    done = proposal(
        tmp_path,
        FACTORY,
        "build_model",
        Change("insert-normalization", "dense1", "batch_norm"),
        Change("insert-activation", "dense2", "relu"),
    )
    assert not done.unplaced
    assert [type(item).__name__ for item in built(done, "build_model")] == [
        "Linear",
        "BatchNorm1d",
        "Sigmoid",
        "Linear",
        "ReLU",
        "Softmax",
    ]
    assert "+        ('dense1_batchnorm1d', nn.BatchNorm1d(8))," in done.diff
    done = proposal(tmp_path, NET, "Net", Change("insert-normalization", "body.0", "layer_norm"))
    assert [type(item).__name__ for item in built(done, "Net").body][:3] == ["Linear", "LayerNorm", "Tanh"]
    assert changed_lines(done) == ["+            nn.LayerNorm(8),"]


def test_a_dropout_moves_and_arguments_change(tmp_path: Path) -> None:
    done = proposal(tmp_path, NET, "Net", Change("move-dropout", "body.2"))
    assert [type(item).__name__ for item in built(done, "Net").body][2:4] == ["BatchNorm1d", "Dropout"]
    done = proposal(
        tmp_path, NET, "Net", Change("dropout-rate", "body.2", "", 0.5), Change("epsilon", "body.3", "", 1e-5)
    )
    assert changed_lines(done) == [
        "-            nn.Dropout(0.9),", "-            nn.BatchNorm1d(width, eps=1e-12),", "+            nn.Dropout(0.5),",
        "+            nn.BatchNorm1d(width, eps=1e-05),",
    ]  # fmt: skip


def test_a_class_that_is_used_several_times_is_changed_only_where_all_are_meant(tmp_path: Path) -> None:
    swaps = [Change("swap-activation", f"blocks.{place}.act", "relu") for place in range(3)]
    done = proposal(tmp_path, BLOCKS, "Net", *swaps)
    assert not done.unplaced
    assert changed_lines(done) == ["-        self.act = nn.Sigmoid()", "+        self.act = nn.ReLU()"]
    done = proposal(tmp_path, BLOCKS, "Net", *swaps[:2])
    assert not done.patches
    assert "blocks.2.act, which is not meant" in done.unplaced[0].reason
    drawn = [Change("initialize", f"blocks.{place}.fc.weight", "orthogonal") for place in range(3)]
    assert changed_lines(proposal(tmp_path, BLOCKS, "Net", *drawn)) == ["+        nn.init.orthogonal_(self.fc.weight)"]


def test_what_is_made_in_a_loop_or_a_branch_is_not_certain(tmp_path: Path) -> None:
    done = proposal(
        tmp_path,
        BLOCKS,
        "Net",
        Change("initialize", "left.weight", "orthogonal"),
        Change("swap-activation", "maybe", "gelu"),
    )
    assert not done.patches
    assert len(done.unplaced) == 2
    assert "loop or a branch" in done.unplaced[1].reason


def test_groups_are_made_whole_or_not_at_all(tmp_path: Path) -> None:
    group = Wanted((Change("swap-activation", "act", "relu"), Change("loss", "", "mse")))
    done = proposal(tmp_path, NET, "Net", group, Change("swap-activation", "act", "gelu"))
    assert [item.wanted for item in done.unplaced] == [group]
    assert changed_lines(done)[1] == "+        self.act = nn.GELU()"


def test_without_leave_the_architecture_stays(tmp_path: Path) -> None:
    done = proposal(tmp_path, NET, "Net", Change("swap-activation", "act", "relu"), unsafe=False)
    assert "--unsafe" in done.unplaced[0].reason


def test_the_learning_rate_in_a_spec(tmp_path: Path) -> None:
    code = FACTORY + "\n\ndef make_optimizer(model):\n    return SGD(model.parameters(), lr=0.5)  # too high\n"
    done = proposal(tmp_path, code, "build_model", Change("learning-rate", "", "", 0.01), spec=str(tmp_path / "net.py"))
    assert changed_lines(done)[1] == "+    return SGD(model.parameters(), lr=0.01)  # too high"


def test_line_ends_and_encodings_stay(tmp_path: Path) -> None:
    code = "# -*- coding: latin-1 -*-\r\n# caf\xe9\r\n" + FACTORY.replace("\n", "\r\n")
    done = proposal(tmp_path, FACTORY, "build_model", Change("swap-activation", "act1", "relu"))
    assert done.patches
    (tmp_path / "net.py").write_bytes(code.encode("latin-1"))
    target = Target(f"{tmp_path / 'net.py'}:build_model", inputs=parse_inputs(["float32[5,6]"]))
    graph, model = open_target(target), resolve(target).model
    factory = attribute_of(import_target(str(tmp_path / "net.py"), ""), "build_model", "net.py")
    done = propose(model, factory, graph, [Wanted((Change("swap-activation", "act1", "relu"),))], tmp_path, unsafe=True)
    assert done.patches[0].after == code.replace("nn.Sigmoid()", "nn.ReLU()").encode("latin-1")


def test_files_are_written_whole_and_only_as_they_were_read(tmp_path: Path) -> None:
    done = proposal(tmp_path, NET, "Net", Change("swap-activation", "act", "relu"))
    (tmp_path / "net.py").write_text(NET + "# edited\n")
    with pytest.raises(TrainauditError, match="changed since"):
        write_patches(done.patches)
    assert (tmp_path / "net.py").read_text() == NET + "# edited\n"
    (tmp_path / "net.py").write_text(NET)
    write_patches(done.patches)
    assert (tmp_path / "net.py").read_bytes() == done.patches[0].after
    assert [item.name for item in tmp_path.iterdir() if item.suffix != ""] == ["net.py"]


def test_code_outside_the_working_directory_stays(tmp_path: Path) -> None:
    done = proposal(tmp_path, NET, "Net", Change("swap-activation", "act", "relu"))
    assert done.patches
    (tmp_path / "sub").mkdir()
    target = Target(f"{tmp_path / 'net.py'}:Net", inputs=parse_inputs(["float32[5,6]"]))
    found = propose(
        resolve(target).model, None, open_target(target), [Wanted((Change("swap-activation", "act", "relu"),))], tmp_path / "sub", unsafe=True
    )  # fmt: skip
    assert "working directory" in found.unplaced[0].reason
