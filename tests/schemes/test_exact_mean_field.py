"""The exact bound of the fully factorial guide, against the sum over all joint hidden states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers import Imaging, LogProbs
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import ExactMeanField, MeanField, Scheme
from tests.checker import DATA, named_gradients
from tests.oracle import IMAGING, binary_rows, unit_probabilities

Sizes = tuple[int, ...]
Pair = tuple[BeliefNetwork, FactorialRecognition]

TWO_LAYERS, THREE_LAYERS = (4, 6), (4, 5, 3)
NETS = 167
"""Restarts of one machine are so many nets; 3 imaging models with 2 sizes make 1,002."""


def spread(generator: torch.Generator, shape: Any, lowest: float, highest: float) -> Tensor:
    """Even in the logarithm between two powers of ten."""
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return 10 ** (lowest + (highest - lowest) * uniform)


def extreme_nets(imaging: str, sizes: Sizes, seed: int = 0, restarts: int = NETS) -> Pair:
    """Each net with a range of its own.

    Odds go from 1e-12 to 1e12, leaks down to 1e-6 and lower, sigmoid weights to +-40, noisy-or rates from 1e-9 to 300;
    recognition from uniform to saturated.
    """
    model = BeliefNetwork(sizes, imaging, restarts=restarts).double()
    guide = FactorialRecognition(sizes, restarts=restarts).double()
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(restarts, 1, 1, generator=generator, dtype=torch.float64)
    for layer in model.generative:
        for name in ("weight", "learned_leak"):
            if not hasattr(layer, name):
                continue
            shape = getattr(layer, name).shape
            if imaging == "sigmoid":
                value = 40 * share * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)
            elif imaging == "odds":
                value = spread(generator, shape, -12, 12 if name == "weight" else 2) ** share
            else:
                value = spread(generator, shape, -9, 2.5 if name == "weight" else 1) ** share
            setattr(layer, name, value)
    for layer in guide.recognition:
        scale = spread(generator, (restarts, 1, 1), -1, 1.5)
        for name in ("weight", "learned_leak"):
            shape = getattr(layer, name).shape
            setattr(layer, name, scale * torch.randn(shape, generator=generator, dtype=torch.float64))
    return model, guide


def log_probabilities(imaging: str, drive: Tensor) -> tuple[Tensor, Tensor]:
    """log p and log(1 - p) of a unit: the oracle's p, with no digit lost where p is near 0 or 1."""
    if imaging == "sigmoid":
        return logsigmoid(drive), logsigmoid(-drive)
    if imaging == "noisy_or":
        return torch.log(-torch.expm1(-drive)), -drive
    return -torch.log1p(1 / drive), -torch.log1p(drive)


def log_joint(model: BeliefNetwork, x: Tensor, states: list[Tensor]) -> Tensor:
    """log p(x, h) for every restart, datum and joint state, ``[restarts, data, states]``."""
    *layers, top = model.generative
    total = torch.zeros((), dtype=torch.float64)
    for level, (layer, imaging) in enumerate(zip([*layers, top], model.imaging, strict=True)):
        drive = layer.leak.expand(-1, len(states[0]), -1)
        if level < len(layers):
            drive = drive + states[level] @ layer.weight
        on, off = (t[:, None] for t in log_probabilities(imaging, drive))
        values = x[:, None] if level == 0 else states[level - 1]
        total = total + (values * on + (1 - values) * off).sum(-1)
    return total


def log_factorial_guide(guide: FactorialRecognition, x: Tensor, states: list[Tensor]) -> Tensor:
    """log q of the guide whose q come from means all the way up (3.10), ``[restarts, data, states]``."""
    total = torch.zeros((), dtype=torch.float64)
    q = x
    for layer, values in zip(guide.recognition, states, strict=True):
        logits = q @ layer.weight + layer.leak
        on, off = (t[:, :, None] for t in (logsigmoid(logits), logsigmoid(-logits)))
        total = total + (values * on + (1 - values) * off).sum(-1)
        q = torch.sigmoid(logits)
    return total


def enumeration(model: BeliefNetwork, guide: FactorialRecognition, x: Tensor) -> tuple[Tensor, Tensor]:
    """E_q[log p - log q] and log p(x), each summed over the data, ``[restarts]``."""
    hidden = list(model.sizes[1:])
    states = list(binary_rows(sum(hidden)).split(hidden, -1))
    log_p, log_q = log_joint(model, x, states), log_factorial_guide(guide, x, states)
    bound = (log_q.exp() * (log_p - log_q)).sum(-1)
    return bound.sum(-1), log_p.logsumexp(-1).sum(-1)


X = binary_rows(4)[[0, 5, 11, 15]]


