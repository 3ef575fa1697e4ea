"""Real data with a start in stages and without, at equal seconds.

    python -m analysis.paper.real_starts --out results/paper      # with PYRO_HELM_DATA set to a folder of .npz files

Is a start that solves the shifter a good default? Machines of three layers, by reweighted wake-sleep (10 particles)
from four starts: *plain* is the library's; *few causes* has recognition biases of -3 below the top, and leaks of the
middle layer that begin at a probability of 0.05; *by layer* trains the lowest two layers first; *the shifter's* does
both, and does the first stage by mean field. Seconds are of the process (other jobs on the machine do not count) and
include the validation, which keeps the best parameters. Writes ``OUT/real_starts.csv``: a row per data set, start and
restart, with the log-likelihood of the validation data (or of its first 1,000 rows), in nats per datum, by 500
importance samples. Rows that the file has already are left as they are.
"""

from __future__ import annotations

import math
import time
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_helm as helm
from pyro_helm.runtime.atomic_files import atomic_path

RWS = helm.ReweightedWakeSleep(10)
FIRST_STEPS = 800
FEW = {"bias": (-3.0, None), "leak": 0.05}
STARTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few causes": FEW,
    "by layer": {"first": RWS},
    "the shifter's": {**FEW, "first": helm.MeanField()},
}


def trained(
    data: helm.Data,
    imaging: str,
    *,
    seconds: float,
    restarts: int,
    seed: int = 0,
    bias: Any = None,
    leak: float | None = None,
    first: helm.Scheme | None = None,
    first_steps: int = FIRST_STEPS,
) -> helm.Result:
    """Train from a start, for so many seconds of the process."""
    sizes = (data.train.shape[1], 40, 8)
    if leak is not None and imaging == "sigmoid":
        leak = math.log(leak / (1 - leak))
    model = helm.BeliefNetwork(sizes, imaging, restarts=restarts, seed=seed, initial_leak=(None, leak, None))
    guide = helm.FactorialRecognition(sizes, initial_bias=bias, restarts=restarts, seed=seed)
    end = time.process_time() + seconds
    stages = [helm.Stage(RWS, 100_000)]
    if first is not None:
        stages.insert(0, helm.Stage(first, math.ceil(first_steps / math.ceil(len(data.train) / 100)), layers=2))
    return helm.fit_in_stages(
        model,
        guide,
        data.train,
        stages=stages,
        valid=data.valid[:1000],
        seed=seed,
        progress=False,
        callbacks=[lambda state: time.process_time() >= end],
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("results/paper"),
    data: Annotated[str, typer.Option(help="Separated by commas.")] = "digits,ocr_letters,nltcs,sun09_presence",
    imagings: Annotated[str, typer.Option(help="Separated by commas.")] = "sigmoid,odds",
    starts: Annotated[str, typer.Option(help="Separated by semicolons.")] = ";".join(STARTS),
    restarts: Annotated[int, typer.Option(help="Machines of each.")] = 2,
    seconds: Annotated[float, typer.Option(help="Of the process, for all restarts together.")] = 40,
    first_steps: Annotated[int, typer.Option(help="About, of the lowest two layers; whole epochs.")] = FIRST_STEPS,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Train, score, write and print."""
    torch.set_num_threads(threads)
    file = out / "real_starts.csv"
    table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["data", "imaging", "start"])
    for imaging, name, start in product(imagings.split(","), data.split(","), starts.split(";")):
        if ((table.data == name) & (table.imaging == imaging) & (table.start == start)).any():
            continue
        loaded = helm.load_data(name)
        result = trained(loaded, imaging, seconds=seconds, restarts=restarts, first_steps=first_steps, **STARTS[start])
        assert result.guide is not None
        scores = helm.log_likelihood(result.model, result.guide, loaded.valid[:1000], num_samples=500, seed=0).summary
        rows = scores[["restart", "log_likelihood", "stderr"]].assign(
            data=name, imaging=imaging, start=start, epochs=result.history.epoch.max(), seconds=seconds
        )
        table = rows if table.empty else pd.concat([table, rows], ignore_index=True)
        out.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as path:
            table.to_csv(path, index=False, float_format="%.4f")
        typer.echo(rows.to_string(index=False, header=False))


if __name__ == "__main__":
    typer.run(main)
