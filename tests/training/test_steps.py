"""Steps that are captured or compiled do what eager ones do, for every scheme that allows it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

import pyro_helm as helm
import pyro_helm.training.steps as steps
from pyro_helm.guides import FactorialRecognition
from pyro_helm.layers.missing import known_missing
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.captured_graphs import capture, reads_the_cpu
from pyro_helm.schemes import Scheme
from pyro_helm.training.full_batch import ConjugateGradient
from pyro_helm.training.restarts import Restarts
from pyro_helm.training.steps import training_step

SIZES = (6, 4, 2)
CAPTURED = [
    helm.Reinforce(3),
    helm.DisARM(2),
    helm.VIMCO(3),
    helm.TVO(3),
    helm.WakeSleep(2),
    helm.ReweightedWakeSleep(3, insomnia=0.5, defensive=0.1),
    helm.ExactEM(),
    helm.Relaxed(2),
]
NOT_CAPTURED = [
    helm.NVIL(2),
    helm.Gibbs(2),
    helm.VariationalEM(),
    helm.MeanField(),
    helm.ExactMeanField(),
    helm.ExactLayers(2),
    helm.JointStochasticApproximation(2),
    helm.MemoisedWakeSleep(2),
]


def data(rows: int = 25) -> Tensor:
    return (torch.rand(rows, SIZES[0], generator=torch.Generator().manual_seed(0)) < 0.4).float()


def trained(
    step: str,
    scheme: Scheme,
    imaging: str = "sigmoid",
    restarts: int = 2,
    sizes: tuple[int, ...] = SIZES,
    **settings: Any,
) -> helm.Result:
    model = BeliefNetwork(sizes, imaging, restarts=restarts, seed=0)
    guide = FactorialRecognition(sizes, restarts=restarts, seed=0)
    # of one size, each of which is captured by itself
    settings = {"num_epochs": 3, "batch_size": 5, "progress": False} | settings
    return helm.fit(model, guide, data(), scheme=scheme, step=step, **settings)


def parameters(result: helm.Result) -> list[Tensor]:
    return [p.detach() for part in (result.model, result.guide) if part is not None for p in part.parameters()]


def test_every_scheme_is_in_one_of_the_lists() -> None:
    assert {type(scheme) for scheme in [*CAPTURED, *NOT_CAPTURED]} == set(helm.SCHEMES.values())


@pytest.mark.parametrize(
    ("scheme", "imaging"),
    [*((scheme, "sigmoid") for scheme in CAPTURED), (helm.VIMCO(3), "noisy_or"), (helm.WakeSleep(2), "odds")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_captured_steps_are_the_eager_ones(scheme: Scheme, imaging: str) -> None:
    check_captured(scheme, imaging)


def test_a_last_minibatch_of_fewer_rows_is_captured_by_itself() -> None:
    check_captured(helm.ReweightedWakeSleep(3), batch_size=10)  # of 25 rows


def check_captured(scheme: Scheme, imaging: str = "sigmoid", **settings: Any) -> None:
    eager, captured = (trained(step, scheme, imaging, **settings) for step in ("eager", "captured"))
    assert eager.history.value.tolist() == captured.history.value.tolist()
    for ours, theirs in zip(parameters(eager), parameters(captured), strict=True):
        assert torch.equal(ours, theirs)


def test_compiled_steps_are_the_eager_ones_within_rounding() -> None:
    """Of two restarts, each clipped, in a small machine: one restart and Adam are in ``programs/test_module_state.py``.

    There is one size of minibatches, each of which takes seconds to compile.
    """
    sgd = partial(torch.optim.SGD, lr=0.5, fused=True)
    eager, compiled = (
        trained(step, helm.ReweightedWakeSleep(3), sizes=(6, 3), optimizer=sgd, max_gradient_norm=0.05)
        for step in ("eager", "compiled")
    )
    assert eager.history.value.tolist() == pytest.approx(compiled.history.value.tolist(), rel=1e-5)
    for ours, theirs in zip(parameters(eager), parameters(compiled), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("scheme", NOT_CAPTURED, ids=lambda scheme: scheme.name)
def test_a_scheme_that_does_not_do_the_same_in_every_step_is_refused(scheme: Scheme) -> None:
    with pytest.raises(ValueError, match=f"{type(scheme).__name__} does not do the same tensor operations"):
        trained("captured", scheme)


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(ValueError, match="step must be one of eager, captured, compiled; got 'fast'"):
        trained("fast", helm.WakeSleep())


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.Adam, lr=0.05),
        partial(torch.optim.AdamW, lr=0.05, fused=True),
        partial(torch.optim.SGD, lr=0.05, momentum=0.9, fused=True),
        partial(torch.optim.SGD, lr=0.05, fused=True),
        partial(torch.optim.RMSprop, lr=0.01),
    ],
    ids=["Adam", "fused AdamW", "fused momentum", "fused SGD", "RMSprop"],
)
def test_any_optimiser_takes_captured_steps(optimizer: Any) -> None:
    eager, captured = (trained(step, helm.VIMCO(3), optimizer=optimizer) for step in ("eager", "captured"))
    assert eager.history.value.tolist() == captured.history.value.tolist()


def test_a_schedule_is_followed() -> None:
    schedule = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    eager, captured, constant = (
        trained(step, helm.WakeSleep(), schedule=schedule if scheduled else None)
        for step, scheduled in (("eager", True), ("captured", True), ("captured", False))
    )
    assert eager.history.value.tolist() == captured.history.value.tolist()
    assert captured.history.value.tolist() != constant.history.value.tolist()


EXPONENTIAL = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (partial(torch.optim.Adam, lr=0.05, fused=True), "cosine"),
        (partial(torch.optim.AdamW, lr=0.05, fused=True), EXPONENTIAL),
        (partial(torch.optim.SGD, lr=0.05, momentum=0.9, fused=True), "step"),
    ],
    ids=["Adam", "AdamW", "SGD"],
)
def test_a_scheduled_learning_rate_does_not_cost_captured_steps(
    optimizer: Any, schedule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eager numbers to the bit; the optimiser itself runs twice: to make its state, and to be captured."""
    eager = trained("eager", helm.WakeSleep(), optimizer=optimizer, schedule=schedule)
    taken: list[int] = []
    descend = optimizer.func.step

    def counted(self: Any, *arguments: Any) -> Any:
        taken.append(1)
        return descend(self, *arguments)

    monkeypatch.setattr(optimizer.func, "step", counted)
    captured = trained("captured", helm.WakeSleep(), optimizer=optimizer, schedule=schedule)
    assert len(taken) == 2
    assert eager.history.value.tolist() == captured.history.value.tolist()
    for ours, theirs in zip(parameters(eager), parameters(captured), strict=True):
        assert torch.equal(ours, theirs)


