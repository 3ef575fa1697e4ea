"""How tests run a script of the analysis folder."""

from __future__ import annotations

import os
import subprocess
import sys
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
    """The same in a process of its own, for a script that changes the process: its cores, what it has loaded."""
    command = [sys.executable, "-m", module, "--threads", "1", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
