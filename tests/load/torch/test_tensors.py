"""Weights of a module behind the face of weights in a file."""

from __future__ import annotations

import numpy as np
import pytest

from trainaudit.errors import TrainauditError

torch = pytest.importorskip("torch")
hypothesis = pytest.importorskip("hypothesis")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trainaudit.load.torch.from_torch import load_module  # noqa: E402
from trainaudit.load.torch.tensors import data_of  # noqa: E402

TYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.float8_e4m3fn,
]


@given(
    shape=st.lists(st.integers(1, 5), max_size=4),
    order=st.randoms(use_true_random=False),
    dtype=st.sampled_from(TYPES),
    elements=st.integers(1, 40),
)
def test_blocks_are_the_values_in_row_major_order(
    shape: list[int], order: object, dtype: torch.dtype, elements: int
) -> None:
    """For every type, layout and size of block."""
    count = int(np.prod(shape))
    axes = list(range(len(shape)))
    order.shuffle(axes)  # type: ignore[attr-defined]
    tensor = (torch.arange(count) % 7 - 3).reshape([shape[axis] for axis in axes]).to(dtype)
    tensor = tensor.permute([axes.index(axis) for axis in range(len(shape))])
    data = data_of(tensor, "weight")

    blocks = list(data.blocks(elements))
    assert all(0 < block.size <= elements for block in blocks)
    flat = np.concatenate(blocks)
    if dtype is torch.bfloat16:
        assert flat.dtype == np.uint16
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    wanted = tensor.to(torch.float64).numpy()
    assert (flat.astype(np.float64) == wanted.reshape(-1)).all()
    assert data.shape == tuple(shape)
    assert (data.read().astype(np.float64) == wanted).all()
    assert data.read().shape == tuple(shape)
    assert data.nbytes == tensor.numel() * tensor.element_size()


def test_host_memory_is_not_copied() -> None:
    tensor = torch.zeros(1000)
    data = data_of(tensor, "weight")
    views = [data.read(), *data.blocks(300)]
    tensor.fill_(1.0)

    assert all((view == 1.0).all() for view in views)


def test_a_parameter_with_gradient_can_be_read() -> None:
    assert data_of(torch.nn.Parameter(torch.ones(3)), "weight").read().sum() == 3


def test_a_tensor_without_values_is_a_fill() -> None:
    data = data_of(torch.empty(2, 3, device="meta", dtype=torch.bfloat16), "weight")

    assert (data.shape, data.dtype) == ((2, 3), "bfloat16")
    assert data.read().shape == (2, 3)


def test_sparse_tensors_are_refused_with_a_sentence() -> None:
    class Mixing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)
            self.register_buffer("adjacency", torch.eye(3).to_sparse())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sparse.mm(self.adjacency, self.layer(x))

    with pytest.raises(TrainauditError, match="adjacency is a sparse or nested tensor"):
        load_module(Mixing(), torch.randn(3, 4), name="model")
    with pytest.raises(TrainauditError, match="sparse or nested tensor"):
        data_of(torch.eye(3).to_sparse(), "weight")
