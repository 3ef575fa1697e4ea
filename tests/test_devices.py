"""What is computed on one device comes out the same on any: the CPU, and a GPU where there is one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.models import BeliefNetwork
from pyro_helm.schemes import Scheme
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.settings import FUSED_ADAM
from pyro_helm.training.steps import STEPS, training_step

SIZES = (6, 4, 2)
IMAGING = ("sigmoid", "noisy_or", "odds")
ON_GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"))
DEVICES = ["cpu", ON_GPU]
LOOKS_AT_VALUES = (
    helm.Gibbs,
    helm.MeanField,
    helm.ExactMeanField,
    helm.ExactLayers,
    helm.VariationalEM,
    helm.MemoisedWakeSleep,
    helm.JointStochasticApproximation,
)
Z = 4.5


def data(rows: int = 25) -> Tensor:
    return (torch.rand(rows, SIZES[0], generator=torch.Generator().manual_seed(0)) < 0.4).float()


def machine(imaging: str = "sigmoid", **settings: Any) -> tuple[BeliefNetwork, FactorialRecognition]:
    return BeliefNetwork(SIZES, imaging, seed=0, **settings), FactorialRecognition(SIZES, seed=0, **settings)


def trained(scheme: Scheme, device: str, imaging: str = "sigmoid", **settings: Any) -> helm.Result:
    model, guide = machine(imaging, restarts=2)
    settings = {"num_epochs": 3, "batch_size": 10, "progress": False} | settings
    return helm.fit(model, guide, data(), scheme=scheme, device=device, valid=data(5), **settings)


@contextmanager
def not_waiting() -> Iterator[None]:
    """An error is raised where the CPU waits for the GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not see all of them
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scheme", helm.SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_every_scheme_trains(scheme: type[Scheme], device: str) -> None:
    result = trained(scheme(), device)
    assert not result.summary.failed.any()
    assert {parameter.device.type for parameter in result.model.parameters()} == {device}
    assert result.history.value.notna().all()


@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize(
    ("step", "scheme"),
    [("captured", helm.VIMCO(3)), ("compiled", helm.ExactEM())],  # compiled, draws may come in another order
    ids=lambda value: getattr(value, "name", value),
)
def test_steps_of_all_kinds_give_the_same_numbers(step: str, scheme: Scheme, device: str) -> None:
    eager, other = (trained(scheme, device, step=kind) for kind in ("eager", step))
    for ours, theirs in zip(other.model.parameters(), eager.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_captured_steps_follow_a_schedule_clip_and_average(device: str) -> None:
    settings: dict[str, Any] = {"schedule": "cosine", "max_gradient_norm": 0.5, "average": 0.9, "num_epochs": 5}
    eager, captured = (trained(helm.VIMCO(3), device, step=kind, **settings) for kind in ("eager", "captured"))
    for ours, theirs in zip(captured.model.parameters(), eager.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize(
    ("scheme", "step"),
    [
        (scheme, step)
        for scheme in helm.SCHEMES.values()
        for step in STEPS[:2]
        if scheme not in LOOKS_AT_VALUES and (step == "eager" or scheme.captures)
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_step_waits_for_no_value_on_the_gpu(scheme: type[Scheme], step: str, device: str) -> None:
    model, guide = (program.to(device) for program in machine(restarts=2))
    parameters = [*model.parameters(), *guide.parameters()]
    cases, rows = data().to(device), torch.arange(10, device=device)
    objective = scheme()

    def losses(rows: Tensor) -> Tensor:
        return objective.restart_losses(model, guide, observations={"x": cases[rows]})

    guard = Restarts(parameters, 2).guard
    take = training_step(step, losses, parameters, FUSED_ADAM(parameters), guard, settings_change=False)
    with pyro.validation_enabled(False):
        for _ in range(4):  # reads dependencies, makes the optimiser's state, captures, sees if it can launch, launches
            take(rows)
        with not_waiting():
            take(rows)


@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("imaging", IMAGING)
@pytest.mark.parametrize("scheme", [helm.MeanField(), helm.ExactMeanField(), helm.ExactEM()], ids=lambda s: s.name)
def test_losses_without_chance_and_their_gradients_are_those_of_the_cpu(
    scheme: Scheme, imaging: str, device: str
) -> None:
    found = []
    for place in ("cpu", device):
        model, guide = (program.to(place).double() for program in machine(imaging))
        loss = scheme.differentiable_loss(model, guide, observations={"x": data().double().to(place)})
        parameters = [*model.parameters(), *guide.parameters()]
        found.append([loss, *torch.autograd.grad(loss, parameters, allow_unused=True)])
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("imaging", IMAGING)
def test_log_likelihoods_agree_with_enumeration_on_the_cpu(imaging: str, device: str) -> None:
    model, guide = machine(imaging)
    truth = torch.as_tensor(exact_log_likelihood(model, data()))
    for program in (model, guide):
        program.to(device)
    x = data().to(device)
    enumerated = helm.log_likelihood(model, None, x, method="exact").table
    assert enumerated.log_likelihood.to_numpy() == pytest.approx(truth[0].numpy(), abs=1e-4)
    for method in ("importance", "ais"):
        table = helm.log_likelihood(model, guide, x, method=method, num_samples=2000, num_chains=64, schedule=50).table
        z = (table.log_likelihood.to_numpy() - truth[0].numpy()) / table.stderr.clip(lower=1e-4).to_numpy()
        assert abs(z).max() < Z, method


@pytest.mark.parametrize("device", DEVICES)
def test_the_posterior_and_the_gap_come_from_any_device(device: str) -> None:
    model, guide = (program.to(device) for program in machine())
    posterior = helm.exact_posterior(model, guide, data(5).to(device))
    assert posterior.kl is not None
    assert bool((posterior.kl > 0).all())
    gap = helm.log_likelihood_gap(model, guide, num_data=5, num_chains=8, schedule=20)
    assert gap.table.notna().to_numpy().all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_machine_saved_on_one_device_is_loaded_on_another(device: str, tmp_path: Path) -> None:
    result = trained(helm.ReweightedWakeSleep(3), device, out=tmp_path)
    model, _ = helm.load(tmp_path / "machine.safetensors")
    for ours, theirs in zip(model.parameters(), result.model.parameters(), strict=True):
        assert ours.device.type == "cpu"
        torch.testing.assert_close(ours, theirs.cpu(), rtol=0, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_deterministic_optimisers_work_on_any_device(device: str) -> None:
    settings: dict[str, Any] = {"optimizer": helm.ConjugateGradient, "batch_size": None, "dtype": torch.float64}
    result = trained(helm.MeanField(), device, **settings)
    assert not result.summary.failed.any()
