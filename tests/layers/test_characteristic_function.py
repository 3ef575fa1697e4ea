"""The characteristic function of a sum of independent causes: value and gradient as the plain formula's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyro_helm.layers.characteristic_function import product_of_turns
from tests.oracle import binary_rows


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain(mean: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The complex product, written out for every datum, cause and unit."""
    across = mean[..., :, :, None] * sine[..., None, :, :]
    return torch.complex(*torch.broadcast_tensors(cosine[..., None, :, :], across)).prod(-2)


SHAPES = [
    ((5, 3), (3, 4), (5, 4)),
    ((1, 1), (1, 1), (1, 1)),
    ((2, 5, 8), (2, 8, 4), (2, 5, 4)),
    ((5, 3), (2, 3, 4), (2, 5, 4)),
    ((2, 5, 3), (3, 4), (2, 5, 4)),
    ((6, 2, 5, 3), (2, 3, 4), (6, 2, 5, 4)),
]


@pytest.mark.parametrize(("rows", "columns", "result"), SHAPES)
def test_value_and_gradient_are_the_plain_formulas(
    rows: tuple[int, ...], columns: tuple[int, ...], result: tuple[int, ...]
) -> None:
    mean, angle = 2 * uniform(*rows) - 1, 8 * uniform(*columns, seed=1) - 4
    inputs = [t.requires_grad_() for t in (mean, angle.cos(), angle.sin())]
    real, imaginary = product_of_turns(*inputs)
    expected = plain(*inputs)
    assert real.shape == imaginary.shape == result
    assert torch.allclose(real, expected.real, rtol=1e-12, atol=1e-14)
    assert torch.allclose(imaginary, expected.imag, rtol=1e-12, atol=1e-14)
    a, b = uniform(*result, seed=2), uniform(*result, seed=3)
    ours = torch.autograd.grad((a * real + b * imaginary).sum(), inputs)
    theirs = torch.autograd.grad((a * expected.real + b * expected.imag).sum(), inputs)
    for slope, plain_slope in zip(ours, theirs, strict=True):
        assert torch.allclose(slope, plain_slope, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("causes", [1, 2, 4, 7])
def test_it_is_the_mean_over_all_signs(causes: int) -> None:
    q, angle = uniform(3, causes), 6 * uniform(causes, 5, seed=1) - 3
    states = binary_rows(causes)
    probability = torch.where(states == 1, q[:, None], 1 - q[:, None]).prod(-1)
    total = (2 * states - 1) @ angle
    real, imaginary = product_of_turns(2 * q - 1, angle.cos(), angle.sin())
    assert torch.allclose(real, probability @ total.cos(), atol=1e-14)
    assert torch.allclose(imaginary, probability @ total.sin(), atol=1e-14)


def test_certain_causes_turn_by_the_whole_angle_and_even_ones_not_at_all() -> None:
    angle = torch.tensor([[0.3], [-1.1], [2.0], [0.7], [0.2]], dtype=torch.float64)
    mean = torch.tensor([[1.0, -1, 1, 1, -1], [0, 0, 0, 0, 0]], dtype=torch.float64)
    real, imaginary = product_of_turns(mean, angle.cos(), angle.sin())
    total = 0.3 + 1.1 + 2.0 + 0.7 - 0.2
    assert real[:, 0].tolist() == pytest.approx([math.cos(total), float(angle.cos().prod())], abs=1e-15)
    assert imaginary[:, 0].tolist() == pytest.approx([math.sin(total), 0.0], abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_angle_of_an_even_cause_gives_finite_exact_gradients(dtype: torch.dtype) -> None:
    """There the factor is 0 but for rounding."""
    mean = torch.tensor([[0.0, 0.5, -0.2, 0.1, 0.0]], dtype=dtype, requires_grad=True)
    angle = torch.tensor([[math.pi / 2], [0.4], [1.0], [2.0], [math.pi / 2]], dtype=dtype)
    real, imaginary = product_of_turns(mean, angle.cos(), angle.sin())
    (ours,) = torch.autograd.grad((real + imaginary).sum(), mean)
    exact_mean = mean.detach().double().requires_grad_()
    expected = plain(exact_mean, angle.double().cos(), angle.double().sin())
    (exact,) = torch.autograd.grad((expected.real + expected.imag).sum(), exact_mean)
    assert torch.allclose(ours.double(), exact, atol=8 * torch.finfo(dtype).eps)


def test_a_product_that_underflows_is_zero_with_zero_gradient() -> None:
    mean = torch.zeros(2, 400, requires_grad=True)
    angle = torch.full((400, 3), 1.5)
    real, imaginary = product_of_turns(mean, angle.cos(), angle.sin())
    assert bool((real == 0).all())
    assert bool((imaginary == 0).all())
    (slope,) = torch.autograd.grad((real + imaginary).sum(), mean)
    assert bool((slope == 0).all())


@settings(max_examples=50, deadline=None)
@given(data=st.integers(1, 5), causes=st.integers(1, 9), units=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_no_turn_is_longer_than_one_and_the_order_does_not_matter(
    data: int, causes: int, units: int, seed: int
) -> None:
    mean, angle = 2 * uniform(data, causes, seed=seed) - 1, 20 * uniform(causes, units, seed=seed + 1) - 10
    real, imaginary = product_of_turns(mean, angle.cos(), angle.sin())
    assert bool((real**2 + imaginary**2 <= 1 + 1e-13).all())
    other = product_of_turns(mean.flip(-1), angle.flip(0).cos(), angle.flip(0).sin())
    assert torch.allclose(torch.stack(other), torch.stack([real, imaginary]), atol=1e-13)
    # the opposite signs turn the other way
    reverse_real, reverse_imaginary = product_of_turns(-mean, angle.cos(), angle.sin())
    assert torch.allclose(reverse_real, real, atol=1e-13)
    assert torch.allclose(reverse_imaginary, -imaginary, atol=1e-13)
