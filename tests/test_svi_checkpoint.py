"""Under Pyro's SVI a run is taken up again from the parameter store and the optimiser's file, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

X = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])


@pytest.fixture(autouse=True)
def _empty_store() -> Iterator[None]:
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def machine(imaging: str, restarts: int, name: str = "") -> tuple[list[nn.Module], Any, SVI]:
    model = BeliefNetwork((4, 3), imaging, restarts=restarts, seed=0)
    guide = FactorialRecognition((4, 3), restarts=restarts, seed=0)
    optim = pyro.optim.Adam({"lr": 0.05})

    def named_model(observations: Any = None) -> Tensor:
        values: Tensor = pyro.module(f"{name}model", model)(observations)
        return values

    def named_guide(observations: Any = None) -> Any:
        return pyro.module(f"{name}guide", guide)(observations)

    return [model, guide], optim, SVI(named_model, named_guide, optim, loss=helm.VIMCO(3))


def steps(svi: SVI) -> list[float]:
    return [float(svi.step({"x": X})) for _ in range(4)]


def values(programs: list[nn.Module]) -> list[Tensor]:
    return [parameter.detach().clone() for program in programs for parameter in program.parameters()]


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("imaging", ["sigmoid", "noisy_or", "odds"])
def test_a_run_that_is_taken_up_again_equals_an_uninterrupted_one(imaging: str, restarts: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    programs, optim, svi = machine(imaging, restarts)
    steps(svi)
    pyro.get_param_store().save(str(tmp_path / "parameters.pt"))
    optim.save(str(tmp_path / "optimiser.pt"))
    random_state = torch.get_rng_state()
    losses, expected = steps(svi), values(programs)

    pyro.clear_param_store()
    programs, optim, svi = machine(imaging, restarts)
    pyro.get_param_store().load(str(tmp_path / "parameters.pt"))
    for name, program in zip(("model", "guide"), programs, strict=True):
        pyro.module(name, program, update_module_params=True)
    optim.load(str(tmp_path / "optimiser.pt"))
    torch.set_rng_state(random_state)
    assert steps(svi) == losses
    assert all(map(torch.equal, values(programs), expected))


def test_two_machines_in_one_process_have_names_of_their_own() -> None:
    torch.manual_seed(0)
    one, _, first = machine("odds", 1, "first ")
    other, _, second = machine("odds", 1, "second ")
    before = values(other)
    steps(first)
    assert all(map(torch.equal, values(other), before))
    steps(second)
    assert not all(map(torch.equal, values(one), values(other)))
    assert len(pyro.get_param_store().keys()) == len(values(one)) + len(values(other))
