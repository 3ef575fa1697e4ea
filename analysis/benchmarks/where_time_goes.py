"""Where the time of a training step goes: matrix products, random numbers, other arithmetic, optimiser, and Python.

    python -m analysis.benchmarks.where_time_goes

Of a step of reweighted wake-sleep that is eager, captured or compiled, by torch's profiler. The rest, Python above all,
is what remains of the time of a step by the clock, without the profiler, which does not see the matrix products that
compiled loops call: they are in the rest. Prints microseconds per step.
"""

from __future__ import annotations

from typing import Annotated

import pandas as pd
import pyro
import torch
import typer
from torch._inductor import config
from torch.profiler import profile

from analysis.benchmarks.helm_machine import captured, compiled, eager
from analysis.benchmarks.setting import NETS, Setting, stepper
from analysis.benchmarks.timing import take_turns

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "random numbers": ("aten::uniform_", "aten::rand", "aten::bernoulli_"),
    "optimiser": ("aten::_fused_adam_", "aten::_foreach_add_"),
}
REST = "other arithmetic"
UNSEEN = "rest"


def of_step(kind: str, net: str, steps: int) -> dict[str, float]:
    """Microseconds of each part of a step."""
    sizes, batch = NETS[net]
    setting = Setting("reweighted_wake_sleep", sizes, batch)
    # loops that the compiler has fused show under names of their own
    with config.patch({"cpp.enable_kernel_profile": True}), pyro.validation_enabled(False):
        step = stepper({"eager": eager, "captured": captured, "compiled": compiled}[kind](setting), setting)
        timing = take_turns({kind: lambda: step}, seconds=0, rounds=1, block=steps + 20, uncounted=20)[kind]
        with profile() as profiled:
            for _ in range(steps):
                step()
    parts = dict.fromkeys([*KINDS, REST], 0.0)
    for event in profiled.key_averages():
        if event.key.startswith(("aten::", "graph_")):
            name = next((name for name, operations in KINDS.items() if event.key in operations), REST)
            parts[name] += event.self_cpu_time_total / steps
    whole = 1e6 * timing.seconds
    return {**parts, UNSEEN: max(0.0, whole - sum(parts.values())), "whole step": whole}


def main(
    steps: Annotated[int, typer.Option(help="Steps measured of each.")] = 200,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    nets: Annotated[str, typer.Option(help="Networks, separated by commas.")] = "32-24-2,784-200-200",
) -> None:
    """Print the table."""
    torch.set_num_threads(threads)
    rows = [
        {"net": net, "step": kind, **of_step(kind, net, steps)}
        for net in nets.split(",")
        for kind in ("eager", "captured", "compiled")
    ]
    typer.echo(f"microseconds per step, {threads} threads, means over {steps} steps, of the whole step the median")
    typer.echo(pd.DataFrame(rows).to_string(index=False, float_format="{:.0f}".format))


if __name__ == "__main__":
    typer.run(main)
