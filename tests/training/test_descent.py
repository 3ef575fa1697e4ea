"""Hooks and frozen parameters: the same in every kind of step, or refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

SIZES = (6, 4)
STEPS = ["eager", "captured"]
ADAM = torch.optim.Adam
Optimizer = torch.optim.Optimizer


def machine() -> tuple[Any, Any]:
    return BeliefNetwork(SIZES, seed=0), FactorialRecognition(SIZES, seed=0)


def parameters_after(
    step: str, optimizer: Callable[..., Optimizer], prepare: Callable[[Any, Any], Any] = lambda *_: None, **more: Any
) -> list[Tensor]:
    model, guide = machine()
    prepare(model, guide)
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    settings: dict[str, Any] = {"scheme": helm.WakeSleep(2), "num_epochs": 3, "batch_size": 10, "progress": False}
    helm.fit(model, guide, x, optimizer=optimizer, step=step, **(settings | more))
    return [parameter.detach().clone() for module in (model, guide) for parameter in module.parameters()]


def agree(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(one, other, strict=True))


def with_gradients(parameters: list[nn.Parameter], change: Callable[[Tensor], Tensor]) -> Optimizer:
    """Adam that changes the gradients itself: what a hook before its step should come to."""

    class Changing(ADAM):
        def step(self, closure: Any = None) -> Any:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad = change(parameter.grad)
            return super().step()

    return Changing(parameters, lr=0.05)


def hooked(parameters: list[nn.Parameter]) -> Optimizer:
    descent = ADAM(parameters, lr=0.05, fused=True)

    def sign(*_: Any) -> None:
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad.sign_()

    descent.register_step_pre_hook(sign)
    return descent


@pytest.mark.parametrize("step", STEPS)
def test_a_hook_before_a_step_sees_the_gradients_of_that_step(step: str) -> None:
    expected = parameters_after("eager", lambda parameters: with_gradients(list(parameters), torch.sign))
    assert not agree(expected, parameters_after("eager", lambda parameters: ADAM(parameters, lr=0.05)))
    assert agree(parameters_after(step, hooked), expected)


@pytest.mark.parametrize("step", STEPS)
def test_a_hook_of_all_optimisers_does_as_well(step: str) -> None:
    seen: list[float] = []
    handle = register_optimizer_step_pre_hook(lambda *_: seen.append(1.0))
    try:
        parameters_after(step, lambda parameters: ADAM(parameters, fused=True))
    finally:
        handle.remove()
    assert len(seen) == 3 * 4


@pytest.mark.parametrize("step", STEPS)
def test_a_learning_rate_that_a_hook_changes_is_followed(step: str) -> None:
    def decaying(parameters: Any) -> Optimizer:
        descent = ADAM(parameters, lr=0.1, fused=True)

        def decay(*_: Any) -> None:
            descent.param_groups[0]["lr"] = 0.0

        descent.register_step_post_hook(decay)
        return descent

    one_step = parameters_after("eager", lambda parameters: ADAM(parameters, lr=0.1), num_epochs=1, batch_size=None)
    still = [parameter.detach() for module in machine() for parameter in module.parameters()]
    moved = parameters_after(step, decaying)
    for before, after, one in zip(still, moved, one_step, strict=True):
        distance = (after - before).abs()  # of Adam's first step, whatever the gradient
        assert torch.allclose(distance, (one - before).abs(), atol=1e-3)


@pytest.mark.parametrize("step", STEPS)
def test_a_hook_after_accumulation_sees_each_gradient(step: str) -> None:
    def sign(model: Any, guide: Any) -> None:
        for module in (model, guide):
            for parameter in module.parameters():
                parameter.register_post_accumulate_grad_hook(lambda p: p.grad.sign_())

    expected = parameters_after("eager", lambda parameters: with_gradients(list(parameters), torch.sign))
    assert agree(parameters_after(step, lambda p: ADAM(p, lr=0.05, fused=True), sign), expected)


def test_a_hook_on_a_gradient_works_in_eager_steps_and_is_refused_in_others() -> None:
    def sign(model: Any, guide: Any) -> None:
        for module in (model, guide):
            for parameter in module.parameters():
                parameter.register_hook(torch.sign)

    expected = parameters_after("eager", lambda parameters: with_gradients(list(parameters), torch.sign))
    assert agree(parameters_after("eager", lambda p: ADAM(p, lr=0.05), sign), expected)
    for step in ("captured", "compiled"):
        with pytest.raises(ValueError, match=r"has a hook on its gradient \(register_hook\).*use step='eager'"):
            parameters_after(step, ADAM, sign)


def test_an_optimiser_that_takes_several_gradients_in_a_step_takes_no_hooks_before_it() -> None:
    def lbfgs(parameters: Any) -> Optimizer:
        descent = torch.optim.LBFGS(parameters)
        descent.register_step_pre_hook(lambda *_: None)
        return descent

    with pytest.raises(ValueError, match="hooks before a step of LBFGS would see only its first gradients"):
        parameters_after("eager", lbfgs)


class Ascending(ADAM):
    """Moves the parameters before it asks for a gradient."""

    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.fill_(0.0)
        before = closure()
        again = closure()
        assert torch.equal(before, again)
        return before


def test_an_optimiser_that_moves_before_it_asks_gets_the_gradients_of_where_it_is() -> None:
    found: list[float] = []

    class Recording(helm.MeanField):
        def restart_losses(self, *args: Any, **kwargs: Any) -> Tensor:
            losses = super().restart_losses(*args, **kwargs)
            found.append(losses.sum().item())
            return losses

    parameters_after("eager", Ascending, scheme=Recording(), num_epochs=1, batch_size=None)
    assert len(found) == 3  # on trial, at the start, and where all parameters are zero
    assert found[1] != found[2]


class Freezing(BeliefNetwork):
    """Its leaks can be frozen and thawed."""

    def freeze(self, is_frozen: bool) -> None:
        for name, parameter in self.named_parameters():
            if "leak" in name:
                parameter.requires_grad_(not is_frozen)


def schedule_of(model: Any, freeze_at: int, thaw_at: int) -> Any:
    def rate(epoch: int) -> float:
        if epoch == freeze_at:
            model.freeze(True)
        if epoch == thaw_at:
            model.freeze(False)
        return 1.0

    return lambda descent: torch.optim.lr_scheduler.LambdaLR(descent, rate)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("thaw_at", [2, 9])
def test_parameters_frozen_and_thawed_midway(step: str, thaw_at: int) -> None:
    states = []
    for kind in ("eager", step):
        x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
        leaks: list[Tensor] = []
        for epochs in (1, 4):
            model, guide = Freezing(SIZES, seed=0), FactorialRecognition(SIZES, seed=0)
            helm.fit(
                model, guide, x, scheme=helm.WakeSleep(2), num_epochs=epochs, batch_size=10, step=kind, progress=False,
                schedule=schedule_of(model, 1, thaw_at),
            )  # fmt: skip
            leaks.append(next(p.detach().clone() for name, p in model.named_parameters() if "leak" in name))
        assert torch.equal(*leaks) is (thaw_at == 9)  # frozen after the first epoch
        states.append([p.detach() for module in (model, guide) for p in module.parameters()])
    assert agree(*states)


def test_all_frozen_midway_is_an_error() -> None:
    model, guide = machine()

    def freeze(epoch: int) -> float:
        if epoch:
            model.requires_grad_(False)
            guide.requires_grad_(False)
        return 1.0

    with pytest.raises(ValueError, match="all parameters of model and guide are frozen"):
        helm.fit(
            model, guide, torch.ones(10, 6), scheme=helm.WakeSleep(), num_epochs=3, progress=False,
            schedule=lambda descent: torch.optim.lr_scheduler.LambdaLR(descent, freeze),
        )  # fmt: skip
    pyro.clear_param_store()


class Transposed(nn.Module):
    """Recognition by the transpose of its weights, element by element: their gradient comes out transposed too."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(SIZES[1], SIZES[0], generator=torch.Generator().manual_seed(0)))

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            logits = (observations["x"][:, None, :, None] * self.weight.T).sum((1, -2))
            pyro.sample("h1", pyro.distributions.Bernoulli(logits=logits).to_event(1))


@pytest.mark.parametrize("step", STEPS)
def test_a_fused_optimiser_takes_gradients_of_any_strides(step: str) -> None:
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    found = []
    for fused in (True, False):
        model, guide = BeliefNetwork(SIZES, seed=0), Transposed()
        adam = partial(ADAM, lr=0.05, fused=fused)
        settings: dict[str, Any] = {"num_epochs": 3, "batch_size": 10, "progress": False, "step": step}
        helm.fit(model, guide, x, scheme=helm.WakeSleep(2), optimizer=adam, **settings)
        found.append([parameter.detach() for module in (model, guide) for parameter in module.parameters()])
    assert agree(*found)
