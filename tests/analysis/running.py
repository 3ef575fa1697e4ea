"""How tests run a script of the analysis folder."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import typer
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
SETTINGS = {"OMP_NUM_THREADS": "1"}
"""Of a script's processes: two with two threads each would wait for one another."""


def run_script(module: str, *arguments: str | Path) -> str:
    """What the script prints, run in this process, which has imported what it needs; its errors fail the test."""
    app = typer.Typer()
    app.command()(import_module(module).main)
    with patch.dict(os.environ, SETTINGS):
        done = CliRunner().invoke(app, ["--threads", "1", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def run_script_by_itself(module: str, *arguments: str | Path) -> str:
    """The same in a process of its own, for a script that changes the process: its cores, its environment.

    It is forked off this one, and need not import anything again.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as fork:
        return fork.submit(run_script, module, *arguments).result()
