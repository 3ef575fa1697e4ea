"""Time and memory of the product over causes, log prod_k (1 - q_k r_kj), forward and backward, against a matmul.

    python -m analysis.benchmarks.product_kernel

Side by side in one process, in turns, medians: a matrix product of the same shape; our kernel, fused by torch.compile;
the same in blocks, as where there is no compiler; and the plain expression, which materialises data x causes x units.
Memory is the peak above what a fresh process held before the step (Linux only), beside the size of inputs, output and
their gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor

from analysis.benchmarks.contenders import row
from analysis.benchmarks.timing import Effort, Step, in_fresh_process, in_process_for_memory, peak_of, take_turns
from pyro_helm.layers import fused_sums as fused
from pyro_helm.layers.products import product_of_complements

WAYS = ("matmul", "fused", "blocks", "materialised")
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


def measure(effort: Effort) -> list[dict[str, Any]]:
    """Time of each way in turns, and its memory in a process of its own."""
    if effort.quick:
        return _times({"[32, 10] x [10, 16]": (32, 10, 16)}, [torch.float32], effort, rounds=1)
    return in_fresh_process(_times, SHAPES, [torch.float32, torch.float64], effort, rounds=8, memory=WAYS)


def _times(
    shapes: dict[str, tuple[int, int, int]],
    dtypes: list[torch.dtype],
    effort: Effort,
    *,
    rounds: int,
    memory: Sequence[str] = (),
) -> list[dict[str, Any]]:
    rows = []
    for (name, shape), dtype in product(shapes.items(), dtypes):
        steps, _ = steps_of(shape, dtype)
        makers: dict[str, Callable[[], Step]] = {way: partial(_itself, step) for way, step in steps.items()}
        # short turns, since the slowest step takes a second
        timings = take_turns(makers, seconds=0, rounds=rounds, block=2, uncounted=1, first_steps=2)
        for way, timing in timings.items():
            found = row("product over causes", way, timing, effort, device="cpu", net=f"{name} {_short(dtype)}")
            if way in memory:
                found["peak_mib"] = in_process_for_memory(peak_memory, way, shape, dtype, effort.threads)
            rows.append(found)
    print("product over causes: done", flush=True)
    return rows


def _itself(step: Step) -> Step:
    return step


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def peak_memory(way: str, shape: tuple[int, int, int], dtype: torch.dtype, threads: int) -> float:
    """Mebibytes that a step takes above what a fresh process holds before it; NaN where Linux does not tell."""
    torch.set_num_threads(threads)
    steps_of((shape[0] // 4, shape[1], shape[2] // 4), dtype)[0][way]()  # compiles
    return peak_of(steps_of(shape, dtype)[0][way])


def main(
    rounds: Annotated[int, typer.Option(help="Steps measured of each.")] = 15,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    small: Annotated[bool, typer.Option("--small", help="A small shape, and the memory of one way.")] = False,
) -> None:
    """Print the table."""
    torch.set_num_threads(threads)
    shapes = {"[256, 40] x [40, 480]": (256, 40, 480)} if small else SHAPES
    dtypes = [torch.float32] if small else [torch.float32, torch.float64]
    held = {f"{name} {_short(dtype)}": steps_of(shape, dtype)[1] for (name, shape), dtype in
            product(shapes.items(), dtypes)}  # fmt: skip
    table = pd.DataFrame(_times(shapes, dtypes, Effort(threads), rounds=rounds, memory=WAYS[1:2] if small else WAYS))
    matmul = table[table.who == "matmul"].set_index("net").seconds
    shown = pd.DataFrame(
        {
            "shape": table.net,
            "way": table.who,
            "ms": 1e3 * table.seconds,
            "times a matmul": table.seconds / table.net.map(matmul),
            "peak MiB": table.peak_mib,
            "inputs, output and gradients MiB": table.net.map(held),
        }
    )
    typer.echo(f"{threads} threads, blocks of {fused.BLOCK} entries, medians of {rounds} steps")
    typer.echo(shown.to_string(index=False, float_format="{:.1f}".format))


if __name__ == "__main__":
    typer.run(main)