def test_another_setting_that_changes_is_followed() -> None:
    """One cycle changes Adam's betas too, which are no tensors."""
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=6)
    still = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=6, cycle_momentum=False)
    found = [
        trained(step, helm.WakeSleep(), schedule=schedule, num_epochs=5).history.value.tolist()
        for step, schedule in (("eager", cycle), ("captured", cycle), ("captured", still), ("eager", still))
    ]
    assert found[0] == found[1] != found[2] == found[3]


def test_weighted_data_are_captured() -> None:
    distribution = helm.load_data("bars").distribution
    assert distribution is not None
    sizes = (16, 5)
    found = []
    for step in ("eager", "captured"):
        model, guide = BeliefNetwork(sizes, seed=0), FactorialRecognition(sizes, seed=0)
        settings: dict[str, Any] = {"num_epochs": 2, "progress": False, "step": step}
        found.append(helm.fit(model, guide, distribution, scheme=helm.ReweightedWakeSleep(3), **settings).history)
    assert found[0].value.tolist() == found[1].value.tolist()


def test_full_batch_optimisers_take_captured_gradients() -> None:
    settings: dict[str, Any] = {"optimizer": partial(ConjugateGradient, iterations=5), "dtype": torch.float64}
    settings |= {"batch_size": None, "num_epochs": 1}
    eager, captured = (trained(step, helm.ExactEM(), **settings) for step in ("eager", "captured"))
    assert eager.history.value.tolist() == pytest.approx(captured.history.value.tolist(), rel=1e-9)


