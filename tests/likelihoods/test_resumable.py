"""Chunks: a run that is taken up again gives the numbers of one that was not interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import pyro_helm as helm
import pyro_helm.likelihoods.scores as module
from pyro_helm.likelihoods import mixed_with_prior, prior, tempered
from pyro_helm.likelihoods.fingerprints import fingerprint
from tests.checker import DATA, tiny_machine

X = DATA.repeat(4, 1)
METHODS: dict[str, dict[str, Any]] = {"importance": {"num_samples": 20}, "ais": {"schedule": 5, "num_chains": 3}}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", {"importance": 5, "ais": 5})


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_is_taken_up_where_it_was(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tiny_machine("sigmoid")
    settings: dict[str, Any] = {"method": method, "seed": 3, **METHODS[method]}
    whole = helm.log_likelihood(machine.model, machine.guide, X, **settings)
    original = module._ESTIMATORS[method]
    done: list[int] = []

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return original(*arguments, **keywords)

    monkeypatch.setitem(module._ESTIMATORS, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        helm.log_likelihood(machine.model, machine.guide, X, resume=tmp_path, **settings)
    assert len(list(tmp_path.glob("chunk-*.safetensors"))) == 2
    done.clear()
    resumed = helm.log_likelihood(machine.model, machine.guide, X, resume=tmp_path, progress=True, **settings)
    assert len(done) == 1
    assert resumed.table.equals(whole.table)
    assert method in capsys.readouterr().err


def test_chunks_of_another_run_are_not_mixed_in(tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")
    helm.log_likelihood(machine.model, machine.guide, X, num_samples=5, resume=tmp_path)
    with pytest.raises(ValueError, match="holds chunks of another estimate, with other num_samples; give another"):
        helm.log_likelihood(machine.model, machine.guide, X, num_samples=6, resume=tmp_path)
    with torch.no_grad():
        machine.guide.recognition[0].weight_unconstrained += 1
    with pytest.raises(ValueError, match="with other model, guide and data"):
        helm.log_likelihood(machine.model, machine.guide, X, num_samples=5, resume=tmp_path)


def test_proposals_are_told_apart_by_what_they_are_made_of(tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")
    same = fingerprint(tempered(machine.guide, temperature=2.0))
    assert fingerprint(tempered(machine.guide, temperature=2.0)) == same
    assert fingerprint(tempered(machine.guide, temperature=3.0)) != same
    assert fingerprint(prior(machine.model)) != fingerprint(prior(tiny_machine("sigmoid", seed=4).model))
    mixture = mixed_with_prior(machine.model, machine.guide)
    helm.log_likelihood(machine.model, mixture, X, num_samples=5, resume=tmp_path)
    with torch.no_grad():
        machine.guide.recognition[0].weight_unconstrained += 1
    with pytest.raises(ValueError, match="with other model, guide and data"):
        helm.log_likelihood(machine.model, mixture, X, num_samples=5, resume=tmp_path)


def test_parameters_in_the_store_are_there_from_the_first_run_on(tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")

    def guide(observations: dict[str, Tensor]) -> None:
        probs = pyro.param("probs", torch.full((2,), 0.4).double())
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            pyro.sample("h1", dist.Bernoulli(probs).to_event(1))
            pyro.sample("h2", dist.Bernoulli(probs).to_event(1))

    pyro.clear_param_store()
    whole = helm.log_likelihood(machine.model, guide, X, num_samples=5, resume=tmp_path)
    assert helm.log_likelihood(machine.model, guide, X, num_samples=5, resume=tmp_path).table.equals(whole.table)
    pyro.get_param_store()["probs"] = torch.full((2,), 0.6).double()
    with pytest.raises(ValueError, match="with other model, guide and data"):
        helm.log_likelihood(machine.model, guide, X, num_samples=5, resume=tmp_path)
    pyro.clear_param_store()


def test_what_can_not_be_told_apart_is_refused_only_where_it_is_kept(tmp_path: Path) -> None:
    machine, lock = tiny_machine("sigmoid"), Lock()

    def guide(observations: dict[str, Tensor]) -> None:
        with lock:
            machine.guide(observations)

    helm.log_likelihood(machine.model, guide, X, num_samples=5)
    with pytest.raises(ValueError, match="of type lock, is the same as in an earlier run"):
        helm.log_likelihood(machine.model, guide, X, num_samples=5, resume=tmp_path)


def test_chunks_have_random_numbers_of_their_own() -> None:
    machine = tiny_machine("sigmoid")
    table = helm.log_likelihood(machine.model, machine.guide, X[:1].repeat(10, 1), num_samples=20).table
    assert table.log_likelihood.nunique() == 10


def _short(columns: dict[str, Tensor]) -> None:
    columns.update({name: value[:, :-1].contiguous() for name, value in columns.items()})


def _without_a_column(columns: dict[str, Tensor]) -> None:
    del columns["ess"]


def _of_other_restarts(columns: dict[str, Tensor]) -> None:
    columns.update({name: value.repeat(2, 1) for name, value in columns.items()})


def _of_one_column_less(columns: dict[str, Tensor]) -> None:
    columns["ess"] = columns["ess"].flatten()


@pytest.mark.parametrize("damage", [_short, _without_a_column, _of_other_restarts, _of_one_column_less])
@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_chunk_is_refused_by_its_name(
    damage: Callable[[dict[str, Tensor]], None], number: int, tmp_path: Path
) -> None:
    machine = tiny_machine("sigmoid")
    helm.log_likelihood(machine.model, machine.guide, X, num_samples=5, resume=tmp_path)
    file = tmp_path / f"chunk-{number:05d}.safetensors"
    columns = load_file(file)
    damage(columns)
    save_file(columns, file)
    with pytest.raises(ValueError, match=r"chunk-0000[01].safetensors is not a chunk of this estimate: it"):
        helm.log_likelihood(machine.model, machine.guide, X, num_samples=5, resume=tmp_path)


def test_a_chunk_that_is_no_tensors_is_refused_by_its_name(tmp_path: Path) -> None:
    machine = tiny_machine("sigmoid")
    helm.log_likelihood(machine.model, machine.guide, X, num_samples=5, resume=tmp_path)
    file = tmp_path / "chunk-00001.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"chunk-00001.safetensors is not a chunk of this estimate: it can't be read"):
        helm.log_likelihood(machine.model, machine.guide, X, num_samples=5, resume=tmp_path)
