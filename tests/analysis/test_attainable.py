"""Machines set by hand solve the shifter before they are polished."""

from __future__ import annotations

import pytest

import pyro_helm as helm
from analysis.paper.attainable import set_by_hand
from analysis.paper.shifter_training import judge
from analysis.paper.solve_shifter import has_all_pairs


@pytest.mark.parametrize("imaging", ["noisy_or", "sigmoid"])
def test_a_machine_set_by_hand_is_near_the_solution(imaging: str) -> None:
    machine = set_by_hand(imaging, 1)
    assert has_all_pairs(machine[0]).all()
    table = judge(machine, helm.load_data("shifter"), num_samples=20)
    assert (table.accuracy > 0.99).all()
    assert (table.log_likelihood > -7).all()  # independent pixels: -16
