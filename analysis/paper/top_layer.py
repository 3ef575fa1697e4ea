"""What the two top units of the machine of Fig. 4 do (Dayan, Hinton, Neal & Zemel 1995): numbers for ``weights.py``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import pyro_helm as helm
from analysis.paper.many_iterations import told_by_threshold
from analysis.paper.shifter_training import Machine, unambiguous
from pyro_helm.models import BeliefNetwork


@dataclass(frozen=True)
class TopUnit:
    """One unit of layer 3.

    Args:
        direction: ``"left"`` or ``"right"``, the one of the higher mean.
        told: part of the directions that a threshold on its mean tells.
        own: its mean over the patterns of its own direction.
        other: over those of the other.
        above_half: part of the patterns of its own direction in which its mean is above 1/2.
        mean: over all patterns.
        on_by_bias: probability that it is on by its generative bias alone.
        odds: that it gives the tuned units of its own direction, least and largest.
        odds_of_others: the largest that it gives any other unit.
        bias: of its recognition.
        excited: recognition weights from tuned units of its own direction, least and largest.
        inhibited: from those of the other, likewise.
        largest: recognition weight of all.
        by_own: what the tuned units of its own direction add to its drive, on average over patterns of that direction.
        by_other: those of the other direction, over patterns of the other.

    """

    direction: str
    told: float
    own: float
    other: float
    above_half: float
    mean: float
    on_by_bias: float
    odds: tuple[float, float]
    odds_of_others: float
    bias: float
    excited: tuple[float, float]
    inhibited: tuple[float, float]
    largest: float
    by_own: float
    by_other: float

    def __str__(self) -> str:
        """In words."""
        low, high = self.odds
        return (
            f"The {self.direction} unit of layer 3 by itself tells {self.told:.1%} of the directions. Its mean is "
            f"{self.own:.3f} under its own direction, {self.other:.3f} under the other, {self.mean:.3f} over all; it "
            f"is above 1/2 in {self.above_half:.1%} of the patterns of its own. By its generative bias alone it is on "
            f"with {self.on_by_bias:.3f}. It gives the tuned units of its own direction odds of {low:.0f} to "
            f"{high:.0f}, others at most {self.odds_of_others:.2g}. Its recognition bias is {self.bias:.1f}; weights "
            f"from tuned units of its own direction are {self.excited[0]:.1f} to {self.excited[1]:.1f}, of the other "
            f"{self.inhibited[0]:.1f} to {self.inhibited[1]:.1f}, the largest of all {self.largest:.1f}. In patterns "
            f"of its own direction the former add {self.by_own:.1f} to its drive, in those of the other the latter "
            f"{self.by_other:.1f}."
        )


def top_units(machine: Machine, tuned: dict[str, Tensor], data: helm.Data) -> list[TopUnit]:
    """Describe both top units, given which units of layer 2 are tuned to ``"left"`` and ``"right"``, ``[units]``."""
    model, guide = machine
    x, left, right = unambiguous(data)
    assert data.distribution is not None
    every, p = data.distribution.patterns, data.distribution.probabilities
    with torch.no_grad():
        layer_2, layer_3 = (layer.mean.reshape(len(x), -1) for layer in guide.mean_field({"x": x.double()}))
        of_all = p @ guide.mean_field({"x": every.double()})[1].mean.reshape(len(every), -1)
        on = on_by_leak(model)
        up, down = guide.recognition[1].weight[0].detach(), model.generative[1].weight[0]
        bias = guide.recognition[1].leak[0, 0].detach()
    found = []
    for unit, q in enumerate(layer_3.T):
        is_left = float(left @ q / left.sum()) > float(right @ q / right.sum())
        own, other = (left, right) if is_left else (right, left)
        ours, theirs = (tuned[name] for name in (("left", "right") if is_left else ("right", "left")))
        told, _ = told_by_threshold(q[None], own, other)
        drive = layer_2 * up[:, unit]
        found.append(
            TopUnit(
                direction="left" if is_left else "right",
                told=float(told),
                own=float(own @ q / own.sum()),
                other=float(other @ q / other.sum()),
                above_half=float((q > 0.5).double() @ own / own.sum()),
                mean=float(of_all[unit]),
                on_by_bias=float(on[unit]),
                odds=_range(down[unit, ours]),
                odds_of_others=float(down[unit, ~ours].max()),
                bias=float(bias[unit]),
                excited=_range(up[ours, unit]),
                inhibited=_range(up[theirs, unit]),
                largest=float(up[:, unit].max()),
                by_own=float(own @ drive[:, ours].sum(-1) / own.sum()),
                by_other=float(other @ drive[:, theirs].sum(-1) / other.sum()),
            )
        )
    return found


def on_by_leak(model: BeliefNetwork) -> Tensor:
    """Probabilities that the units of the top layer are on by their biases alone, of the first restart, ``[units]``."""
    top = model.generative[-1]
    on: Tensor = top.distribution(top.leak.detach()[0, 0]).probs
    return on


def _range(values: Tensor) -> tuple[float, float]:
    return float(values.min()), float(values.max())
