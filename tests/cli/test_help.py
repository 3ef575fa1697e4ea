"""Help: options in words that people write, examples that run, near misses, and what a shell completes."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import pyro_helm as helm
from pyro_helm.cli import completion
from pyro_helm.cli.app import app

RUNNER = CliRunner(env={"COLUMNS": "200"})
TRAINED_OR_READ = ["fit", "compare", "loglik", "draw"]
COMMANDS = [*TRAINED_OR_READ, "study", "report", "data"]
README = (Path(__file__).parent.parent.parent / "README.md").read_text()
QUICK = {
    "fit": ["--epochs", "1", "--restarts", "2", "--particles", "2"],
    "compare": ["--imaging", "odds", "--epochs", "1", "--restarts", "2", "--particles", "2", "--samples", "5"],
    "loglik": ["--samples", "5"],
}


def help_of(command: str) -> str:
    result = RUNNER.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    return result.output


def examples(text: str) -> list[list[str]]:
    """Words of each ``pyro-helm ...`` line, with the indented lines that go on with it."""
    lines = [line.split(" # ")[0].rstrip() for line in text.splitlines()]
    whole = re.sub(r"(?: \\)?\n\s{4,}(?=--)", " ", "\n".join(lines))
    return [shlex.split(line)[1:] for line in re.findall(r"^ *pyro-helm .*$", whole, re.MULTILINE)]


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_named_as_people_write_them(command: str) -> None:
    options = re.findall(r"(--[a-z-]+)\s+(?:-\w\s+)?(<[a-z ]+>|[A-Z]+)", help_of(command))
    assert options
    assert [option for option in options if option[1] in ("<str>", "<int>", "<float>", "<int range>", "TEXT")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_limits_of_numbers_are_told_in_words(command: str) -> None:
    shown = help_of(command)
    assert ">=" not in shown
    assert "<=" not in shown


def test_a_limit_is_told_beside_the_default() -> None:
    assert "default: 8; min 1]" in " ".join(help_of("fit").split())


def test_every_command_has_an_example_of_itself_with_options_that_it_has() -> None:
    for command in COMMANDS:
        shown = help_of(command)
        found = examples(shown)
        assert found
        assert {words[0] for words in found} == {command}
        options = {word.partition("=")[0] for words in found for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_and_names_no_type_of_python(command: str) -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*command.split(), "--help"]).output
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"<\w+>|[{}]|[^]]\.\.\.$", shown, re.MULTILINE)


def test_examples_of_the_help_and_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed and in this order, but on the first data, for one epoch and with one of several schemes."""
    loaded = helm.load_data
    monkeypatch.setattr(
        helm,
        "load_data",
        lambda name: replace(loaded(name), **{k: getattr(loaded(name), k)[:60] for k in ("train", "valid", "test")}),
    )
    monkeypatch.setattr("pyro_helm.cli.compare_command.chosen_schemes", lambda text, n: [helm.WakeSleep(n)])
    for text in ["\n".join(map(help_of, TRAINED_OR_READ)), README]:
        (tmp_path / str(len(text))).mkdir()
        monkeypatch.chdir(tmp_path / str(len(text)))
        for arguments in examples(text):
            shown = RUNNER.invoke(app, [*arguments, *QUICK.get(arguments[0], [])])
            assert shown.exit_code == 0, f"{arguments}: {shown.output}"


def test_near_misses_are_named() -> None:
    assert "Did you mean 'fit'?" in RUNNER.invoke(app, ["fitt"]).output
    assert "--scheme" in RUNNER.invoke(app, ["fit", "bars", "--schme", "vimco"]).output
    command = ["fit", "bars", "--sizes", "4", "--out", "never", "--scheme", "vimc"]
    assert "did you mean vimco?" in RUNNER.invoke(app, command).output


def test_names_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completion.scheme_names("") == list(helm.SCHEMES)
    assert completion.scheme_names("re") == ["reinforce", "reweighted_wake_sleep", "relaxed"]
    assert completion.imaging_names("") == ["sigmoid", "noisy_or", "odds"]  # others are the visible layer's
    np.savez(tmp_path / "digest.npz", X=np.eye(3))
    monkeypatch.setenv("PYRO_HELM_DATA", str(tmp_path))
    assert completion.data_names("dig") == ["digits", "digest"]
    assert {*completion.data_names("")} >= {*helm.available_data().name}


def test_a_shell_is_told_how_to_complete() -> None:
    shown = RUNNER.invoke(app, ["--help"]).output
    assert "--install-completion" in shown
