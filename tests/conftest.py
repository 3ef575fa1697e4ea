"""Settings of every test."""

from __future__ import annotations

import torch

# the tensors here are tiny: a second thread would only wait for the first
torch.set_num_threads(1)
