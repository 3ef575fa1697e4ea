"""The command line with models, guides and schemes of the user's own, and those of the suite by name."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pyro_helm as helm
from pyro_helm.cli.app import app
from pyro_helm.guides import GUIDES
from pyro_helm.models import MODELS
from tests.cli.test_help import examples

RUNNER = CliRunner()
PAGE = (Path(__file__).parent.parent.parent / "docs" / "command_line.md").read_text()
QUICK = {
    "fit": ["--epochs", "1", "--restarts", "1", "--particles", "2"],
    "compare": ["--epochs", "1", "--restarts", "1", "--particles", "2", "--samples", "5"],
    "loglik": ["--samples", "5"],
}


def run(*arguments: str, status: int = 0) -> str:
    result = RUNNER.invoke(app, [*arguments, *QUICK.get(arguments[0], [])])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def _file_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the page as mine.py in the current folder, which is importable for this test alone."""
    (code,) = re.findall(r"```python\n# mine.py\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("pyro_helm.experiments.own_names._folders", [])
    sys.modules.pop("mine", None)
    small = helm.load_data("bars")
    parts = {part: getattr(small, part)[:60] for part in ("train", "valid", "test")}
    monkeypatch.setattr(
        helm, "load_data", lambda name: helm.Data(name, **parts, image_shape=(4, 4), distribution=small.distribution)
    )


def commands() -> list[list[str]]:
    """Those of the page that name a data set; where it is bars, they are run, the others would take longer."""
    return [words for words in examples(PAGE) if {"DATA", "RUN", "COMMAND", "FOLDER", "STUDY.toml"}.isdisjoint(words)]


def test_the_page_names_every_model_and_guide() -> None:
    assert [name for name in (*MODELS, *GUIDES) if f"`{name}`" not in PAGE] == []


def test_the_commands_of_the_page_run_as_printed() -> None:
    """On small data, for one epoch and one restart; pictures of 4 x 4 in the place of digits."""
    shown = {tuple(words): run(*words) for words in commands() if words[0] in QUICK}
    assert len(shown) == 8
    assert any("few_phases" in text for text in shown.values())


def test_ones_own_machine_is_trained_resumed_and_scored(tmp_path: Path) -> None:
    command = ["fit", "bars", "--model", "mine:Topics", "--guide", "mine:Reader", "--scheme", "mine:FewPhases"]
    run(*command, "--out", "runs/mine")
    assert "holds a run already" in run(*command, "--out", "runs/mine", status=2)
    sys.modules.pop("mine")  # as in another process
    run(*command, "--out", "runs/mine", "--resume")
    assert "nats per datum" in run("loglik", "runs/mine", "--data", "bars")
    assert json.loads((tmp_path / "runs/mine/recipe.json").read_text())["width"] == 16
    assert "drawn of a BeliefNetwork, but the model is a Topics" in run(
        "draw", "runs/mine", "--out", "figures", status=2
    )
    compared = ["compare", "bars", "--model", "mine:Topics", "--guide", "mine:Reader", "--schemes", "wake_sleep"]
    assert "wake_sleep" in run(*compared, "--out", "runs/compared")  # likewise without --sizes


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("--model nowhere:Model", "there is no module 'nowhere', neither as nowhere.py in the current folder nor inst"),
        ("--model mine:Topic", "model 'mine:Topic' can't be found: module 'mine' has no 'Topic'; did you mean Topics?"),
        ("--model mine:torch", "model 'mine:torch' is a module, expected a function or class"),
        ("--model mine:Topics --restarts 2", "model mine:Topics is one machine, but 2 restarts were asked for"),
        (
            "--scheme mine:Reader",
            "scheme 'mine:Reader' is no class of schemes; expected a subclass of pyro_helm.S",
        ),
        ("--guide lateral --sizes 4", "unknown guide 'lateral'"),
        ("--guide lateral_recognitoin --sizes 4", "did you mean lateral_recognition?"),
        (
            "--model temporal_belief_network --guide temporal_recognition --sizes 4 --restarts 2 --epochs 1",
            "observations of 'x' must have shape [..., data, steps, 16], got [60, 16]",
        ),
        ("", "--sizes is missing; belief_network needs its units per layer, such as --sizes 24-2"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(command: str, sentence: str) -> None:
    words = ["fit", "bars", "--out", "never", *command.split()]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
    assert "Trace Shapes" not in result.output
    assert not Path("never/machine.safetensors").exists()
