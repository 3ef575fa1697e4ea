"""Products over causes: value and gradient as the plain formula's, also where it underflows or a factor is 0."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_helm.layers import fused_sums as fused
from pyro_helm.layers.products import product_of_complements


def factors(q: Tensor, r: Tensor) -> Tensor:
    """``1 - q_k r_kj``, written out for every datum, cause and unit."""
    return 1 - q[..., :, :, None] * r[..., None, :, :]


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slopes(objective: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(objective, inputs))


SHAPES = [
    ((5, 3), (3, 4), (5, 4)),
    ((1, 1), (1, 1), (1, 1)),
    ((5, 8), (8, 1), (5, 1)),
    ((2, 5, 7), (2, 7, 4), (2, 5, 4)),
    ((5, 3), (2, 3, 4), (2, 5, 4)),
    ((2, 5, 3), (3, 4), (2, 5, 4)),
    ((2, 5, 3), (1, 3, 4), (2, 5, 4)),
    ((1, 5, 3), (2, 3, 4), (2, 5, 4)),
    ((6, 2, 5, 3), (2, 3, 4), (6, 2, 5, 4)),  # particles, restarts, data, causes
    ((6, 1, 5, 3), (2, 3, 4), (6, 2, 5, 4)),
]


@pytest.mark.parametrize(("rows", "columns", "result"), SHAPES)
def test_value_and_gradient_are_the_plain_formulas(
    rows: tuple[int, ...], columns: tuple[int, ...], result: tuple[int, ...]
) -> None:
    q, r = uniform(*rows).requires_grad_(), uniform(*columns, seed=1).requires_grad_()
    product, plain = product_of_complements(q, r), factors(q, r)
    of_log, of_value = uniform(*result, seed=2), uniform(*result, seed=3)
    assert product.log.shape == product.value.shape == result
    assert torch.allclose(product.log, plain.log().sum(-2), rtol=1e-12, atol=1e-12)
    assert torch.allclose(product.value, plain.prod(-2), rtol=1e-12)
    ours = slopes((of_log * product.log + of_value * product.value).sum(), q, r)
    expected = slopes((of_log * plain.log().sum(-2) + of_value * plain.prod(-2)).sum(), q, r)
    for slope, plain_slope in zip(ours, expected, strict=True):
        assert torch.allclose(slope, plain_slope, rtol=1e-12, atol=1e-12)


def with_zeros(number: int) -> tuple[Tensor, Tensor]:
    """The first unit has so many factors of 0, by ``q r = 1``; some other ``q`` are 0 or 1 as well."""
    q, r = uniform(3, 6), uniform(6, 4, seed=1)
    q[1, :number], r[:number, 0] = 1.0, 1.0
    q[0, 2], q[2, 3], q[2, 4] = 0.0, 1.0, 0.0
    return q.requires_grad_(), r.requires_grad_()


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_gradient_of_the_product_is_exact_where_factors_are_zero(number: int) -> None:
    q, r = with_zeros(number)
    value = product_of_complements(q, r).value
    assert int((value == 0).sum()) == (number > 0)
    weight = uniform(3, 4, seed=2)
    # torch.prod's gradient is exact for any number of zeros
    expected = slopes((weight * factors(q, r).prod(-2)).sum(), q, r)
    for slope, plain in zip(slopes((weight * value).sum(), q, r), expected, strict=True):
        assert torch.allclose(slope, plain, rtol=1e-12, atol=1e-13)
        if number == 1:
            assert bool((slope != 0).any())


def test_gradient_of_the_logarithm_where_q_is_0_or_1() -> None:
    q, r = with_zeros(0)
    expected = slopes(factors(q, r).log().sum(), q, r)
    for slope, plain in zip(slopes(product_of_complements(q, r).log.sum(), q, r), expected, strict=True):
        assert torch.allclose(slope, plain, rtol=1e-12)


def test_the_logarithm_of_zero_has_an_infinite_slope_and_spoils_no_other() -> None:
    q, r = with_zeros(1)
    log = product_of_complements(q, r).log
    assert float(log[1, 0].detach()) == -math.inf
    of_q, of_r = slopes(log.sum(), q, r)
    assert (float(of_q[1, 0]), float(of_r[0, 0])) == (-math.inf, -math.inf)
    others = torch.ones(3, 4, dtype=torch.float64)
    others[1, 0] = 0.0
    of_q, of_r = slopes((others * product_of_complements(q, r).log).sum(), q, r)
    plain = torch.where(others == 1, factors(q, r).prod(-2), 1.0).log().sum()
    for slope, expected in zip((of_q, of_r), slopes(plain, q, r), strict=True):
        assert torch.allclose(slope, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1e-4, 1e-5, 1e-6])
def test_small_amounts_are_not_lost_in_single_precision(size: float) -> None:
    q, r = uniform(20, 11, dtype=torch.float32), size * uniform(11, 30, seed=1, dtype=torch.float32)
    exact = torch.log1p(-(q.double()[:, :, None] * r.double())).sum(-2)
    log = product_of_complements(q, r).log.double()
    assert float((log / exact - 1).abs().max()) < 4e-6


def test_a_product_that_underflows_has_a_finite_logarithm_and_gradient() -> None:
    q, r = torch.full((2, 300), 0.9).requires_grad_(), torch.full((300, 3), 0.999).requires_grad_()
    product = product_of_complements(q, r)
    assert bool((product.value == 0).all())
    exact = 300 * math.log1p(-0.9 * 0.999)
    assert torch.allclose(product.log, torch.full((2, 3), exact), rtol=1e-5)
    of_q, of_r = slopes(product.log.sum(), q, r)
    assert torch.allclose(of_q, torch.full((2, 300), -3 * 0.999 / (1 - 0.9 * 0.999)), rtol=1e-4)
    assert torch.allclose(of_r, torch.full((300, 3), -2 * 0.9 / (1 - 0.9 * 0.999)), rtol=1e-4)


def test_a_nearly_certain_cause_is_followed_to_the_last_digit_of_single_precision() -> None:
    q = torch.tensor([[1.0, 1 - 2.0**-24, 0.5, 0.25, 1.0]])
    r = torch.tensor([[1 - 2.0**-24], [1.0], [1.0], [0.5], [1 - 2.0**-24]])
    exact = 3 * math.log(2.0**-24) + math.log(0.5) + math.log(0.875)
    assert float(product_of_complements(q, r).log) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("log", [-1e-12, -1e-3, -0.5, -0.7, -3.0, -40.0, -800.0])
def test_log_complement_is_accurate_near_both_ends(log: float) -> None:
    # one cause that is certainly on takes away all but exp(log)
    q, r = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    leak = torch.tensor([[log]], dtype=torch.float64, requires_grad=True)
    complement = product_of_complements(q, r).times(leak).log_complement
    (slope,) = slopes(complement.sum(), leak)
    exact = math.log(-math.expm1(log)) if log > -0.69 else math.log1p(-math.exp(log))
    assert float(complement.detach()) == pytest.approx(exact, rel=1e-14)
    assert float(slope) == pytest.approx(math.exp(log) / math.expm1(log), rel=1e-12)


def test_log_complement_has_the_exact_gradient_where_a_factor_is_zero() -> None:
    q, r = with_zeros(1)
    plain = torch.log1p(-0.9 * factors(q, r).prod(-2)).sum()
    ours = product_of_complements(q, r).times(torch.tensor(math.log(0.9), dtype=torch.float64)).log_complement.sum()
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-12)
    for slope, expected in zip(slopes(ours, q, r), slopes(plain, q, r), strict=True):
        assert torch.allclose(slope, expected, rtol=1e-11, atol=1e-13)


probabilities = st.floats(0, 1, allow_subnormal=False)


@st.composite
def cases(draw: Any) -> tuple[Tensor, Tensor]:
    data, causes, units = (draw(st.integers(1, 6)) for _ in range(3))
    q = draw(st.lists(probabilities, min_size=data * causes, max_size=data * causes))
    r = draw(st.lists(probabilities, min_size=units * causes, max_size=units * causes))
    return torch.tensor(q, dtype=torch.float64).view(data, causes), torch.tensor(r, dtype=torch.float64).view(
        causes, units
    )


@settings(max_examples=60, deadline=None)
@given(case=cases(), seed=st.integers(0, 1000))
def test_the_order_of_the_causes_does_not_matter(case: tuple[Tensor, Tensor], seed: int) -> None:
    q, r = case
    order = torch.randperm(q.shape[-1], generator=torch.Generator().manual_seed(seed))
    expected, permuted = product_of_complements(q, r), product_of_complements(q[:, order], r[order])
    assert torch.allclose(permuted.log, expected.log, rtol=1e-12, atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(case=cases(), share=st.floats(0, 1))
def test_products_over_two_parts_of_the_causes_multiply(case: tuple[Tensor, Tensor], share: float) -> None:
    q, r = case
    cut = int(share * q.shape[-1])
    parts = [product_of_complements(q[:, :cut], r[:cut]), product_of_complements(q[:, cut:], r[cut:])]
    whole = product_of_complements(q, r)
    assert torch.allclose(parts[0].log + parts[1].log, whole.log, rtol=1e-12, atol=1e-15)
    assert torch.allclose(parts[0].value * parts[1].value, whole.value, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(case=cases(), share=st.floats(0, 1))
def test_more_probable_causes_leave_less(case: tuple[Tensor, Tensor], share: float) -> None:
    q, r = case
    more = q + share * (1 - q)
    before, after = product_of_complements(q, r), product_of_complements(more, r)
    assert bool((after.value <= before.value * (1 + 1e-14)).all())
    assert bool(((before.value >= 0) & (before.value <= 1)).all())


class LargestTensor(TorchDispatchMode):
    """Records the most entries that any tensor has whose memory is its own."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for item in result:
            yield from _tensors(item)


@pytest.mark.parametrize("restarts", [(), (3,)])
def test_blocks_hold_no_tensor_of_data_by_causes_by_units(
    restarts: tuple[int, ...],
) -> None:
    data, causes, units = 512, 40, 60
    q, r = uniform(*restarts, data, causes).requires_grad_(), uniform(*restarts, causes, units, seed=1)
    q.data[..., 7, 0], r[..., 0, :] = 1.0, 1.0  # a factor of 0 in every unit of a row
    r.requires_grad_()
    with LargestTensor() as memory:
        product = product_of_complements(q, r)
        (product.value.sum() + torch.where(product.value > 0, product.log, 0.0).sum()).backward()
    in_and_out = max(q.numel(), r.numel(), product.log.numel())
    assert memory.largest <= max(fused.BLOCK, in_and_out) < data * causes * units


def test_different_numbers_of_causes_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of causes, got 3 as the last dimension of the first and 4 as"):
        product_of_complements(torch.rand(5, 3), torch.rand(4, 2))


def test_no_causes_take_nothing_away() -> None:
    product = product_of_complements(torch.rand(5, 0), torch.rand(0, 2))
    assert torch.equal(product.value, torch.ones(5, 2))
