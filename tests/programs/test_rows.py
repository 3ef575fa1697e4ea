"""Rows reach a program whole and in the caller's order, unless a row is known to be all there is."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

import pyro_helm as helm
from pyro_helm.likelihoods import mean_field, mixed_with_prior, prior, tempered
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.rows import may_be_divided
from tests.checker import DATA, tiny_machine
from tests.oracle import binary_rows

LENGTHS = torch.tensor([4, 2, 1, 3, 4])
SEQUENCES = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]).float()
ON = torch.tensor([[0.2, 0.3, 0.4, 0.6], [0.9, 0.8, 0.7, 0.6]])
"""Probability of each step of a sequence, under either value of its latent."""
HIDDEN = 0.3


def model(observations: dict[str, Tensor], lengths: Tensor = LENGTHS) -> None:
    """Sequences of other lengths, which the program is closed over."""
    x = observations["x"]
    mask = torch.arange(4) < lengths[: len(x), None]
    with pyro.plate("data", len(x), dim=-1):
        h = pyro.sample("h", dist.Bernoulli(torch.tensor(HIDDEN)))
        pyro.sample("x", dist.Bernoulli(ON[h.long()]).mask(mask).to_event(1), obs=x)


def guide(observations: dict[str, Tensor]) -> None:
    with pyro.plate("data", len(observations["x"]), dim=-1):
        pyro.sample("h", dist.Bernoulli(torch.tensor(0.5)))


def by_hand(x: Tensor, lengths: Tensor) -> Tensor:
    """log p(x, h), [data, 2]."""
    rows = []
    for row, length in zip(x.tolist(), lengths.tolist(), strict=True):
        joint = [
            weight * math.prod(p if on else 1 - p for p, on in zip(probs[:length], row[:length], strict=True))
            for weight, probs in zip((1 - HIDDEN, HIDDEN), ON.tolist(), strict=True)
        ]
        rows.append([math.log(value) for value in joint])
    return torch.tensor(rows)


@pytest.mark.parametrize("terms_at_once", [1, 2**22])
def test_what_a_program_knows_of_each_row_stays_with_it_in_sums_over_states(terms_at_once: int) -> None:
    joint = by_hand(SEQUENCES, LENGTHS)
    found = helm.log_likelihood(model, None, SEQUENCES, method="exact").table.log_likelihood
    assert found.to_numpy() == pytest.approx(joint.logsumexp(-1).numpy(), abs=1e-5)
    posterior = helm.exact_posterior(model, guide, SEQUENCES, terms_at_once=terms_at_once)
    log_post = joint.log_softmax(-1)
    assert torch.allclose(posterior.log_likelihood[0], joint.logsumexp(-1), atol=1e-5)
    assert torch.allclose(posterior.marginals["h"][0], log_post[:, 1].exp(), atol=1e-5)
    assert posterior.kl is not None
    assert torch.allclose(posterior.kl[0], (0.5 * (math.log(0.5) - log_post)).sum(-1), atol=1e-5)
    assert torch.allclose(posterior.log_prob({"h": torch.tensor([0.0, 1.0])})[:, 0].mT, log_post, atol=1e-5)


def test_more_rows_than_are_drawn_for_at_once_keep_their_places() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(2, (1300, 4), generator=generator).float()
    lengths = torch.randint(1, 5, (1300,), generator=generator)

    def program(observations: dict[str, Tensor]) -> None:
        model(observations, lengths)

    truth = by_hand(x, lengths).logsumexp(-1).numpy()
    scores = helm.log_likelihood(program, guide, x, num_samples=400)
    z = (scores.table.log_likelihood - truth) / scores.table.stderr
    assert z.abs().max() < 5  # z-threshold, of 1300
    assert scores.summary.warnings.item() == ""


def test_where_rows_are_together_it_is_the_samples_that_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def counted(observations: dict[str, Tensor]) -> None:
        guide(observations)
        shapes.append(len(observations["x"]))

    x = SEQUENCES.repeat(1000, 1)

    def program(observations: dict[str, Tensor]) -> None:
        model(observations, LENGTHS.repeat(1000))

    helm.log_likelihood(program, counted, x, num_samples=20)
    assert set(shapes) == {5000}
    assert len(shapes) >= 20 * 5000 // 20_000  # at most 20,000 draws at a time


@pytest.mark.parametrize("number", [6, 250])
def test_a_plate_of_a_fixed_size_takes_equal_rows_and_many(number: int) -> None:
    def fixed(observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", number, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.tensor(HIDDEN)))
            pyro.sample("x", dist.Bernoulli(ON[h.long()]).to_event(1), obs=observations["x"])

    x = SEQUENCES[:1].expand(number, 4)
    truth = by_hand(x[:1], torch.tensor([4])).logsumexp(-1).item()
    exact = helm.log_likelihood(fixed, None, x, method="exact").table
    assert exact[["restart", "datum"]].to_numpy().tolist() == [[0, datum] for datum in range(number)]
    assert exact.log_likelihood.to_numpy() == pytest.approx(truth, abs=1e-5)
    posterior = helm.exact_posterior(fixed, None, x)
    assert posterior.log_likelihood.shape == (1, number)
    sampled = helm.log_likelihood(fixed, guide, x, num_samples=200).table
    assert ((sampled.log_likelihood - truth) / sampled.stderr).abs().max() < 5  # z-threshold
    # another number of rows than the plate's is no number of restarts
    with pytest.raises(ValueError, match=f"was shown 1 rows, but has log-probabilities of {number} data"):
        helm.log_likelihood(fixed, None, x[:1], method="exact")
    with pytest.raises(ValueError, match=f"was shown 1 rows, but has log-probabilities of {number} data"):
        helm.log_likelihood(fixed, prior(fixed), x[:1])
    with pytest.raises(ValueError, match=r'1 of the rows at a time, but .* data; give rows="together"'):
        helm.log_likelihood(fixed, None, x, method="exact", rows="independent")


def test_with_the_callers_leave_rows_are_divided_and_equal_ones_scored_once() -> None:
    shown: list[int] = []

    def program(observations: dict[str, Tensor]) -> None:
        shown.append(len(observations["x"]))
        model(observations, torch.full((1600,), 4))

    x = binary_rows(4).float().repeat(100, 1)
    divided = helm.log_likelihood(program, None, x, method="exact", rows="independent").table.log_likelihood
    assert max(shown[1:]) <= 1000
    truth = by_hand(x[:16], torch.full((16,), 4)).logsumexp(-1).numpy()
    assert divided.to_numpy().reshape(100, 16) == pytest.approx(truth[None].repeat(100, 0), abs=1e-5)
    with pytest.raises(ValueError, match=r'rows must be "together", "independent" or None, got .some.'):
        helm.log_likelihood(program, None, x, method="exact", rows="some")  # type: ignore[arg-type]


def test_only_the_librarys_own_machines_are_known_to_know_no_more() -> None:
    machine = tiny_machine("sigmoid")

    class Masked(BeliefNetwork):
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            with pyro.poutine.mask(mask=torch.tensor([True, False, True])):
                return super().forward(*args, **kwargs)

    own = (machine.model, machine.guide)
    assert may_be_divided(None, *own)
    assert may_be_divided(None, machine.model, None)
    assert not may_be_divided(None, Masked((3, 2)), None)
    assert not may_be_divided(None, machine.model, guide)
    assert not may_be_divided("together", *own)
    for proposal in (prior(own[0]), mixed_with_prior(*own), tempered(own[1], temperature=2.0), mean_field(own[1])):
        assert may_be_divided(None, own[0], proposal)
    assert not may_be_divided(None, own[0], mixed_with_prior(own[0], guide))
    masked = Masked((3, 2, 2)).double()
    masked.load_state_dict(machine.model.state_dict())
    # its own forward is what is summed, and not the layers of the class that it is derived from
    expected = machine.log_evidence(DATA).detach().numpy() * [1, 0, 1]
    assert helm.log_likelihood(masked, None, DATA, method="exact").table.log_likelihood.to_numpy() == pytest.approx(
        expected
    )
    with pytest.raises(TypeError, match="anneals the layers of a BeliefNetwork, got a Masked"):
        helm.log_likelihood(masked, None, DATA, method="ais", start="prior")
    with pytest.raises(TypeError, match=r"of a BeliefNetwork and a FactorialRecognition, got a Masked"):
        helm.MeanField().loss(masked, machine.guide, observations={"x": DATA})


def test_guides_are_judged_on_whole_rows() -> None:
    """The guide excludes a state of one row, whose place it knows."""

    def partial_guide(observations: dict[str, Tensor]) -> None:
        probs = torch.tensor([0.5, 0.5, 0.5, 0.0, 0.5])
        with pyro.plate("data", 5, dim=-1):
            pyro.sample("h", dist.Bernoulli(probs))

    scores = helm.log_likelihood(model, partial_guide, SEQUENCES, num_samples=100)
    assert scores.table.log_likelihood.isna().tolist() == [False, False, False, True, False]


class Seen(PyroModule):  # type: ignore[misc]
    """A program that keeps what it is shown, and tilts its latent by a weight."""

    def __init__(self, *, observes: bool) -> None:
        super().__init__()
        self.observes = observes
        self.weight = nn.Parameter(torch.zeros(()))
        self.shown: list[Tensor] = []

    def forward(self, observations: dict[str, Tensor]) -> None:
        self.shown.append(observations["x"])
        assert len(observations["x"]) == 5
        with pyro.plate("data", 5, dim=-1):
            h = pyro.sample("h", dist.Bernoulli(logits=self.weight.expand(5)))
            if self.observes:
                mask = torch.arange(4) < LENGTHS[:, None]
                pyro.sample("x", dist.Bernoulli(ON[h.long()]).mask(mask).to_event(1), obs=observations["x"])


@pytest.mark.parametrize("batch_size", [None, 5, 100])
def test_a_full_batch_is_trained_on_and_judged_in_the_callers_order(batch_size: int | None) -> None:
    shown, shown_to_guide = Seen(observes=True), Seen(observes=False)
    helm.fit(
        shown,
        shown_to_guide,
        SEQUENCES,
        valid=SEQUENCES,
        scheme=helm.VIMCO(2),
        num_epochs=2,
        batch_size=batch_size,
        progress=False,
    )
    assert shown.shown
    assert all(torch.equal(x, SEQUENCES) for x in [*shown.shown, *shown_to_guide.shown])
