"""Cases that are read from a data set as they are needed, for more data than memory holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyro_helm.data.named_observations import DataLike, Observations, collated, collated_batch, is_dataset, main_name
from pyro_helm.layers.missing import known_missing
from pyro_helm.runtime.device import Placement
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.training.cases import Cases, checked_cases
from pyro_helm.training.settings import Settings

_ROWS_TO_KNOW_IT_BY = 16


class StreamedCases:
    """Cases of a data set, whose minibatches are read in the order of a pass, by the workers of its loader.

    What they give is what :class:`Cases` of the same rows would.

    Args:
        source: map-style data set of mappings, or a loader of one, whose workers, their settings and ``collate_fn`` are
            used; which rows make a minibatch is the training's affair.
        name: of the argument, for errors.

    """

    weights = None
    missing = None
    """Each minibatch is looked at for missing values."""

    def __init__(self, source: Dataset[Any] | DataLoader[Any], name: str) -> None:
        self.source = source
        self.dataset: Any = source.dataset if isinstance(source, DataLoader) else source
        self.argument = name
        self.place: Placement | None = None
        self.name = main_name(self._of_now(torch.arange(1)))
        self._ahead: Iterator[Any] = iter(())
        self._expected: deque[Tensor] = deque()

    @property
    def number(self) -> int:
        """Of the data."""
        return len(self.dataset)

    def to(self, place: Placement) -> StreamedCases:
        """The same cases, whose minibatches come to a device and in a floating-point type."""
        self.place = place
        return self

    def order(self, size: int) -> Tensor:
        """As :meth:`Cases.order`, ``[data]``; what comes next is read ahead."""
        shuffled = size < self.number
        device = None if self.place is None else self.place["device"]
        order = (torch.randperm if shuffled else torch.arange)(self.number, device=device)
        self._expected = deque(order.split(size))
        self._ahead = iter(self._loader([rows.tolist() for rows in self._expected]))
        return order

    def of(self, rows: Tensor | slice) -> Observations:
        """What is observed of some rows, ``[rows, ...]``, by name."""
        if isinstance(rows, slice):
            rows = torch.arange(self.number)[rows]
        if self._expected and torch.equal(self._expected[0], rows):
            self._expected.popleft()
            return self._placed(next(self._ahead))
        return self._placed(self._of_now(rows))

    def weighted(self, rows: Tensor) -> AbstractContextManager[None]:
        """While programs run on rows ``[rows]``."""
        return known_missing(None)

    def _asdict(self) -> Mapping[str, Any]:
        """What tells one data set from another: its class and some rows, unless it gives others at every call."""
        chosen = torch.linspace(0, self.number - 1, min(self.number, _ROWS_TO_KNOW_IT_BY)).long()
        with forked_rng(0, torch.device("cpu")):
            rows, again = self._of_now(chosen), self._of_now(chosen)
        same = all(torch.equal(rows[name].nan_to_num(), again[name].nan_to_num()) for name in rows)
        return {"dataset": type(self.dataset).__qualname__, "some_rows": dict(rows) if same else None}

    def _loader(self, batches: list[list[int]]) -> DataLoader[Any]:
        given = self.source if isinstance(self.source, DataLoader) else None
        settings: dict[str, Any] = {}
        if given is not None:
            names = ("num_workers", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor")
            settings = {name: getattr(given, name) for name in (*names, "collate_fn")}
        pinned = self.place is not None and self.place["device"].type == "cuda"
        # a generator of its own: that of the training draws the minibatches and the particles
        return DataLoader(
            self.dataset, batch_sampler=batches, pin_memory=pinned, generator=torch.Generator(), **settings
        )

    def _of_now(self, rows: Tensor) -> Observations:
        collate = self.source.collate_fn if isinstance(self.source, DataLoader) else None
        return collated(self.dataset, rows.tolist(), name=self.argument, collate=collate)

    def _placed(self, batch: Any) -> Observations:
        observations = collated_batch(batch, name=self.argument)
        if self.place is None:
            return observations
        name = self.name
        others = {key: value for key, value in observations.items() if key != name}
        return Cases(observations[name], None, name=name, others=others).to(self.place).observations


def training_cases(data: DataLike, model: Any, guide: Any, settings: Settings) -> Cases | StreamedCases:
    """The cases to train on, if the model can observe them: those of a data set as they are needed.

    Of a data set the first minibatch is looked at.
    """
    if not is_dataset(data):
        return checked_cases("data", data, model, guide, settings.batch_size)
    if settings.step not in (None, "eager"):
        raise ValueError(f"{settings.step} steps need all data in memory; with a data set use step='eager'")
    cases = StreamedCases(data, "data")
    first = cases.of(slice(settings.batch_size))
    checked_cases("data", first, model, guide, settings.batch_size, is_part=True)
    return cases
