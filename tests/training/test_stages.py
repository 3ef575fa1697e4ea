"""A training in stages is its stages, one after the other, and goes on where it was."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.programs.lower_layers import lowest_layers, put_back
from pyro_helm.training.clock import Clock

SIZES = (6, 4, 2)
SETTINGS: dict[str, Any] = {"batch_size": 5, "progress": False}


def data(number: int = 25, seed: int = 0) -> Tensor:
    return (torch.rand(number, 6, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def machine(seed: int = 0, imaging: str = "odds") -> tuple[Any, Any]:
    model = helm.BeliefNetwork(SIZES, imaging, restarts=3, seed=seed)
    return model, helm.FactorialRecognition(SIZES, restarts=3, seed=seed, initial_bias=(-3, None))


def stages(last: int = 2) -> list[helm.Stage]:
    return [
        helm.Stage(helm.MeanField(), 2, layers=2, learning_rate=0.03),
        helm.Stage(helm.MeanField(), 1),
        helm.Stage(helm.ReweightedWakeSleep(3), last),
    ]


def fit(programs: tuple[Any, Any], plan: list[helm.Stage] | None = None, **settings: Any) -> helm.Result:
    return helm.fit_in_stages(*programs, data(), stages=plan or stages(), **{**SETTINGS, **settings})


def numbers(result: helm.Result) -> list[Any]:
    assert result.guide is not None
    tensors = [value.tolist() for part in (result.model, result.guide) for value in part.state_dict().values()]
    return [result.history.drop(columns="seconds").to_csv(float_format="%.17g"), tensors]


@pytest.mark.parametrize("imaging", ["sigmoid", "noisy_or", "odds"])
def test_it_is_the_trainings_that_one_would_write_by_hand(imaging: str) -> None:
    result = fit(machine(imaging=imaging))
    model, guide = machine(imaging=imaging)
    lower_model, lower_guide = lowest_layers(model, 2), lowest_layers(guide, 2)
    first = helm.fit(
        lower_model, lower_guide, data(), scheme=helm.MeanField(), num_epochs=2, learning_rate=0.03, **SETTINGS
    )
    with torch.no_grad():
        put_back(lower_model, model)
        put_back(lower_guide, guide)
    helm.fit(model, guide, data(), scheme=helm.MeanField(), num_epochs=1, **SETTINGS)
    last = helm.fit(model, guide, data(), scheme=helm.ReweightedWakeSleep(3), num_epochs=2, **SETTINGS)
    assert numbers(result)[1] == numbers(last)[1]
    history = result.history
    assert history.value.tolist()[:6] == first.history.value.tolist()
    assert history.value.tolist()[-6:] == last.history.value.tolist()
    assert history.groupby(["sizes", "scheme"], sort=False).epoch.unique().map(list).tolist() == [[1, 2], [3], [4, 5]]
    assert (history.groupby("epoch").seconds.first().diff().dropna() >= 0).all()


def test_layers_are_added_one_by_one_in_a_deep_machine() -> None:
    sizes = (6, 4, 3, 2)
    programs = helm.BeliefNetwork(sizes, seed=0), helm.FactorialRecognition(sizes, seed=0)
    plan = [helm.Stage(helm.WakeSleep(), 1, layers=depth) for depth in (2, 3, 4)]
    result = helm.fit_in_stages(*programs, data(), stages=plan, valid=data(9, 1), **SETTINGS)
    assert result.history.sizes.unique().tolist() == ["6-4", "6-4-3", "6-4-3-2"]
    assert result.summary.best_epoch.tolist() == [1]


@pytest.mark.parametrize("steps", [3, 13, 22])  # in each stage
def test_ended_and_resumed_gives_the_same_bits(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit(machine())
    taken = 0

    def tick(clock: Clock) -> None:
        nonlocal taken
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Clock, "tick", tick)
    assert fit(machine(), out=tmp_path).interrupted
    resumed = fit(machine(seed=1), out=tmp_path, resume=True)
    assert not resumed.interrupted
    assert numbers(resumed) == numbers(expected)
    loaded, _ = helm.load(tmp_path)
    assert torch.equal(loaded.generative[0].weight, resumed.model.generative[0].weight)  # type: ignore[index,union-attr]


def test_more_epochs_of_the_last_stage_may_be_asked_for(tmp_path: Path) -> None:
    fit(machine(), out=tmp_path)
    assert numbers(fit(machine(), stages(4), out=tmp_path, resume=True)) == numbers(fit(machine(), stages(4)))


def test_a_folder_is_not_taken_for_that_of_other_stages(tmp_path: Path) -> None:
    fit(machine(), out=tmp_path)
    with pytest.raises(ValueError, match="holds a run in stages already"):
        fit(machine(), out=tmp_path)
    with pytest.raises(ValueError, match="its stages were others"):
        fit(machine(), stages()[1:], out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="holds a run already"):
        helm.fit(*machine(), data(), scheme=helm.WakeSleep(), out=tmp_path, **SETTINGS)
    replaced = fit(machine(1), stages()[1:], out=tmp_path, overwrite=True)
    assert numbers(replaced) == numbers(fit(machine(1), stages()[1:]))
    assert [folder.name for folder in sorted(tmp_path.glob("stage-*"))] == ["stage-1"]
    plain = tmp_path / "plain"
    helm.fit(*machine(), data(), scheme=helm.WakeSleep(), num_epochs=1, out=plain, **SETTINGS)
    with pytest.raises(ValueError, match="a run without stages"):
        fit(machine(), out=plain)


def test_time_is_that_of_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(machine(), max_seconds=1e-9).history.epoch.max() == 1
    assert fit(machine(), max_seconds=float("inf")).history.epoch.max() == 5


def test_a_kind_of_step_that_is_none_is_refused_before_anything_is_trained() -> None:
    (model, guide), first = machine(), helm.Stage(helm.WakeSleep(), 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for step, sentence in (("compield", "step must be one of"), ("captured", "its steps cannot be captured")):
        stages = [first, helm.Stage(helm.MeanField(), 1, step=step)]
        with pytest.raises(ValueError, match=sentence):
            helm.fit_in_stages(model, guide, data(), stages=stages, **SETTINGS)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_a_stage_has_a_kind_of_step_of_its_own() -> None:
    plan = [helm.Stage(helm.MeanField(), 1, step="eager"), helm.Stage(helm.WakeSleep(), 1, step="captured")]
    result = helm.fit_in_stages(*machine(), data(), stages=plan, **SETTINGS)
    assert result.step == "captured"
    assert numbers(result) == numbers(helm.fit_in_stages(*machine(), data(), stages=plan, step="eager", **SETTINGS))
    with pytest.raises(ValueError, match="its steps cannot be captured"):  # those of all stages are no stage's own
        helm.fit_in_stages(*machine(), data(), stages=[helm.Stage(helm.MeanField(), 1)], step="captured", **SETTINGS)


def test_numbers_of_another_type_stay_with_the_machine() -> None:
    result = fit(machine(), dtype=torch.float64)
    assert {value.dtype for value in result.model.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("plan", "settings", "said"),
    [
        ([], {}, "must end with one that trains all layers"),
        ([helm.Stage(helm.WakeSleep(), layers=2)], {}, "must end with one that trains all layers"),
        ([helm.Stage(helm.WakeSleep(), layers=4)], {}, "layers must be from 2 to 3"),
        ([helm.Stage(helm.WakeSleep(), num_epochs=0)], {}, "num_epochs must be at least 1"),
        (stages(), {"resume": True}, "needs the folder of the run"),
        (stages(), {"max_seconds": -1}, "max_seconds must be positive"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(plan: list[helm.Stage], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        helm.fit_in_stages(*machine(), data(), stages=plan, **settings)


@pytest.mark.parametrize(
    ("plan", "settings", "said"),
    [
        (helm.Stage(helm.WakeSleep()), {}, "stages must be a list"),
        ([helm.WakeSleep()], {}, "must hold Stage"),
        (stages(), {"num_epochs": 3}, "num_epochs is given by each stage"),
        (stages(), {"batchsize": 3}, "unknown setting 'batchsize'; did you mean batch_size"),
    ],
)
def test_wrong_types_are_refused_in_a_sentence(plan: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        helm.fit_in_stages(*machine(), data(), stages=plan, **settings)


def test_any_program_is_trained_by_one_scheme_after_another_but_not_by_layers() -> None:
    class Own(helm.BeliefNetwork):
        pass

    model: nn.Module = Own((6, 4), seed=0)
    guide = helm.FactorialRecognition((6, 4), seed=0)
    plan = [helm.Stage(helm.WakeSleep(), 1), helm.Stage(helm.VIMCO(2), 1)]
    result = helm.fit_in_stages(model, guide, data(), stages=plan, **SETTINGS)
    assert result.history.scheme.unique().tolist() == ["wake_sleep", "vimco"]
    with pytest.raises(TypeError, match="only networks of this library"):
        fit((Own(SIZES, restarts=3, seed=0), machine()[1]))