@pytest.mark.parametrize("imaging", IMAGING)
def test_the_enumeration_here_has_the_oracles_probabilities(imaging: str) -> None:
    generator = torch.Generator().manual_seed(0)
    causes, weight, leak = binary_rows(3), spread(generator, (3, 5), -2, 0.5), spread(generator, (5,), -1, 0)
    on, off = log_probabilities(imaging, causes @ weight + leak)
    p = unit_probabilities(imaging, causes, weight, leak)
    assert torch.allclose(on.exp(), p, rtol=1e-12)
    assert torch.allclose(off.exp(), 1 - p, rtol=1e-11)


@pytest.mark.filterwarnings("ignore:torch.compile failed")  # blocks will do where there is no compiler
@pytest.mark.parametrize("sizes", [TWO_LAYERS, THREE_LAYERS], ids=str)
@pytest.mark.parametrize("imaging", IMAGING)
def test_a_thousand_extreme_nets_are_within_1e_8_of_enumeration_and_below_the_evidence(
    imaging: str, sizes: Sizes
) -> None:
    model, guide = extreme_nets(imaging, sizes)
    with torch.no_grad():
        losses = ExactMeanField(max_enumerated=0).restart_losses(model, guide, observations={"x": X})
        bound, evidence = enumeration(model, guide, X)
    assert losses.shape == (NETS,)
    assert float((-losses - bound).abs().max()) < 1e-8
    assert bool((-losses <= evidence + 1e-9).all())
    # the nets are not all alike: some guides are near the posterior, others far off
    gap = evidence - bound
    assert float(gap.min()) < 10.0
    assert float(gap.max()) > 100.0


@pytest.mark.parametrize("imaging", IMAGING)
def test_layers_of_mixed_imaging_models(imaging: str) -> None:
    others = [name for name in IMAGING if name != imaging]
    model = BeliefNetwork((4, 3, 2), (imaging, *others), restarts=5, seed=0).double()
    guide = FactorialRecognition((4, 3, 2), restarts=5, seed=0).double()
    with torch.no_grad():
        losses = ExactMeanField(max_enumerated=0).restart_losses(model, guide, observations={"x": X})
        bound, evidence = enumeration(model, guide, X)
    assert torch.allclose(-losses, bound, atol=1e-8)
    assert bool((-losses <= evidence).all())


@pytest.mark.parametrize("max_enumerated", [0, 3, 8])
@pytest.mark.parametrize("imaging", IMAGING)
def test_gradient_is_that_of_the_enumeration(imaging: str, max_enumerated: int) -> None:
    model, guide = extreme_nets(imaging, THREE_LAYERS, seed=1, restarts=8)
    gradients = []
    for loss in (
        ExactMeanField(max_enumerated=max_enumerated).differentiable_loss(model, guide, observations={"x": X}),
        -enumeration(model, guide, X)[0].sum(),
    ):
        model.zero_grad()
        guide.zero_grad()
        loss.backward()
        gradients.append({name: gradient.clone() for name, gradient in named_gradients(model, guide).items()})
    ours, exact = gradients
    for name, gradient in ours.items():
        scale = exact[name].abs().amax((-2, -1), keepdim=True)
        assert float(((gradient - exact[name]).abs() / (1 + scale)).max()) < 1e-7, name


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("imaging", IMAGING)
def test_the_tolerance_is_kept_and_made_use_of(imaging: str, tolerance: float) -> None:
    model, guide = extreme_nets(imaging, TWO_LAYERS, seed=2, restarts=50)
    with torch.no_grad():
        losses = ExactMeanField(tolerance=tolerance, max_enumerated=0).restart_losses(
            model, guide, observations={"x": X}
        )
        error = float((-losses - enumeration(model, guide, X)[0]).abs().max())
    assert error < X.numel() * tolerance  # for every datum, each of the 4 units has an error of its own
    assert error > 1e-5 * tolerance  # else it took more nodes than were asked for


