"""Which layers are seen, under which name, and that nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.modules import module as module_hooks  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from tests.probe.instruments.networks import NETWORKS, made, numbers, trained  # noqa: E402
from trainaudit.ir.ops import ACTIVATIONS, NORMALIZATIONS, WEIGHTED, Op  # noqa: E402
from trainaudit.load.torch.from_torch import load_module  # noqa: E402
from trainaudit.probe.instruments import Instruments  # noqa: E402


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_the_graph_is_read(name: str) -> None:
    model, graph, x, target = made(name)
    readings = trained(model, graph, x, target)
    wanted = [
        layer.name for layer in graph.layers if layer.op in WEIGHTED | NORMALIZATIONS | ACTIVATIONS | {Op.ATTENTION}
    ]
    if name == "recurrent":
        first, _ = (layer.name for layer in graph.layers if layer.op is Op.LSTM)
        wanted.remove(first)  # one call of torch runs both, and gives the output of the second
    read = [series.tap.layer for series in readings.activations]
    assert [layer for layer in read if layer in wanted] == wanted
    assert all(read)
    for series in readings.activations:
        assert len(series.rms) == len(series.gradient_rms) == 3
        gradients = series.gradient_rms
        if Op(series.tap.op) not in WEIGHTED:  # in detailed steps alone: the first and the last
            assert gradients[1] is None
            gradients = (gradients[0], gradients[2])
        assert all(value is not None and value > 0 for value in (*series.rms, *gradients)), series.tap


def test_functions_and_repeated_calls() -> None:
    model, graph, x, target = made("functional")
    readings = trained(model, graph, x, target)
    taps = [(series.tap.op, series.tap.module, series.tap.ordinal) for series in readings.activations]
    assert taps == [
        ("linear", "first", 0), ("relu", "", 0), ("linear", "second", 0), ("tanh", "", 0), ("add", "", 0), ("linear", "second", 1),
        ("sigmoid", "", 0), ("layer_norm", "norm", 0), ("gelu", "", 0), ("linear", "last", 0),
    ]  # fmt: skip
    assert len({series.tap.name for series in readings.activations}) == len(taps)


def test_layers_that_are_overwritten_are_read_before() -> None:
    """The same network with activation functions in place and not: the same numbers, gradients of pre-activations too."""
    model, graph, x, target = made("convolutional")
    twin, _, _, _ = made("convolutional")
    twin.load_state_dict(model.state_dict())
    for part in twin.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    left, right = trained(model, graph, x, target), trained(twin, graph, x, target)
    assert [series.tap.layer for series in left.activations] == [series.tap.layer for series in right.activations]
    for one, other in zip(left.activations, right.activations, strict=True):
        for field in ("mean", "std", "absmax", "zero_share", "gradient_rms"):
            wanted = pytest.approx(numbers(getattr(other, field)), rel=1e-5, nan_ok=True)
            assert numbers(getattr(one, field)) == wanted, (one.tap.name, field)
    assert left.activations[0].zero_share[0] < 0.01  # a convolution's output, not what ReLU made of it


def test_the_fast_path_through_transformer_encoders() -> None:
    """In evaluation mode without gradients torch computes a whole encoder layer in one call."""
    model, graph, x, _ = made("encoder")
    model.eval()
    with Instruments(model, None, graph) as instruments, instruments.step(0), torch.no_grad():
        model(x)
    ops = {series.tap.op for series in instruments.collect().activations}
    assert {"attention", "layer_norm", "relu", "linear"} <= ops
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant: bool) -> None:
    """Layers that are computed twice are read once, and a training step gives the gradients that it gives without instruments."""

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.block, self.last = (
                nn.Linear(6, 8),
                nn.Sequential(nn.Linear(8, 8), nn.Tanh()),
                nn.Linear(8, 3),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(checkpoint(self.block, self.first(x), use_reentrant=reentrant))

    torch.manual_seed(0)
    model, x = Checkpointed(), torch.randn(9, 6)
    readings = trained(model, None, x, torch.arange(9) % 3, steps=1, rate=0.0)
    assert [series.tap.name for series in readings.activations] == [
        "first.linear",
        "block.0.linear",
        "block.1.tanh",
        "last.linear",
    ]
    kept = [item.grad.clone() for item in model.parameters()]
    model.zero_grad()
    functional.cross_entropy(model(x), torch.arange(9) % 3).backward()
    assert all(torch.equal(item.grad, grad) for item, grad in zip(model.parameters(), kept, strict=True))


def test_scripted_submodule() -> None:
    """What runs inside of TorchScript is not seen, and everything around it is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU())), nn.Linear(8, 3))
    readings = trained(model, None, torch.randn(9, 6), torch.arange(9) % 3)
    assert [series.tap.name for series in readings.activations] == ["0.linear", "2.linear"]


