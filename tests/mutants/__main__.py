"""Run every mutant, or those whose words or file have one of the arguments in them; exit status 1 if any survives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutants import ROOT, Mutant
from tests.mutants.obscure_failures import OBSCURE_FAILURES
from tests.mutants.wrong_numbers import WRONG_NUMBERS

SECONDS = 120
"""After which a test that waits for ever counts as failed."""

FAILED = 1
"""Pytest's exit status for tests that ran and failed; others are of tests that could not be run."""


def main() -> int:
    chosen = [
        mutant
        for mutant in [*WRONG_NUMBERS, *OBSCURE_FAILURES]
        if any(word in mutant.words or word in mutant.file for word in sys.argv[1:] or [""])
    ]
    with copied() as folder:
        status, summary = tested(Path(folder), sorted({test for mutant in chosen for test in mutant.tests}))
    if status:
        print(f"the tests fail without any change: {summary}")
        return 1
    outcomes = [outcome(mutant) for mutant in chosen]
    killed = outcomes.count("killed")
    print(f"{killed} of {len(outcomes)} killed")
    return int(killed < len(outcomes))


def outcome(mutant: Mutant) -> str:
    """Whether its tests notice; prints a line of it."""
    began = time.perf_counter()
    with copied() as folder:
        (Path(folder) / mutant.file).write_text(mutant.applied())
        status, summary = tested(Path(folder), mutant.tests)
    found = {0: "SURVIVED", FAILED: "killed"}.get(status, "NOT RUN")
    print(f"{found:9}{time.perf_counter() - began:6.1f} s  {mutant.words}\n{'':19}{summary[:140]}", flush=True)
    return found


def copied() -> TemporaryDirectory[str]:
    """A folder with the code and its tests."""
    folder = TemporaryDirectory(prefix="mutant-")
    for name in ("pyro_helm", "models", "guides", "tests"):
        unneeded = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, Path(folder.name) / name, symlinks=True, ignore=unneeded)
    shutil.copy(ROOT / "pyproject.toml", folder.name)
    return folder


def tested(folder: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Pytest's exit status and the last line of its output about a test."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
    try:
        run = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"no end after {SECONDS} s"
    lines = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return run.returncode, (lines or [run.stderr or run.stdout])[-1].strip()


if __name__ == "__main__":
    sys.exit(main())
