"""The script that measures gradients runs, covers every scheme, and knows the exact ones."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis.gradients.exact import importance_bound
from analysis.gradients.variants import VARIANTS
from pyro_helm.schemes import SCHEMES
from tests.analysis.running import run_script
from tests.checker import DATA, tiny_machine


def test_every_scheme_that_samples_is_measured() -> None:
    measured = {type(variant.make(2)) for variant in VARIANTS.values()}
    assert measured == {scheme for scheme in SCHEMES.values() if scheme.samples}


@pytest.mark.parametrize("number", [1, 2])
def test_the_bound_of_many_particles_is_that_of_enumeration(number: int) -> None:
    machine = tiny_machine("sigmoid")
    log_p, log_q = machine.log_joint(DATA).T, machine.log_guide(DATA).T
    found = importance_bound(log_p, log_q, number).sum()
    expected = (machine.elbo(DATA) if number == 1 else machine.importance_bound_of_both(DATA)).sum()
    parameters = [*machine.model.parameters(), *machine.guide.parameters()]
    assert math.isclose(found.item(), expected.item(), rel_tol=1e-7)
    for one, other in zip(
        torch.autograd.grad(found, parameters, retain_graph=True),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_what_claims_to_be_unbiased_is(tmp_path: Path) -> None:
    shown = run_script("analysis.gradients.measure", "--quick", "--out", tmp_path / "gradients")
    assert "milliseconds per step" in shown
    table = pd.read_parquet(tmp_path / "gradients.parquet")
    assert len(table) == 2 * 2 * 16 * (4 + 3)
    whole = table[table.layer == "all"]
    unbiased = ["reinforce", "nvil", "disarm", "exact_layers", "wake_sleep", "gibbs", "vimco", "disarm multi-sample"]
    of_phi = whole[whole.scheme.isin(unbiased) & (whole.part == "phi")]
    assert len(of_phi) == 2 * 2 * 8
    assert (of_phi.bias <= of_phi.bias_floor).all()
    falls = whole[whole.scheme == "rws wake-phi"].pivot(index=["net", "part"], columns="particles", values="bias")
    assert (falls[5] < 0.8 * falls[2]).all()
    assert (tmp_path / "gradients.png").stat().st_size > 0
