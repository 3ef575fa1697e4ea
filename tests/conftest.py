"""Settings of every test."""

from __future__ import annotations

import pytest
import torch

# the tensors here are tiny: a second thread would only wait for the first
torch.set_num_threads(1)

# helper modules with assertions, whose failures are to say as much as those of tests
pytest.register_assert_rewrite("tests.checker", "tests.claims")
