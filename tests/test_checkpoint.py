"""Machines on disk: what is saved is what is loaded, and bad files harm nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

SIZES = (6, 4, 2)


def machine(seed: int = 0) -> tuple[Any, Any]:
    model = BeliefNetwork(SIZES, ("odds", "noisy_or", "sigmoid"), restarts=2, fixed_leak=(0.05, 0.1, None), seed=seed)
    return model, FactorialRecognition(SIZES, restarts=2, seed=seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_machine_is_rebuilt(tmp_path: Path, dtype: torch.dtype) -> None:
    model, guide = machine()
    path = tmp_path / "deep" / "a.safetensors"
    helm.save(path, model.to(dtype), guide.to(dtype))
    loaded = helm.load(path)
    for part, original in zip(loaded, (model, guide), strict=True):
        assert type(part) is type(original)
        assert part.config == original.config
        for name, value in original.state_dict().items():
            assert torch.equal(part.state_dict()[name], value)
            assert part.state_dict()[name].dtype == dtype


def test_a_folder_holds_one_machine(tmp_path: Path) -> None:
    helm.save(tmp_path, *machine())
    assert [path.name for path in tmp_path.iterdir()] == ["machine.safetensors"]
    helm.load(tmp_path)


def test_ones_own_modules_are_filled(tmp_path: Path) -> None:
    model, guide = torch.nn.Linear(3, 2), torch.nn.Linear(2, 3)
    helm.save(tmp_path / "own", model, guide)
    fresh = torch.nn.Linear(3, 2), torch.nn.Linear(2, 3)
    assert helm.load(tmp_path / "own", *fresh) == fresh
    assert torch.equal(fresh[0].weight, model.weight)
    with pytest.raises(ValueError, match=re.escape("is a Linear, which is not one of this library's classes")):
        helm.load(tmp_path / "own")


def test_a_machine_of_other_sizes_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    helm.save(tmp_path, *machine())
    guide = FactorialRecognition((6, 5, 2), restarts=2, seed=1)
    model = machine(seed=1)[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"has \[2, 1, 4\] for guide parameter .* expects \[2, 1, 5\]"):
        helm.load(tmp_path, model, guide)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_file_that_is_no_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no machine at"):
        helm.load(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="is not a machine that save"):
        helm.load(tmp_path / "text")


def test_a_save_that_fails_leaves_the_old_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helm.save(tmp_path, *machine())
    before = (tmp_path / "machine.safetensors").read_bytes()

    def full_disk(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyro_helm.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        helm.save(tmp_path, *machine(seed=1))
    assert (tmp_path / "machine.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_tied_parameters_are_saved_too(tmp_path: Path) -> None:
    model, guide = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    guide.weight = model.weight
    helm.save(tmp_path / "tied", model, guide)
    fresh = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    helm.load(tmp_path / "tied", *fresh)
    assert torch.equal(fresh[1].weight, model.weight)


def test_a_machine_of_a_newer_library_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, guide = machine()
    monkeypatch.setattr(BeliefNetwork, "config", {"sizes": SIZES, "depth": 3})
    helm.save(tmp_path, model, guide)
    with pytest.raises(ValueError, match="can't be rebuilt by this version of the library"):
        helm.load(tmp_path)


def test_a_model_without_a_guide_is_rebuilt_without_one(tmp_path: Path) -> None:
    model, _ = machine()
    helm.save(tmp_path, model, None)
    loaded, guide = helm.load(tmp_path)
    assert guide is None
    assert torch.equal(loaded.generative[0].weight, model.generative[0].weight)
