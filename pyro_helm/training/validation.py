"""How good a machine is on validation cases."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from pyro_helm.likelihoods.importance import importance_bounds
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.packed import as_rows
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.training.cases import Cases

Metrics: TypeAlias = "dict[str, tuple[Tensor, Tensor | None]]"
"""By name, values ``[restarts]`` in nats per datum and their standard errors, if they have any."""


def validated(model: nn.Module, guide: nn.Module, cases: Cases, *, num_samples: int, seed: int) -> Metrics:
    """Bound and log-likelihood in evaluation mode, ``valid_elbo`` and ``valid_log_likelihood``.

    Args:
        model: generative model.
        guide: recognition guide.
        cases: where they have weights, a whole distribution, whose means have no standard error.
        num_samples: importance samples per datum.
        seed: of the draws, the same in every epoch: what changes is the machine, and training draws are not affected.

    """
    values, weights = cases.values, cases.weights
    with evaluating(model, guide), forked_rng(seed, values.device):
        shown_model, shown_guide, rows = as_rows(model, guide, cases.observations)
        assert shown_guide is not None
        estimate = importance_bounds(shown_model, shown_guide, rows, num_samples=num_samples)
    metrics = {"valid_elbo": estimate.elbo, "valid_log_likelihood": estimate.log_likelihood}
    if weights is not None:
        return {name: ((weights * value).mean(-1), None) for name, value in metrics.items()}
    return {
        name: (value.mean(-1), value.std(-1) / len(values) ** 0.5 if len(values) > 1 else None)
        for name, value in metrics.items()
    }
