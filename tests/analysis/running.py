"""How tests run a script of the analysis folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_script(module: str, *arguments: str | Path, compiles: bool = False) -> str:
    """What the script prints, run with one thread; its errors fail the test.

    Products over causes are compiled only where that is what the script is about: it takes each process ten seconds and
    more, and the compiled product has tests of its own, in ``tests/layers/test_fused_sums.py``.
    """
    # one thread: two processes with two threads each would wait for one another
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_COMPILE_DISABLE": "0" if compiles else "1"}
    command = [sys.executable, "-m", module, "--threads", "1", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
