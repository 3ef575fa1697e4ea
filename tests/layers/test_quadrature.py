"""Quadrature: every rule is within its tolerance over its whole range, and says so where it can't be."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_helm.layers import IMAGING, quadrature
from pyro_helm.layers.quadrature import cosine_rule, mean_cosine, mean_exponential, odds_rule, rate_rule
from tests.oracle import binary_rows

TOLERANCES = [0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12]
EPS = torch.finfo(torch.float64).eps


def per_unit(*values: float) -> Tensor:
    """``[1, units]``."""
    return torch.tensor([values], dtype=torch.float64)


def over_range(lowest: float, highest: float, number: int = 1500) -> Tensor:
    return torch.logspace(math.log10(lowest), math.log10(highest), number, dtype=torch.float64)[:, None, None]


def worst(error: Tensor, tolerance: float, largest: Tensor) -> float:
    """Largest error, as a multiple of what is allowed: the tolerance, and a few roundings of the largest value."""
    return float(error.abs().max() / (tolerance + 4 * EPS * largest.abs().max()))


ODDS = [(0.1, 10.0), (0.5, 0.6), (1e-4, 1e4), (1e-6, 1.0), (1e-12, 1e12), (math.exp(-27), math.exp(27)), (1e11, 1e12)]


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize(("lowest", "highest"), ODDS)
def test_odds_rule_is_within_its_tolerance(lowest: float, highest: float, tolerance: float) -> None:
    rule, odds = odds_rule(per_unit(lowest), per_unit(highest), tolerance), over_range(lowest, highest)
    exponential = torch.exp(-rule.nodes * odds)
    minus_log_p, minus_log_off = torch.log1p(1 / odds), torch.log1p(odds)
    on, off = (rule.on * exponential).sum(-2, keepdim=True), (rule.off * (1 - exponential)).sum(-2, keepdim=True)
    assert worst(on - minus_log_p, tolerance, minus_log_p) < 1
    assert worst(off - minus_log_off, tolerance, minus_log_off) < 1


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("lowest", [20.0, 1.0, 0.3, 0.05, 1e-3, 1e-6, 1e-12, 1e-30])
def test_rate_rule_is_within_its_tolerance(lowest: float, tolerance: float) -> None:
    rule, rate = rate_rule(per_unit(lowest), tolerance), over_range(lowest, max(100.0, 2 * lowest))
    minus_log_p = -torch.log(-torch.expm1(-rate))
    value = (rule.on * torch.exp(-rule.nodes * rate)).sum(-2, keepdim=True)
    assert worst(value - minus_log_p, tolerance, minus_log_p) < 1


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize("highest", [1e-3, 1.0, 10.0, 40.0, 200.0, 480.0])
def test_cosine_rule_is_within_its_tolerance(highest: float, tolerance: float) -> None:
    rule = cosine_rule(per_unit(highest), tolerance)
    logit = torch.linspace(0, highest, 1500, dtype=torch.float64)[:, None, None]
    log_cosh = logit / 2 + torch.log1p(torch.exp(-logit)) - math.log(2)
    series = (rule.weights * (1 - torch.cos(rule.nodes * logit))).sum(-2, keepdim=True)
    assert worst(rule.curvature * logit**2 + series - log_cosh, tolerance, log_cosh) < 1


def test_units_of_different_ranges_are_each_within_the_tolerance() -> None:
    lowest, highest = per_unit(0.5, 1e-12, 1e-3), per_unit(2.0, 1e-6, 1e12)
    odds = torch.exp(torch.lerp(lowest.log(), highest.log(), torch.linspace(0, 1, 500).double()[:, None]))[:, None]
    rule = odds_rule(lowest, highest, 1e-9)
    value = (rule.on * torch.exp(-rule.nodes * odds)).sum(-2, keepdim=True)
    assert float((value - torch.log1p(1 / odds)).abs().max()) < 1e-9
    rates = rate_rule(lowest, 1e-9)
    value = (rates.on * torch.exp(-rates.nodes * odds)).sum(-2, keepdim=True)
    assert float((value + torch.log(-torch.expm1(-odds))).abs().max()) < 1e-9


def test_more_nodes_only_where_they_are_needed() -> None:
    """The number grows with the logarithm of the range of odds and rates, and in proportion to the largest logit."""

    def number_for_odds(spread: float, tolerance: float = 1e-10) -> int:
        return len(odds_rule(per_unit(1 / spread), per_unit(spread), tolerance).nodes)

    def number_for_logits(highest: float, tolerance: float = 1e-10) -> int:
        return len(cosine_rule(per_unit(highest), tolerance).nodes)

    by_decade = [number_for_odds(10.0**decade) for decade in (3, 6, 9, 12)]
    steps = [after - before for before, after in pairwise(by_decade)]
    assert max(steps) - min(steps) <= 1
    assert steps[0] > 0
    by_logit = [number_for_logits(highest) for highest in (100.0, 200.0, 300.0)]
    assert by_logit[2] - by_logit[1] == pytest.approx(by_logit[1] - by_logit[0], abs=1)
    for number in (number_for_odds, number_for_logits):
        assert number(40.0, 1e-3) < number(40.0, 1e-6) < number(40.0, 1e-12)
    rates = [len(rate_rule(per_unit(lowest), 1e-10).nodes) for lowest in (1.0, 1e-3, 1e-6)]
    assert rates == sorted(rates)
    # what a shifter machine asks for by the default settings stays cheap
    assert number_for_odds(1e4) < 100
    assert rates[-1] < 100


def test_a_tolerance_out_of_range_is_refused_in_a_sentence() -> None:
    for tolerance in (1e-15, 0.0, 1.0, -1.0, math.nan):
        for build in (
            lambda value: cosine_rule(per_unit(10.0), value),
            lambda value: rate_rule(per_unit(1.0), value),
            lambda value: odds_rule(per_unit(1.0), per_unit(2.0), value),
        ):
            with pytest.raises(ValueError, match=r"tolerance must be from 2e-15 \(in torch.float64\) to 1 nat, got"):
                build(tolerance)
    with pytest.raises(ValueError, match=r"tolerance must be from 1e-06 \(in torch.float32\) to 1 nat, got 1e-08"):
        cosine_rule(per_unit(10.0).float(), 1e-8)


def test_too_many_nodes_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"within 1e-10 nats would take 1\d{4} nodes .* at most 4096 .* larger tolera"):
        cosine_rule(per_unit(1e4), 1e-10)
    assert len(cosine_rule(per_unit(3000.0), 1e-10).nodes) <= quadrature.MAX_NODES


RULES: dict[str, Callable[[Tensor], Any]] = {
    "odds": lambda size: odds_rule(1 / size, size, 1e-8),
    "rate": lambda size: rate_rule(1 / size, 1e-8),
    "cosine": lambda size: cosine_rule(size, 1e-8),
}
# sizes that would take too many nodes; no weights in floating point would for odds and rates
OVER = {"cosine": 1e5}


def padded(part: Tensor, rows: int) -> Tensor:
    return torch.cat([part, part[-1:].expand(rows - len(part), -1)]) if len(part) > 1 else part


@pytest.mark.parametrize("name", RULES)
def test_every_unit_has_the_rule_it_would_have_alone(name: str) -> None:
    """The same nodes and weights, to rounding, then its last node again with a weight of zero."""
    sizes = torch.tensor([[[2.0, 900.0]], [[3.0, 40.0]]], dtype=torch.float64)
    together = RULES[name](sizes)
    for restart in range(2):
        for unit in range(2):
            alone = RULES[name](sizes[restart, :, unit : unit + 1])
            number, most = len(alone.nodes), together.nodes.shape[-2]
            assert torch.allclose(together.nodes[restart, :, unit : unit + 1], padded(alone.nodes, most), rtol=1e-14)
            assert (number == most) == (float(sizes[restart, 0, unit]) == 900.0)
            for ours, own in zip(together[1:], alone[1:], strict=True):
                assert torch.allclose(ours[restart, : len(own), unit : unit + 1], own, rtol=1e-14, atol=0)
                assert not bool(ours[restart, len(own) :, unit].any())


@pytest.mark.parametrize(("name", "size"), [*((name, math.inf) for name in RULES), *OVER.items()])
def test_a_restart_whose_weights_can_not_be_served_spoils_no_other(name: str, size: float) -> None:
    sizes = torch.tensor([[[2.0, 3.0]], [[2.0, size]]], dtype=torch.float64)
    both, first = RULES[name](sizes), RULES[name](sizes[:1])
    for ours, own in zip(both, first, strict=True):
        assert torch.equal(ours[:1], own)
    assert bool(both[1][1, :, 1].isnan().any())


def test_too_many_nodes_in_every_restart_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"would take 2\d{5} nodes .* choose a larger tolerance or smaller weights"):
        cosine_rule(torch.tensor([[[2.0, 1e5]], [[2e5, 2.0]]], dtype=torch.float64), 1e-8)


def random_units(restarts: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q = torch.rand(*restarts, 4, 5, generator=generator, dtype=torch.float64)
    q[..., 0, :2] = torch.tensor([0.0, 1.0], dtype=torch.float64)
    weight = torch.randn(*restarts, 5, 3, generator=generator, dtype=torch.float64)
    leak = torch.randn(*restarts, 1, 3, generator=generator, dtype=torch.float64)
    nodes = torch.rand(*restarts, 7, 3, generator=generator, dtype=torch.float64) * 3
    return q, weight, leak, nodes


@pytest.mark.parametrize("restarts", [(), (2,)])
def test_mean_exponential_and_cosine_are_enumerations(restarts: tuple[int, ...]) -> None:
    q, weight, leak, nodes = random_units(restarts)
    states = binary_rows(5)
    probability = torch.where(states == 1, q[..., None, :], 1 - q[..., None, :]).prod(-1)
    for mean, function, its_weight, its_leak in (
        (mean_exponential, lambda a: torch.exp(-a), weight.exp(), leak.exp()),
        (mean_cosine, torch.cos, weight, leak),
    ):
        drive = states @ its_weight + its_leak
        values = function(nodes[..., None, :, :] * drive[..., :, None, :])
        expected = torch.einsum("...ds,...snu->...dnu", probability, values)
        ours = mean(q, its_weight, its_leak, nodes)
        assert ours.shape == (*restarts, 4, 7, 3)
        assert torch.allclose(ours, expected, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name, kind in IMAGING.items() if kind.is_binary])
def test_mean_logs_by_quadrature_are_enumerations(name: str, dtype: torch.dtype) -> None:
    """Value and gradient; in single precision with the tolerance that it can keep."""
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    layer = IMAGING[name](6, 5, restarts=3, generator=torch.Generator().manual_seed(0)).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 2 * torch.randn(parameter.shape, generator=generator)
    q = torch.rand(3, 4, 6, generator=generator).to(dtype).requires_grad_()
    inputs = [q, *layer.parameters()]
    weight = torch.rand(2, 3, 4, 5, generator=generator).to(dtype)
    results = []
    for max_enumerated in (0, 6):
        log_probs = layer.mean_log(q, tolerance=tolerance, max_enumerated=max_enumerated)
        gradients = torch.autograd.grad((weight * torch.stack(log_probs)).sum(), inputs)
        results.append((torch.stack(log_probs), gradients))
    (ours, our_gradients), (exact, exact_gradients) = results
    assert torch.allclose(ours, exact, rtol=4 * torch.finfo(dtype).eps, atol=tolerance)
    for gradient, exact_gradient in zip(our_gradients, exact_gradients, strict=True):
        assert torch.allclose(gradient, exact_gradient, rtol=100 * tolerance, atol=100 * tolerance)
