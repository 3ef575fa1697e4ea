"""Groups of units of which one is on, against torch's categorical distribution group by group."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import OneHotCategorical

from pyro_helm.layers.one_hot_groups import OneHotGroups
from tests.checker import z_scores


@pytest.mark.parametrize("groups", [(2, 3, 2), (3, 3), (4,)], ids=str)
def test_each_group_is_a_categorical_of_its_own(groups: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, sum(groups), dtype=torch.float64)
    given = OneHotGroups(logits, groups)
    singles = [OneHotCategorical(logits=part) for part in logits.split(groups, -1)]
    value = torch.cat([single.sample() for single in singles], -1)
    expected = torch.stack(
        [single.log_prob(part) for single, part in zip(singles, value.split(groups, -1), strict=True)]
    ).sum(0)
    assert torch.allclose(given.log_prob(value), expected)
    assert torch.allclose(given.mean, torch.cat([single.mean for single in singles], -1))
    drawn = given.sample((20_000,))
    assert bool(given.support.check(drawn).all())
    spread = given.mean * (1 - given.mean) > 0
    assert float(z_scores(drawn, given.mean)[spread].abs().max()) < 4.5  # z-threshold


@pytest.mark.parametrize("groups", [(2, 3), (3, 3)], ids=str)
def test_what_is_observed_of_a_group_counts_as_the_sum_over_what_else_may_be_on(groups: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    size = sum(groups)
    whole = OneHotGroups(torch.randn(size, dtype=torch.float64, requires_grad=True), groups)
    rows = torch.cartesian_prod(*(torch.arange(group) for group in groups)) + torch.tensor([0, groups[0]])
    rows = torch.zeros(len(rows), size, dtype=torch.float64).scatter_(1, rows, 1.0)
    for seed in range(8):
        observed = torch.rand(size, generator=torch.Generator().manual_seed(seed)) < 0.5
        part = whole.leaving_out(observed)
        assert bool(torch.autograd.grad(part.log_prob(rows).sum(), whole.logits, retain_graph=True)[0].isfinite().all())
        for row in rows[::2]:
            alike = ((rows == row) | ~observed).all(-1)  # rows that agree with what is observed of this one
            expected = whole.log_prob(rows[alike]).logsumexp(0)
            value = torch.where(observed, row, 0.0)
            torch.testing.assert_close(part.log_prob(value), expected)
            assert bool(part.support.check(value))
            chance = (whole.log_prob(rows[alike]) - expected).exp()
            torch.testing.assert_close(part.given(value).mean, chance @ rows[alike])
            assert bool(part.log_prob(value).isfinite())


def test_two_units_of_a_group_or_none_are_refused_where_they_are_observed() -> None:
    part = OneHotGroups(torch.zeros(5), (2, 3)).leaving_out(torch.tensor([True, True, False, True, True]))
    assert bool(part.support.check(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])))
    assert not bool(part.support.check(torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])))
    assert not bool(part.support.check(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])))
    assert not bool(part.support.check(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0])))


def test_what_does_not_add_up_or_is_not_one_hot_is_refused() -> None:
    with pytest.raises(ValueError, match=r"groups of \(2, 2\) units make 4, but there are 5"):
        OneHotGroups(torch.zeros(5), (2, 2))
    with pytest.raises(ValueError, match="value"):
        OneHotGroups(torch.zeros(4), (2, 2), validate_args=True).log_prob(torch.tensor([1.0, 1.0, 0.0, 1.0]))


def test_a_restart_that_is_nan_does_not_stop_the_others() -> None:
    drawn = OneHotGroups(torch.tensor([[torch.nan] * 4, [0.0] * 4]), (2, 2), validate_args=False).sample()
    assert torch.equal(drawn.sum(-1), torch.tensor([2.0, 2.0]))