def test_compiled_submodule() -> None:
    """A compiled module runs as it was written while it is read."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), torch.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), backend="eager"), nn.Linear(8, 3)
    )
    readings = trained(model, None, torch.randn(9, 6), torch.arange(9) % 3)
    assert [series.tap.name for series in readings.activations] == ["0.linear", "1.0.linear", "1.1.relu", "2.linear"]


def test_batched_by_vmap_and_parallel_forward_passes() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.vmap(lambda row: torch.relu(row))(self.linear(x)) + self.linear(x)

    readings = trained(Mapped(), None, torch.randn(9, 6), torch.arange(9) % 3)
    assert [series.tap.name for series in readings.activations] == ["linear.linear", "linear.linear_1"]


def test_only_the_first_forward_pass_of_a_step_is_read() -> None:
    model, graph, x, target = made("functional")
    with Instruments(model, None, graph) as instruments, instruments.step(0):
        loss = functional.cross_entropy(model(x), target) + functional.cross_entropy(model(1000 * x), target)
        loss.backward()
        instruments.read_gradients(loss)
    assert all(series.absmax[0] < 100 for series in instruments.collect().activations)


def test_batches_of_another_size() -> None:
    """A last batch that is smaller leaves nothing of the larger one behind."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    with Instruments(layer) as instruments:
        for index, size in enumerate((64, 3, 64)):
            x = torch.full((size, 4), float(index))
            with instruments.step(index):
                y = layer(x)
                loss = y.square().mean()
                loss.backward()
                instruments.read_gradients(loss)
            (series,) = instruments.collect().activations
            assert series.rms[-1] == pytest.approx(y.square().mean().sqrt().item(), rel=1e-5)


def hooks_of(model: nn.Module) -> list[Any]:
    everywhere = [
        value for key, value in vars(module_hooks).items() if key.startswith("_global_") and isinstance(value, dict)
    ]
    own = [value for part in model.modules() for key, value in vars(part).items() if "hooks" in key]
    return [dict(value) for value in (*everywhere, *own)]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("error", [None, StoppedError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["forward", "backward", "update"])
def test_no_hook_stays(error: Any, place: str) -> None:
    model, graph, x, target = made("convolutional")
    before, fast = hooks_of(model), torch.backends.mha.get_fastpath_enabled()

    def stop(where: str) -> None:
        if error is not None and where == place:
            raise error

    instruments = Instruments(model, torch.optim.SGD(model.parameters(), 0.1), graph)
    with instruments:
        for index in range(2):
            try:
                with instruments.step(index):
                    y = model(x)
                    stop("forward")
                    loss = functional.cross_entropy(y, target)
                    loss.backward()
                    stop("backward")
                    instruments.read_gradients(loss)
                    stop("update")
            except (StoppedError, KeyboardInterrupt):
                pass
            assert hooks_of(model) == before
            assert torch.overrides._get_current_function_mode_stack() == []
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert len(instruments.collect().sampled_steps) == (2 if error is None else 0)
    functional.cross_entropy(model(x), target).backward()


def test_steps_that_are_not_sampled_have_no_hooks() -> None:
    model, graph, x, target = made("functional")
    with Instruments(model, None, graph, sample_every=50) as instruments:
        with instruments.step(11):
            assert torch.overrides._get_current_function_mode_stack() == []
            loss = functional.cross_entropy(model(x), target)
            assert loss.grad_fn is not None
            loss.backward()
            instruments.read_gradients(loss)
        assert [index for index, _, _ in instruments.guard] == [11]
    readings = instruments.collect()
    assert readings.sampled_steps == ()
    assert readings.activations == ()
    assert len(readings.loss) == len(readings.gradient_norm) == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_reading_changes_nothing(name: str) -> None:
    """Trained with instruments and without: the same losses, weights, buffers and generators, bit for bit."""

    def run(*, with_instruments: bool) -> tuple[Any, ...]:
        model, graph, x, target = made(name)
        torch.manual_seed(3)
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        losses = []
        instruments = Instruments(model, optimizer, graph)
        with instruments:
            for index in range(3):
                if with_instruments:
                    with instruments.step(index, last=index == 2):
                        optimizer.zero_grad()
                        loss = functional.cross_entropy(model(x), target)
                        loss.backward()
                        instruments.read_gradients(loss)
                        optimizer.step()
                else:
                    optimizer.zero_grad()
                    loss = functional.cross_entropy(model(x), target)
                    loss.backward()
                    optimizer.step()
                losses.append(loss.detach())
        return (
            torch.stack(losses),
            *model.state_dict().values(),
            *(item.grad for item in model.parameters()),
            torch.get_rng_state(),
        )

    for left, right in zip(run(with_instruments=True), run(with_instruments=False), strict=True):
        assert torch.equal(left, right)


def test_graph_and_model_that_disagree() -> None:
    """A graph of another network names nothing that it does not fit."""
    model, _, x, target = made("functional")
    graph = load_module(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.ReLU(), nn.Linear(8, 3)), x, name="other")
    readings = trained(model, graph, x, target)
    assert {series.tap.layer for series in readings.activations} == {""}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["functional", "convolutional", "encoder"])
def test_nothing_in_a_step_waits_for_the_device(name: str) -> None:
    """torch raises at every synchronization while a step is read, in detail or not."""
    model, graph, x, target = made(name)
    model, x, target = model.cuda(), x.cuda(), target.cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    with Instruments(model, optimizer, graph) as instruments:
        for index in range(4):
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error" if index else "default")  # the first step allocates
            try:
                with instruments.step(index, last=index == 3):
                    optimizer.zero_grad()
                    loss = functional.cross_entropy(model(x), target)
                    loss.backward()
                    instruments.read_gradients(loss)
                    optimizer.step()
            finally:
                torch.cuda.set_sync_debug_mode("default")
    on_device = instruments.collect()
    model, graph, x, target = made(name)
    on_cpu = trained(model, graph, x, target, steps=4, optimizer=torch.optim.AdamW(model.parameters(), 0.01))
    for one, other in zip(on_device.activations, on_cpu.activations, strict=True):
        assert one.tap == other.tap
        assert one.rms[0] == pytest.approx(other.rms[0], rel=1e-3)
        assert one.gradient_rms[0] == pytest.approx(other.gradient_rms[0], rel=1e-2)
