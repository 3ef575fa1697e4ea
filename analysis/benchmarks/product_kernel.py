"""Time and memory of the product over causes, log prod_k (1 - q_k r_kj), forward and backward, against a matmul.

    python analysis/benchmarks/product_kernel.py

Side by side in one process, in turns, medians: a matrix product of the same shape; our kernel, fused by torch.compile;
the same in blocks, as where there is no compiler; and the plain expression, which materialises data x causes x units.
Memory is the peak above what a fresh process held before the step (Linux only), beside the size of inputs, output and
their gradients.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

from pyro_helm.kernels import fused, product_of_complements

SHAPES = {"[128, 200] x [200, 784]": (128, 200, 784), "[512, 200] x [200, 784]": (512, 200, 784)}


def steps_of(shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[dict[str, Callable[[], None]], float]:
    """Forward and backward of each way, and the mebibytes of inputs, output and gradients."""
    data, causes, units = shape
    generator = torch.Generator().manual_seed(0)
    q = torch.rand(data, causes, generator=generator, dtype=dtype).requires_grad_()
    r = torch.rand(causes, units, generator=generator, dtype=dtype).mul(0.9).requires_grad_()
    slope = torch.randn(data, units, generator=generator, dtype=dtype)

    def step(compute: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            q.grad = r.grad = None
            compute().backward(slope)

        return run

    def in_blocks() -> Tensor:
        with torch._dynamo.config.patch(disable=True):
            return product_of_complements(q, r).log

    blocks = step(in_blocks)

    def run_blocks() -> None:
        with torch._dynamo.config.patch(disable=True):  # the backward pass too
            blocks()

    held = 2 * (q.numel() + r.numel() + slope.numel()) * slope.element_size() / 2**20
    return {
        "matmul": step(lambda: q @ r),
        "fused": step(lambda: product_of_complements(q, r).log),
        "blocks": run_blocks,
        "materialised": step(lambda: torch.log1p(-q[:, :, None] * r).sum(1)),
    }, held


def side_by_side(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= 2:  # the first turns compile and warm up
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: median(values) for name, values in times.items()}


def peak_memory(way: str, shape: tuple[int, int, int], dtype: torch.dtype, threads: int) -> float:
    """Mebibytes that a step takes above what a fresh process holds before it; NaN where Linux does not tell."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return float("nan")
    torch.set_num_threads(threads)
    steps_of((shape[0] // 4, shape[1], shape[2] // 4), dtype)[0][way]()  # compiles
    step = steps_of(shape, dtype)[0][way]
    clear.write_text("5")  # the peak so far is forgotten
    before = _kibibytes(status, "VmRSS")
    step()
    return (_kibibytes(status, "VmHWM") - before) / 1024


def _kibibytes(status: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))


def main(
    rounds: Annotated[int, typer.Option(help="Steps measured of each.")] = 15,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    small: Annotated[bool, typer.Option("--small", help="A small shape, to see that all works.")] = False,
) -> None:
    """Print the table."""
    torch.set_num_threads(threads)
    rows = []
    shapes = {"[256, 40] x [40, 480]": (256, 40, 480)} if small else SHAPES
    for (name, shape), dtype in product(shapes.items(), [torch.float32] if small else [torch.float32, torch.float64]):
        steps, held = steps_of(shape, dtype)
        times = side_by_side(steps, rounds)
        for way in steps:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
                peak = fresh.submit(peak_memory, way, shape, dtype, threads).result()
            rows.append(
                {
                    "shape": name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "way": way,
                    "ms": times[way],
                    "times a matmul": times[way] / times["matmul"],
                    "peak MiB": peak,
                    "inputs, output and gradients MiB": held,
                }
            )
    typer.echo(f"{threads} threads, blocks of {fused.BLOCK} entries, medians of {rounds} steps")
    typer.echo(pd.DataFrame(rows).to_string(index=False, float_format="{:.1f}".format))


if __name__ == "__main__":
    typer.run(main)
