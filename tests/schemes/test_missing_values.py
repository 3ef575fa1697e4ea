"""Missing values in every scheme: bounds and gradients of what is observed.

The oracle sums ``p(x, h)`` over every completion of a datum, where the library leaves factors out.
"""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers.missing import known_missing
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import ExactEM, ExactMeanField, Gibbs, MeanField, ReweightedWakeSleep, Scheme, WakeSleep
from tests.checker import Z_THRESHOLD, exact_gradient, named_gradients, tiny_machine, worst_z, z_scores
from tests.oracle import IMAGING, Machine, binary_rows, log_bernoulli, unit_probabilities
from tests.schemes.test_estimators import CLAIMS, posterior_wake

NAN = torch.nan
DATA = torch.tensor([[1, NAN, 1], [NAN, NAN, 0], [NAN, NAN, NAN], [1, 0, 1]], dtype=torch.float64)
REPLICATES = 2000


def completions(row: Tensor) -> Tensor:
    """Every complete row that agrees with what is observed of it, [completions, units]."""
    every = binary_rows(len(row))
    return every[(row.isnan() | (every == row)).all(-1)]


class Incomplete(Machine):
    """One restart whose data have missing values."""

    def log_joint(self, x: Tensor) -> Tensor:
        return torch.stack([super(Incomplete, self).log_joint(completions(row)).logsumexp(0) for row in x])

    def log_guide(self, x: Tensor) -> Tensor:
        first, second = self.guide.recognition
        missing = x.isnan().double()
        leak = first.leak[0] + (missing @ (first.weight[0] / 2 + first.missing_weight[0]))[:, None]
        seen = unit_probabilities("sigmoid", x.nan_to_num()[:, None], first.weight[0], leak)
        upper = unit_probabilities("sigmoid", self.states[0], second.weight[0], second.leak[0, 0])
        return log_bernoulli(self.states[0], seen) + log_bernoulli(self.states[1], upper)

    def sleep_phi(self) -> Tensor:
        """Mean over the data, whose dreams have their missing values."""
        every, total = binary_rows(3), torch.zeros(())
        chance = super().log_joint(every).exp().detach()
        for row in DATA:
            total = total + (chance * self.log_guide(every.masked_fill(row.isnan(), NAN))).sum()
        return total / len(DATA)


def machine(imaging: str) -> Incomplete:
    plain = tiny_machine(imaging)
    plain.guide.learn_missing()
    plain.guide.recognition[0].missing_weight.data += torch.tensor([[0.5, -1.0], [1.5, 0.2], [-0.7, 0.9]]).double()
    return Incomplete(plain.model, plain.guide)


def many(one: Incomplete, number: int = REPLICATES) -> tuple[BeliefNetwork, FactorialRecognition]:
    model = BeliefNetwork(one.model.sizes, one.model.imaging, restarts=number).double()
    guide = FactorialRecognition(one.guide.sizes, restarts=number, missing=True).double()
    for copies, of in ((model, one.model), (guide, one.guide)):
        copies.load_state_dict({name: v.expand(number, *v.shape[1:]) for name, v in of.state_dict().items()})
    return model, guide


@pytest.mark.parametrize(
    ("name", "imaging"), [(name, IMAGING[number % 3]) for number, name in enumerate(CLAIMS)], ids=list(CLAIMS)
)
def test_value_and_gradient_are_those_of_what_is_observed(name: str, imaging: str) -> None:
    claim, exact = CLAIMS[name], machine(imaging)
    model, guide = many(exact)
    pyro.set_rng_seed(0)
    losses = claim.scheme.restart_losses(model, guide, observations={"x": DATA})
    losses.sum().backward()
    assert abs(float(z_scores(-losses.detach(), claim.bound(exact, DATA).sum().detach()))) < Z_THRESHOLD
    expected = exact_gradient(exact, -claim.objective(exact, DATA))
    for parameter, z in worst_z(named_gradients(model, guide), expected).items():
        assert z < Z_THRESHOLD, f"{parameter} is {z:.1f} standard errors off"


