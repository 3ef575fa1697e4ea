"""How good a machine is on validation cases."""

from __future__ import annotations

import warnings
from typing import TypeAlias

from torch import Tensor, nn

from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.likelihoods.importance import importance_bounds
from pyro_helm.programs.module_state import evaluating
from pyro_helm.programs.packed import as_rows
from pyro_helm.runtime.seeding import forked_rng
from pyro_helm.training.cases import Cases

Metrics: TypeAlias = "dict[str, tuple[Tensor, Tensor | None]]"
"""By name, values ``[restarts]`` in nats per datum and their standard errors, if they have any."""


MAX_TERMS = 2**24
"""Terms of an exact log-likelihood that are summed in every epoch: a second or so."""


def validated(model: nn.Module, guide: nn.Module | None, cases: Cases, *, num_samples: int, seed: int) -> Metrics:
    """Bound and log-likelihood in evaluation mode, ``valid_elbo`` and ``valid_log_likelihood``.

    Args:
        model: generative model.
        guide: recognition guide; without one the log-likelihood is exact, and there is no bound.
        cases: where they have weights, a whole distribution, whose means have no standard error.
        num_samples: importance samples per datum.
        seed: of the draws, the same in every epoch: what changes is the machine, and training draws are not affected.

    Raises:
        TypeError: without a guide, for a model with latent sites that are not discrete.
        ValueError: likewise, for a sum of more than :data:`MAX_TERMS`.

    """
    values, weights = cases.values, cases.weights
    with evaluating(model, guide), forked_rng(seed, values.device):
        shown_model, shown_guide, rows = as_rows(model, guide, cases.observations)
        if shown_guide is None:
            metrics = {"valid_log_likelihood": exact_log_likelihood(shown_model, rows, max_terms=MAX_TERMS)}
        else:
            estimate = importance_bounds(shown_model, shown_guide, rows, num_samples=num_samples)
            metrics = {"valid_elbo": estimate.elbo, "valid_log_likelihood": estimate.log_likelihood}
    if weights is not None:
        return {name: ((weights * value).mean(-1), None) for name, value in metrics.items()}
    return {
        name: (value.mean(-1), value.std(-1) / len(values) ** 0.5 if len(values) > 1 else None)
        for name, value in metrics.items()
    }


def valid_without_guide(model: nn.Module, cases: Cases, patience: int | None) -> Cases | None:
    """Validation cases of a model that is trained alone; None, with a warning, if its states are too many to sum.

    Raises:
        ValueError: if they are, and patience is to judge by them.

    """
    try:
        validated(model, None, cases, num_samples=1, seed=0)
    except (TypeError, ValueError) as error:
        why = "without a guide validation is exact, and this model's states can't be summed in every epoch"
        if patience is not None:
            raise ValueError(f"patience needs validation, but {why}") from error
        warnings.warn(
            f"{why}; nothing is validated, and the parameters that are kept are the last", RuntimeWarning, stacklevel=2
        )
        return None
    return cases
