"""Data as people have them become observations by name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_helm as helm
from pyro_helm.data.named_observations import main_name, named, observed_data, unit_names

X = torch.tensor([[1.0, 0.0], [torch.nan, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.numpy(),
        pd.DataFrame(X.numpy(), columns=["a", "b"]),
        pd.DataFrame({"a": [True, None, False], "b": [0, 1, 0]}),
        pd.DataFrame(
            {"a": pd.array([1, pd.NA, 0], dtype="Int64"), "b": pd.array([False, True, False], dtype="boolean")}
        ),
    ],
    ids=["tensor", "array", "frame", "objects", "nullable"],
)
def test_tables_of_numbers_are_x_with_nan_where_missing(data: Any) -> None:
    assert torch.equal(named(data)["x"].float().nan_to_num(nan=7.0), X.nan_to_num(nan=7.0))


def test_a_mapping_names_its_observations() -> None:
    given = {"x": X.numpy(), "label": pd.Series([2, 0, 1]), "length": torch.tensor([1, 2, 1])}
    observations = named(given)
    assert list(observations) == ["x", "label", "length"]
    assert observations["label"].tolist() == [2, 0, 1]
    assert main_name(observations) == "x"
    assert main_name({"words": X, "label": X}) == "words"


def test_columns_are_the_names_of_units() -> None:
    frame = pd.DataFrame(X.numpy(), columns=["a", 3])
    assert unit_names(frame) == unit_names({"label": X, "x": frame}) == ["a", "3"]
    assert unit_names(X) is None


def test_patterns_count_for_their_probabilities_unless_other_weights_are_given() -> None:
    distribution = helm.PatternDistribution(X.nan_to_num(), torch.tensor([0.5, 0.25, 0.25]))
    observations, weights = observed_data(distribution)
    assert torch.equal(observations["x"], distribution.patterns)
    assert torch.equal(weights, distribution.probabilities)
    assert observed_data(distribution, [1, 1, 1])[1] == [1, 1, 1]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([[1, 0]], "data is of type list, expected a torch.Tensor, a numpy array, a pandas DataFrame, or a mapping"),
        ("digits", "data is of type str, expected"),
        ({"x": [1, 2]}, "data['x'] is of type list, expected"),
        ({}, "data must name its observations"),
        ({1: X}, "data must name its observations"),
        (
            {"x": X, "label": torch.ones(2)},
            "data has 3 of 'x', 2 of 'label'; all observations must have the same number of data",
        ),
        ({"x": X, "label": torch.tensor(2)}, "data['label'] is a single number"),
        (np.array([["yes"]]), "data is an array of <U3, expected booleans, integers or real numbers"),
        (pd.DataFrame({"a": [1], "vote": ["yes"]}), "data, column 'vote', holds "),
        (
            pd.DataFrame({"vote": pd.Categorical([1])}),
            "data, column 'vote', holds category, expected numbers or booleans",
        ),
    ],
)
def test_other_things_are_refused_in_a_sentence(data: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(sentence)):
        named(data)