@pytest.mark.parametrize("imaging", IMAGING)
def test_few_causes_are_enumerated(imaging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, guide = extreme_nets(imaging, THREE_LAYERS, seed=3, restarts=20)
    by_quadrature = ExactMeanField(max_enumerated=0).restart_losses(model, guide, observations={"x": X})
    layers: list[int] = []
    original = type(model.generative[0]).mean_log_by_quadrature

    def counted(layer: Imaging, q: Tensor, *, tolerance: float) -> LogProbs:
        layers.append(q.shape[-1])
        log_probs: LogProbs = original(layer, q, tolerance=tolerance)
        return log_probs

    monkeypatch.setattr(type(model.generative[0]), "mean_log_by_quadrature", counted)
    for number, expected in ((0, [5, 3]), (3, [5]), (4, [5]), (8, [])):
        layers.clear()
        losses = ExactMeanField(max_enumerated=number).restart_losses(model, guide, observations={"x": X})
        assert layers == expected
        assert torch.allclose(losses, by_quadrature, atol=1e-8)


@pytest.mark.parametrize("imaging", IMAGING)
def test_single_precision_keeps_its_own_tolerance(imaging: str) -> None:
    model, guide = extreme_nets(imaging, THREE_LAYERS, seed=4, restarts=8)
    with torch.no_grad():
        bound, _ = enumeration(model.float().double(), guide.float().double(), X)
        for max_enumerated in (0, 8):
            losses = ExactMeanField(max_enumerated=max_enumerated).restart_losses(
                model.float(), guide.float(), observations={"x": X}
            )
            # for each of 4 data 9 units that have causes, and roundings of the largest log-probabilities
            allowed = 36 * 1e-5 + 30 * torch.finfo(torch.float32).eps * bound.abs()
            assert bool(((-losses.double() - bound).abs() < allowed).all())


class LogOfTheMean(ExactMeanField):
    """The paper's order: the logarithm of the mean, itself exact by enumeration."""

    def _log_probs(self, layer: Imaging, q: Tensor) -> LogProbs:
        return layer.log_mean(q, max_enumerated=8)


class MeanOfMeans(ExactMeanField):
    """Takes every cause for certain as soon as it is probable."""

    def _log_probs(self, layer: Imaging, q: Tensor) -> LogProbs:
        return super()._log_probs(layer, q.round())


@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("mutant", [LogOfTheMean(), MeanOfMeans(), MeanField()], ids=lambda m: type(m).__name__)
def test_a_mutant_fails_the_same_test(mutant: Scheme, imaging: str) -> None:
    model, guide = extreme_nets(imaging, TWO_LAYERS)
    with torch.no_grad():
        losses = mutant.restart_losses(model, guide, observations={"x": X})
        bound, _ = enumeration(model, guide, X)
    assert float((-losses - bound).abs().max()) > 1e-2


def test_the_bound_is_tight_where_the_guide_is_the_posterior() -> None:
    model = BeliefNetwork((3, 1), "odds", seed=0).double()
    guide = FactorialRecognition((3, 1), seed=0).double()
    x = DATA[:1]
    with torch.no_grad():
        off, on = log_joint(model, x, [binary_rows(1)])[0, 0]
        guide.recognition[0].weight = torch.zeros(1, 3, 1).double()
        guide.recognition[0].learned_leak = (on - off).reshape(1, 1, 1)
        evidence = float(torch.logaddexp(off, on))
    for max_enumerated in (0, 8):
        scheme = ExactMeanField(max_enumerated=max_enumerated)
        assert -scheme.loss(model, guide, observations={"x": x}) == pytest.approx(evidence, abs=1e-9)


def test_restarts_are_so_many_machines() -> None:
    model, guide = extreme_nets("odds", THREE_LAYERS, seed=5, restarts=3)
    scheme = ExactMeanField(tolerance=1e-3, max_enumerated=3)
    together = scheme.restart_losses(model, guide, observations={"x": X})
    for restart in range(3):
        alone = BeliefNetwork(THREE_LAYERS, "odds").double(), FactorialRecognition(THREE_LAYERS).double()
        for part, many in ((alone[0], model), (alone[1], guide)):
            part.load_state_dict({name: value[restart : restart + 1] for name, value in many.state_dict().items()})
        assert scheme.loss(*alone, observations={"x": X}) == pytest.approx(float(together[restart].detach()), rel=1e-12)


def test_settings_out_of_range_are_refused_in_a_sentence() -> None:
    for tolerance in (0.0, 1.0, -1e-3, float("nan")):
        with pytest.raises(ValueError, match="tolerance must be a number of nats between 0 and 1, got"):
            ExactMeanField(tolerance=tolerance)
    for number in (-2, 21, 8.0):
        with pytest.raises(ValueError, match=f"max_enumerated must be a number of .* from 0 to 20, got {number}"):
            ExactMeanField(max_enumerated=number)  # type: ignore[arg-type]
    model, guide = extreme_nets("sigmoid", TWO_LAYERS, restarts=1)
    with pytest.raises(ValueError, match=r"tolerance must be from 1e-06 \(in torch.float32\)"):
        ExactMeanField(tolerance=1e-9, max_enumerated=0).loss(model.float(), guide.float(), observations={"x": X})
    with pytest.raises(TypeError, match=r"ExactMeanField passes means instead of samples .* got a Linear and a"):
        ExactMeanField().loss(torch.nn.Linear(4, 2), guide, observations={"x": X})
    with torch.no_grad():
        model.generative[0].weight = torch.full((1, 6, 4), 1e4)
    with pytest.raises(ValueError, match=r"would take \d+ nodes .* choose a larger tolerance or smaller weights"):
        ExactMeanField(max_enumerated=0).loss(model, guide, observations={"x": X})