class Mixture(PyroModule):  # type: ignore[misc]
    """Three prototypes in plain Pyro."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))
        self.prototypes = nn.Parameter(torch.linspace(-1, 1, 3 * SIZES[0]).reshape(3, SIZES[0]).sin())

    def forward(self, observations: Any) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2]):
            which = pyro.sample("which", dist.Categorical(logits=self.weights))
            pyro.sample("x", dist.Bernoulli(logits=self.prototypes[which]).to_event(1), obs=x)


class Responsibilities(PyroModule):  # type: ignore[misc]
    def __init__(self, logits_of: Any = None) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZES[0], 3)
        self.noise = logits_of or (lambda: 0.0)

    def forward(self, observations: Any) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2]):
            pyro.sample("which", dist.Categorical(logits=self.layer(x) + self.noise()))


def fit_own(step: str, logits_of: Any = None) -> list[float]:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"num_epochs": 2, "batch_size": 10, "progress": False}
    guide = Responsibilities(logits_of)
    result = helm.fit(Mixture(), guide, data(), scheme=helm.VIMCO(3), step=step, **settings)
    values: list[float] = result.history.value.tolist()
    return values


def test_programs_of_the_users_own_are_captured() -> None:
    assert fit_own("eager") == fit_own("captured")


def test_a_program_that_does_another_thing_at_every_call_is_refused() -> None:
    with pytest.raises(ValueError, match="The programs change from call to call"):
        fit_own("captured", lambda: 5 * torch.tensor([random.random(), random.random(), 0.0]))


def test_a_program_that_draws_what_it_does_not_use_is_captured_with_it() -> None:
    unused: Any = lambda: (torch.rand(3), torch.empty(2).exponential_(), 0.0)[2]  # noqa: E731
    assert fit_own("eager", unused) == fit_own("captured", unused) != fit_own("eager")


def test_a_program_that_seeds_its_draws_is_refused() -> None:
    def seeded() -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return torch.randn(3)

    with pytest.raises(ValueError, match="draws other random numbers than the programs do"):
        fit_own("captured", seeded)


class GrowingFactor(helm.WakeSleep):
    """A factor in the gradient alone that doubles at every call."""

    factor = 1.0

    def restart_losses(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        losses = super().restart_losses(model, guide, *args, **kwargs)
        self.factor *= 2
        return losses.detach() + self.factor * (losses - losses.detach())


def test_a_scheme_whose_gradient_alone_is_another_at_every_call_is_refused() -> None:
    with pytest.raises(ValueError, match="or other gradients"):
        trained("captured", GrowingFactor())


def test_a_program_that_looks_at_values_is_refused() -> None:
    guide = Responsibilities()
    guide.noise = lambda: 1.0 if guide.layer.weight.sum() > 0 else 2.0
    settings: dict[str, Any] = {"num_epochs": 2, "batch_size": 10, "progress": False, "step": "captured"}
    with pytest.raises(
        ValueError, match="can't be captured, use step='eager': its tensor operations can't be recorded"
    ):
        helm.fit(Mixture(), guide, data(), scheme=helm.VIMCO(3), **settings)


@pytest.mark.parametrize("broken", [False, True])
def test_a_restart_that_fails_in_a_captured_step_leaves_the_others_alone(broken: bool) -> None:
    model, guide = BeliefNetwork(SIZES, restarts=3, seed=0), FactorialRecognition(SIZES, restarts=3, seed=0)
    sound = trained("captured", helm.ReweightedWakeSleep(3), restarts=3)
    if broken:
        with torch.no_grad():
            model.generative[0].weight_unconstrained[1] = torch.nan
    settings: dict[str, Any] = {"num_epochs": 3, "batch_size": 5, "progress": False, "step": "captured"}
    with pytest.warns(RuntimeWarning, match=r"restarts \[1\] of 3 failed") if broken else nullcontext():
        result = helm.fit(model, guide, data(), scheme=helm.ReweightedWakeSleep(3), **settings)
    assert result.summary.failed.tolist() == [False, broken, False]
    ours, theirs = (fitted.history[fitted.history.restart != 1].value.tolist() for fitted in (result, sound))
    assert ours == theirs


def test_a_restart_that_has_stopped_and_breaks_then_has_not_failed() -> None:
    parameter = nn.Parameter(torch.tensor([[1.0], [2.0]]))
    restarts = Restarts([parameter], 2)
    restarts.active[1] = False
    with torch.no_grad():
        parameter.fill_(torch.nan)
    restarts.guard(torch.tensor([False, False]))
    assert restarts.failed.tolist() == [True, False]
    assert parameter.flatten().tolist() == [1, 2]


def is_launched_at_once(program: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a captured step would be on a GPU, which is not needed to decide that."""
    launched: list[Callable[..., object]] = []

    def launch(function: Callable[..., object], *rows: Tensor) -> Callable[..., object]:
        launched.append(function)
        return function

    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    monkeypatch.setattr(steps, "launched_at_once", launch)
    graphs = {2: capture(program, torch.zeros(2))}
    step = steps._launched_at_once(program, graphs)
    for _ in range(4):
        assert step(torch.ones(2)).tolist() == program(torch.ones(2)).tolist()
    return bool(launched)


