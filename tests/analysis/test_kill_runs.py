"""Trainings that are killed end, resumed, with the bits of those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.kill_runs import check_same, check_whole, kill, train
from pyro_helm.training import saving

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.mark.parametrize("name", ["NVIL", "VIMCO, captured, average"])
def test_a_killed_run_goes_on_to_the_same_bits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_SHARE", saving._SHARE)  # put back afterwards what the script changes
    expected = train(None, name, epochs=4)
    at_work = [kill(tmp_path, name, 4, seconds) for seconds in (0.15, 0.4, 0.3)]
    check_whole(tmp_path)
    assert any(at_work)
    check_same(tmp_path, name, 4, expected)
