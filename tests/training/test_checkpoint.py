"""Machines on disk: what is saved is what is loaded, and bad files harm nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

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
    with pytest.raises(ValueError, match=r"has sizes \[6, 4, 2\], but the one passed has \[6, 5, 2\]"):
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

    def full_disk(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
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


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"imaging": "noisy_or"}, "imaging"),
        ({"restarts": 3}, "restarts"),
        ({"fixed_leak": 0.5}, "fixed_leak"),
        ({"learned_leak": (True, True, False), "fixed_leak": (None, None, 0.1)}, "fixed_leak|learned_leak"),
        ({"sizes": (6, 4, 3)}, "sizes"),
    ],
)
def test_what_the_header_knows_is_compared_with_the_model_passed(
    tmp_path: Path, change: dict[str, Any], setting: str
) -> None:
    own: dict[str, Any] = {"sizes": SIZES, "imaging": "sigmoid", "restarts": 2}
    helm.save(tmp_path, BeliefNetwork(**own, seed=0), FactorialRecognition(SIZES, restarts=2, seed=0))
    other = BeliefNetwork(**(own | change), seed=1)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=rf"^the model in .* has ({setting}) .*, but the one passed has"):
        helm.load(tmp_path, model=other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    helm.load(tmp_path, model=BeliefNetwork(**own, seed=1))  # the seed is no matter


def test_a_module_of_another_class_is_refused_and_a_subclass_is_not(tmp_path: Path) -> None:
    class Named(BeliefNetwork):
        """The same machine by another name."""

    model, guide = machine()
    helm.save(tmp_path, model, guide)
    config: dict[str, Any] = model.config
    loaded, _ = helm.load(tmp_path, model=Named(**config))
    assert torch.equal(loaded.generative[0].weight, model.generative[0].weight)
    with pytest.raises(ValueError, match="is a FactorialRecognition, but a BeliefNetwork was passed"):
        helm.load(tmp_path, guide=model)
    helm.save(tmp_path, model, None)
    with pytest.raises(ValueError, match="was saved without a guide, but one was passed"):
        helm.load(tmp_path, guide=guide)


def test_a_user_s_configuration_that_json_cannot_hold_does_not_stop_a_save(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    model.config = {"act": torch.relu}  # type: ignore[assignment]
    helm.save(tmp_path, model, None)
    helm.load(tmp_path, model=torch.nn.Linear(2, 2))


def damaged(folder: Path, *, header: dict[str, str | None] | None = None, **tensors: Any) -> Path:
    """A machine's file with parts of its header or tensors replaced; None takes them out."""
    helm.save(folder, *machine())
    file = folder / "machine.safetensors"
    kept = load_file(file)
    described = {"model": json.dumps(_said(machine()[0])), "guide": json.dumps(_said(machine()[1]))}
    for part, text in (header or {}).items():
        described.pop(part)
        if text is not None:
            described[part] = text
    kept = {name: tensors.get("every", lambda value: value)(value) for name, value in kept.items()}
    save_file({} if tensors.get("none") else kept, file, metadata=described)
    return file


