"""Where no kind of step is asked for, it is captured where that is known to be the eager one and to pay."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

import pyro_helm as helm
from pyro_helm.training.settings import FUSED_ADAM
from pyro_helm.training.step_choice import STEPS_THAT_PAY, chosen_kind

ENOUGH = STEPS_THAT_PAY


class OwnModel(helm.BeliefNetwork):
    """May do anything in its forward."""


class OwnScheme(helm.VIMCO):
    """May do anything in its losses."""


def machine() -> tuple[Any, Any]:
    return helm.BeliefNetwork((6, 4), seed=0), helm.FactorialRecognition((6, 4), seed=0)


def chosen(
    programs: Any,
    scheme: helm.Scheme | None = None,
    optimizer: Any = FUSED_ADAM,
    sizes: Any = (10,),
    steps: int = ENOUGH,
) -> str:
    parameters = [parameter for program in programs for parameter in program.parameters()]
    return chosen_kind(programs, scheme or helm.VIMCO(2), optimizer(parameters), sizes, steps)


def test_own_machines_take_captured_steps() -> None:
    assert chosen(machine()) == "captured"
    assert chosen(machine()[:1], helm.ExactEM()) == "captured"


def test_few_steps_are_eager() -> None:
    assert chosen(machine(), steps=ENOUGH - 1) == "eager"
    assert chosen(machine(), sizes=(10, 5), steps=ENOUGH - 1) == "eager"  # one to capture for each size
    assert chosen(machine(), sizes=(10, 5), steps=ENOUGH) == "captured"


@pytest.mark.parametrize("scheme", [helm.NVIL(2), helm.Gibbs(2), helm.MeanField(), OwnScheme(2)], ids=lambda s: s.name)
def test_other_schemes_are_eager(scheme: helm.Scheme) -> None:
    assert chosen(machine(), scheme) == "eager"


def test_other_programs_and_optimisers_are_eager() -> None:
    model, guide = machine()
    assert chosen((OwnModel((6, 4)), guide)) == "eager"
    assert chosen((model, guide), optimizer=partial(torch.optim.Adam, lr=0.1)) == "eager"
    scheme: Any = helm.VIMCO(2)
    scheme.restart_losses = scheme.restart_losses
    assert chosen((model, guide), scheme) == "eager"


def test_hooks_and_handlers_keep_steps_eager() -> None:
    def nothing(*anything: Any) -> None:
        return None

    programs = machine()
    layer, parameter = programs[0].generative[0], next(programs[1].parameters())
    for register in (
        layer.register_forward_hook,
        layer.register_forward_pre_hook,
        layer.register_full_backward_hook,
        parameter.register_hook,
        torch.nn.modules.module.register_module_forward_hook,
    ):
        handle = register(nothing)
        assert chosen(programs) == "eager"
        handle.remove()
    with pyro.poutine.trace():
        assert chosen(programs) == "eager"
    assert chosen(programs) == "captured"


def data() -> Tensor:
    return (torch.rand(20, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def test_the_result_says_which_it_was_and_the_numbers_are_the_same() -> None:
    found = {}
    for step in (None, "eager"):
        result = helm.fit(
            *machine(), data(), scheme=helm.VIMCO(2), batch_size=None, num_epochs=ENOUGH, step=step, progress=False
        )
        found[result.step] = result.history.value.tolist()
    assert found["captured"] == found["eager"]
