"""Kill trainings at random instants, resume them, and see that they end with the bits of those never killed.

    python analysis/kill_runs.py --kills 30

Each training runs in a process of its own, which gets SIGKILL after a random time, again and again. What is then on
disk must be whole, and the last process must end with the very parameters and history of an undisturbed run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import pyro_helm as helm
from pyro_helm.training import saving

RUNS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "wake-sleep, cosine": (helm.WakeSleep, {"schedule": "cosine"}),
    "NVIL": (helm.NVIL, {}),
    "Gibbs": (helm.Gibbs, {}),
    "VIMCO, captured, average": (lambda: helm.VIMCO(5), {"step": "captured", "average": 0.99}),
    "REINFORCE, patience": (lambda: helm.Reinforce(5), {"patience": 2, "learning_rate": 0.3}),
}
"""By name, what makes the scheme, and settings of ``fit``."""


def train(folder: Path | None, name: str, epochs: int) -> helm.Result:
    """Train a small machine on the bars; in a folder, resume and save as often as can be."""
    make, settings = RUNS[name]
    torch.set_num_threads(1)
    data = helm.load_data("bars")
    saving._SHARE = 1.0  # far more often than it pays, so that most kills find a save under way
    return helm.fit(
        helm.BeliefNetwork((16, 8), restarts=4, seed=0),
        helm.FactorialRecognition((16, 8), restarts=4, seed=0),
        data.train[:500],
        scheme=make(),
        valid=data.valid[:100],
        num_epochs=epochs,
        batch_size=20,
        progress=False,
        out=folder,
        resume=folder is not None,
        save_every=0.0,
        **settings,
    )


def kill(folder: Path, name: str, epochs: int, seconds: float) -> bool:
    """Train in another process, and kill it after some seconds; whether it was still at work."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(folder, name, epochs))
    process.start()
    time.sleep(seconds)
    was_at_work = process.is_alive()
    process.kill()
    process.join()
    return was_at_work


def check_whole(folder: Path) -> None:
    """Raise AssertionError unless machine and tables are whole and of one save."""
    if (folder / "history.csv").exists():
        parquet, csv = pd.read_parquet(folder / "history.parquet"), pd.read_csv(folder / "history.csv")
        assert len(parquet) == len(csv), f"{len(parquet)} rows in Parquet, {len(csv)} in CSV"
        helm.load(folder)


def check_same(folder: Path, name: str, epochs: int, expected: helm.Result) -> None:
    """Raise AssertionError unless the run, resumed to its end, is the undisturbed one, seconds apart."""
    found = train(folder, name, epochs)
    assert found.history.drop(columns="seconds").equals(expected.history.drop(columns="seconds")), "history differs"
    assert found.summary.equals(expected.summary), "the best parameters are of other epochs"
    for ours, theirs in ((found.model, expected.model), (found.guide, expected.guide)):
        assert ours is not None
        assert theirs is not None
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), f"{key} differs"
    left = {path.name for path in folder.iterdir()} - {".lock", "config.json", "state.pt", "machine.safetensors"}
    assert left == {"history.parquet", "history.csv"}, f"left behind: {left}"


def main() -> None:
    """Kill, resume and compare; print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="in all, divided among the runs")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    for name in RUNS:
        began = time.monotonic()
        expected = train(None, name, arguments.epochs)
        took, at_work = time.monotonic() - began, 0
        kills = arguments.kills // len(RUNS)
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(kills):
                at_work += kill(Path(folder), name, arguments.epochs, chance.uniform(0.05, 2 * took / kills))
                check_whole(Path(folder))
            check_same(Path(folder), name, arguments.epochs, expected)
        print(f"{name}: {kills} kills, {at_work} of them at work; the same bits", flush=True)


if __name__ == "__main__":
    main()
