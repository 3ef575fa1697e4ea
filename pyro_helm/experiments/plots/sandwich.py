"""The sandwich of bounds: how far estimates may lie below the truth, and whether they can be trusted."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_helm.likelihoods import Gap
from pyro_helm.likelihoods.gap import TRUSTED
from pyro_helm.runtime.figures import axes_of, figure_of
from pyro_helm.runtime.pictures import COLOURS


def bound_sandwich(gap: Gap, *, ax: Axes | None = None) -> Figure:
    """Draw how far annealing and importance sampling lie below the upper bound, on dreams of each restart.

    The truth lies between the estimates and zero, the upper bound, on average. In the grey band an estimate is close
    enough to be trusted; bars are two standard errors.

    Args:
        gap: what :func:`pyro_helm.log_likelihood_gap` gave.
        ax: where to draw; None for a figure of its own.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> figure = bound_sandwich(log_likelihood_gap(model, guide, num_data=20, num_samples=10, schedule=10))
    """
    ax = axes_of(ax)
    summary = gap.summary
    ax.axhspan(-TRUSTED, TRUSTED, color="0.5", alpha=0.2, linewidth=0, label=f"within {TRUSTED} nats: can be trusted")
    ax.axhline(0, color="black", linewidth=1)
    drawn = [("gap", "annealing (lower bound)", -0.1), ("shortfall", "importance sampling", 0.1)]
    for colour, marker, (name, label, aside) in zip(COLOURS, "os", drawn, strict=False):
        if name in summary:
            ax.errorbar(summary.restart + aside, -summary[name], yerr=2 * summary[f"{name}_stderr"], fmt=marker,
                        color=colour, capsize=3, label=label)  # fmt: skip
    ax.set_xticks(summary.restart.tolist())
    ax.set(xlabel="restart", ylabel="estimate minus upper bound, nats per dream", xlim=(-0.6, len(summary) - 0.4))
    ax.set_title(f"log p(x): mean of {gap.table.datum.nunique()} dreams, with bars of two standard errors", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure_of(ax)
