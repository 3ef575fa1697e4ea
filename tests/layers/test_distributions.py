"""What holds of every driven Bernoulli; a new distribution is one row of ``ROWS`` and gets every test."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyro.infer import Predictive, TraceEnum_ELBO, config_enumerate
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import ExponentialFamily, kl_divergence
from torch.nn.functional import softplus

from pyro_helm.layers.distributions import NoisyOrBernoulli, OddsBernoulli, SigmoidBernoulli

MAGNITUDES = [10.0**exponent for exponent in range(-30, 31)] + [0.3, math.log(2), 3.0, 20.0, 50.0]
INFINITE = float("inf")


class Row(NamedTuple):
    """A distribution and, in plain floats, what it should be."""

    distribution: Callable[..., Any]
    drive_name: str
    drive: Callable[[Tensor], Tensor]
    """From logits."""
    log_on: Callable[[float], float]
    log_off: Callable[[float], float]
    slope_on: Callable[[float], float]
    slope_off: Callable[[float], float]
    extremes: list[float]
    refused: list[float]
    """Drives that are not allowed."""


def expm1(x: float) -> float:
    return math.expm1(x) if x < 700 else INFINITE


def log_sigmoid(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return math.exp(log_sigmoid(x))


POSITIVE, REAL = MAGNITUDES, MAGNITUDES + [-magnitude for magnitude in MAGNITUDES]
NOT_POSITIVE, NOT_REAL = [-1.0, 0.0, math.nan], [math.nan]
# fmt: off
ROWS = [
    Row(SigmoidBernoulli, "logits", lambda a: a, log_sigmoid, lambda a: log_sigmoid(-a),
        lambda a: sigmoid(-a), lambda a: -sigmoid(a), REAL, NOT_REAL),
    Row(NoisyOrBernoulli, "rate", softplus, lambda r: -math.log1p(1 / expm1(r)), lambda r: -r,
        lambda r: 1 / expm1(r), lambda r: -1.0, POSITIVE, NOT_POSITIVE),
    Row(OddsBernoulli, "odds", torch.exp, lambda o: -math.log1p(1 / o), lambda o: -math.log1p(o),
        lambda o: 1 / (o * (1 + o)), lambda o: -1 / (1 + o), POSITIVE, NOT_POSITIVE),
]
# fmt: on
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.drive_name for row in ROWS])
rows_with_two_parameters = pytest.mark.parametrize("row", ROWS[1:], ids=[row.drive_name for row in ROWS[1:]])
both_values = pytest.mark.parametrize("value", [0.0, 1.0])


def grid(limit: float = 12.0, steps: int = 25) -> Tensor:
    """Logits over which float64 resolves both probabilities."""
    return torch.linspace(-limit, limit, steps, dtype=torch.float64)


def at(row: Row, logits: Tensor) -> Any:
    return row.distribution(row.drive(logits))


def close(actual: Tensor, expected: Tensor | list[float], rtol: float = 1e-5, atol: float = 0.0) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


# log-probability


@every_row
@both_values
def test_log_prob_is_that_of_the_bernoulli_with_the_same_probability(row: Row, value: float) -> None:
    v = torch.full((25,), value, dtype=torch.float64)
    ours = at(row, grid())
    close(ours.log_prob(v), dist.Bernoulli(logits=grid()).log_prob(v), rtol=1e-8)
    close(ours.probs, torch.sigmoid(grid()), rtol=1e-8)
    close(ours.logits, grid(), rtol=1e-8, atol=1e-8)


@every_row
@both_values
def test_value_and_gradient_of_log_prob_in_float32_from_1e_minus_30_to_1e30(row: Row, value: float) -> None:
    drive = torch.tensor(row.extremes, requires_grad=True)
    log_prob = row.distribution(drive).log_prob(torch.tensor(value))
    (slope,) = torch.autograd.grad(log_prob.sum(), drive)
    exact, exact_slope = (row.log_on, row.slope_on) if value else (row.log_off, row.slope_off)
    # what is below 1e-38 is 0 in float32: hence atol
    close(log_prob, [exact(d) for d in drive.tolist()], atol=1e-37)
    close(slope, [exact_slope(d) for d in drive.tolist()], atol=1e-37)


@every_row
def test_a_drive_that_underflowed_or_overflowed_gives_no_nan_gradient(row: Row) -> None:
    drive = torch.tensor([0.0, 1e-45, 3e38], requires_grad=True)
    for value in (0.0, 1.0):
        log_prob = row.distribution(drive, validate_args=False).log_prob(torch.full((3,), value))
        (slope,) = torch.autograd.grad(log_prob.sum(), drive)
        assert torch.isfinite(log_prob).all()
        assert torch.isfinite(slope).all()


# exact derivatives in mpmath, by drive and value
EXACT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "logits": (
        lambda a: 1 / (1 + mpmath.exp(a)),
        lambda a: -1 / (1 + mpmath.exp(-a)),
        lambda a: -1 / (2 + mpmath.exp(a) + mpmath.exp(-a)),
        lambda a: -1 / (2 + mpmath.exp(a) + mpmath.exp(-a)),
    ),
    "rate": (
        lambda r: 1 / mpmath.expm1(r),
        lambda r: mpmath.mpf(-1),
        lambda r: -mpmath.exp(-r) / mpmath.expm1(-r) ** 2,
        lambda r: mpmath.mpf(0),
    ),
    "odds": (
        lambda o: 1 / (o * (1 + o)),
        lambda o: -1 / (1 + o),
        lambda o: -(1 + 2 * o) / (o * (1 + o)) ** 2,
        lambda o: 1 / (1 + o) ** 2,
    ),
}


@every_row
@both_values
@pytest.mark.parametrize(("dtype", "decades", "rtol"), [(torch.float32, 30, 2e-5), (torch.float64, 300, 1e-7)])
def test_first_and_second_derivatives_over_all_decades(
    row: Row, value: float, dtype: torch.dtype, decades: int, rtol: float
) -> None:
    drives = [10.0**exponent for exponent in range(-decades, decades + 1, decades // 30)]
    drives += [-drive for drive in drives] if row.drive_name == "logits" else []
    drive = torch.tensor(drives, dtype=dtype, requires_grad=True)
    log_p = row.distribution(drive).log_prob(torch.tensor(value, dtype=dtype))
    (slope,) = torch.autograd.grad(log_p.sum(), drive, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), drive)
    (alone,) = torch.autograd.grad(row.distribution(drive).log_prob(torch.tensor(value, dtype=dtype)).sum(), drive)
    on, off, curved_on, curved_off = EXACT[row.drive_name]
    limits = torch.finfo(dtype)
    # torch's own second derivative of a sigmoid is a product with 1 - p
    atol = limits.eps if row.drive_name == "logits" else 100 * limits.tiny
    for found, exact in ((slope, on if value else off), (alone, on if value else off),
                         (curvature, curved_on if value else curved_off)):  # fmt: skip
        truth = [exact(mpmath.mpf(d)) for d in drive.tolist()]
        # what is beyond the numbers of the type is infinite in it, and what is below them is 0
        expected = [math.copysign(math.inf, t) if abs(t) > limits.max else float(t) for t in truth]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64).to(dtype), rtol=rtol, atol=atol)


@pytest.mark.parametrize("distribution", [SigmoidBernoulli, NoisyOrBernoulli, OddsBernoulli])
def test_an_infinite_drive_is_certain(distribution: Callable[..., Any]) -> None:
    drive = torch.tensor([INFINITE, 1.0], requires_grad=True)
    unit = distribution(drive)
    assert unit.log_prob(torch.ones(2))[0].item() == 0
    off = unit.log_prob(torch.zeros(2))
    assert off[0].item() == -INFINITE
    assert off[1].item() == pytest.approx(distribution(torch.tensor(1.0)).log_prob(torch.tensor(0.0)).item())
    (slope,) = torch.autograd.grad(unit.log_prob(torch.ones(2)).sum() + off[1], drive)
    assert slope.isfinite().all()


@every_row
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(exponent=st.floats(-30, 30))
def test_the_two_probabilities_sum_to_one(row: Row, dtype: torch.dtype, exponent: float) -> None:
    ours = row.distribution(torch.tensor(10.0**exponent, dtype=dtype))
    total = ours.log_prob(torch.ones((), dtype=dtype)).exp() + ours.log_prob(torch.zeros((), dtype=dtype)).exp()
    close(total, torch.ones(()), rtol=4 * torch.finfo(dtype).eps)


@every_row
def test_gradients_of_first_and_second_order(row: Row) -> None:
    drive = row.drive(grid(4.0, 4)).requires_grad_()
    values = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert gradcheck(lambda d: row.distribution(d).log_prob(values), drive)
    assert gradgradcheck(lambda d: row.distribution(d).log_prob(values), drive)
    assert gradcheck(lambda d: row.distribution(d).entropy(), drive)
    assert gradcheck(lambda d: row.distribution(d).variance, drive)
    assert gradcheck(lambda d: kl_divergence(row.distribution(d), dist.Bernoulli(0.3)), drive)


@every_row
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_values_of_any_dtype(row: Row, dtype: torch.dtype) -> None:
    ours = at(row, torch.tensor([0.3, 0.3]))
    log_prob = ours.log_prob(torch.tensor([0, 1], dtype=dtype))
    assert log_prob.dtype == torch.float32
    close(log_prob.exp(), torch.sigmoid(torch.tensor([-0.3, 0.3])))


# parameters


@every_row
@pytest.mark.parametrize("number", [1, 0.7])
def test_a_number_is_a_scalar_of_the_default_dtype(row: Row, number: float) -> None:
    ours = row.distribution(number)
    assert ours.batch_shape == ours.sample().shape == ()
    assert ours.probs.dtype == torch.float32
    close(ours.log_prob(torch.tensor(1.0)), torch.tensor(row.log_on(number)))


@every_row
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_the_drives(row: Row, dtype: torch.dtype) -> None:
    ours = at(row, torch.zeros(3, dtype=dtype))
    results = [ours.probs, ours.logits, ours.mean, ours.mode, ours.variance, ours.entropy()]
    results += [ours.sample(), ours.enumerate_support(), ours.log_prob(torch.ones(3, dtype=dtype))]
    assert {result.dtype for result in results} == {dtype}


@every_row
def test_logits_in_place_of_the_drive(row: Row) -> None:
    ours = row.distribution(logits=grid(), validate_args=True)
    close(getattr(ours, row.drive_name), row.drive(grid()), rtol=1e-8)
    close(ours.probs, torch.sigmoid(grid()), rtol=1e-8)


@every_row
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_logits_beyond_the_range_of_probabilities_are_valid(row: Row, logit: float) -> None:
    ours = row.distribution(logits=torch.tensor(logit), validate_args=True)
    probable = torch.tensor(float(logit > 0))
    close(ours.log_prob(probable), torch.tensor(0.0), atol=1e-37)
    improbable = ours.log_prob(1 - probable)
    close(improbable, torch.tensor(-200.0))
    assert ours.expand([2]).log_prob(1 - probable).tolist() == [improbable.item()] * 2


@rows_with_two_parameters
def test_exactly_one_parameter_is_given(row: Row) -> None:
    name = row.drive_name
    with pytest.raises(ValueError, match=f"takes {name} or logits, got neither"):
        row.distribution()
    with pytest.raises(ValueError, match=f"takes {name} or logits, got both"):
        row.distribution(0.5, logits=0.5)


@every_row
def test_a_drive_out_of_range_is_refused_by_name(row: Row) -> None:
    for drive in row.refused:
        with pytest.raises(ValueError, match=f"Expected parameter {row.drive_name}"):
            row.distribution(torch.tensor([1.0, drive]), validate_args=True)
        row.distribution(torch.tensor([1.0, drive]), validate_args=False)


@every_row
def test_a_value_other_than_0_and_1_is_refused(row: Row) -> None:
    for value in (-1.0, 0.5, 2.0, math.nan):
        with pytest.raises(ValueError, match="to be within the support"):
            row.distribution(torch.ones(2), validate_args=True).log_prob(torch.tensor([0.0, value]))
        row.distribution(torch.ones(2), validate_args=False).log_prob(torch.tensor([0.0, value]))


@every_row
def test_it_prints_its_own_parameter(row: Row) -> None:
    assert repr(row.distribution(torch.ones(3))).endswith(f"Bernoulli({row.drive_name}: torch.Size([3]))")


# shapes


@every_row
def test_expand_keeps_type_parameter_and_validation(row: Row) -> None:
    small = at(row, torch.zeros(3, 1))
    large = small.expand([2, 3, 4])
    assert type(large) is row.distribution
    assert large.batch_shape == large.param_shape == large.sample().shape == (2, 3, 4)
    assert large.sample((5,)).shape == (5, 2, 3, 4)
    assert large.expand_by([6]).batch_shape == (6, 2, 3, 4)
    drive = getattr(large, row.drive_name)
    assert drive.data_ptr() == getattr(small, row.drive_name).data_ptr()
    with pytest.raises(ValueError, match="support"):
        large.log_prob(torch.tensor(0.5))
    unvalidated = row.distribution(torch.ones(1), validate_args=False).expand([2])
    unvalidated.log_prob(torch.tensor(0.5))


@every_row
def test_expand_keeps_what_has_been_computed_and_the_gradient(row: Row) -> None:
    drive = torch.ones(2, 1, requires_grad=True)
    small = row.distribution(drive)
    assert small.sample().shape == (2, 1)  # computes probs under no_grad
    large = small.expand([2, 3])
    (slope,) = torch.autograd.grad(large.probs.sum(), drive)
    close(slope, 3 * torch.full((2, 1), row.slope_on(1.0) * math.exp(row.log_on(1.0))))


@every_row
def test_to_event_sums_over_units(row: Row) -> None:
    single = at(row, torch.randn(4, 3))
    layer = single.to_event(1)
    x = layer.sample()
    assert (layer.batch_shape, layer.event_shape) == ((4,), (3,))
    close(layer.log_prob(x), single.log_prob(x).sum(-1))
    close(layer.entropy(), single.entropy().sum(-1))


@every_row
def test_value_and_drive_broadcast(row: Row) -> None:
    ours = at(row, torch.randn(4, 1))
    values = torch.tensor([0.0, 1.0, 1.0])
    expected = ours.expand([4, 3]).log_prob(values.expand(4, 3))
    close(ours.log_prob(values), expected)


@every_row
def test_mask_removes_data(row: Row) -> None:
    ours = at(row, torch.randn(3))
    x = torch.tensor([1.0, 0.0, 1.0])
    mask = torch.tensor([True, False, True])
    close(ours.mask(mask).log_prob(x), ours.log_prob(x) * mask)


@every_row
def test_enumerate_support(row: Row) -> None:
    ours = at(row, torch.randn(4, 3))
    assert row.distribution.has_enumerate_support  # type: ignore[attr-defined]
    assert ours.enumerate_support().shape == (2, 4, 3)
    assert ours.enumerate_support(expand=False).flatten().tolist() == [0.0, 1.0]
    assert ours.enumerate_support(expand=False).shape == (2, 1, 1)
    close(ours.log_prob(ours.enumerate_support(expand=False)).logsumexp(0), torch.zeros(4, 3), atol=1e-6)


# samples and moments


@every_row
def test_sample_means_are_the_probabilities(row: Row) -> None:
    pyro.set_rng_seed(0)
    ours, num_samples = at(row, grid(5.0, 11)), 20_000
    samples = ours.sample((num_samples,))
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    z = (samples.mean(0) - ours.mean) / (ours.variance / num_samples).sqrt()
    assert z.abs().max() < 4  # of 11 means; by chance once in 1,400 seeds


@every_row
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_samples_are_where_a_uniform_number_is_below_the_probability(row: Row, dtype: torch.dtype) -> None:
    layer = at(row, grid(5.0, 11).to(dtype))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = layer.sample((7,))
        torch.manual_seed(0)
        uniform = torch.rand(7, 11, dtype=torch.promote_types(dtype, torch.float32))
    assert samples.dtype == dtype
    assert torch.equal(samples, (uniform < layer.probs).to(dtype))


@every_row
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_samples_are_drawn_under_vmap(row: Row, randomness: str) -> None:
    logits = torch.tensor([-30.0, 30.0])[:, None].expand(2, 3)

    def draw(logit: torch.Tensor) -> torch.Tensor:
        sample: torch.Tensor = row.distribution(row.drive(logit), validate_args=False).sample((2,))
        return sample

    drawn = torch.vmap(draw, randomness=randomness)(logits)
    assert drawn.tolist() == [[[0.0] * 3] * 2, [[1.0] * 3] * 2]


@every_row
def test_a_failed_drive_samples_0_and_leaves_the_others_alone(row: Row) -> None:
    drive = torch.tensor([math.nan, 60.0])
    assert row.distribution(drive, validate_args=False).to_event(1).sample((9,)).mean(0)[0] == 0
    assert row.distribution(drive, validate_args=False).sample((9,))[:, 1].mean() > 0.5


@every_row
def test_moments_are_those_of_enumeration_and_of_bernoulli(row: Row) -> None:
    ours, bernoulli = at(row, grid()), dist.Bernoulli(logits=grid())
    values = ours.enumerate_support()
    log_prob = ours.log_prob(values)
    prob = log_prob.exp()
    mean = (prob * values).sum(0)
    close(ours.mean, mean, rtol=1e-8)
    close(ours.variance, (prob * (values - mean) ** 2).sum(0), rtol=1e-8)
    close(ours.entropy(), -(prob * log_prob).sum(0), rtol=1e-8)
    close(ours.entropy(), bernoulli.entropy(), rtol=1e-8)
    close(ours.entropy(), ExponentialFamily.entropy(ours), rtol=1e-8, atol=1e-10)
    off_centre = grid() != 0  # torch's mode is NaN at p = 1/2
    close(ours.mode[off_centre], bernoulli.mode[off_centre])


@every_row
def test_moments_at_the_extremes(row: Row) -> None:
    ours = row.distribution(torch.tensor(row.extremes))
    drives = torch.tensor(row.extremes).tolist()
    log_on, log_off = [row.log_on(d) for d in drives], [row.log_off(d) for d in drives]
    on, off = [math.exp(a) for a in log_on], [math.exp(a) for a in log_off]
    # log p(1) = -69 is known to a relative 1e-7, so exp(log p(1)) to 1e-5
    close(ours.mean, on, atol=1e-37)
    decided = (ours.mean - 0.5).abs() > 1e-6
    close(ours.mode[decided], torch.tensor(on)[decided].round())
    close(ours.variance, [a * b for a, b in zip(on, off, strict=True)], rtol=3e-5, atol=1e-37)
    entropy = [-a * math.exp(a) - b * math.exp(b) for a, b in zip(log_on, log_off, strict=True)]
    close(ours.entropy(), entropy, rtol=3e-5, atol=1e-37)


# Kullback-Leibler divergence


def bernoulli_from(drive: Tensor) -> Any:
    return dist.Bernoulli(logits=drive.log())


def torch_bernoulli_from(drive: Tensor) -> Any:
    return torch.distributions.Bernoulli(logits=drive.log())


FAMILIES = [row.distribution for row in ROWS] + [bernoulli_from, torch_bernoulli_from]
PAIRS = [(p, q) for p in FAMILIES for q in FAMILIES if p in FAMILIES[:-2] or q in FAMILIES[:-2]]


@pytest.mark.parametrize(("p", "q"), PAIRS)
@pytest.mark.parametrize(
    ("drives", "rtol", "atol"),
    [
        (torch.tensor([0.01, 0.3, 1.0, 7.0], dtype=torch.float64), 1e-9, 1e-12),
        (torch.tensor([1e-30, 1e-8, 1.0, 20.0, 1e8, 1e30]), 1e-5, 1e-6),
    ],
    ids=["float64", "extremes"],
)
def test_kl_is_that_of_enumeration(
    p: Callable[[Tensor], Any], q: Callable[[Tensor], Any], drives: Tensor, rtol: float, atol: float
) -> None:
    a, b = torch.meshgrid(drives, drives, indexing="ij")
    kl = kl_divergence(p(a), q(b))  # warnings, such as "ambiguous", are errors
    # the reference in float64, from the same drives
    log_p, log_q = (f(d.double()).log_prob(torch.tensor([[[0.0]], [[1.0]]]).double()) for f, d in ((p, a), (q, b)))
    expected = (log_p.exp() * (log_p - log_q)).sum(0)
    assert torch.isfinite(kl).all()
    close(kl, expected, rtol=rtol, atol=atol)


@every_row
def test_kl_of_layers_sums_over_units(row: Row) -> None:
    p, q = at(row, torch.randn(4, 3)), at(row, torch.randn(4, 3))
    close(kl_divergence(p.to_event(1), q.to_event(1)), kl_divergence(p, q).sum(-1))


def test_kl_is_finite_where_torchs_is_infinite() -> None:
    p, q = torch.tensor(0.5), torch.tensor(20.0)
    assert kl_divergence(dist.Bernoulli(p), dist.Bernoulli(-torch.expm1(-q))) == INFINITE
    close(kl_divergence(dist.Bernoulli(p), NoisyOrBernoulli(q)), torch.tensor(10.0 - math.log(2)))


# in Pyro programs


@every_row
def test_marginals_by_enumeration_are_the_exact_posterior(row: Row) -> None:
    x, likelihood_on, likelihood_off = torch.tensor([0.0, 1.0, 1.0]), torch.tensor(0.8), torch.tensor(0.3)
    prior = at(row, torch.tensor(-0.4))

    @config_enumerate  # type: ignore[untyped-decorator]
    def model() -> None:
        with pyro.plate("data", 3):
            h = pyro.sample("h", prior)
            pyro.sample("x", dist.Bernoulli(h * likelihood_on + (1 - h) * likelihood_off), obs=x)

    posterior = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(model, lambda: None)["h"]
    on = prior.probs * dist.Bernoulli(likelihood_on).log_prob(x).exp()
    off = (1 - prior.probs) * dist.Bernoulli(likelihood_off).log_prob(x).exp()
    assert type(posterior) is row.distribution
    close(posterior.probs, on / (on + off))


@every_row
def test_predictive_draws_layers(row: Row) -> None:
    def model() -> None:
        with pyro.plate("data", 4):
            pyro.sample("x", at(row, torch.zeros(3)).to_event(1))

    for parallel in (False, True):
        x = Predictive(model, num_samples=5, parallel=parallel)()["x"]
        assert x.shape == (5, 4, 3)
        assert ((x == 0) | (x == 1)).all()


@every_row
@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))], ids=["deepcopy", "pickle"]
)
def test_copies_are_the_same_distribution(row: Row, copy_of: Callable[[Any], Any]) -> None:
    ours = at(row, torch.randn(3))
    x = ours.sample()  # probs are computed and copied too
    copied = copy_of(ours)
    assert type(copied) is row.distribution
    assert torch.equal(copied.log_prob(x), ours.log_prob(x))


@pytest.mark.parametrize("make", [NoisyOrBernoulli, OddsBernoulli])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_pass_what_pyro_tracks_through_a_program(make: Any, value: float) -> None:
    """TraceGraph_ELBO follows draws by tensors of a kind of its own."""
    gradients: list[Tensor] = []
    for tracked in (False, True):
        drive = torch.tensor([0.5, 2.0], requires_grad=True)
        doubled = track_provenance(drive * 2, frozenset({"h"})) if tracked else drive * 2
        log_p = make(doubled).log_prob(torch.full((2,), value))
        assert get_provenance(log_p) == (frozenset({"h"}) if tracked else frozenset())
        gradients += torch.autograd.grad(detach_provenance(log_p.sum()), drive)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("kind", [NoisyOrBernoulli, OddsBernoulli])
def test_values_between_zero_and_one_have_the_slopes_of_finite_differences(
    kind: type[NoisyOrBernoulli] | type[OddsBernoulli],
) -> None:
    """Of the value, which relaxed draws need, and of the drive."""
    drive = torch.tensor([0.3, 2.0], dtype=torch.float64)
    value = torch.tensor([0.25, 0.7], dtype=torch.float64)

    def score(drive: Tensor, value: Tensor) -> Tensor:
        log_p: Tensor = kind(drive, validate_args=False).log_prob(value)
        return log_p

    assert gradcheck(score, (drive.clone().requires_grad_(), value))
    assert gradcheck(score, (drive.clone().requires_grad_(), value.clone().requires_grad_()))
    assert gradgradcheck(score, (drive.clone().requires_grad_(), value))
