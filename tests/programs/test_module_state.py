"""Modes and buffers: a machine is trained in one mode, scored in the other, and its buffers are its own."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.module_state import evaluating, training
from pyro_helm.training.cases import Cases
from pyro_helm.training.validation import validated


def data(rows: int = 60) -> Tensor:
    return (torch.rand(rows, 6, generator=torch.Generator().manual_seed(1)) < torch.linspace(0.2, 0.9, 6)).float()


class Model(PyroModule):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 6)

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.4)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.net(h)).to_event(1), obs=observations["x"])


class Guide(PyroModule):  # type: ignore[misc]
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.net = nn.Linear(6, 3)

    def forward(self, observations: dict[str, Tensor]) -> None:
        x = observations["x"]
        with pyro.plate("data", x.shape[-2], dim=-1):
            pyro.sample("h", dist.Bernoulli(logits=self.net(self.norm(x))).to_event(1))


class Rebinding(nn.Module):
    """Running means in a new tensor every time."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return x - self.mean


def machine(norm: nn.Module | None = None) -> tuple[Model, Guide]:
    torch.manual_seed(0)
    return Model(), Guide(nn.BatchNorm1d(6) if norm is None else norm)


def fit(model: Any, guide: Any, **settings: Any) -> helm.Result:
    defaults = {"scheme": helm.VIMCO(3), "num_epochs": 4, "batch_size": 20, "learning_rate": 2.0, "progress": False}
    chosen: dict[str, Any] = defaults | settings
    return helm.fit(model, guide, data(), **chosen)


def buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("norm", "learning_rate"),
    [(partial(nn.BatchNorm1d, 6, momentum=0.9), 0.3), (Rebinding, 2.0)],
    ids=["in place", "anew"],
)
def test_the_best_epochs_buffers_are_kept_in_memory_and_in_the_file(
    norm: Any, learning_rate: float, tmp_path: Path
) -> None:
    model, guide = machine(norm())
    unlike = 1 - data()[:30]  # so that training makes it worse
    best = fit(model, guide, valid=unlike, out=tmp_path, learning_rate=learning_rate).summary.iloc[0]
    assert best.best_epoch < 4
    again = validated(model, guide, Cases(unlike, None), num_samples=10, seed=0)["valid_log_likelihood"]
    assert again[0].item() == best.best
    kept = buffers(guide)
    with torch.no_grad():
        for buffer in guide.buffers():
            buffer.zero_()
    helm.load(tmp_path, model, guide)
    assert same(buffers(guide), kept)


def test_validation_is_in_evaluation_mode_and_moves_no_buffers() -> None:
    model, guide = machine()
    history = fit(model, guide, valid=data(), num_epochs=1, learning_rate=0.01).history
    steps_per_epoch = 3
    assert guide.norm.num_batches_tracked == steps_per_epoch
    guide.eval()
    found = validated(model, guide, Cases(data(), None), num_samples=10, seed=0)["valid_log_likelihood"]
    assert found[0].item() == history[history.metric == "valid_log_likelihood"].value.item()


@pytest.mark.parametrize("step", ["captured", "compiled"])
def test_a_captured_step_moves_buffers_as_the_programs_do_and_its_trials_do_not(step: str) -> None:
    eager, other = machine(), machine()
    fit(*eager, num_epochs=2, learning_rate=0.01)
    fit(*other, num_epochs=2, learning_rate=0.01, step=step)
    assert eager[1].norm.num_batches_tracked == other[1].norm.num_batches_tracked == 6
    for name, value in eager[1].state_dict().items():
        torch.testing.assert_close(other[1].state_dict()[name], value)


def test_a_buffer_in_a_new_tensor_is_refused_by_a_captured_step() -> None:
    fit(*machine(Rebinding()), num_epochs=1)
    with pytest.raises(ValueError, match=r"a new tensor in the place of their buffer 'norm.mean'.*use step='eager'"):
        fit(*machine(Rebinding()), step="captured")


