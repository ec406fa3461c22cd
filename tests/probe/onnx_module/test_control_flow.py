"""Subgraphs and functions: the right branch, gradients through loops, and files that would run for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch

from tests.probe.onnx_module.making import converted, written
from trainaudit.errors import TrainauditError
from trainaudit.probe.onnx_module import convert

LOOP = """g (float[2] x, int64 n) => (float[2] y, float[K, 2] all) <float[2, 2] w = {0.5, 0.25, -0.5, 1.0}> {
  yes = Constant<value = bool {1}>()
  y, all = Loop (n, yes, x) <body = body (int64 i, bool c, float[2] h) => (bool d, float[2] next, float[2] out) {
    d = Identity(c)
    a = MatMul(h, w)
    next = Tanh(a)
    out = Identity(next)
  }>
}"""


def test_a_loop_is_run_and_its_gradient_is_that_of_the_unrolled_one(tmp_path: Path) -> None:
    module = converted(tmp_path, LOOP).module
    x = torch.tensor([0.3, -0.7])
    y, every = module(x, torch.tensor(4))
    y.sum().backward()
    ((name, weight),) = module.named_parameters()
    assert name == "w"
    own = weight.detach().clone().requires_grad_()
    h, hs = x, []
    for _ in range(4):
        h = torch.tanh(h @ own)
        hs.append(h)
    h.sum().backward()
    assert torch.allclose(y, h)
    assert torch.allclose(every, torch.stack(hs))
    assert torch.allclose(weight.grad, own.grad)


def test_a_loop_of_no_iterations_gives_its_state_and_nothing_collected(tmp_path: Path) -> None:
    x = torch.tensor([0.3, -0.7])
    y, every = converted(tmp_path, LOOP).module(x, torch.tensor(0))
    assert torch.equal(y, x)
    assert tuple(every.shape) == (0, 2)


def test_a_scan_goes_backwards_where_the_file_says_so(tmp_path: Path) -> None:
    text = """g (float[2] s, float[3, 2] x) => (float[2] y, float[3, 2] z) {
      y, z = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_directions = [1],
        body = body (float[2] a, float[2] b) => (float[2] c, float[2] d) { e = Mul(a, b)  c = Add(e, b)  d = Neg(c) }> (s, x)
    }"""
    converted(tmp_path, text)


@pytest.mark.parametrize("flag", [True, False])
def test_the_branch_that_the_condition_names_is_run(flag: bool, tmp_path: Path) -> None:
    text = """g (bool c, float[2] x) => (float[2] y) <float[2] w = {2.0, 3.0}> {
      y = If (c) <then_branch = t () => (float[2] p) { p = Mul(x, w) }, else_branch = e () => (float[2] q) { q = Identity(w) }>
    }"""
    (y,) = converted(tmp_path, text).module(torch.tensor(flag), torch.tensor([1.0, 10.0]))
    assert y.tolist() == ([2.0, 30.0] if flag else [2.0, 3.0])


def test_branches_within_loops_see_the_values_around_them(tmp_path: Path) -> None:
    text = """g (float[2] x, int64 n) => (float[2] y) <int64 two = {2}> {
      yes = Constant<value = bool {1}>()
      big = Exp(x)
      y = Loop (n, yes, x) <body = body (int64 i, bool c, float[2] h) => (bool d, float[2] next) {
        d = Identity(c)
        early = Less(i, two)
        next = If (early) <then_branch = t () => (float[2] p) { p = Add(h, big) }, else_branch = e () => (float[2] q) { q = Neg(h) }>
      }>
    }"""
    module = converted(tmp_path, text).module
    x = torch.tensor([0.5, 1.0])
    (y,) = module(x, torch.tensor(3))
    assert torch.allclose(y, -(x + 2 * x.exp()))


def test_functions_are_run_with_their_attributes(tmp_path: Path) -> None:
    text = """g (float[2, 3] x) => (float[2, 3] y) {
        a = local.scaled<factor = 2.0>(x)
        y = local.scaled<factor = -3.0>(a)
      }
      <domain: "local", opset_import: ["" : 18]>
      scaled <factor> (x) => (y) { f = Constant<value_float: float = @factor>()  z = Mul(x, f)  y = Relu(z) }"""
    (y,) = converted(tmp_path, text).module(torch.tensor([[1.0, -1.0, 2.0], [0.0, 3.0, -3.0]]))
    assert y.abs().max() == 0
    (y,) = converted(tmp_path, text.replace("-3.0", "3.0")).module(torch.tensor([[1.0, -1.0, 2.0], [0.0, 3.0, -3.0]]))
    assert y.tolist() == [[6.0, 0.0, 12.0], [0.0, 18.0, 0.0]]


def test_an_endless_loop_is_one_sentence(tmp_path: Path) -> None:
    text = """g (float[1] x) => (float[1] y) {
      yes = Constant<value = bool {1}>()
      y = Loop ( , yes, x) <body = body (int64 i, bool c, float[1] h) => (bool d, float[1] next) {
        d = Identity(c)
        next = Identity(h)
      }>
    }"""
    with pytest.raises(TrainauditError, match="loops more than"):
        convert(written(tmp_path, text))
