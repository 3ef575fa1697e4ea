"""What layered programs share."""

from __future__ import annotations

import pyro
import pytest
import torch

from pyro_helm.programs.layered import layer_plates, seeded_generator, site_names


def test_sites_are_named_bottom_to_top() -> None:
    assert site_names((8, 4, 2, 1)) == ["x", "h1", "h2", "h3"]


@pytest.mark.parametrize("restarts", [1, 3])
def test_plates_are_data_at_minus_one_and_restarts_at_minus_two(restarts: int) -> None:
    with pyro.poutine.trace() as recorded, layer_plates(restarts, 5):
        pyro.sample("h", pyro.distributions.Bernoulli(0.5))
    frames = {frame.name: (frame.dim, frame.size) for frame in recorded.trace.nodes["h"]["cond_indep_stack"]}
    expected = {"data": (-1, 5)} | ({"restarts": (-2, restarts)} if restarts > 1 else {})
    assert frames == expected


def test_streams_of_one_seed_differ() -> None:
    draws = [torch.rand(3, generator=seeded_generator(4, stream)) for stream in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert seeded_generator(None, 0) is None
    with pytest.raises(ValueError, match="seed must be from 0"):
        seeded_generator(-1, 0)
