"""What a training gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from torch import nn

from pyro_helm.runtime.pictures import lines_svg
from pyro_helm.runtime.shown import Card, Shown, counted, listed, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VALIDATED, TRAINED = "valid_log_likelihood", "train_bound"


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """A trained machine.

    Attributes:
        model: the model, with the best parameters of each restart.
        guide: its guide, likewise.
        history: tidy frame with the columns of :data:`pyro_helm.runtime.tables.COLUMNS`; of every restart, in every
            epoch until it stops or fails, the metrics ``train_bound`` (the scheme's own), and with validation data
            ``valid_elbo`` and ``valid_log_likelihood``; nats per datum.
        summary: frame with one row per restart: ``restart, best_epoch, best, failed``, ``best`` being
            the ``valid_log_likelihood`` of the parameters that were kept, or without validation their ``train_bound``.
        interrupted: whether Ctrl-C ended the training.
        step: the kind of its steps, ``"eager"``, ``"captured"`` or ``"compiled"``.
        unsaved: why the folder ``out`` does not hold this result, a full disk say; None if it does, or there is none.

    """

    model: nn.Module
    guide: nn.Module | None
    history: pd.DataFrame
    summary: pd.DataFrame
    interrupted: bool
    step: str
    unsaved: str | None = None

    def plot(self, *, by: str = "epoch", ax: Axes | None = None) -> Figure:
        """Draw the learning curves: every metric's median over restarts, and a band from the worst to the best.

        Args:
            by: ``"epoch"`` or ``"seconds"`` (of training).
            ax: where to draw; None for a figure of its own.

        Raises:
            ValueError: for a training that was interrupted before its first epoch, or another ``by``.

        >>> model, guide = BeliefNetwork((16, 8), restarts=3, seed=0), FactorialRecognition((16, 8), restarts=3, seed=0)
        >>> settings = {"scheme": VIMCO(5), "num_epochs": 3, "progress": False}
        >>> figure = fit(model, guide, load_data("bars").train[:200], **settings).plot()
        """
        from pyro_helm.training.curves import training_curves  # late: a training needs no matplotlib

        return training_curves(self.history, by=by, ax=ax)

    @property
    def _kept_by(self) -> str:
        """The metric by which the parameters were kept."""
        return VALIDATED if (self.history.metric == VALIDATED).any() else TRAINED

    def _card(self) -> Card:
        restarts, metric = len(self.summary), self._kept_by
        table = self.summary.sort_values("best", ascending=False)[["restart", "best", "best_epoch", "failed"]]
        notes = ["the training was interrupted, so that it may be too short"] * self.interrupted
        notes += [] if self.unsaved is None else [f"not saved: {self.unsaved}"]
        failed = self.summary.restart[self.summary.failed].tolist()
        if failed:
            notes.append(f"{len(failed)} of {restarts} restarts failed (their loss, gradient or parameters became "
                         f"non-finite) and keep their best finite parameters: {listed(failed)}")  # fmt: skip
        if self.history.empty:
            return Card(
                f"Result: {type(self.model).__name__}, interrupted before its first epoch was over", notes=notes
            )
        last = self.history.iloc[-1]
        machine = " ".join(text for text in (last.model, last.sizes, last.imaging) if text)
        on = f" on {shortened(last.dataset)}" if last.dataset else ""
        done = f"{counted(restarts, 'restart')}, {counted(last.epoch, 'epoch')}"
        trained = f"{done}, {last.seconds:.1f} s of training, {self.step} steps"
        best = f"`best` is the {metric} of the parameters that were kept, in nats per datum"
        by = ", then ".join(dict.fromkeys(self.history.scheme))  # of a training in stages there are several
        return Card(f"Result: {machine} trained by {by}{on}", [trained, best], table, notes)

    def _picture(self) -> str:
        rows, metric = self.history[self.history.metric == self._kept_by], self._kept_by
        curves = {f"restart {restart}": (group.epoch.to_numpy(float), group.value.to_numpy(float))
                  for restart, group in rows.groupby("restart")}  # fmt: skip
        return lines_svg(curves, f"{metric} by epoch, a line per restart")
