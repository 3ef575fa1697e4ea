"""A recognition network with lateral connections: causes of a layer that know of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch

from pyro_helm.guides.bottom_up import BottomUp
from pyro_helm.programs.layered import seeded_generator
from pyro_helm.runtime.arguments import is_whole


class AutoregressiveRecognition(BottomUp):
    """Layered recognition network, autoregressive in blocks within each layer.

        q(h | x) = q(h1 | x) q(h2 | h1) ... q(hL | hL-1)

    A Pyro guide with one sample site per hidden layer, ``h1`` first; unit j of block b is on with probability
    ``sigmoid(b_j + sum_i s_i phi_ij + sum_k h_k lateral_kj)``, i over the layer below and k over the units of earlier
    blocks of its own layer. Explaining away can so be learned, where factorial guides can't say that of two causes one
    is on. It begins as the :class:`FactorialRecognition` of its seed.

    Args:
        sizes: units per layer, bottom to top, as the model's.
        blocks: of each layer, of sizes as equal as can be, as many as units at most; None for one per unit. Drawing
            takes a product of matrices for each block, scoring one in all.
        restarts: independent machines in one batch, as the model's.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.
        missing: as for :class:`FactorialRecognition`.
        trunk: likewise.
        condition: likewise.
        groups: likewise.
        initial_bias: likewise.

    Raises:
        ValueError: for sizes, blocks or restarts out of range.

    References:
        Gregor, Danihelka, Mnih, Blundell & Wierstra 2014, `Deep autoregressive networks
        <https://arxiv.org/abs/1310.8499>`__; Bornschein & Bengio 2015, `Reweighted wake-sleep
        <https://arxiv.org/abs/1406.2751>`__.

    >>> guide = AutoregressiveRecognition((32, 24, 2), blocks=4, restarts=8, seed=0)
    >>> [h.shape for h in guide({"x": torch.zeros(100, 32)})]  # h1, h2: [restarts, data, units]
    [torch.Size([8, 100, 24]), torch.Size([8, 100, 2])]
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "recognition"

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        blocks: int | None = None,
        restarts: int = 1,
        seed: int | None = None,
        missing: bool = False,
        trunk: torch.nn.Module | None = None,
        condition: int | None = None,
        groups: Mapping[str, int | Sequence[int]] | None = None,
        initial_bias: float | Sequence[float | None] | None = None,
    ) -> None:
        super().__init__(
            sizes,
            restarts=restarts,
            seed=seed,
            missing=missing,
            trunk=trunk,
            condition=condition,
            groups=groups,
            initial_bias=initial_bias,
        )
        if blocks is not None and (not is_whole(blocks) or blocks < 2):
            raise ValueError(f"blocks must be two or more, or None for one per unit; got {blocks!r}")
        self.blocks = blocks
        generator = seeded_generator(seed, stream=1)
        for layer, size in zip(self.recognition, self.sizes[1:], strict=True):
            layer.connect(blocks or size, generator=generator)

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters and its trunk."""
        return super().config | {"blocks": self.blocks}