class Counting(FactorialRecognition):
    """With a buffer that training changes, for each restart or for all."""

    count: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__((6, 3), restarts=2, seed=0)
        self.register_buffer("count", torch.zeros(shape))

    def forward(self, observations: Any = None) -> Any:
        if self.training:
            self.count += 1
        return super().forward(observations)


def test_restarts_have_buffers_of_their_own() -> None:
    model, guide = BeliefNetwork((6, 3), restarts=2, seed=0), Counting((2, 1))
    best = fit(model, guide, valid=data(), scheme=helm.WakeSleep(), num_epochs=5).summary.best_epoch
    steps_per_epoch = 3
    assert guide.count.flatten().tolist() == (best * steps_per_epoch * 2).tolist()  # the wake and the sleep phase


def test_a_buffer_that_restarts_would_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"buffer 'count' changes in training, and its first dimension is not the 2"):
        fit(BeliefNetwork((6, 3), restarts=2, seed=0), Counting((3,)), scheme=helm.WakeSleep())


def scored(x: Tensor, model: Any, guide: Any) -> Tensor:
    return torch.tensor(helm.log_likelihood(model, guide, x, num_samples=200).table.log_likelihood.to_numpy())


def test_scoring_moves_no_buffers_and_a_datums_score_does_not_depend_on_its_neighbours() -> None:
    x = data()
    model, guide = machine()
    before = buffers(guide)
    whole = scored(x, model, guide)
    assert same(buffers(guide), before)
    assert model.training
    assert guide.norm.training
    guide.eval()
    assert torch.equal(scored(x, model, guide), whole)

    def plain(observations: dict[str, Tensor]) -> None:
        guide.forward(observations)

    guide.train()
    assert torch.equal(scored(x, model, plain), whole)
    assert same(buffers(guide), before)
    assert guide.norm.training


def test_exact_numbers_are_those_of_evaluation_mode() -> None:
    model = Model()
    model.net = nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.5))  # type: ignore[assignment]
    found: list[Tensor] = []
    for mode in (True, False):
        model.train(mode)
        posterior = helm.exact_posterior(model, None, data(4))
        log_p = helm.log_likelihood(model, None, data(4), method="exact").table.log_likelihood
        found += [posterior.log_likelihood[0], torch.tensor(log_p.to_numpy()).float()]
        assert all(module.training is mode for module in model.modules())
        states = {"h": torch.zeros(1, 3)}
        assert torch.equal(posterior.log_prob(states), posterior.log_prob(states))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_every_module_has_its_own_mode_afterwards() -> None:
    model, guide = machine()
    guide.norm.eval()
    before = buffers(guide)
    fit(model, guide, valid=data(), num_epochs=1)
    assert (model.training, guide.training, guide.norm.training, guide.net.training) == (True, True, False, True)
    assert same(buffers(guide), before)  # one that the caller has frozen stays so
    guide.eval()
    with training(model, guide):
        assert guide.norm.training
        with evaluating(model, guide):
            assert not any(module.training for module in (*model.modules(), *guide.modules()))
        assert guide.norm.training
    assert (model.training, guide.training, guide.norm.training) == (True, False, False)
    with pytest.raises(ValueError, match="data"):
        helm.log_likelihood(model, guide, data() / 2)
    assert (model.training, guide.training, guide.norm.training) == (True, False, False)


def test_threads_run_one_after_another_and_give_what_each_gives_alone() -> None:
    def run(seed: int) -> pd.DataFrame:
        model, guide = BeliefNetwork((6, 3), seed=seed), FactorialRecognition((6, 3), seed=seed)
        history = fit(model, guide, seed=seed, num_epochs=2, learning_rate=0.01).history.drop(columns="seconds")
        history["score"] = helm.log_likelihood(model, guide, data(), num_samples=20).summary.log_likelihood.item()
        return history

    alone = [run(seed) for seed in range(4)]
    found: dict[int, pd.DataFrame] = {}
    threads = [threading.Thread(target=lambda n=seed: found.update({n: run(n)})) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, history in enumerate(alone):
        pd.testing.assert_frame_equal(found[seed], history)
