"""Epochs of ``fit`` itself, per step, so that they can be set beside the steps by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyro_helm as helm
from analysis.benchmarks.contenders import CAPTURED, COMPILED, EAGER, row
from analysis.benchmarks.setting import NETS, PARTICLES, Setting, data, programs
from analysis.benchmarks.timing import Effort, Timing, in_fresh_process

KINDS = {EAGER: "eager", CAPTURED: "captured", COMPILED: "compiled"}
STEPS = 40
EPOCHS = 12


def measure(effort: Effort) -> list[dict[str, Any]]:
    """By each kind of step."""
    if effort.quick:
        return of_net((8, 6, 4), 16, effort)
    return [row for net in ("32-24-2", "784-200-200") for row in in_fresh_process(of_net, *NETS[net], effort)]


def of_net(sizes: tuple[int, ...], batch: int, effort: Effort) -> list[dict[str, Any]]:
    """One kind after the other, reweighted wake-sleep."""
    setting = Setting("reweighted_wake_sleep", sizes, batch, device=effort.device)
    steps, epochs = (2, 3) if effort.quick else (STEPS, EPOCHS)
    kinds = {who: kind for who, kind in KINDS.items() if not (effort.quick and who == COMPILED)}
    rows = [row("epoch", who, _of_fit(setting, kind, steps, epochs), effort, **setting.labels)
            for who, kind in kinds.items()]  # fmt: skip
    print(f"epoch, {setting.net}: done", flush=True)
    return rows


def _of_fit(setting: Setting, kind: str, steps: int, epochs: int) -> Timing:
    cases = data(setting)
    cases = cases.repeat(-(-steps * setting.batch // len(cases)), 1)[: steps * setting.batch]
    result = helm.fit(
        *programs(setting), cases, scheme=helm.ReweightedWakeSleep(PARTICLES), batch_size=setting.batch,
        num_epochs=epochs, step=kind, progress=False,
    )  # fmt: skip
    elapsed = result.history[result.history.metric == "train_bound"].seconds.to_numpy(float)
    epoch = Timing.of(np.diff(elapsed).tolist())
    # the first epoch traces and compiles
    return epoch._replace(prepare_seconds=max(0.0, elapsed[0] - epoch.seconds)).divided_by(steps)
