"""One pass over the data, which may be left between two minibatches and taken up again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Pass:
    """Where an epoch stands.

    Attributes:
        order: rows in the order of their minibatches, ``[data]``.
        total: the bound summed over those so far, of the restarts in the batch.
        trained: which restarts were active when it began, ``[restarts]``.
        position: rows that are done.

    """

    order: Tensor
    total: Tensor
    trained: Tensor
    position: int = 0

    def is_over(self) -> bool:
        """Whether no rows are left."""
        return self.position >= len(self.order)
