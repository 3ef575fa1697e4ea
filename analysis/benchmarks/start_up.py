"""What a user waits for before anything happens, in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from analysis.benchmarks.contenders import row
from analysis.benchmarks.timing import Effort, Timing

IMPORT, HELP = "import pyro_helm, after import pyro", "pyro-helm --help"
EVERYTHING = "all of pyro_helm, after import pyro"
"""As an import that fetches every public name, where the usual one fetches each when it is used."""

_TIMED_IMPORT = "import time, pyro; began = time.perf_counter(); import pyro_helm; print(time.perf_counter() - began)"
_HELP = "from pyro_helm.cli.app import app; app()"


def measure(effort: Effort) -> list[dict[str, Any]]:
    """Five times each, in turns."""
    times: dict[str, list[float]] = {IMPORT: [], EVERYTHING: [], HELP: []}
    for _ in range(1 if effort.quick else 5):
        times[IMPORT].append(float(_run("-c", _TIMED_IMPORT)))
        if not effort.quick:
            times[EVERYTHING].append(float(_run("-c", _TIMED_IMPORT, EAGER_IMPORT="1")))
        began = time.perf_counter()
        _run("-c", _HELP, "--help")
        times[HELP].append(time.perf_counter() - began)
    rows = []
    for who, seconds in times.items():
        if not seconds:
            continue
        rows.append(row("start-up", who, Timing.of(seconds), effort, unit="start", device="cpu"))
    print("start-up: done", flush=True)
    return rows


def _run(*arguments: str, **environment: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment).stdout
