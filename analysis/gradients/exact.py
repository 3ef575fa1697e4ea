"""The exact gradients that schemes follow, by enumeration."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor

import pyro_helm as helm
from analysis.gradients.net import Layers, Net, by_layer
from pyro_helm.latents.joint_states import all_joint_states, discrete_sites, num_states, placed
from pyro_helm.programs.particles import draw_from_guide


def enumerated(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    """``log p(x, h)`` and ``log q(h | x)`` of every joint state, ``[states, data]``."""
    call = {"observations": {"x": x}}
    sites = discrete_sites(net.model, call)
    count = num_states(sites)
    (states,) = all_joint_states(sites, count, x.device)
    particles = draw_from_guide(net.model, net.guide, count, kwargs=call, values=placed(sites, states))
    return particles.log_joint[:, 0], particles.log_guide[:, 0]


def objective(name: str, net: Net, scheme: helm.Scheme) -> Tensor:
    """What a scheme follows, summed over the data; a scalar in nats whose gradient is the exact one."""
    if name == "dreams":
        width = net.x.shape[-1]
        every_x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).to(net.x)] * width)
        log_p, log_q = enumerated(net, every_x)
        return len(net.x) * (log_p.exp().detach() * log_q).sum()
    log_p, log_q = enumerated(net, net.x)
    if name == "elbo":
        return (log_q.exp() * (log_p - log_q)).sum()
    if name == "evidence":
        return log_p.logsumexp(0).sum()
    if name == "posterior":
        return (log_p.softmax(0).detach() * log_q).sum()
    if name == "importance":
        return importance_bound(log_p, log_q, scheme.num_particles).sum()
    return thermodynamic(log_p, log_q, scheme.points)


def importance_bound(log_p: Tensor, log_q: Tensor, num_particles: int, step: float = 0.2) -> Tensor:
    """E[log mean_k w_k] over K independent draws of the guide, ``[data]``, for any K.

        log s = integral_0^inf (exp(-t) - exp(-t s)) / t dt,    E[exp(-t mean_k w_k)] = (sum_h q(h) exp(-t w(h) / K))^K

    The integral is taken over log t by the trapezoid rule, as in :mod:`pyro_helm.layers.quadrature`.
    """
    log_evidence = log_p.logsumexp(0).detach()
    log_w = log_p - log_q - log_evidence
    low = -20 - float(log_w.detach().max().clamp(min=0))
    high = 6 + math.log(num_particles) - float(log_w.detach().min())
    log_t = torch.arange(low, high, step).to(log_w)[:, None, None]
    log_mean = (log_q - torch.exp(log_t + log_w - math.log(num_particles))).logsumexp(1)
    integrand = torch.exp(-log_t[:, 0].exp()) - torch.exp(num_particles * log_mean)
    return log_evidence + step * integrand.sum(0)


def thermodynamic(log_p: Tensor, log_q: Tensor, points: list[float]) -> Tensor:
    """The thermodynamic objective from below, with the exact expectation at every point; summed over the data."""
    total = log_p.new_zeros(())
    for low, high in pairwise(points):
        share = ((1 - low) * log_q + low * log_p).softmax(0)
        total = total + (high - low) * (share * (log_p - log_q)).sum()
    return total


def exact_gradients(name: str, net: Net, scheme: helm.Scheme) -> Layers:
    """Of minus the objective, in double precision, each ``[1, parameters]``."""
    double = Net(copy.deepcopy(net.model).double(), copy.deepcopy(net.guide).double(), net.x.double())
    (-objective(name, double, scheme)).backward()
    return by_layer(double.model, double.guide)
