"""Networks of torch's before the first layer of recognition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides.trunk import Trunk

SIDE = 4


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(-1, (1, SIDE, SIDE)), nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5)
    )


def pictures(rows: int = 20) -> Tensor:
    return (torch.rand(rows, SIDE * SIDE, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def restart_of(trunk: Trunk, module: nn.Module, number: int) -> nn.Module:
    """The module of one restart, by its own parameters."""
    values = {name.replace(":", "."): value[number] for name, value in trunk.state_dict().items()}
    module.load_state_dict(values)
    return module


@pytest.mark.parametrize("leading", [(), (2, 1), (3,), (2, 3)], ids=str)
def test_each_restart_has_a_network_of_its_own(leading: tuple[int, ...]) -> None:
    module = convolution()
    trunk = Trunk(module, SIDE * SIDE, restarts=3, seed=0)
    assert trunk.num_features == 5
    x = (torch.rand(*leading, 20, SIDE * SIDE) < 0.4).float()
    found = trunk(x)
    assert found.shape == (*leading[:-1], 3, 20, 5)
    for number in range(3):
        rows = x[..., number, :, :] if leading and leading[-1] == 3 else x[..., 0, :, :] if leading else x
        expected = restart_of(trunk, convolution(), number)(rows.flatten(0, -2))
        assert torch.allclose(found[..., number, :, :].flatten(0, -2), expected, atol=1e-6)


def test_the_first_restart_has_the_modules_values_and_the_others_those_of_the_seed() -> None:
    module = convolution()
    trunk, same, other = (Trunk(module, SIDE * SIDE, restarts=2, seed=seed) for seed in (1, 1, 2))
    weight = getattr(trunk, "1:weight")
    assert torch.equal(weight[0], module[1].weight)  # type: ignore[index]
    assert not torch.equal(weight[1], weight[0])
    assert torch.equal(weight, getattr(same, "1:weight"))
    assert not torch.equal(weight[1], getattr(other, "1:weight")[1])


@pytest.mark.parametrize("kind", [helm.FactorialRecognition, helm.AutoregressiveRecognition])
def test_a_convolution_learns_with_restarts_and_comes_back_from_a_file(kind: Any, tmp_path: Path) -> None:
    sizes, data = (SIDE * SIDE, 6, 2), pictures()
    model = helm.BeliefNetwork(sizes, restarts=2, seed=0)
    guide = kind(sizes, trunk=convolution(), restarts=2, seed=0)
    before = guide.trunk(data)
    helm.fit(model, guide, data, scheme=helm.WakeSleep(), num_epochs=2, batch_size=10, progress=False, out=tmp_path)
    assert not torch.allclose(guide.trunk(data), before)
    with pytest.raises(ValueError, match=r"files do not hold it, so make the guide and pass it as load\(path, guide="):
        helm.load(tmp_path)
    _, loaded = helm.load(tmp_path, guide=kind(sizes, trunk=convolution(), restarts=2))
    assert torch.equal(loaded.trunk(data), guide.trunk(data))


def test_restarts_train_as_machines_of_their_own() -> None:
    """By a scheme that does not sample, with a trunk that is not trained beside one that is."""
    sizes, data = (SIDE * SIDE, 2), pictures()
    model = helm.BeliefNetwork(sizes, restarts=2, seed=0)
    guide = helm.FactorialRecognition(sizes, trunk=convolution(), restarts=2, seed=0)
    losses = helm.ExactEM().restart_losses(model, guide, observations={"x": data})
    losses.sum().backward()
    assert guide.trunk is not None
    module = restart_of(guide.trunk, convolution(), 1)
    alone: list[Any] = [helm.BeliefNetwork(sizes), helm.FactorialRecognition(sizes, trunk=module)]
    together: list[Any] = [model, guide]
    for one, many in zip(alone, together, strict=True):
        one.load_state_dict({name: value[1:] for name, value in many.state_dict().items()})
    helm.ExactEM().restart_losses(*alone, observations={"x": data}).sum().backward()
    for name, parameter in alone[1].named_parameters():
        gradient = dict(guide.named_parameters())[name].grad
        assert gradient is not None
        assert parameter.grad is not None
        assert torch.allclose(gradient[1], parameter.grad[0], rtol=1e-3, atol=1e-6), name


def test_dropout_follows_the_mode_of_the_guide() -> None:
    guide: Any = helm.FactorialRecognition((4, 2), trunk=nn.Dropout(0.5), restarts=2, seed=0)
    x = torch.ones(50, 4)
    assert torch.equal(guide.eval().trunk(x), torch.ones(2, 50, 4))
    drawn = guide.train().trunk(x)
    assert drawn.unique().tolist() == [0.0, 2.0]
    assert not torch.equal(drawn[0], drawn[1])


def test_what_is_missing_is_shown_as_one_half() -> None:
    guide = helm.FactorialRecognition((4, 2), trunk=nn.Identity(), seed=0)
    assert guide.trunk is not None
    assert guide.trunk(torch.tensor([[1.0, torch.nan, 0.0, 1.0]])).tolist() == [[1.0, 0.5, 0.0, 1.0]]


def test_what_is_no_trunk_is_refused_in_a_sentence() -> None:
    with pytest.raises(TypeError, match=r"trunk must be a torch.nn.Module, got 3; files do not hold it"):
        helm.FactorialRecognition((4, 2), trunk=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"features \[rows, features\] of rows \[2, 4\], but it made \[2, 2, 2\]"):
        helm.FactorialRecognition((4, 2), trunk=nn.Unflatten(-1, (2, 2)))


def test_batch_normalisation_has_the_statistics_of_each_restart() -> None:
    x = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    stacked = Trunk(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=1.0)), 4, restarts=2, seed=0)
    stacked(x)
    weight, bias = (stacked.get_parameter(f"0:{name}") for name in ("weight", "bias"))
    expected = (x @ weight.mT + bias[:, None]).mean(1)
    assert torch.allclose(stacked.get_buffer("1:running_mean"), expected, atol=1e-6)
