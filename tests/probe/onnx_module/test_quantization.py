"""Quantized files: what passes a gradient on, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch

from tests.probe.onnx_module.making import converted


def test_a_pair_of_quantizers_is_straight_through_inside_its_range(tmp_path: Path) -> None:
    text = """g (float[N] x) => (float[N] y) <float s = {0.5}, int8 z = {10}> { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }"""
    module = converted(tmp_path, text).module
    x = torch.tensor([0.2, -0.3, 1.1, 1000.0, -1000.0], requires_grad=True)
    (y,) = module(x)
    y.sum().backward()
    assert y.tolist() == [0.0, -0.5, 1.0, 58.5, -69.0]
    assert x.grad.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_a_float_weight_behind_quantizers_is_trained_and_a_stored_integer_is_not(tmp_path: Path) -> None:
    text = """g (float[N, 2] x) => (float[N, 2] y)
      <float[2, 2] w = {0.5, 1.0, -1.0, 2.0}, int8[2, 2] v = {5, 10, -10, 20}, float[2] s = {0.1, 0.2}, int8[2] z = {0, 0}> {
        q = QuantizeLinear<axis = 1>(w, s, z)
        d = DequantizeLinear<axis = 1>(q, s, z)
        a = MatMul(x, d)
        b = Tanh(a)
        e = DequantizeLinear<axis = 1>(v, s, z)
        y = MatMul(b, e)
      }"""
    module = converted(tmp_path, text).module
    module(torch.ones(3, 2))[0].sum().backward()
    parameters = dict(module.named_parameters())
    assert set(parameters) <= {"w", "s"}
    assert bool(parameters["w"].grad.any())


def test_integer_products_agree(tmp_path: Path) -> None:
    text = """g (float[3, 4] x) => (int32[3, 2] y) <uint8[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, uint8 z = {3}> {
        q, s, p = DynamicQuantizeLinear(x)
        y = MatMulInteger(q, w, p, z)
      }"""
    converted(tmp_path, text)
