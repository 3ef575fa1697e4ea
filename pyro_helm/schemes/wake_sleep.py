"""Classic wake-sleep: each half of the machine learns from the other's samples.

    wake:   d/dtheta  mean_k log p(x, h_k),     h_k ~ q(h | x)              (lowers the free energy)
    sleep:  d/dphi    mean_k log q(h_k | x_k),  (x_k, h_k) ~ p(x, h)        (lowers KL(p || q), not the free energy)

Dayan, Hinton, Neal & Zemel 1995, section 4; Hinton, Dayan, Frey & Neal, Science 268, 1995.
"""

from __future__ import annotations

from pyro_helm.programs.pair import Programs
from pyro_helm.schemes.base import Estimate, Scheme


class WakeSleep(Scheme):
    """The model learns from recognised data (wake), the guide from the model's dreams (sleep).

    The two phases do not follow the gradient of one function. The value is that of the free energy, which the wake
    phase lowers. The sleep phase dreams as many cases as there are data, and calls the guide with
    ``observations={site: dream}``. Draws are constants, reparameterised ones too.

    Args:
        num_particles: draws per datum and restart in the wake phase, and dreams per datum in the sleep phase.

    >>> model, guide = BeliefNetwork((6, 4), seed=0), FactorialRecognition((6, 4), seed=0)
    >>> x = torch.ones(10, 6)
    >>> WakeSleep().loss(model, guide, observations={"x": x}) > 0
    True
    """

    name = "wake_sleep"

    def estimate(self, programs: Programs) -> Estimate:
        """Minus the free energy F, summed over the data, ``[restarts]``, in nats."""
        wake = programs.draw_from_guide(self.num_particles, shared=True)
        sleep = programs.draw_from_model(self.num_particles, shared=True)
        surrogate = wake.total(wake.log_p).mean(0) + sleep.total(sleep.log_q).mean(0)
        return Estimate(wake.elbo.mean(0), surrogate)
