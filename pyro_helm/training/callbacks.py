"""What is told of a training epoch by epoch, and may end it: callbacks, and two that write down what they are told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from torch import Tensor, nn

from pyro_helm.runtime.paths import expanded
from pyro_helm.runtime.seeding import forked_rng

if TYPE_CHECKING:
    from pyro_helm.training.run import TrainingRun
    from pyro_helm.training.validation import Metrics


@dataclass(frozen=True)
class EpochState:
    """Where a training stands after an epoch.

    Attributes:
        epoch: the one that is over, from 1.
        num_epochs: of the training.
        seconds: of its steps so far.
        metrics: by name, ``[restarts]``, in nats per datum: ``train_bound``, and with validation data
            ``valid_elbo`` and ``valid_log_likelihood``.
        active: which restarts go on, ``[restarts]``.
        failed: which have failed, ``[restarts]``.
        best: score of the parameters that are kept, ``[restarts]``.
        best_epoch: in which they were, ``[restarts]``.
        labels: columns of the history that are the same in all of it.
        model: as it is trained, with the parameters of this epoch; to be looked at, not changed.
        guide: likewise.

    """

    epoch: int
    num_epochs: int
    seconds: float
    metrics: Mapping[str, Tensor]
    active: Tensor
    failed: Tensor
    best: Tensor
    best_epoch: Tensor
    labels: Mapping[str, Any]
    model: nn.Module
    guide: nn.Module | None


class OnEpoch(Protocol):
    """An object that is told of every epoch."""

    def on_epoch(self, state: EpochState) -> bool | None:
        """After an epoch; True ends the training."""


Callback: TypeAlias = "OnEpoch | Callable[[EpochState], bool | None]"
"""What ``fit`` takes: an object with ``on_epoch``, or a function of the state; True ends the training."""


class JsonLines:
    """A line of JSON for every epoch.

    It is written at once, to be followed by ``tail -f``.

    A run that is resumed goes on in the file; what an ended one wrote of epochs that are trained again is dropped.

    Args:
        path: of the file; folders above it are made.

    >>> data = load_data("bars")
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> settings = {"scheme": WakeSleep(), "num_epochs": 2, "progress": False}
    >>> result = fit(model, guide, data.train[:200], callbacks=[JsonLines("log.jsonl")], **settings)
    >>> [line[:12] for line in Path("log.jsonl").read_text().splitlines()]
    ['{"epoch": 1,', '{"epoch": 2,']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path)
        self._has_begun = False

    def on_epoch(self, state: EpochState) -> None:
        """Add the line of an epoch."""
        if not self._has_begun:
            self._keep_lines_before(state.epoch)
            self._has_begun = True
        told = {
            "epoch": state.epoch,
            "num_epochs": state.num_epochs,
            "seconds": round(state.seconds, 6),
            **state.labels,
            **{name: _finite(values) for name, values in state.metrics.items()},
            "best": _finite(state.best),
            "best_epoch": state.best_epoch.tolist(),
            "active": state.active.tolist(),
            "failed": state.failed.tolist(),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")

    def _keep_lines_before(self, epoch: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if epoch == 1 or not self.path.exists():
            self.path.write_text("")
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        self.path.write_text("".join(f"{line}\n" for line in lines if _epoch_of(line) < epoch), encoding="utf-8")


class TensorBoard:
    """Every metric of every restart, for TensorBoard.

    ``tensorboard --logdir FOLDER`` shows them over the epochs.

    It needs the extra: ``pip install "pyro-helm[tensorboard]"``.

    Args:
        folder: for TensorBoard's files, one for each training.

    Raises:
        ModuleNotFoundError: if TensorBoard is not installed.

    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # late: it is an extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('TensorBoard is not installed: pip install "pyro-helm[tensorboard]"') from error
        self.folder: Path = expanded(folder)
        self._make: Callable[..., Any] = SummaryWriter
        self._writer: Any = None

    def on_epoch(self, state: EpochState) -> None:
        """Add the points of an epoch."""
        if self._writer is None:  # what an ended run wrote of epochs that are trained again is hidden
            self._writer = self._make(str(self.folder), purge_step=state.epoch)
        for name, values in state.metrics.items():
            for restart, value in enumerate(values.tolist()):
                if value == value:  # NaN of those out of the batch
                    self._writer.add_scalar(f"{name}/restart {restart}", value, state.epoch)
        self._writer.add_scalar("seconds", state.seconds, state.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file; ``fit`` does it at its end."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """The callbacks; TypeError for what is none."""
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of them, got {callbacks!r:.60}")
    found = tuple(callbacks)
    for callback in found:
        if isinstance(callback, type) or not (hasattr(callback, "on_epoch") or callable(callback)):
            raise TypeError(
                f"a callback must be a function of the state, or have on_epoch(state); got {callback!r:.60}"
            )
    return found


def tell(run: TrainingRun, metrics: Metrics) -> bool:
    """Tell every callback of the epoch, with random numbers of their own; whether one of them ends the training."""
    if not run.settings.callbacks:
        return False
    restarts = run.restarts
    state = EpochState(
        run.epoch,
        run.settings.num_epochs,
        run.clock.seconds,
        {name: values for name, (values, _) in metrics.items()},
        restarts.active.clone(),
        restarts.failed.clone(),
        restarts.best.score.clone(),
        restarts.best.epoch.clone(),
        run.history.labels,
        run.model,
        run.guide,
    )
    answers = []
    with forked_rng(run.settings.seed, run.device):
        for callback in run.settings.callbacks:
            ask: Any = getattr(callback, "on_epoch", callback)
            answers.append(ask(state))
    return any(answer is True for answer in answers)


def close(callbacks: Iterable[Callback]) -> None:
    """Close those that have something to close."""
    for callback in callbacks:
        if hasattr(callback, "close"):
            callback.close()


def _finite(values: Tensor) -> list[float | None]:
    """None for NaN and infinities, for which JSON has no word."""
    return [value if value - value == 0 else None for value in values.tolist()]


def _epoch_of(line: str) -> float:
    """Of a line, which a killed process may have left half written."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
