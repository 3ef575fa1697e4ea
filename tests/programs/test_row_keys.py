"""Row keys: a datum is known by all that reaches its program by name, in whatever minibatch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.programs.particles import draw_from_prior
from pyro_helm.programs.row_keys import keys_of

X = torch.ones(3)
"""Equal data, which only what stands beside them can tell apart."""


def model(observations: Mapping[str, Any], *_: Any, mask: Tensor | None = None, rows: Tensor | None = None) -> None:
    x = observations["x"]
    with pyro.plate("data", 9 if rows is not None else len(x), subsample=rows, dim=-1):
        z = pyro.sample("z", dist.Bernoulli(0.5))
        with pyro.poutine.mask(mask=True if mask is None else mask):
            pyro.sample("x", dist.Bernoulli(0.2 + 0.6 * z), obs=x)


def keys(*args: Any, mask: Tensor | None = None, rows: Tensor | None = None, **kwargs: Any) -> list[int]:
    program = partial(model, mask=mask, rows=rows)  # which are not named in the call
    found: list[int] = keys_of(draw_from_prior(program, 1, args, kwargs), args, kwargs).tolist()
    return found


def test_equal_data_are_numbered_as_they_come() -> None:
    assert len(set(keys({"x": X}))) == 3
    assert keys({"x": X})[:2] == keys({"x": X[:2]})


@pytest.mark.parametrize(
    "covariate",
    [
        pytest.param(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), id="tensor"),
        pytest.param(np.array([4, 2, 1]), id="array"),
        pytest.param([4, 2, 1], id="numbers"),
        pytest.param(["a", "b", "c"], id="texts"),
        pytest.param([torch.ones(4), torch.ones(2), torch.zeros(2)], id="tensors of their own lengths"),
    ],
)
def test_data_are_known_by_what_stands_beside_them(covariate: Any) -> None:
    def picked(rows: list[int]) -> Any:
        return [covariate[row] for row in rows] if isinstance(covariate, list) else covariate[rows]

    first, second, third = keys({"x": X, "beside": covariate})
    assert keys({"x": X[:2], "beside": picked([2, 0])}) == [third, first]
    assert keys({"x": X[:1]}, picked([1])) == [second]
    assert len({first, second, third, *keys({"x": X})}) == 6


def test_data_are_known_by_their_masks() -> None:
    on, off = keys({"x": X[:2]}, mask=torch.tensor([True, False]))
    assert keys({"x": X[:2]}, mask=torch.tensor([False, True]))[0] == off != on


def test_data_are_known_by_their_rows_of_a_subsampled_plate() -> None:
    plain = keys({"x": X}, rows=torch.tensor([7, 0, 4]))
    assert keys({"x": X[:2]}, rows=torch.tensor([4, 7])) == [plain[2], plain[0]]
    beside = torch.arange(9)
    first = keys({"x": X, "beside": beside}, rows=torch.tensor([7, 0, 4]))
    again = keys({"x": X[:2], "beside": beside}, rows=torch.tensor([4, 7]))
    assert again == [first[2], first[0]]
    assert len({*first, *keys({"x": X[:2], "beside": 9 - beside}, rows=torch.tensor([4, 7]))}) == 5


def test_a_parameter_that_is_handed_in_is_no_part_of_a_datum() -> None:
    weight = torch.zeros(3, requires_grad=True)
    before = keys({"x": X}, weight)
    with torch.no_grad():
        weight += 1
    assert keys({"x": X}, weight) == before == keys({"x": X})
