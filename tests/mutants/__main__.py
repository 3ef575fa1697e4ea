"""Run every mutant, or those whose words or file have one of the arguments in them; exit status 1 if any survives."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis  # noqa: F401  imported once here, and not once for every mutant
import matplotlib.figure  # noqa: F401
import pandas as pd  # noqa: F401
import pyro.infer  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch.fx.experimental.proxy_tensor  # noqa: F401

from tests.mutants import ROOT, Mutant
from tests.mutants.obscure_failures import OBSCURE_FAILURES
from tests.mutants.wrong_numbers import WRONG_NUMBERS

SECONDS = 300
"""After which a test that waits for ever counts as failed."""

OPTIONS = ["-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
OPTIONS += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]


def main() -> int:
    chosen = [
        mutant
        for mutant in [*WRONG_NUMBERS, *OBSCURE_FAILURES]
        if any(word in mutant.words or word in mutant.file for word in sys.argv[1:] or [""])
    ]
    with copied() as folder:
        status, summary = run_tests(Path(folder), sorted({test for mutant in chosen for test in mutant.tests}))
    if status != pytest.ExitCode.OK:
        print(f"the tests fail without any change: {summary}")
        return 1
    outcomes = [outcome(mutant) for mutant in chosen]
    killed = outcomes.count("killed")
    print(f"{killed} of {len(outcomes)} killed")
    return int(killed < len(outcomes))


def outcome(mutant: Mutant) -> str:
    """Whether its tests notice; prints a line of it, and one of what has noticed."""
    began = time.perf_counter()
    with copied() as folder:
        (Path(folder) / mutant.file).write_text(mutant.applied())
        status, summary = run_tests(Path(folder), mutant.tests, seconds=SECONDS)
    # anything else is tests that could not be run
    found = "killed" if summary.startswith("FAILED") else "SURVIVED" if status == pytest.ExitCode.OK else "NOT RUN"
    print(f"{found:9}{time.perf_counter() - began:6.1f} s  {mutant.words}\n{'':19}{summary[:200]}", flush=True)
    return found


def copied() -> TemporaryDirectory[str]:
    """A folder with the code and its tests."""
    folder = TemporaryDirectory(prefix="mutant-")
    for name in ("pyro_helm", "models", "guides", "tests"):
        shutil.copytree(ROOT / name, Path(folder.name) / name, symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", folder.name)
    return folder


def run_tests(folder: Path, tests: Iterable[str], *, seconds: float | None = None) -> tuple[int, str]:
    """Pytest's exit status, and the last line of its output that names a test."""
    child = get_context("fork").Process(target=_run, args=(folder, [f"tests/{test}" for test in tests]))
    child.start()
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
        child.join()
        return pytest.ExitCode.INTERRUPTED, f"FAILED to end within {seconds} s"
    lines = (folder / "output").read_text().splitlines()
    return child.exitcode, [*lines, *(line for line in lines if line.startswith(("FAILED", "ERROR")))][-1]


def _run(folder: Path, tests: list[str]) -> None:
    """Pytest in a process of its own, which imports the code in the folder."""
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    import pyro_helm

    assert Path(pyro_helm.__file__).parents[1].samefile(folder)
    sys.exit(pytest.main([*OPTIONS, *tests]))


if __name__ == "__main__":
    sys.exit(main())
