"""Models, guides and schemes by name and settings, and a user's own by module:name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import pyro_helm as helm
from pyro_helm.experiments.machines import builder_of, machine_of
from pyro_helm.experiments.named_parts import read_line, split_outside_brackets
from pyro_helm.experiments.own_names import make_importable, named, names_in
from pyro_helm.experiments.recipes import keep_recipe, load_machine
from pyro_helm.experiments.scheme_settings import scheme_of
from pyro_helm.guides import GUIDES
from pyro_helm.models import MODELS
from tests.own_parts import FILE

BARS = {"data": "bars", "train": 60, "valid": 20, "test": 20}
SMALL: dict[str, Any] = {"num_epochs": 1, "batch_size": 30, "num_samples": 5, "progress": False}


@pytest.fixture(scope="module", autouse=True)
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a user's own, in a folder that is made importable."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_parts_a.py").write_text(FILE)
    (folder / "own_parts_broken.py").write_text("1 / 0\n")
    (folder / "own_parts_needy.py").write_text("import no_such_package\n")
    make_importable(folder)
    return folder


def small(name: str = "bars") -> helm.Data:
    data = helm.load_data(name)
    return helm.Data(name, data.train[:60], data.valid[:20], data.test[:20], data.image_shape, data.distribution)


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("name", {}),
        ("  name   a=1  b=0.5 ", {"a": 1, "b": 0.5}),
        ("name a=true b=word c=\"two words\"", {"a": True, "b": "word", "c": "two words"}),
        ("name a=[1, 2] b={h1 = [2, 3], x=4}", {"a": [1, 2], "b": {"h1": [2, 3], "x": 4}}),
        ("name a=mine:Tails", {"a": "mine:Tails"}),
    ],
)  # fmt: skip
def test_a_line_is_a_name_and_settings(line: str, settings: dict[str, Any]) -> None:
    assert read_line(line, "guide") == ("name", settings)


def test_commas_in_brackets_and_quotes_do_not_divide() -> None:
    assert split_outside_brackets('a x=[1, 2],b y="1,2",c', ",") == ["a x=[1, 2]", 'b y="1,2"', "c"]
    assert split_outside_brackets(",", ",") == ["", ""]


def test_every_class_of_the_suite_has_a_name() -> None:
    for registry, package in ((MODELS, "models"), (GUIDES, "guides")):
        module = __import__(f"pyro_helm.{package}", fromlist=["__all__"])
        classes = {name for name in module.__all__ if isinstance(getattr(module, name), type)}
        assert {kind.__name__ for kind in registry.values()} == classes
        for name, kind in registry.items():
            assert name.replace("_", "") == kind.__name__.lower()


def test_a_machine_by_its_names_is_the_one_that_python_makes() -> None:
    model, guide = machine_of(
        16, seed=3, restarts=2, sizes=(16, 4), model="belief_network lateral=true blocks=2 imaging=odds",
        guide="lateral_recognition iterations=2",
    )  # fmt: skip
    ours = helm.BeliefNetwork((16, 4), "odds", lateral=True, blocks=2, restarts=2, seed=3)
    theirs = helm.LateralRecognition((16, 4), iterations=2, restarts=2, seed=3)
    for one, other in ((model, ours), (guide, theirs)):
        assert one is not None
        assert one.config == other.config
        assert all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_ones_own_parts_take_what_they_ask_for_and_the_seed_decides_their_values() -> None:
    def made(seed: int) -> tuple[nn.Module, nn.Module | None]:
        return machine_of(16, seed=seed, restarts=1, model="own_parts_a:Topics topics=3", guide="own_parts_a:Reader")

    (one, guide), (again, _), (other, _) = made(0), made(0), made(1)
    assert one.log_rate.shape == (3, 16)
    assert type(guide).__name__ == "Reader"
    assert torch.equal(one.log_rate, again.log_rate)  # type: ignore[arg-type]
    assert not torch.equal(one.log_rate, other.log_rate)  # type: ignore[arg-type]


def test_a_function_of_ones_own_brings_a_trunk() -> None:
    _, guide = machine_of(16, seed=0, restarts=2, sizes=(16, 4), guide="own_parts_a:convolutional channels=3")
    assert isinstance(guide, helm.FactorialRecognition)
    assert guide.trunk is not None


def test_a_setting_may_stand_for_what_is_in_a_file() -> None:
    model, _ = machine_of(16, seed=0, restarts=1, sizes=(16, 4), model="belief_network visible=own_parts_a:Tails")
    assert model.imaging == ("own_parts_a:Tails", "sigmoid")


def test_schemes_by_name_have_settings_and_the_number_of_particles() -> None:
    assert repr(scheme_of("tvo num_intervals=7", 10)) == "TVO(num_particles=10, num_intervals=7)"
    assert scheme_of("vimco num_particles=3", 10).num_particles == 3
    assert scheme_of("exact_em", 10).samples is False
    assert type(scheme_of("own_parts_a:Doubted", 4)).__name__ == "Doubted"


WRONG = [
    ("model", "own_parts_none:Topics", "there is no module 'own_parts_none', neither as own_parts_none.py in the curr"),
    ("model", "own_parts_a:Topic", "module 'own_parts_a' has no 'Topic'; did you mean Topics?"),
    ("model", "own_parts_a:NUMBER", "model 'own_parts_a:NUMBER' is a int, expected a function or class"),
    ("model", "own_parts_broken:Topics", "can't be imported: ZeroDivisionError: division by zero"),
    ("model", "own_parts_needy:Topics", "can't be imported: its module needs 'no_such_package', which is missing"),
    (
        "model",
        "own_parts_a:Topics topics=-1",
        r"model own_parts_a:Topics\(sizes=\(16, 4\), topics=-1\) can't be made: R",
    ),
    ("model", "own_parts_a:Topics topic=1", "unknown setting of own_parts_a:Topics 'topic'; did you mean topics?"),
    ("model", "own_parts_a:number", "model own_parts_a:number made a int, expected a Module"),
    ("model", "own_parts_a:", "expected module:name, such as my_file:MyClass"),
    ("model", "belief", "unknown model 'belief'; "),
    ("model", "belief_network laterals=true", "unknown setting of belief_network 'laterals'; did you mean lateral?"),
    ("model", "belief_network lateral", "'lateral' is not name=value"),
    ("model", "belief_network blocks=(2", "'blocks=\\(2' has no value that can be read"),
    ("model", "belief_network seed=3", "belief_network: seed is given elsewhere, got seed=3"),
    ("model", "belief_network fixed_leak=nan skip={x=[]} skip=true", "setting 'skip' stands there twice"),
    ("guide", "factorial", "unknown guide 'factorial'; did you mean factorial_recognition?"),
    ("guide", "lateral_recognition iterations=0", "iterations must be"),
]


@pytest.mark.parametrize(("part", "line", "sentence"), WRONG)
def test_what_is_no_part_is_refused_in_a_sentence(part: str, line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        machine_of(16, seed=0, restarts=1, sizes=(16, 4), **{part: line})


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "own_parts_a:Topics",
            "scheme 'own_parts_a:Topics' is no class of schemes; expected a subclass of pyro_helm.S",
        ),
        ("own_parts_a:Nameless", "scheme 'own_parts_a:Nameless' has no name for tables; give the class one"),
        (
            "own_parts_a:Failing",
            r"scheme own_parts_a:Failing\(num_particles=5\) can't be made: RuntimeError: not today",
        ),
        ("vimco particles=3", "unknown setting of vimco 'particles'; did you mean num_particles?"),
        ("vimco num_particles=1", "VIMCO needs num_particles to be an integer of at least 2"),
    ],
)
def test_what_is_no_scheme_is_refused_in_a_sentence(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        scheme_of(line, 5)


def test_one_machine_is_not_taken_for_several() -> None:
    with pytest.raises(ValueError, match="model own_parts_a:Topics is one machine, but 3 restarts were asked for"):
        machine_of(16, seed=0, restarts=3, model="own_parts_a:Topics")


def test_compare_crosses_models_and_guides(tmp_path: Path) -> None:
    found = helm.compare(
        small(), schemes=["vimco num_particles=2", "own_parts_a:Doubted"], sizes=(16, 3), restarts=2, out=tmp_path,
        guide=["factorial_recognition", "lateral_recognition iterations=1"], **SMALL,
    )  # fmt: skip
    assert sorted(zip(found.summary.guide, found.summary.scheme, strict=True)) == [
        (guide, scheme)
        for guide in ("factorial_recognition", "lateral_recognition iterations=1")
        for scheme in ("doubted", "vimco")
    ]
    assert len(set(found.table[found.table.metric == "log_likelihood"].value)) == 2 * 2 * 2
    lateral = found.runs[found.runs.guide.str.startswith("lateral")].folder.iloc[0]
    assert load_machine(lateral)[1].iterations == 1


def test_the_names_of_the_usual_machine_change_no_number() -> None:
    usual = helm.compare(small(), schemes=["wake_sleep"], sizes=(16, 3), restarts=2, **SMALL)
    named_too = helm.compare(
        small(), schemes=[helm.WakeSleep()], sizes=(16, 3), restarts=2, **SMALL,
        model="belief_network imaging=sigmoid", guide="factorial_recognition missing=false",
    )  # fmt: skip
    final = [each.table[each.table.metric == "log_likelihood"].value.tolist() for each in (usual, named_too)]
    assert final[0] == final[1]


def study(folder: Path, **changed: Any) -> helm.Study:
    machine = {"machine": "4", "model": "own_parts_a:Topics topics=3", "guide": "own_parts_a:Reader topics=3"}
    asked: dict[str, Any] = {
        "datasets": [BARS],
        "machines": [machine],
        "schemes": ["own_parts_a:Doubted num_particles=2"],
    }
    return helm.Study(folder, **(asked | changed), budget="4 steps", restarts=1, scores={"num_samples": 5})


def test_a_study_of_ones_own_parts_is_resumed_and_opened(tmp_path: Path) -> None:
    first = study(tmp_path)
    runs = first.run(workers=1, progress=False)
    assert runs.state.tolist() == ["finished"]
    assert runs.guide.tolist() == ["own_parts_a:Reader topics=3"]
    before = first.table()
    pd.testing.assert_frame_equal(before, study(tmp_path).table())  # the same digest: nothing is trained again
    opened = helm.Study.open(tmp_path)
    model, guide = opened.machine(runs.run[0])
    assert (type(model).__name__, type(guide).__name__) == ("Topics", "Reader")
    assert model.log_rate.shape == (3, 16)


def test_other_code_is_another_run(own_file: Path, tmp_path: Path) -> None:
    (own_file / "own_parts_b.py").write_text(FILE)
    machine = {"machine": "4", "model": "own_parts_b:Topics", "guide": "own_parts_b:Reader"}
    before = study(tmp_path, machines=[machine]).plan[0].digest
    assert before == study(tmp_path, machines=[machine]).plan[0].digest
    module = __import__("own_parts_b")
    assert "0.01" in FILE
    exec(FILE.replace("0.01", "0.02"), vars(module))
    assert before != study(tmp_path, machines=[machine]).plan[0].digest


def test_a_machine_is_made_anew_from_its_recipe(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"model": "own_parts_a:Topics", "guide": "own_parts_a:Reader"}
    model, guide = machine_of(16, seed=0, restarts=1, **arguments)
    helm.save(tmp_path, model, guide)
    with pytest.raises(ValueError, match="which is not one of this library's classes"):
        load_machine(tmp_path)
    keep_recipe(tmp_path, arguments, width=16, seed=5, restarts=1)  # another start, but the file has the values
    again, _ = load_machine(tmp_path)
    assert torch.equal(again.log_rate, model.log_rate)  # type: ignore[arg-type]


def test_names_are_found_in_lines_and_in_python() -> None:
    assert list(names_in("own_parts_a:Topics visible=own_parts_a:Tails x=[1, 2]")) == [
        "own_parts_a:Topics", "own_parts_a:Tails",
    ]  # fmt: skip
    assert named("torch.nn:Linear", "layer") is nn.Linear
    model, guide = builder_of("4", {"model": "own_parts_a:Topics", "guide": "none"})(16, seed=0, restarts=1)
    assert guide is None
    assert re.fullmatch("Topics", type(model).__name__)
