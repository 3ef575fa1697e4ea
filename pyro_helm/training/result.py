"""What a training gives back."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from torch import nn

from pyro_helm.runtime.pictures import lines_svg
from pyro_helm.runtime.shown import Card, Shown, listed, shortened

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

    """

    model: nn.Module
    guide: nn.Module | None
    history: pd.DataFrame
    summary: pd.DataFrame
    interrupted: bool
    step: str

    @property
    def _kept_by(self) -> str:
        """The metric by which the parameters were kept."""
        return VALIDATED if (self.history.metric == VALIDATED).any() else TRAINED

    def _card(self) -> Card:
        restarts, metric = len(self.summary), self._kept_by
        table = self.summary.sort_values("best", ascending=False)[["restart", "best", "best_epoch", "failed"]]
        notes = ["the training was interrupted, so that it may be too short"] * self.interrupted
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
        trained = f"{restarts} restarts, {last.epoch} epochs, {last.seconds:.1f} s of training, {self.step} steps"
        best = f"`best` is the {metric} of the parameters that were kept, in nats per datum"
        return Card(f"Result: {machine} trained by {last.scheme}{on}", [trained, best], table, notes)

    def _picture(self) -> str:
        rows, metric = self.history[self.history.metric == self._kept_by], self._kept_by
        curves = {f"restart {restart}": (group.epoch.to_numpy(float), group.value.to_numpy(float))
                  for restart, group in rows.groupby("restart")}  # fmt: skip
        return lines_svg(curves, f"{metric} by epoch, a line per restart")
