"""A Python file as users write them: a model, a guide and a scheme of their own, and some that are wrong."""

FILE = '''
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule

import pyro_helm as helm
from pyro_helm.layers import Imaging

NUMBER = 3


class Topics(PyroModule):
    """Topics that turn units on through a noisy-or."""

    def __init__(self, sizes, topics=4):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.full((topics,), -1.0))
        self.log_rate = torch.nn.Parameter(0.5 * torch.randn(topics, sizes[0]) - 1)

    def forward(self, observations=None, num_data=1):
        x = None if observations is None else observations["x"]
        with pyro.plate("data", num_data if x is None else x.shape[-2], dim=-1):
            topics = pyro.sample("topics", dist.Bernoulli(logits=self.logits).to_event(1))
            rate = topics @ self.log_rate.exp() + 0.01
            return pyro.sample("x", helm.NoisyOrBernoulli(rate).to_event(1), obs=x)


class Reader(PyroModule):
    """Which topics a row is about."""

    def __init__(self, sizes, topics=4):
        super().__init__()
        self.linear = torch.nn.Linear(sizes[0], topics)

    def forward(self, observations):
        x = observations["x"]
        with pyro.plate("data", x.shape[-2], dim=-1):
            pyro.sample("topics", dist.Bernoulli(logits=self.linear(x)).to_event(1))


def convolutional(sizes, restarts, seed, channels=4):
    trunk = torch.nn.Sequential(
        torch.nn.Unflatten(-1, (1, 4, 4)), torch.nn.Conv2d(1, channels, 3), torch.nn.ReLU(), torch.nn.Flatten()
    )
    return helm.FactorialRecognition(sizes, trunk=trunk, restarts=restarts, seed=seed)


class Tails(Imaging):
    def distribution(self, drive):
        return dist.StudentT(3.0, drive, 0.5)


class Doubted(helm.ReweightedWakeSleep):
    name = "doubted"


class Nameless(helm.Scheme):
    def estimate(self, programs):
        raise NotImplementedError


class Failing(helm.WakeSleep):
    name = "failing"

    def __init__(self, num_particles=1):
        raise RuntimeError("not today")


def number(sizes):
    return 3
'''
