"""``fit``: the one training loop, for every scheme."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from pyro_helm.data.named_observations import DataLike
from pyro_helm.programs.module_state import one_at_a_time
from pyro_helm.schemes import Scheme
from pyro_helm.training.callbacks import Callback
from pyro_helm.training.result import Result
from pyro_helm.training.run import TrainingRun
from pyro_helm.training.schedules import Schedule
from pyro_helm.training.settings import FUSED_ADAM, Settings


def fit(
    model: nn.Module,
    guide: nn.Module | None,
    data: DataLike,
    *,
    scheme: Scheme,
    valid: DataLike | None = None,
    num_epochs: int = 50,
    max_seconds: float | None = None,
    batch_size: int | None = 100,
    optimizer: Callable[..., torch.optim.Optimizer] = FUSED_ADAM,
    learning_rate: float | None = None,
    schedule: str | Schedule | None = None,
    max_gradient_norm: float | None = None,
    average: float | None = None,
    patience: int | None = None,
    valid_samples: int = 10,
    step: str | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    dataset: str = "",
    out: str | Path | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    overwrite: bool = False,
    progress: bool = True,
    callbacks: Iterable[Callback] = (),
) -> Result:
    """Train a model and its guide with an inference scheme.

    The programs train in training mode, are validated in evaluation mode, and are left in the mode they had. Buffers,
    running statistics say, are kept with the parameters of the same epoch. Calls from several threads run one after
    another: Pyro's handlers and torch's random numbers belong to the whole process.

    Every restart trains by itself: one whose loss, gradient or parameters become non-finite goes back to its best ones
    and is marked failed, and the others go on. Those that have stopped or failed leave the batch when they are half of
    it, and their steps cost nothing from then on; not if programs are not layered ones, steps compiled (or captured, on
    a GPU), or the scheme one that can't be captured. Ctrl-C ends the training with what there is, after the step under
    way; so do SIGTERM and SIGHUP, which are then handed on to whatever handled them before.

    Args:
        model: called with ``observations={"x": batch}``. With ``model.restarts`` above 1, the first dimension of every
            parameter is the restart.
        guide: called likewise; may be None for a scheme that needs none. Validation is then exact, or where the states
            are too many to sum in every epoch left out with a warning.
        data: ``[data, units]``, of what the model's observed sites can take, NaN where missing: a tensor, numpy array
            or pandas DataFrame; observations by name with the data in front, ``{"x": ..., "label": ...}``, which both
            programs are shown in every phase; a map-style ``torch.utils.data.Dataset`` of such rows; or a
            :class:`PatternDistribution`, whose patterns count in proportion to their probabilities.
        scheme: inference scheme; its loss is averaged over the data of a minibatch.
        valid: validation data, likewise; the parameters kept are those of each restart's best ``valid_log_likelihood``,
            estimated with the same random numbers in every epoch. Without, the last ones are kept.
        num_epochs: passes over the data.
        max_seconds: end the training after the epoch in which this is reached; None for no such limit.
        batch_size: data per minibatch, shuffled anew each epoch; None for all of them, in their order. A program that
            knows something of each row, such as a length or label that it is closed over, needs None.
        optimizer: called with the parameters, and ``lr`` if ``learning_rate`` is given; any of torch's, or a partial of
            one. It must treat every parameter entry by itself unless there is a single restart. For schemes that do
            not sample, with all data in a step, :class:`ConjugateGradient` and :class:`LBFGS` minimise each restart by
            itself; their line searches need ``dtype=torch.float64``.
        learning_rate: ``lr`` of the optimiser; None for its own, which is 0.01 of the default, Adam.
        schedule: a name in :data:`SCHEDULES`, or from the optimiser to its scheduler, which steps after each epoch.
        max_gradient_norm: a restart's gradient of a longer norm, over model and guide, is scaled down to it.
        average: decay, 0.999 say, of a :class:`WeightAverage`, which is validated and kept in the parameters' place;
            buffers are not averaged.
        patience: a restart stops after so many epochs without a better ``valid_log_likelihood``; None for never.
        valid_samples: importance samples per validation datum.
        step: ``"eager"``; ``"captured"``, which records the tensor operations of one step and replays them without
            running the programs; or ``"compiled"``, which fuses these by torch's compiler, a matter of ten seconds or
            more. The numbers are the same, within rounding if compiled. Not for programs that take another path, or
            read another Python number, from one call to the next. Hooks of the optimiser, and those after a gradient's
            accumulation, run in all three; those on a gradient (``register_hook``) in eager steps alone. None, for
            captured steps where they are known to be the eager ones, bit for bit, and to pay: on the CPU, for the
            library's own machines and schemes with a fused optimiser, without hooks, from some 200 steps on; for
            eager ones elsewhere. The result's ``step`` says which.
        seed: of minibatches and draws; the caller's random state is left alone.
        device: where to train; None leaves the model and guide where they are.
        dtype: floating-point type to train in; None leaves it as it is.
        dataset: name for the history's column of that name.
        out: folder for the run, saved now and then and at the end, all files together or none:
            ``machine.safetensors``, ``history.parquet`` and ``history.csv``, ``config.json``, which says what it is
            made of, and ``state.pt``, from which it can go on. One process at a time may write there.
        resume: go on with the run in the folder, if there is one, to the very numbers of a run that was never ended
            (on the same machine, with as many threads). Saved parameters take the place of those passed. More
            ``num_epochs`` are taken without a schedule by name, which is made for their number.
        save_every: seconds between saves, within epochs too; fewer saves where they would take 2 % of the time.
        overwrite: replace a run that the folder holds; else it is refused.
        progress: show a progress bar on standard error, or without a terminal a line now and then.
        callbacks: told of every epoch by an :class:`EpochState`, :class:`JsonLines` or :class:`TensorBoard` say, or
            functions; one that returns True ends the training, for good.

    Returns:
        the trained machine and its history; ``model`` and ``guide`` themselves are trained in place.

    Raises:
        ValueError: for data that the model can't take, settings out of range or that don't go together, parameters
            or changing buffers without a restart dimension, or parameters that are all frozen; for a folder that holds
            another run, or one that another process is writing.
        TypeError: if the model or guide is not a module, or the scheme not a :class:`Scheme`.

    >>> data = load_data("bars")
    >>> model, guide = BeliefNetwork((16, 8), seed=0), FactorialRecognition((16, 8), seed=0)
    >>> result = fit(model, guide, data.train[:200], scheme=WakeSleep(), num_epochs=2, progress=False)
    >>> result.history.metric.unique().tolist()
    ['train_bound']
    """
    settings = Settings(
        num_epochs=num_epochs, max_seconds=max_seconds, batch_size=batch_size, optimizer=optimizer,
        learning_rate=learning_rate, schedule=schedule, max_gradient_norm=max_gradient_norm, average=average,
        patience=patience, valid_samples=valid_samples, step=step, seed=seed, device=device, dtype=dtype,
        dataset=dataset, out=out, resume=resume, save_every=save_every, overwrite=overwrite, progress=progress,
        callbacks=callbacks,
    )  # fmt: skip
    with one_at_a_time(), TrainingRun(model, guide, data, scheme=scheme, valid=valid, settings=settings) as run:
        for epoch in run.epochs():
            run.train()
            run.validate()
            run.record(epoch)
    return run.result(stacklevel=2)