def _said(module: Any) -> dict[str, Any]:
    return {"class": type(module).__name__, "config": module.config}


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ({"model": None}, "no 'model' in it"),
        ({"model": "null"}, "its header must give class and config of the model"),
        ({"model": "[]"}, "its header must give class and config of the model"),
        ({"model": "{}"}, "its header must give class and config of the model"),
        ({"guide": '{"class": "FactorialRecognition"}'}, "its header must give class and config of the guide"),
        ({"guide": '{"config": {}}'}, "its header must give class and config of the guide"),
        ({"model": '{"class": [], "config": {}}'}, "its header must give class and config of the model"),
        ({"model": '{"class": "BeliefNetwork", "config": [6, 4, 2]}'}, "must give class and config of the model"),
        ({"model": '{"class": null, "config": null}'}, "holds no model"),
        ({"model": '{"class": "BeliefNetwork", "config": null}'}, "not one of this library's classes"),
        ({"model": '{"class": "BeliefNetwork", "config": {}}'}, "has sizes null"),
        ({"model": '{"class": "BeliefNetwork", "config": {"sizes": [6, "4"]}}'}, "expected positive integers"),
        ({"model": '{"class": "BeliefNetwork", "config": {"sizes": 6}}'}, "expected positive integers"),
        ({"model": '{"class": "BeliefNetwork", "config": {"sizes": [6], "restarts": 2}}'}, "can't be rebuilt"),
        ({"model": '{"class": "BeliefNetwork", "config": {"sizes": [6, 4], "imaging": [[]]}}'}, "imaging must be"),
        ({"model": '{"class": "BeliefNetwork", "config": {"sizes": [6, 4], "fixed_leak": "x"}}'}, "can't be rebuilt"),
        ({"model": '{"class": "BeliefNetwork", "config": {"sizes": [6, 4], "restarts": null}}'}, "restarts null"),
        ({"model": "[" * 100_000}, "is not a machine that save"),
        ({"model": "not json"}, "is not a machine that save"),
    ],
)
def test_a_damaged_header_is_refused_in_a_sentence(
    tmp_path: Path, header: dict[str, str | None], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as refusal:
        helm.load(damaged(tmp_path, header=header))
    assert len(str(refusal.value)) < 500


def test_sizes_beyond_the_tensors_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    config = {"sizes": [10**9, 10**9], "restarts": 10**6}
    file = damaged(tmp_path, header={"model": json.dumps({"class": "BeliefNetwork", "config": config})})
    with pytest.raises(ValueError, match=f"but its header asks for at least {10**24}"):
        helm.load(file)


@pytest.mark.parametrize(
    ("every", "sentence"),
    [
        (lambda value: value.to(torch.int64), "has parameters of int64, expected one floating-point type"),
        (lambda value: value.to(torch.complex64), "has parameters of complex64, expected one floating-point type"),
        (lambda value: value * torch.nan, r"is NaN in \d+ of \d+ places"),
    ],
)
def test_parameters_that_are_no_numbers_are_refused(tmp_path: Path, every: Any, sentence: str) -> None:
    file = damaged(tmp_path, every=every)
    with pytest.raises(ValueError, match=sentence):
        helm.load(file)
    model, guide = machine(seed=1)
    with pytest.raises(ValueError, match=r"parameter .* in .* (is NaN|has (int64|complex64), expected float32)"):
        helm.load(file, model, guide)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the model in .* has 0 numbers, but its header asks for at least"):
        helm.load(damaged(tmp_path, none=True))


def test_infinite_parameters_are_warned_of(tmp_path: Path) -> None:
    model, guide = machine()
    with torch.no_grad():
        model.generative[0].learned_leak_unconstrained.fill_(torch.inf)
    helm.save(tmp_path, model, guide)
    with pytest.warns(RuntimeWarning, match="is infinite in 12 of 12 places"):
        helm.load(tmp_path)


def test_a_model_and_guide_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    helm.save(tmp_path, machine()[0], FactorialRecognition((6, 5, 2), restarts=2, seed=0))
    with pytest.raises(ValueError, match="model and guide must have the same sizes"):
        helm.load(tmp_path)


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    helm.save("~/deep/a", *machine())
    assert (tmp_path / "deep" / "a").is_file()
    helm.load("~/deep/a")


def test_a_machine_that_has_learned_of_missing_values_is_filled_into_one_that_has_not(tmp_path: Path) -> None:
    model, guide = machine()
    guide.learn_missing()
    helm.save(tmp_path / "a.safetensors", model, guide)
    fresh, other = machine(1)
    helm.load(tmp_path / "a.safetensors", fresh, other)
    assert torch.equal(other.recognition[0].missing_weight, guide.recognition[0].missing_weight)
    small = FactorialRecognition((6, 3, 2), restarts=2, seed=0)
    with pytest.raises(ValueError, match="sizes"):
        helm.load(tmp_path / "a.safetensors", fresh, small)
    assert "missing" not in small.config
