"""Particles: shapes, per-datum log-probabilities, scales and masks, and what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI
from torch import Tensor

from pyro_helm.programs.dreams import draw_from_model
from pyro_helm.programs.particles import draw_from_guide
from pyro_helm.schemes import Reinforce, ReweightedWakeSleep, WakeSleep
from tests.checker import DATA, tiny_machine

Observations = Mapping[str, Tensor]


def model(observations: Observations) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        h = pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.3)).to_event(1))
        pyro.sample("x", dist.Bernoulli(0.2 + 0.6 * h).to_event(1), obs=observations["x"])


def guide(observations: Observations) -> None:
    with pyro.plate("data", observations["x"].shape[-2], dim=-1):
        pyro.sample("h", dist.Bernoulli(0.1 + 0.8 * observations["x"]).to_event(1))


X = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
ARGUMENTS = {"observations": {"x": X}}


@pytest.mark.parametrize("num_particles", [1, 4])
def test_log_probabilities_are_per_particle_restart_and_datum(num_particles: int) -> None:
    machine = tiny_machine("odds")
    particles = draw_from_guide(machine.model, machine.guide, num_particles, kwargs={"observations": {"x": DATA}})
    assert particles.log_p.keys() == {"x", "h1", "h2"}
    assert particles.log_q.keys() == {"h1", "h2"}
    assert particles.log_weight.shape == (num_particles, 1, len(DATA))


def test_log_weight_agrees_with_pyro_traces() -> None:
    particles = draw_from_guide(model, guide, 3, kwargs=ARGUMENTS)
    values = {"h": particles.guide_sites["h"]["value"]}
    conditioned = poutine.trace(poutine.condition(pyro.plate("k", 3, dim=-3)(model), values)).get_trace(**ARGUMENTS)
    conditioned.compute_log_prob()
    expected = conditioned.nodes["h"]["log_prob"] + conditioned.nodes["x"]["log_prob"]
    assert torch.allclose(particles.log_joint, expected)


def test_dreams_come_from_the_model_and_are_shown_to_the_guide() -> None:
    pyro.set_rng_seed(0)
    particles = draw_from_model(model, guide, 2000, kwargs=ARGUMENTS)
    dream, h = particles.model_sites["x"]["value"], particles.model_sites["h"]["value"]
    assert dream.shape == (2000, 1, 2, 3)
    on_rate = dream[h == 1].mean()
    assert abs(float(on_rate) - 0.8) < 4 * 0.4 / float(h.sum()) ** 0.5  # z-threshold 4
    expected = dist.Bernoulli(0.1 + 0.8 * dream).log_prob(h).sum(-1)
    assert torch.allclose(particles.log_guide, expected)


def test_a_subsampled_plate_gives_a_scale_and_is_the_same_minibatch_in_guide_and_model() -> None:
    def sub_model(observations: Observations) -> None:
        with pyro.plate("data", 10, subsample_size=5, dim=-1) as rows:
            h = pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.3)).to_event(1))
            pyro.sample("x", dist.Bernoulli(0.2 + 0.6 * h).to_event(1), obs=observations["x"][rows])

    def sub_guide(observations: Observations) -> None:
        with pyro.plate("data", 10, subsample_size=5, dim=-1) as rows:
            # certain that h is x, so that another minibatch in the model would show
            pyro.sample("h", dist.Bernoulli(0.0001 + 0.9998 * observations["x"][rows]).to_event(1))

    pyro.set_rng_seed(0)
    x = (torch.rand(10, 3) < 0.5).float()
    particles = draw_from_guide(sub_model, sub_guide, 2, kwargs={"observations": {"x": x}})
    assert particles.scale == 2.0
    assert bool((particles.guide_sites["h"]["value"][0, 0] == particles.model_sites["x"]["value"]).all())
    assert particles.log_weight.shape == (2, 1, 5)
    assert torch.allclose(particles.sum_over_data(torch.ones(1, 5)), torch.tensor([10.0]))


def test_a_scale_around_both_programs_stays_outside_the_logarithm() -> None:
    scheme = ReweightedWakeSleep(num_particles=3)
    pyro.set_rng_seed(0)
    plain = scheme.loss(model, guide, **ARGUMENTS)
    pyro.set_rng_seed(0)
    scaled = scheme.loss(poutine.scale(model, 7.0), poutine.scale(guide, 7.0), **ARGUMENTS)
    assert scaled == pytest.approx(7 * plain)


def test_a_dream_counts_for_the_average_of_the_data() -> None:
    weights = torch.tensor([0.5, 3.5])
    with poutine.scale(scale=weights):
        wake = draw_from_guide(model, guide, 2, kwargs=ARGUMENTS)
        sleep = draw_from_model(model, guide, 2, kwargs=ARGUMENTS)
    assert torch.equal(torch.as_tensor(wake.scale), weights)
    assert torch.equal(torch.as_tensor(sleep.scale), torch.tensor([2.0]))
    assert torch.equal(sleep.sum_over_data(torch.tensor([[1.0, 2.0]])), torch.tensor([6.0]))
    with poutine.scale(scale=3.0):
        assert draw_from_model(model, guide, 2, kwargs=ARGUMENTS).scale == 3.0


def test_a_mask_takes_a_datum_out() -> None:
    mask = torch.tensor([True, False])
    particles = draw_from_guide(poutine.mask(model, mask), poutine.mask(guide, mask), 3, kwargs=ARGUMENTS)
    assert bool((particles.log_weight[..., 1] == 0).all())
    assert bool((particles.log_weight[..., 0] != 0).all())


def test_programs_without_a_data_plate_are_one_datum() -> None:
    def one(observations: Observations) -> None:
        h = pyro.sample("h", dist.Bernoulli(0.5))
        pyro.sample("x", dist.Bernoulli(0.2 + 0.6 * h), obs=torch.tensor(1.0))

    def its_guide(observations: Observations) -> None:
        pyro.sample("h", dist.Bernoulli(0.7))

    assert draw_from_guide(one, its_guide, 4, kwargs=ARGUMENTS).log_weight.shape == (4, 1, 1)


def _in_plates(*plates: tuple[str, int, int], site: str = "h") -> Callable[..., None]:
    def program(observations: Observations) -> None:
        plain = [pyro.plate(name, size, dim=dim) for name, size, dim in plates]
        for plate in plain:
            plate.__enter__()
        try:
            pyro.sample(site, dist.Bernoulli(0.5))
        finally:
            for plate in reversed(plain):
                plate.__exit__(None, None, None)

    return program


@pytest.mark.parametrize(
    ("a_model", "a_guide", "sentence"),
    [
        (model, lambda observations: None, "latent site 'h' of the model is missing in the guide"),
        (lambda observations: None, guide, "site 'h' of the guide is missing in the model"),
        (
            _in_plates(("data", 2, -1)),
            _in_plates(("rows", 2, -1)),
            "site 'h' is in plate 'data' at dim=-1 in one program and in plate 'rows' in the other",
        ),
        (_in_plates(("data", 2, -1)), _in_plates(), "in no plate at dim=-1"),
        (
            _in_plates(("data", 2, -1), ("pixels", 2, -3)),
            _in_plates(("data", 2, -1)),
            "plate 'pixels' with dim=-3",
        ),
        (poutine.scale(model, 2.0), guide, "has scale 2.0 in one program and scale 1.0 in the other"),
    ],
)
def test_what_breaks_the_convention_is_refused_in_a_sentence(
    a_model: Callable[..., None], a_guide: Callable[..., None], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        draw_from_guide(a_model, a_guide, 1, kwargs=ARGUMENTS)


def test_a_site_that_the_model_observes_is_not_the_guides_to_sample() -> None:
    def confused(observations: Observations) -> None:
        guide(observations)
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("x", dist.Bernoulli(torch.full((3,), 0.5)).to_event(1))

    with pytest.raises(ValueError, match="site 'x' is sampled in the guide but observed in the model"):
        draw_from_guide(model, confused, 2, kwargs=ARGUMENTS)


def test_a_sequential_plate_is_refused() -> None:
    def program(observations: Observations) -> None:
        for i in pyro.plate("rows", 2):
            pyro.sample(f"h{i}", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match="sequential plate 'rows'"):
        draw_from_guide(program, program, 1, kwargs=ARGUMENTS)


@pytest.mark.parametrize("scheme", [Reinforce(2), WakeSleep(1), ReweightedWakeSleep(3, insomnia=0.5)])
def test_schemes_train_plain_functions_with_svi(scheme: Reinforce | WakeSleep | ReweightedWakeSleep) -> None:
    pyro.clear_param_store()

    def learned(observations: Observations) -> None:
        probability = pyro.param("p", torch.tensor(0.5), constraint=dist.constraints.unit_interval)
        with pyro.plate("data", len(observations["x"]), dim=-1):
            h = pyro.sample("h", dist.Bernoulli(probability.expand(3)).to_event(1))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * h).to_event(1), obs=observations["x"])

    svi = SVI(learned, guide, pyro.optim.Adam({"lr": 0.05}), loss=scheme)
    pyro.set_rng_seed(0)
    losses = [svi.step(observations={"x": torch.ones(20, 3)}) for _ in range(60)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert float(pyro.param("p").detach()) > 0.7
    pyro.clear_param_store()


def test_nan_under_a_mask_reaches_neither_value_nor_gradient() -> None:
    logits = torch.zeros(3, requires_grad=True)

    def masked(observations: Observations) -> None:
        mask = torch.tensor([True, False])
        with pyro.plate("data", 2, dim=-1), poutine.mask(mask=mask):
            pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=observations["x"])

    def its_guide(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1), poutine.mask(mask=torch.tensor([True, False])):
            pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.5)).to_event(1))

    x = torch.tensor([[1.0, 0.0, 1.0], [torch.nan, 1.0, torch.nan]])
    loss = ReweightedWakeSleep(3).differentiable_loss(masked, its_guide, {"x": x})
    loss.backward()
    assert float(loss.detach()) == pytest.approx(3 * 0.6931, abs=1e-3)
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-0.5, 0.5, -0.5])


def test_batch_dimensions_without_a_plate_are_refused() -> None:
    def undeclared(observations: Observations) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + torch.zeros(10), 1.0), obs=torch.zeros(10))

    def its_guide(observations: Observations) -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="site 'x' has 10 entries along dimension -1 of its batch shape, but no plate"):
        Reinforce(3).loss(undeclared, its_guide, **ARGUMENTS)


def test_a_guide_without_sites_is_refused() -> None:
    def observed_only(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("x", dist.Bernoulli(torch.full((3,), 0.5)).to_event(1), obs=observations["x"])

    with pytest.raises(ValueError, match="the guide has no latent site"):
        Reinforce(2).loss(observed_only, lambda observations: None, **ARGUMENTS)


def test_a_sleep_phase_says_that_it_needs_observations_by_keyword() -> None:
    with pytest.raises(TypeError, match="the scheme be called with observations by keyword"):
        WakeSleep().loss(model, guide, {"x": X})


def test_a_discrete_auxiliary_site_is_refused_since_the_guides_density_is_not_known() -> None:
    def with_switch(observations: Observations) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            switch = pyro.sample("switch", dist.Bernoulli(0.5), infer={"is_auxiliary": True})
            pyro.sample("h", dist.Bernoulli(0.2 + 0.5 * switch[..., None] * torch.ones(3)).to_event(1))

    with pytest.raises(ValueError, match="auxiliary site 'switch' of the guide is discrete"):
        Reinforce(2).loss(model, with_switch, **ARGUMENTS)


def test_a_guide_that_asks_the_sleep_phase_for_another_site_is_told_which_there_are() -> None:
    mask = torch.tensor([True, False])

    def half_observed(observations: Observations) -> None:
        with pyro.plate("data", 2, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.3)).to_event(1))
            pyro.sample("x", dist.Bernoulli(0.2 + 0.6 * h).to_event(1), obs=X, obs_mask=mask)

    with pytest.raises(ValueError, match=r"dreams of the model's observed sites \(x_observed\), but it asked for 'x'"):
        draw_from_model(half_observed, guide, 2, kwargs=ARGUMENTS)


def test_a_datum_that_counts_for_nothing_may_be_impossible() -> None:
    def model(observations: dict[str, torch.Tensor]) -> None:
        with pyro.plate("data", 2, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Bernoulli(0.5 * h), obs=observations["x"])

    def guide(observations: dict[str, torch.Tensor]) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("h", dist.Delta(torch.tensor([1.0, 0.0])))

    x = {"observations": {"x": torch.ones(2)}}
    with pyro.validation_enabled(False), poutine.scale(scale=torch.tensor([3.0, 0.0])):
        particles = draw_from_guide(model, guide, 1, kwargs=x)
    assert particles.log_weight[0, 0, 1] == -torch.inf
    assert particles.elbo.item() == pytest.approx(3 * 2 * math.log(0.5))
