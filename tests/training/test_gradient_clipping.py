"""Each restart's gradient is bounded by itself, in every kind of step."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.training.gradient_clipping import clipped


def norms(gradients: Any, restarts: int) -> list[float]:
    rows = [gradient.reshape(restarts, -1) for gradient in gradients if gradient is not None]
    return [float(norm) for norm in torch.cat(rows, 1).norm(dim=1)]


def test_only_a_restart_of_a_longer_norm_is_scaled_and_by_one_number() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(shape, generator=generator) for shape in ((3, 4, 5), (3, 2), (3,))]
    for gradient in gradients:
        gradient[1] *= 0.01
    long, short, other = norms(gradients, 3)
    assert min(long, other) > 1 > short
    found = clipped([gradients[0], None, *gradients[1:]], 1.0, restarts=3)
    assert found[1] is None
    assert norms(found, 3) == pytest.approx([1.0, short, 1.0])
    for ours, gradient in zip([tensor for tensor in found if tensor is not None], gradients, strict=True):
        assert torch.allclose(ours[0], gradient[0] / long)
        assert torch.equal(ours[1], gradient[1])


def test_a_single_restart_agrees_with_torch() -> None:
    gradients = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((4, 5), (2,), ())]
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(parameters, 0.7)
    for ours, parameter in zip(clipped(gradients, 0.7, restarts=1), parameters, strict=True):
        assert ours is not None
        assert parameter.grad is not None
        torch.testing.assert_close(ours, parameter.grad)


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e25, 1e38])
def test_entries_whose_squares_are_out_of_range_keep_their_direction(size: float) -> None:
    gradient = torch.tensor([[3.0, 4.0]]) / 5 * size
    found = clipped([gradient], 1e-3, restarts=1)[0]
    assert found is not None
    torch.testing.assert_close(found, gradient if size < 1e-3 else torch.tensor([[0.6e-3, 0.8e-3]]))


def test_no_gradient_stays_none() -> None:
    found = clipped([torch.zeros(2, 3)], 1.0, restarts=2)[0]
    assert found is not None
    assert found.tolist() == [[0.0] * 3] * 2


def test_a_restart_that_is_not_finite_leaves_the_others_alone() -> None:
    gradient = torch.tensor([[torch.inf, 1.0], [3.0, 4.0], [torch.nan, 1.0]])
    found = clipped([gradient], 1.0, restarts=3)[0]
    assert found is not None
    torch.testing.assert_close(found[1], torch.tensor([0.6, 0.8]))


# In a training.


def trained(step: str, restarts: int = 2, **settings: Any) -> list[Tensor]:
    model = BeliefNetwork((6, 4, 2), restarts=restarts, seed=0)
    guide = FactorialRecognition((6, 4, 2), restarts=restarts, seed=0)
    data = (torch.rand(25, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    settings = {"num_epochs": 2, "batch_size": 10, "progress": False} | settings
    result = helm.fit(model, guide, data, scheme=helm.ReweightedWakeSleep(3), step=step, **settings)
    assert not result.summary.failed.any()
    return [parameter.detach().clone() for part in (model, guide) for parameter in part.parameters()]


def test_a_step_of_plain_descent_is_at_most_the_rate_times_the_norm() -> None:
    before = trained("eager", num_epochs=1, batch_size=None, optimizer=partial(torch.optim.SGD, lr=0.0))
    after = trained(
        "eager", num_epochs=1, batch_size=None, optimizer=partial(torch.optim.SGD, lr=0.5), max_gradient_norm=0.01
    )
    moved = [ours - theirs for ours, theirs in zip(after, before, strict=True)]
    assert norms(moved, 2) == pytest.approx([0.005, 0.005], rel=1e-3)


def test_captured_steps_clip_as_eager_ones() -> None:
    """Compiled ones too: see ``test_steps.py``."""
    settings: dict[str, Any] = {"max_gradient_norm": 0.05, "optimizer": partial(torch.optim.SGD, lr=0.5, fused=True)}
    eager, captured = (trained(step, **settings) for step in ("eager", "captured"))
    for ours, theirs in zip(captured, eager, strict=True):
        assert torch.equal(ours, theirs)
    free = trained("eager", **(settings | {"max_gradient_norm": None}))
    assert not torch.allclose(free[0], eager[0])


def test_a_bound_that_is_never_reached_changes_nothing() -> None:
    for ours, theirs in zip(trained("eager", max_gradient_norm=1e6), trained("eager"), strict=True):
        assert torch.equal(ours, theirs)


def test_a_norm_out_of_range_or_for_a_line_search_is_refused() -> None:
    for norm in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"max_gradient_norm must be positive, got {norm}"):
            trained("eager", max_gradient_norm=norm)
    model, guide = BeliefNetwork((6, 2), seed=0), FactorialRecognition((6, 2), seed=0)
    settings: dict[str, Any] = {"optimizer": helm.LBFGS, "batch_size": None, "dtype": torch.float64}
    with pytest.raises(ValueError, match="LBFGS searches along the loss's own gradient, so max_gradient_norm must be"):
        helm.fit(model, guide, torch.zeros(5, 6), scheme=helm.ExactEM(), max_gradient_norm=1.0, **settings)