def test_what_waits_for_values_or_reads_the_cpu_is_not_launched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = torch.ones(2)

    def waiting(rows: Tensor) -> Tensor:
        warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)
        return 2 * rows

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert is_launched_at_once(lambda rows: 2 * rows, monkeypatch)
        assert not is_launched_at_once(waiting, monkeypatch)
        assert not is_launched_at_once(lambda rows: elsewhere * rows, monkeypatch)


@pytest.mark.parametrize("scheme", CAPTURED, ids=lambda scheme: scheme.name)
def test_a_step_of_ours_reads_nothing_on_the_cpu(scheme: Scheme) -> None:
    model = BeliefNetwork(SIZES, restarts=2, seed=0).to("meta")
    guide = FactorialRecognition(SIZES, restarts=2, seed=0).to("meta")
    cases = data().to("meta")
    with pyro.validation_enabled(False):
        graph = capture(
            lambda rows: scheme.restart_losses(model, guide, observations={"x": cases[rows]}),
            torch.arange(10, device="meta"),
        )
    assert not reads_the_cpu(graph)


# Gibbs looks up patterns, MeanField of these imaging models zeros
ON_ANY_DEVICE = [*((scheme, "odds") for scheme in [*CAPTURED, helm.NVIL(2)]), (helm.MeanField(), "sigmoid")]


@pytest.mark.parametrize(("scheme", "imaging"), ON_ANY_DEVICE, ids=lambda value: getattr(value, "name", None))
def test_a_step_runs_where_its_tensors_are_and_waits_for_none_of_their_values(scheme: Scheme, imaging: str) -> None:
    # tensors of the device "meta" have no values, and can't be mixed with others
    model = BeliefNetwork(SIZES, imaging, restarts=2, seed=0).to("meta")
    guide = FactorialRecognition(SIZES, restarts=2, seed=0).to("meta")
    parameters = [*model.parameters(), *guide.parameters()]
    cases, rows = data().to("meta"), torch.arange(10, device="meta")

    def losses(rows: Tensor) -> Tensor:
        with known_missing(False):  # as in fit
            return scheme.restart_losses(model, guide, observations={"x": cases[rows]})

    descent, guard = torch.optim.SGD(parameters, lr=0.1), Restarts(parameters, 2).guard
    step = training_step("eager", losses, parameters, descent, guard, settings_change=False)
    with pyro.validation_enabled(False):
        for _ in range(2):
            found = step(rows)
    assert found.device.type == "meta"
