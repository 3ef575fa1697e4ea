"""What a training gives back."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from torch import nn


@dataclass(frozen=True)
class Result:
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
