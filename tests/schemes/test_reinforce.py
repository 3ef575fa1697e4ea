"""REINFORCE: what a layer can't influence is left out or, where particles are better compared with it, put back."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import reinforce
from pyro_helm.schemes.reinforce import leave_one_out, with_control_variate

SIZES = (16, 8, 8)
NUMBER = 200


def local(signal: Tensor, others: Tensor) -> Tensor:
    return signal


def whole(signal: Tensor, others: Tensor) -> Tensor:
    return signal + others


@pytest.mark.parametrize("epochs", [0, 30])
def test_the_control_variate_is_as_good_as_the_better_of_leaving_out_and_putting_back(
    epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = helm.load_data("bars").train[:500]
    one = BeliefNetwork(SIZES, seed=0), FactorialRecognition(SIZES, seed=0)
    if epochs:
        helm.fit(*one, data, scheme=helm.ReweightedWakeSleep(5), num_epochs=epochs, progress=False)
    many = BeliefNetwork(SIZES, restarts=NUMBER), FactorialRecognition(SIZES, restarts=NUMBER)
    pairs: list[tuple[nn.Module, nn.Module]] = [(many[0], one[0]), (many[1], one[1])]
    for copies, part in pairs:
        state = {name: value.expand(NUMBER, *value.shape[1:]) for name, value in part.state_dict().items()}
        copies.load_state_dict(state)

    def variance_of_upper_layer(way: Callable[[Tensor, Tensor], Tensor]) -> float:
        monkeypatch.setattr(reinforce, "with_control_variate", way)
        pyro.set_rng_seed(0)
        many[1].zero_grad()
        helm.Reinforce(5).restart_losses(*many, observations={"x": data[:100]}).sum().backward()
        upper = many[1].recognition[1].weight_unconstrained.grad
        return float(upper.var(0).sum())

    best = min(variance_of_upper_layer(local), variance_of_upper_layer(whole))
    assert variance_of_upper_layer(with_control_variate) < 1.05 * best


def test_the_share_is_the_regression_on_the_other_data() -> None:
    torch.manual_seed(0)
    others = torch.randn(4, 1, 50)
    signal = 0.3 * torch.randn(4, 1, 50) - 0.6 * others
    share = (with_control_variate(signal, others) - signal) / others
    assert torch.allclose(share, torch.tensor(0.6), atol=0.1)
    changed = signal.clone()
    changed[..., 7] += torch.tensor([100.0, -50.0, 3.0, 9.0])[:, None]
    again = (with_control_variate(changed, others) - changed) / others
    assert torch.allclose(again[..., 7], share[..., 7], atol=1e-4)
    assert not torch.allclose(again[..., 8], share[..., 8], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 5), (4, 1, 1)])
def test_with_one_particle_or_one_datum_there_is_nothing_to_compare(shape: tuple[int, ...]) -> None:
    signal, others = torch.randn(shape), torch.randn(shape)
    assert torch.equal(with_control_variate(signal, others), signal)


def test_leave_one_out_takes_off_the_mean_of_the_others() -> None:
    signal = torch.tensor([1.0, 2.0, 6.0])[:, None, None]
    assert leave_one_out(signal).flatten().tolist() == [-3.0, -1.5, 4.5]