@pytest.mark.parametrize("imaging", IMAGING)
def test_exact_em_is_the_marginal_log_likelihood_and_its_gradient(imaging: str) -> None:
    exact = machine(imaging)
    loss = ExactEM().differentiable_loss(exact.model, exact.guide, observations={"x": DATA})
    loss.backward()
    found = named_gradients(exact.model, exact.guide)
    assert float(loss.detach()) == pytest.approx(-float(exact.log_evidence(DATA).sum().detach()), rel=1e-12)
    for name, value in exact_gradient(exact, -posterior_wake(exact, DATA)).items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("scheme", [MeanField(max_enumerated=0), ExactMeanField()], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("imaging", IMAGING)
def test_deterministic_schemes_leave_out_the_terms_of_missing_units(scheme: Scheme, imaging: str) -> None:
    exact = machine(imaging)
    exact.guide.recognition[1].weight.data.zero_()  # so that the guide is factorial, as these schemes have it
    loss = scheme.differentiable_loss(exact.model, exact.guide, observations={"x": DATA})
    loss.backward()
    found = named_gradients(exact.model, exact.guide)
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())
    if isinstance(scheme, ExactMeanField):
        assert float(loss.detach()) == pytest.approx(-float(exact.elbo(DATA).sum().detach()), rel=1e-7)
        expected = exact_gradient(exact, -exact.elbo(DATA).sum())
        name = "guide.recognition.0.missing_weight_unconstrained"
        assert torch.allclose(found[name], expected[name], rtol=1e-5, atol=1e-7)
    # the row of which nothing is observed, and complete ones, as if each stood alone
    apart = [scheme.differentiable_loss(exact.model, exact.guide, observations={"x": row[None]}) for row in DATA]
    assert torch.allclose(loss, torch.stack(apart).sum())


def test_complete_data_are_recognised_without_the_indicators() -> None:
    x = torch.tensor([[1.0, 0.0, 1.0]])
    plain, other = FactorialRecognition((3, 2), seed=0), FactorialRecognition((3, 2), seed=0, missing=True)
    other.recognition[0].missing_weight.data += 1.0
    for known in (None, False):
        with known_missing(known):
            assert torch.equal(plain.mean_field({"x": x})[0].logits, other.mean_field({"x": x})[0].logits)


def test_other_data_than_those_of_a_run_are_looked_at_for_themselves() -> None:
    """What fit knows of its data holds for a step and no longer."""
    with known_missing(False):
        pass
    guide = FactorialRecognition((3, 2), seed=0)
    assert bool(guide.mean_field({"x": DATA.float()})[0].logits.isfinite().all())


def fitted(step: str, scheme: Scheme, **settings: Any) -> tuple[BeliefNetwork, FactorialRecognition, Any]:
    model, guide = BeliefNetwork((3, 2, 2), restarts=2, seed=0), FactorialRecognition((3, 2, 2), restarts=2, seed=0)
    data = torch.cat([torch.ones(5, 3), DATA.float()])  # the first minibatch is complete
    result = helm.fit(
        model, guide, data, scheme=scheme, num_epochs=3, batch_size=3, step=step, progress=False, **settings
    )
    return model, guide, result


def test_captured_steps_take_missing_values_as_eager_ones_do() -> None:
    eager, captured = (fitted(step, WakeSleep(2)) for step in ("eager", "captured"))
    pairs: list[tuple[nn.Module, nn.Module]] = [(eager[0], captured[0]), (eager[1], captured[1])]
    for one, other in pairs:
        for (name, value), its in zip(one.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(value, its), name
            assert bool(value.isfinite().all()), name


def test_fit_lets_the_guide_learn_what_missing_means(tmp_path: Any) -> None:
    _, guide, result = fitted("eager", ReweightedWakeSleep(3), valid=DATA.float(), out=tmp_path)
    assert bool(guide.recognition[0].missing_weight.ne(0).any())
    assert bool(result.history.value.notna().all())
    _, loaded = helm.load(tmp_path)
    assert isinstance(loaded, FactorialRecognition)
    assert torch.equal(loaded.recognition[0].missing_weight, guide.recognition[0].missing_weight)
    complete = FactorialRecognition((3, 2, 2), restarts=2, seed=0)
    helm.fit(
        BeliefNetwork((3, 2, 2), restarts=2),
        complete,
        torch.ones(4, 3),
        scheme=WakeSleep(),
        num_epochs=1,
        progress=False,
    )
    assert "missing" not in complete.config


@pytest.mark.filterwarnings("ignore:.*TraceGraph")
def test_pyros_own_losses_take_missing_values_too() -> None:
    exact = machine("odds")
    pyro.set_rng_seed(0)
    with torch.no_grad():
        bound = -Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=2).loss(
            exact.model, exact.guide, observations={"x": DATA}
        )
    assert bound == pytest.approx(float(exact.elbo(DATA).sum().detach()), abs=0.4)
    svi = SVI(exact.model, exact.guide, pyro.optim.Adam({"lr": 0.01}), loss=WakeSleep(2))
    assert svi.step(observations={"x": DATA}) > 0


def test_chains_of_data_that_differ_in_what_is_missing_are_apart() -> None:
    scheme = Gibbs(1)
    model = machine("sigmoid").model
    x = torch.tensor([[0.0, 0.0, 1.0], [NAN, 0.0, 1.0]]).double()
    scheme.loss(model, None, observations={"x": x})
    scheme.loss(model, None, observations={"x": x.flip(0)})
    assert len(scheme.state_dict()["0/keys"]) == 2
