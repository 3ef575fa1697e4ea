"""Joint states of any program's discrete sites: each once, scored as the program scores them."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.latents.joint_states import all_joint_states, discrete_sites, log_joint, num_states

X = torch.ones(2, 1)
OBSERVED = {"observations": {"x": X}}


def program(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        pair = pyro.sample("pair", dist.Bernoulli(torch.tensor([0.1, 0.6])).to_event(1))
        logits = kind + pair.sum(-1)
        pyro.sample("x", dist.Bernoulli(logits=logits[..., None]).to_event(1), obs=observations["x"])


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_every_state_comes_once(at_once: int) -> None:
    sites = discrete_sites(program, OBSERVED)
    assert [(site.name, site.num_values, site.num_elements) for site in sites] == [("kind", 3, 1), ("pair", 2, 2)]
    assert num_states(sites) == 12
    pieces = list(all_joint_states(sites, at_once, X.device))
    assert max(len(piece["kind"]) for piece in pieces) == min(at_once, 12)
    rows = torch.cat([torch.cat([piece["kind"][:, None].float(), piece["pair"]], -1) for piece in pieces])
    assert len(rows.unique(dim=0)) == len(rows) == 12


def test_states_are_scored_as_the_program_does() -> None:
    sites = discrete_sites(program, OBSERVED)
    values = {"kind": torch.tensor([2, 0]), "pair": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    scored = log_joint(program, OBSERVED, sites, values)
    assert scored.shape == (2, 1, 2)
    by_hand = torch.tensor([0.5 * 0.1 * 0.4, 0.2 * 0.9 * 0.6]) * torch.sigmoid(torch.tensor([3.0, 1.0]))
    assert torch.allclose(scored[:, 0, 0], by_hand.log())


def test_features_are_values_and_one_hot_categories() -> None:
    kind, pair = discrete_sites(program, OBSERVED)
    assert kind.features(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert pair.features(torch.tensor([[1.0, 0.0]])).tolist() == [[1, 0]]
    assert kind.unflatten(torch.zeros(1, 2, 3)).shape == (1, 2, 3)
    assert pair.unflatten(torch.zeros(1, 2, 2)).shape == (1, 2, 2)
