"""Settings of every test."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pyro
import pytest
import torch

# each test process compiles by itself: helpers would first import torch
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

# products over causes run in blocks, which test_fused_sums.py holds against the compiled ones: else each test process
# and each script would compile for a minute what a few large tests multiply
os.environ["TORCH_COMPILE_DISABLE"] = "1"

# the tensors here are tiny: a second thread would only wait for the first
torch.set_num_threads(1)

# a shell starts background jobs deaf to Ctrl-C, and nohup to a closed terminal, which some tests are about
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# helper modules with assertions, whose failures are to say as much as those of tests
pytest.register_assert_rewrite("tests.checker", "tests.claims")


def pytest_collection_finish() -> None:
    """What was imported and collected stays; looking for garbage in it would take 3 % of the time of the tests."""
    gc.freeze()


@pytest.fixture
def compiling() -> Iterator[None]:
    """For a test of what is compiled."""
    from torch._dynamo import config  # late: it takes a second, and few tests need it

    with config.patch(disable=False):
        yield


@pytest.fixture(autouse=True)
def own_param_store() -> Iterator[None]:
    """A param store for each test: SVI would train the parameters of their names that another test left behind."""
    with pyro.get_param_store().scope():
        yield
