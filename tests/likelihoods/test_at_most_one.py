"""An estimate of a probability above 1 is an error in words, but for what chance and rounding make of one."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.likelihoods.at_most_one import check_at_most_one, has_probability

X = torch.tensor([[1.0, 0.0], [1.0, 1.0]])


class Unnormalised(dist.Bernoulli):  # type: ignore[misc]
    """Draws of one distribution with log-probabilities that belong to none."""

    def log_prob(self, value: Tensor) -> Tensor:
        log_p: Tensor = super().log_prob(value)
        return log_p - 3


def binary(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", 2, dim=-1):
        h = pyro.sample("h", dist.Bernoulli(torch.tensor(0.5)))
        pyro.sample("x", dist.Bernoulli(logits=h[..., None].expand(*h.shape, 2)).to_event(1), obs=observations["x"])


def narrow(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", 2, dim=-1):
        h = pyro.sample("h", dist.Bernoulli(torch.tensor(0.5)))
        pyro.sample("x", dist.Normal(h[..., None] * torch.ones(2), 0.01).to_event(1), obs=observations["x"])


def wrong(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", 2, dim=-1):
        pyro.sample("h", Unnormalised(torch.tensor(0.5)))


def right(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", 2, dim=-1):
        pyro.sample("h", dist.Bernoulli(torch.tensor(0.5)))


def test_a_guide_that_does_not_draw_what_it_scores_is_found_out() -> None:
    with pytest.raises(ValueError, match=r"estimate of log p\(x\) is 1\.\d\d ± .* discrete data have a probability of"):
        helm.log_likelihood(binary, wrong, X)
    assert (helm.log_likelihood(binary, right, X).table.log_likelihood < 0).all()


def test_a_density_may_be_above_one() -> None:
    assert helm.log_likelihood(narrow, right, torch.ones(2, 2)).table.log_likelihood.min() > 5


def test_a_certain_datum_is_left_its_chance() -> None:
    """Weights of 1.01 but for one in a hundred that is 0 average to 1; half of the time thirty of them are alike."""

    def certain(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 2, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.tensor(1.0)))
            on = h[..., None].expand(*h.shape, 2)
            pyro.sample("x", dist.Bernoulli(on).to_event(1), obs=observations["x"])

    def nearly(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("h", dist.Bernoulli(torch.tensor(0.99)))

    for seed in range(5):
        scores = helm.log_likelihood(certain, nearly, torch.ones(2, 2), num_samples=30, seed=seed)
        assert scores.table.log_likelihood.abs().max() < 0.3


def test_what_is_above_its_error_is_refused_and_no_more() -> None:
    few, many = 10, 10**6
    for log_p, stderr, number in ((0.3, 0.0, few), (0.4, 0.1, many), (torch.nan, 0.0, many), (0.005, torch.nan, many)):
        check_at_most_one(torch.tensor([[-1.0, log_p]]), torch.tensor([[0.0, stderr]]), number)
    with pytest.raises(ValueError, match=r"log p\(x\) is 0\.60 ± 0\.1 nats"):
        check_at_most_one(torch.tensor([[-1.0, 0.6]]), torch.tensor([[0.0, 0.1]]), many)


def test_only_what_is_observed_and_discrete_throughout_has_a_probability() -> None:
    def observed(*programs: object) -> bool:
        def model() -> None:
            for number, fn in enumerate(programs):
                pyro.sample(f"x{number}", fn, obs=fn.sample())  # type: ignore[attr-defined]
            pyro.sample("h", dist.Normal(0.0, 1.0))

        nodes = pyro.poutine.trace(model).get_trace().nodes.values()
        return has_probability(site for site in nodes if site["type"] == "sample")

    bits, counts, line = dist.Bernoulli(torch.ones(2) / 2).to_event(1), dist.Poisson(2.0), dist.Normal(0.0, 1.0)
    assert observed(bits, counts)
    assert not observed(bits, line)
    assert not observed(bits, dist.Unit(torch.tensor(0.3)))
