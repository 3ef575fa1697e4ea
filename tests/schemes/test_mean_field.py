"""The deterministic machine: F (3.11) and its derivatives, written out.

The formulas below are derived from 3.10 and 3.11, as the paper's appendix B is: B.1 is the total derivative dF/dq; of
A.3, B.2 is dp/dq and B.3 dp/dtheta. (``test_printed_derivatives.py`` has them as printed.) With ``p`` from the ``q`` of
the layer above and ``q`` from the layer below,

    dF/dtheta_kj = sum over data of  (p_j - q_j) / (p_j (1 - p_j))  dp_j/dtheta_kj
    dF/dq_k      = log [q_k (1 - p_k) / ((1 - q_k) p_k)]  +  sum_j (p_j - q_j) / (p_j (1 - p_j))  dp_j/dq_k
                                                          +  sum_m dF/dq_m  q_m (1 - q_m)  phi_km               (B.1)
    dF/dphi_km   = sum over data of  dF/dq_m  q_m (1 - q_m)  q_k

where j counts the units of the layer below and m those of the layer above.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import MeanField
from tests.checker import DATA, exact_gradient, named_gradients
from tests.oracle import IMAGING, Machine, binary_rows

SIZES = (5, 4, 3)


@dataclass
class Image:
    """Probabilities p ``[data, units]`` and their derivatives by causes and weights ``[data, causes, units]``."""

    p: Tensor
    by_q: Tensor
    by_weight: Tensor
    by_leak: Tensor


def sigmoid(q: Tensor, weight: Tensor, leak: Tensor) -> Image:
    p = 1 / (1 + torch.exp(-(q @ weight + leak)))
    slope = p * (1 - p)
    return Image(p, slope[:, None] * weight, slope[:, None] * q[:, :, None], slope)


def noisy_or(q: Tensor, weight: Tensor, leak: Tensor) -> Image:
    """A.1 with ``theta = 1 - exp(-weight)``."""
    theta = 1 - torch.exp(-weight)
    factors = 1 - q[:, :, None] * theta
    none = torch.exp(-leak) * factors.prod(1)
    by_q = none[:, None] * theta / factors
    return Image(1 - none, by_q, none[:, None] * q[:, :, None] * (1 - theta) / factors, none)


def odds_a3(q: Tensor, weight: Tensor, leak: Tensor) -> Image:
    """A.3, the leak being a cause that is always on; ``by_q`` is B.2 and ``by_weight`` B.3."""
    odds = q @ weight + leak
    factors = 1 - q[:, :, None] * weight / (1 + weight)
    none = factors.prod(1) / (1 + leak)
    some, by_odds = 1 - none, 1 / (1 + odds) ** 2
    share = odds / (1 + odds)
    fewer = (share * none)[:, None] / factors
    return Image(
        share * some,
        (by_odds * some)[:, None] * weight + fewer * weight / (1 + weight),
        q[:, :, None] * ((by_odds * some)[:, None] + fewer / (1 + weight) ** 2),
        by_odds * some + share * none / (1 + leak),
    )


def odds_mean(q: Tensor, weight: Tensor, leak: Tensor) -> Image:
    """The mean of A.2 over every state of the causes."""
    states = binary_rows(q.shape[-1])
    each = torch.where(states == 1, q[:, None], 1 - q[:, None])
    probability = each.prod(-1)
    odds = states @ weight + leak
    p, slope = odds / (1 + odds), 1 / (1 + odds) ** 2
    by_q = [
        (each[:, :, [i for i in range(q.shape[-1]) if i != k]].prod(-1) * (2 * states[:, k] - 1)) @ p
        for k in range(q.shape[-1])
    ]
    by_weight = [(probability * states[:, k]) @ slope for k in range(q.shape[-1])]
    return Image(probability @ p, torch.stack(by_q, 1), torch.stack(by_weight, 1), probability @ slope)


@dataclass
class Case:
    imaging: Any
    max_enumerated: int
    images: tuple[Callable[[Tensor, Tensor, Tensor], Image], ...]
    """Of the layers below the top, bottom to top."""


CASES = {
    "sigmoid": Case("sigmoid", 3, (sigmoid, sigmoid)),
    "noisy_or": Case("noisy_or", 3, (noisy_or, noisy_or)),
    "odds, A.3": Case("odds", 0, (odds_a3, odds_a3)),
    "odds, A.3 but 3 causes enumerated": Case("odds", 3, (odds_a3, odds_mean)),
    "odds, enumerated": Case("odds", 4, (odds_mean, odds_mean)),
    "mixed": Case(("noisy_or", "odds", "sigmoid"), 0, (noisy_or, odds_a3)),
}

TOP = {
    "sigmoid": lambda leak: sigmoid(torch.zeros(1, 0).double(), torch.zeros(0, 3).double(), leak),
    "noisy_or": lambda leak: Image(1 - torch.exp(-leak), leak, leak, torch.exp(-leak)),
    "odds": lambda leak: Image(leak / (1 + leak), leak, leak, 1 / (1 + leak) ** 2),
}

# derivative of a weight or leak by the unconstrained parameter that stands for it
BY_UNCONSTRAINED: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.ones_like,
    "noisy_or": lambda weight: 1 - torch.exp(-weight),
    "odds": lambda weight: weight,
}


def machine(imaging: Any, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Machine:
    model = BeliefNetwork(sizes, imaging, seed=seed).double()
    guide = FactorialRecognition(sizes, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return Machine(model, guide)


X = (torch.rand(7, 5, generator=torch.Generator().manual_seed(1)) < 0.5).double()


def activities(pair: Machine, x: Tensor = X) -> list[Tensor]:
    """3.10: q of every layer, that of the data first."""
    q = [x]
    for layer in pair.guide.recognition:
        q.append(1 / (1 + torch.exp(-(q[-1] @ layer.weight[0] + layer.leak[0]))))
    return q


def images(pair: Machine, case: Case, q: list[Tensor]) -> list[Image]:
    """p of every layer from the q above it, bottom to top."""
    *layers, top = pair.model.generative
    return [
        *(
            image(above, layer.weight[0], layer.leak[0])
            for image, layer, above in zip(case.images, layers, q[1:], strict=True)
        ),
        TOP[pair.model.imaging[-1]](top.leak[0]),
    ]


def free_energy(q: list[Tensor], p: list[Tensor]) -> Tensor:
    """3.11, ``[data]``; ``0 log 0 = 0``."""
    total = torch.zeros(len(q[0]), dtype=torch.float64)
    for q_l, p_l in zip(q, p, strict=True):
        total = total + (torch.xlogy(q_l, q_l / p_l) + torch.xlogy(1 - q_l, (1 - q_l) / (1 - p_l))).sum(-1)
    return total


def derivatives_by_hand(pair: Machine, case: Case) -> tuple[dict[str, Tensor], list[Tensor]]:
    """By parameter, in the units of weights and leaks, and by the activities of hidden layers (B.1), bottom to top."""
    with torch.no_grad():
        q = activities(pair)
        below = images(pair, case, q)
        by_p = [(image.p - q_l) / (image.p * (1 - image.p)) for image, q_l in zip(below, q, strict=True)]
        derivatives: dict[str, Tensor] = {}
        for level, image in enumerate(below):
            name = f"model.generative.{level}"
            derivatives[f"{name}.learned_leak"] = (by_p[level] * image.by_leak).sum(0)
            if level + 1 < len(below):
                derivatives[f"{name}.weight"] = (by_p[level][:, None] * image.by_weight).sum(0)
        by_q: list[Tensor] = []
        for level in range(len(below) - 1, 0, -1):
            q_l, p_l = q[level], below[level].p
            total = torch.log(q_l * (1 - p_l) / ((1 - q_l) * p_l))
            total = total + torch.einsum("nj,nkj->nk", by_p[level - 1], below[level - 1].by_q)
            if by_q:
                above = q[level + 1]
                total = total + (by_q[0] * above * (1 - above)) @ pair.guide.recognition[level].weight[0].T
            by_q.insert(0, total)
        for level, total in enumerate(by_q):
            through = total * q[level + 1] * (1 - q[level + 1])
            derivatives[f"guide.recognition.{level}.weight"] = q[level].T @ through
            derivatives[f"guide.recognition.{level}.learned_leak"] = through.sum(0)
        return derivatives, by_q


def in_units_of_weights(pair: Machine, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    converted = {}
    for name, gradient in gradients.items():
        part, _, level, parameter = name.removesuffix("_unconstrained").split(".")
        layers = pair.model.generative if part == "model" else pair.guide.recognition
        imaging = pair.model.imaging[int(level)] if part == "model" else "sigmoid"
        by_unconstrained = BY_UNCONSTRAINED[imaging](getattr(layers[int(level)], parameter).detach())
        converted[name.removesuffix("_unconstrained")] = (gradient / by_unconstrained)[0]
    return converted


def gradients_of_scheme(scheme: MeanField, pair: Machine, x: Tensor = X) -> dict[str, Tensor]:
    pair.model.zero_grad()
    pair.guide.zero_grad()
    scheme.differentiable_loss(pair.model, pair.guide, observations={"x": x}).backward()
    return {name: gradient.clone() for name, gradient in named_gradients(pair.model, pair.guide).items()}


cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@cases
def test_value_is_3_11(case: Case) -> None:
    pair = machine(case.imaging)
    q = activities(pair)
    expected = free_energy(q, [image.p for image in images(pair, case, q)]).sum()
    loss = MeanField(max_enumerated=case.max_enumerated).loss(pair.model, pair.guide, observations={"x": X})
    assert loss == pytest.approx(float(expected.detach()), rel=1e-12)


@cases
def test_gradients_are_those_derived_by_hand(case: Case) -> None:
    pair = machine(case.imaging)
    by_hand, _ = derivatives_by_hand(pair, case)
    scheme = MeanField(max_enumerated=case.max_enumerated)
    ours = in_units_of_weights(pair, gradients_of_scheme(scheme, pair))
    assert ours.keys() == by_hand.keys()
    for name, gradient in ours.items():
        assert torch.allclose(gradient, by_hand[name].reshape(gradient.shape), rtol=1e-9, atol=1e-9), name


@cases
def test_derivatives_by_the_activities_are_b1(case: Case) -> None:
    pair = machine(case.imaging)
    _, expected = derivatives_by_hand(pair, case)
    below = X
    q = []
    for layer in pair.guide.recognition:
        # a node of its own in the graph, by which F can be differentiated
        below = torch.sigmoid(below @ layer.weight[0] + layer.leak[0])
        q.append(below)
    log_probs = pair.model.layer_log_probs(
        lambda layer, means: layer.log_mean(means, max_enumerated=case.max_enumerated), q
    )
    energy = -sum(torch.special.entr(q_l).sum() + torch.special.entr(1 - q_l).sum() for q_l in q)
    for q_l, layer_log_probs in zip([X, *q], log_probs, strict=True):
        energy = energy - (q_l * layer_log_probs.on + (1 - q_l) * layer_log_probs.off).sum()
    for ours, by_hand in zip(torch.autograd.grad(energy, q), expected, strict=True):
        assert torch.allclose(ours, by_hand, rtol=1e-9, atol=1e-9)


@cases
def test_gradients_are_differences_of_3_11(case: Case) -> None:
    pair = machine(case.imaging)
    named = gradients_of_scheme(MeanField(max_enumerated=case.max_enumerated), pair)
    parameters = [*pair.model.parameters(), *pair.guide.parameters()]

    def value() -> float:
        q = activities(pair)
        return float(free_energy(q, [image.p for image in images(pair, case, q)]).sum())

    step = 1e-3
    with torch.no_grad():
        for parameter, gradient in zip(parameters, named.values(), strict=True):
            entries, slopes = parameter.view(-1), gradient.reshape(-1)
            for entry in range(0, len(entries), 3):
                middle, values = entries[entry].clone(), []
                for places in (-2, -1, 1, 2):
                    entries[entry] = middle + places * step
                    values.append(value())
                entries[entry] = middle
                difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
                assert float(slopes[entry]) == pytest.approx(difference, abs=1e-9)


def test_few_causes_are_enumerated_and_more_are_not() -> None:
    pair = machine("odds")
    losses = [
        MeanField(max_enumerated=number).loss(pair.model, pair.guide, observations={"x": X}) for number in range(6)
    ]
    assert losses[0] == losses[1] == losses[2]  # layers of 4 and of 3 causes
    assert losses[4] == losses[5]
    assert len({losses[0], losses[3], losses[4]}) == 3
    assert MeanField().max_enumerated == 3  # as the paper


@pytest.mark.parametrize("imaging", IMAGING)
def test_minus_f_may_lie_above_the_log_likelihood(imaging: str) -> None:
    """Where the guide is the posterior, a bound is log p(x); the log of the mean is more."""
    pair = machine(imaging, (3, 1))
    x = torch.tensor([[1.0, 0.0, 1.0]]).double()
    with torch.no_grad():
        off, on = pair.log_joint(x)[0]
        pair.guide.recognition[0].weight_unconstrained.zero_()
        pair.guide.recognition[0].learned_leak_unconstrained.fill_(float(on - off))
        assert float(pair.elbo(x)) == pytest.approx(float(pair.log_evidence(x)), rel=1e-12)
        evidence = float(pair.log_evidence(x))
    assert -MeanField().loss(pair.model, pair.guide, observations={"x": x}) > evidence + 1e-3


@cases
def test_restarts_are_so_many_machines(case: Case) -> None:
    model = BeliefNetwork(SIZES, case.imaging, restarts=3, seed=0).double()
    guide = FactorialRecognition(SIZES, restarts=3, seed=0).double()
    scheme = MeanField(max_enumerated=case.max_enumerated)
    losses = scheme.restart_losses(model, guide, observations={"x": X})
    losses.sum().backward()
    together = named_gradients(model, guide)
    for restart in range(3):
        alone = Machine(BeliefNetwork(SIZES, case.imaging).double(), FactorialRecognition(SIZES).double())
        for part, many in ((alone.model, model), (alone.guide, guide)):
            part.load_state_dict({name: value[restart : restart + 1] for name, value in many.state_dict().items()})
        loss = scheme.loss(alone.model, alone.guide, observations={"x": X})
        assert loss == pytest.approx(float(losses[restart].detach()), rel=1e-12)
        for name, gradient in gradients_of_scheme(scheme, alone).items():
            assert torch.allclose(gradient[0], together[name][restart], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("restarts", [1, 2])
def test_scales_and_masks_are_per_datum(restarts: int) -> None:
    model = BeliefNetwork(SIZES, "odds", restarts=restarts, seed=0).double()
    guide = FactorialRecognition(SIZES, restarts=restarts, seed=0).double()
    scheme, weights = MeanField(), torch.tensor([2.0, 0.3, 1.0, 3.0, 0.5, 0.2, 1.0]).double()
    single = torch.stack([scheme.restart_losses(model, guide, observations={"x": x[None]}) for x in X], -1)
    with poutine.scale(scale=weights):
        scaled = scheme.restart_losses(model, guide, observations={"x": X})
    with poutine.mask(mask=weights >= 1):
        masked = scheme.restart_losses(model, guide, observations={"x": X})
    assert scaled.shape == masked.shape == (restarts,)
    assert torch.allclose(scaled, (single * weights).sum(-1), rtol=1e-12)
    assert torch.allclose(masked, (single * (weights >= 1)).sum(-1), rtol=1e-12)
    with poutine.scale(scale=4.0):
        four = scheme.restart_losses(model, guide, observations={"x": X})
    assert torch.allclose(four, 4 * single.sum(-1), rtol=1e-12)


def test_weights_per_datum_are_repetitions_in_the_gradient_too() -> None:
    pair = machine("noisy_or")
    number = torch.tensor([2, 1, 1, 3, 1, 4, 1])
    repeated = gradients_of_scheme(MeanField(), pair, X.repeat_interleave(number, 0))
    pair.model.zero_grad()
    pair.guide.zero_grad()
    with poutine.scale(scale=number.double()):
        MeanField().loss_and_grads(pair.model, pair.guide, observations={"x": X})
    for name, gradient in named_gradients(pair.model, pair.guide).items():
        assert torch.allclose(gradient, repeated[name], rtol=1e-12, atol=1e-12)


def test_a_certain_unit_that_another_makes_impossible_leaves_the_gradients_finite() -> None:
    """A noisy-or cause that is certain and never fails makes log(1 - p) of the unit below minus infinity."""
    pair = machine("noisy_or", (3, 2, 2))
    with torch.no_grad():
        for layer in pair.guide.recognition:
            layer.learned_leak_unconstrained[..., 0] = 60.0
        pair.model.generative[1].weight_unconstrained[0, 0, 0] = 60.0
    loss = MeanField().loss(pair.model, pair.guide, observations={"x": DATA})
    assert math.isfinite(loss)
    gradients = gradients_of_scheme(MeanField(), pair, DATA)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    # as where neither is quite certain
    with torch.no_grad():
        for layer in pair.guide.recognition:
            layer.learned_leak_unconstrained[..., 0] = 30.0
        pair.model.generative[1].weight_unconstrained[0, 0, 0] = 30.0
    for name, gradient in gradients_of_scheme(MeanField(), pair, DATA).items():
        assert torch.allclose(gradients[name], gradient, atol=1e-9), name


def test_the_gradient_of_a_one_layer_machine_of_certain_causes_is_the_sampled_one() -> None:
    """With saturated recognition, means are samples, and F is the variational free energy."""
    pair = machine("sigmoid", (3, 2, 2))
    with torch.no_grad():
        for layer in pair.guide.recognition:
            layer.weight_unconstrained.mul_(1e4)
            layer.learned_leak_unconstrained.mul_(1e4)
    exact = exact_gradient(pair, -pair.wake_theta(DATA).sum())
    for name, gradient in gradients_of_scheme(MeanField(), pair, DATA).items():
        if name.startswith("model"):
            assert torch.allclose(gradient, exact[name], rtol=1e-9, atol=1e-9)


def test_other_programs_and_observations_are_refused_in_a_sentence() -> None:
    pair = machine("sigmoid")
    scheme = MeanField()
    refusals: list[tuple[type[Exception], str, tuple[Any, Any, Any]]] = [
        (
            TypeError,
            "of a BeliefNetwork and a FactorialRecognition, got a function and a FactorialRecognition; for other",
            (lambda observations: None, pair.guide, {"x": X}),
        ),
        (TypeError, "got a BeliefNetwork and a Linear", (pair.model, torch.nn.Linear(5, 4), {"x": X})),
        (ValueError, "same sizes", (pair.model, FactorialRecognition((5, 4)), {"x": X})),
        (ValueError, "same restarts", (pair.model, FactorialRecognition(SIZES, restarts=2), {"x": X})),
        (
            ValueError,
            'MeanField takes observations={"x": values}, got',
            (pair.model, pair.guide, {"x": X, "h1": torch.ones(7, 4)}),
        ),
        (ValueError, 'MeanField takes observations={"x": values}, got', (pair.model, pair.guide, None)),
        (ValueError, 'MeanField takes observations={"x": values}, got', (pair.model, pair.guide, X)),
        (ValueError, "must have shape [..., data, 5], got [7, 4]", (pair.model, pair.guide, {"x": X[:, :4]})),
        (
            ValueError,
            "'x' must have shape [data, units] or [1, data, units], data for each restart; got [2, 1, 7, 5]",
            (pair.model, pair.guide, {"x": X.expand(2, 1, 7, 5)}),
        ),
        (ValueError, "for each restart; got [2, 7, 5]", (pair.model, pair.guide, {"x": X.expand(2, 7, 5)})),
        (TypeError, "'x' must be a torch tensor, got ndarray", (pair.model, pair.guide, {"x": X.numpy()})),
        (ValueError, "0 or 1", (pair.model, pair.guide, {"x": 2 * X})),
    ]
    for error, sentence, (model, guide, observations) in refusals:
        with pytest.raises(error, match=re.escape(sentence)):
            scheme.loss(model, guide, observations=observations)
    for arguments, settings, given in (
        ((), {"x": X}, "x"),
        (({"x": X},), {"num_data": 7}, "num_data"),
        (({"x": X}, 7), {}, "2 arguments"),
    ):
        sentence = f'MeanField takes observations={{"x": values}} and no other argument, got {given}'
        with pytest.raises(TypeError, match=re.escape(sentence)):
            scheme.loss(pair.model, pair.guide, *arguments, **settings)
    for number in (-1, 21, 2.0, "3", None):
        sentence = f"max_enumerated must be a number of units, an integer from 0 to 20, got {number!r}"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            MeanField(max_enumerated=number)  # type: ignore[arg-type]


def test_each_restart_may_have_data_of_its_own() -> None:
    model = BeliefNetwork(SIZES, "odds", restarts=2, seed=0).double()
    guide = FactorialRecognition(SIZES, restarts=2, seed=0).double()
    own = torch.stack([X, X.flip(-1)])
    losses = MeanField().restart_losses(model, guide, observations={"x": own})
    for restart, x in enumerate(own):
        for same in (x, x[None]):
            shared = MeanField().restart_losses(model, guide, observations={"x": same})
            assert torch.allclose(shared[restart], losses[restart], rtol=1e-12)


def test_data_of_other_types_are_taken_as_numbers() -> None:
    pair = machine("odds")
    expected = MeanField().loss(pair.model, pair.guide, observations={"x": X})
    for x in (X.bool(), X.long(), X.float()):
        assert MeanField().loss(pair.model, pair.guide, observations={"x": x}) == expected
