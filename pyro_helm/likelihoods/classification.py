"""Which label data have, by what a model of labelled data says: Bayes' rule over importance-weighted likelihoods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_helm.data.named_observations import DataLike, observed_data
from pyro_helm.likelihoods.scores import log_likelihood
from pyro_helm.programs.particles import Program


def label_probabilities(
    model: Program, guide: Program, x: DataLike, *, num_samples: int = 1000, seed: int = 0, **settings: Any
) -> Tensor:
    """``p(label | x)``, proportional to ``p(x, label)``, which is estimated for each label in turn.

    The guide is shown each label, so that nothing rests on its own guess of it. For few hidden units
    ``exact_posterior(model, guide, x).marginals["class"]`` is the exact answer.

    Args:
        model: a :class:`LabelledBeliefNetwork`; or a :class:`BeliefNetwork` with a condition, whose labels are taken to
            be as probable.
        guide: its guide.
        x: data as for :func:`log_likelihood`; a label among them is left aside.
        num_samples: importance samples for each datum and label.
        seed: of the samples.
        settings: others of :func:`log_likelihood`.

    Returns:
        ``[restarts, data, labels]``.

    Raises:
        TypeError: for a model without labels.
        ValueError: as for :func:`log_likelihood`.

    >>> model, guide = LabelledBeliefNetwork((6, 4), labels=3, seed=0), LabelledRecognition((6, 4), labels=3, seed=0)
    >>> label_probabilities(model, guide, torch.ones(2, 6), num_samples=10).shape
    torch.Size([1, 2, 3])
    """
    number = getattr(model, "condition", None)
    if not isinstance(number, int):
        raise TypeError(
            f"the model has no label to tell: expected a LabelledBeliefNetwork, got a {type(model).__name__}"
        )
    observations, _ = observed_data(x, name="x")
    seen = {name: value for name, value in observations.items() if name != "label"}
    count = len(next(iter(seen.values())))
    log_joint = []
    for label in range(number):
        data = {**seen, "label": torch.full((count,), label)}
        scores = log_likelihood(model, guide, data, num_samples=num_samples, seed=seed, **settings)
        table = scores.table.pivot_table(index="restart", columns="datum", values="log_likelihood")
        log_joint.append(torch.from_numpy(table.to_numpy().copy()))
    return torch.stack(log_joint, -1).softmax(-1)
