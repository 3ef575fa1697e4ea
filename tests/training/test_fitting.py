"""fit: restarts train as they would alone, the best are kept, failures and Ctrl-C end well."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor

import pyro_helm as helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.programs.particles import Program
from pyro_helm.runtime.tables import COLUMNS
from pyro_helm.training import validation
from pyro_helm.training.cases import Cases
from pyro_helm.training.validation import validated

SIZES = (6, 4, 2)
IMAGING = ("sigmoid", "noisy_or", "odds")
RAND = torch.rand
SCHEMES = [
    helm.Reinforce(2),
    helm.NVIL(2),
    helm.DisARM(2),
    helm.ExactLayers(2),
    helm.JointStochasticApproximation(2),
    helm.MemoisedWakeSleep(2),
    helm.VIMCO(2),
    helm.TVO(2),
    helm.WakeSleep(2),
    helm.ReweightedWakeSleep(2, insomnia=0.5),
    helm.Gibbs(2),
    helm.Relaxed(2),
]
# one of them at a tolerance at which another number of nodes gives another value
DETERMINISTIC = [
    helm.ExactEM(),
    helm.MeanField(),
    helm.ExactMeanField(),
    helm.ExactMeanField(tolerance=1e-2, max_enumerated=0),
    helm.VariationalEM(num_iterations=2),
]


def data(rows: int = 60, seed: int = 0) -> Tensor:
    """Two noisy prototypes."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    clean = prototypes[torch.randint(2, (rows,), generator=generator)]
    return (clean + (torch.rand(rows, 6, generator=generator) < 0.05)) % 2


def machine(restarts: int = 1, imaging: str = "sigmoid", seed: int = 0) -> tuple[Any, Any]:
    return (
        BeliefNetwork(SIZES, imaging, restarts=restarts, seed=seed),
        FactorialRecognition(SIZES, restarts=restarts, seed=seed),
    )


def fit(model: Any, guide: Any, x: Tensor | helm.PatternDistribution | None = None, **settings: Any) -> helm.Result:
    defaults = {"scheme": helm.ReweightedWakeSleep(3), "num_epochs": 3, "batch_size": 20, "progress": False}
    chosen: dict[str, Any] = defaults | settings
    return helm.fit(model, guide, data() if x is None else x, **chosen)


class SharedNoise:
    """Uniform numbers made per restart, so that a restart trained alone can be given those it had in the batch."""

    def __init__(self, restarts: list[int], of: int) -> None:
        self.restarts, self.of = restarts, of
        self.generator = torch.Generator().manual_seed(7)

    def __call__(self, shape: Any, **kwargs: Any) -> Tensor:
        # [particles, restarts, data, units]; a single restart's dimension is absent or 1
        particles, data, units = shape[0], shape[-2], shape[-1]
        every = RAND((particles, self.of, data, units), generator=self.generator, dtype=torch.float64)
        return every[:, self.restarts].reshape(shape)


def share_noise(monkeypatch: pytest.MonkeyPatch, noise: SharedNoise) -> None:
    monkeypatch.setattr(torch, "rand", noise)
    monkeypatch.setattr(torch, "rand_like", lambda like: noise(like.shape))


# a scheme that samples does the same whatever the imaging: each meets one of them, each of them several schemes
@pytest.mark.parametrize(
    ("scheme", "imaging"),
    [
        *((scheme, IMAGING[place % len(IMAGING)]) for place, scheme in enumerate(SCHEMES)),
        *((scheme, imaging) for scheme in DETERMINISTIC for imaging in IMAGING),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_restarts_train_as_they_would_alone(scheme: helm.Scheme, imaging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same initial values, same minibatches, same noise: the same parameters to float64 rounding."""
    restarts, x = 2, data(40)
    together = machine(restarts, imaging)
    initial = [{name: value.clone() for name, value in part.state_dict().items()} for part in together]
    if scheme.samples:
        share_noise(monkeypatch, SharedNoise(list(range(restarts)), restarts))
    fit(*together, x, scheme=scheme, num_epochs=2, dtype=torch.float64)
    for restart in range(restarts):
        alone = machine(1, imaging)
        for part, values in zip(alone, initial, strict=True):
            part.load_state_dict({name: value[restart : restart + 1] for name, value in values.items()})
        if scheme.samples:
            share_noise(monkeypatch, SharedNoise([restart], restarts))
        fit(*alone, x, scheme=scheme, num_epochs=2, dtype=torch.float64)
        for batch_part, part, values in zip(together, alone, initial, strict=True):
            for name, value in part.state_dict().items():
                assert torch.allclose(value[0], batch_part.state_dict()[name][restart], rtol=1e-9, atol=1e-11)
                assert not torch.equal(value, values[name][restart : restart + 1])


@pytest.mark.parametrize("scheme", [*SCHEMES, *DETERMINISTIC[:3]], ids=lambda scheme: scheme.name)
def test_training_finds_the_structure_of_the_data(scheme: helm.Scheme) -> None:
    model, guide = machine(restarts=4)
    fit(model, guide, data(400), scheme=scheme, num_epochs=6, batch_size=40, learning_rate=0.1)
    trained = helm.log_likelihood(model, None, data(400, seed=1), method="exact").summary.log_likelihood.max()
    rates = data(400).mean(0)
    factorised = dist.Bernoulli(rates).log_prob(data(400, seed=1)).sum(-1).mean()
    assert trained > float(factorised) + 1.0


def test_history_is_tidy() -> None:
    model, guide = machine(restarts=2)
    result = fit(model, guide, valid=data(20, seed=1), dataset="prototypes", seed=5)
    history = result.history
    assert list(history.columns) == COLUMNS
    assert set(history.metric) == {"train_bound", "valid_elbo", "valid_log_likelihood"}
    assert len(history) == 3 * 2 * 3  # epochs x restarts x metrics
    assert history[
        ["dataset", "model", "imaging", "sizes", "scheme", "seed"]
    ].drop_duplicates().to_numpy().tolist() == [
        ["prototypes", "BeliefNetwork", "sigmoid", "6-4-2", "reweighted_wake_sleep", 5]
    ]
    assert history.seconds.is_monotonic_increasing
    assert (history.value < 0).all()
    assert not result.interrupted


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_callers_random_state_alone() -> None:
    results = []
    torch.manual_seed(123)
    expected = torch.rand(1)
    for _ in range(2):
        torch.manual_seed(123)
        results.append(fit(*machine(2), valid=data(20, seed=1), seed=3))
        assert torch.equal(torch.rand(1), expected)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(results[0].history.drop(columns=drop), results[1].history.drop(columns=drop))
    other = fit(*machine(2), valid=data(20, seed=1), seed=4)
    assert not (other.history.value == results[0].history.value).all()


def test_validation_does_not_change_the_training() -> None:
    with_valid = fit(*machine(), valid=data(20, seed=1)).history
    without = fit(*machine()).history
    train = with_valid[with_valid.metric == "train_bound"].value.tolist()
    assert train == without.value.tolist()


def test_the_best_parameters_of_each_restart_are_kept() -> None:
    model, guide = machine(restarts=3)
    valid = data(40, seed=1)
    # a learning rate at which the bound goes up and down
    result = fit(model, guide, valid=valid, num_epochs=15, learning_rate=0.5, seed=1)
    scores = result.history[result.history.metric == "valid_log_likelihood"]
    best = scores.loc[scores.groupby("restart").value.idxmax()]
    assert result.summary.best_epoch.tolist() == best.epoch.tolist()
    assert (best.epoch < 15).any()
    # the kept parameters score exactly what the best epoch scored: same draws, same parameters
    again, _ = validated(model, guide, Cases(valid, None), num_samples=10, seed=1)["valid_log_likelihood"]
    assert torch.allclose(again.double(), torch.tensor(best.value.to_numpy()), atol=1e-6)


def test_a_restart_out_of_patience_stops() -> None:
    result = fit(*machine(2), valid=data(20, seed=1), num_epochs=200, learning_rate=1.0, patience=3)
    last = int(result.history.epoch.max())
    assert last < 200
    assert last == result.summary.best_epoch.max() + 3


class CountsRestarts(helm.ReweightedWakeSleep):
    """Keeps the number of restarts of every step."""

    def __init__(self) -> None:
        super().__init__(3)
        self.numbers: list[int] = []

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        losses = super().restart_losses(model, guide, *args, **kwargs)
        self.numbers.append(len(losses))
        return losses


@pytest.mark.parametrize("step", ["eager", "captured"])
def test_restarts_that_have_stopped_leave_the_batch_when_they_are_half_of_it(step: str, tmp_path: Path) -> None:
    scheme, (model, guide), valid = CountsRestarts(), machine(restarts=8), data(20, seed=1)
    settings: dict[str, Any] = {"num_epochs": 200, "learning_rate": 0.5, "patience": 3, "step": step, "out": tmp_path}
    result = fit(model, guide, valid=valid, scheme=scheme, **settings)
    assert scheme.numbers[0] == 8
    assert scheme.numbers[-1] < 4
    assert sorted(scheme.numbers, reverse=True) == scheme.numbers
    # of each restart a row for every epoch until it stops, and the parameters of its best
    epochs = result.history[result.history.metric == "valid_log_likelihood"].groupby("restart").epoch
    assert epochs.max().tolist() == (result.summary.best_epoch + 3).tolist()
    assert epochs.max().tolist() == epochs.count().tolist()
    assert {len(p) for part in (model, guide) for p in part.parameters()} == {model.restarts} == {8}
    kept, _ = validated(model, guide, Cases(valid, None), num_samples=10, seed=0)["valid_log_likelihood"]
    assert kept.tolist() == pytest.approx(result.summary.best.tolist(), abs=1e-5)
    assert torch.equal(helm.load(tmp_path)[0].generative[0].weight, model.generative[0].weight)


class FailingRestart(helm.ReweightedWakeSleep):
    """Restart 1's loss becomes NaN in the second epoch."""

    steps = 0

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        losses = super().restart_losses(model, guide, *args, **kwargs)
        self.steps += 1
        poison = torch.ones_like(losses)
        if self.steps >= 5:  # the first is the one that tries the programs out
            poison[1] = torch.nan
        return losses * poison


def test_a_failed_restart_is_marked_and_the_others_go_on() -> None:
    failing, sound = machine(restarts=3), machine(restarts=3)
    valid = data(20, seed=1)
    with pytest.warns(
        RuntimeWarning, match=r"restarts \[1\] of 3 failed: their loss, gradient or parameters became non-finite"
    ):
        result = fit(*failing, valid=valid, scheme=FailingRestart(3))
    expected = fit(*sound, valid=data(20, seed=1))
    assert result.summary.failed.tolist() == [False, True, False]
    assert result.summary.best_epoch[1] == 1
    for part, other in zip(failing, sound, strict=True):
        for name, value in part.state_dict().items():
            assert bool(value.isfinite().all())
            assert torch.allclose(value[[0, 2]], other.state_dict()[name][[0, 2]])
    assert expected.summary.failed.sum() == 0


@pytest.mark.parametrize("scheme", [*SCHEMES, *DETERMINISTIC], ids=lambda scheme: scheme.name)
def test_parameters_that_overflow_fail_their_restart_alone(scheme: helm.Scheme) -> None:
    model, guide = machine(restarts=2, imaging="odds")
    with torch.no_grad():
        model.generative[0].weight_unconstrained[1] = 200.0  # exp(200) is infinite in float32
    valid = data(20, seed=1)
    with pytest.warns(RuntimeWarning, match=r"restarts \[1\] of 2 failed"):
        result = fit(model, guide, scheme=scheme, valid=valid)
    assert result.summary.failed.tolist() == [False, True]
    assert result.history[result.history.restart == 0].value.notna().all()
    scores = helm.log_likelihood(model, guide, valid, num_samples=10).summary
    assert scores.log_likelihood.notna().tolist() == [True, False]
    assert "no finite log-likelihood" in scores.warnings[1]


def test_parameters_that_overflow_in_the_last_step_are_not_kept() -> None:
    model, guide = machine(restarts=2)
    before = [p.detach().clone() for part in (model, guide) for p in part.parameters()]
    optimizer = partial(torch.optim.SGD, lr=3e38, weight_decay=100.0)
    with pytest.warns(RuntimeWarning, match=r"restarts \[0, 1\] of 2 failed"):
        result = helm.fit(
            model,
            guide,
            data(),
            scheme=helm.WakeSleep(),
            optimizer=optimizer,
            num_epochs=1,
            batch_size=None,
            progress=False,
        )
    assert result.summary.failed.all()
    for ours, theirs in zip(before, [p for part in (model, guide) for p in part.parameters()], strict=True):
        assert torch.equal(ours, theirs)


RUNAWAY = 5e3
"""A weight that takes more nodes than there may be, in the first layer of 4 causes."""


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 5}, {"optimizer": partial(helm.LBFGS, iterations=5), "batch_size": None, "dtype": torch.float64}],
    ids=["Adam", "LBFGS"],
)
def test_a_restart_that_takes_too_many_nodes_fails_alone(settings: dict[str, Any]) -> None:
    class RunsAway(helm.ExactMeanField):
        """Its second restart, once it has been tried out and some steps are done."""

        steps = 0

        def restart_losses(self, model: Any, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
            self.steps += 1
            if self.steps > 5:
                with torch.no_grad():
                    model.generative[0].weight_unconstrained[-1] = RUNAWAY
            return super().restart_losses(model, guide, *args, **kwargs)

    model, guide = machine(restarts=2)
    with pytest.warns(RuntimeWarning, match=r"restarts \[1\] of 2 failed"):
        result = fit(model, guide, data(20), scheme=RunsAway(max_enumerated=0), **settings)
    assert result.summary.failed.tolist() == [False, True]
    own = result.history[result.history.restart == 0]
    assert own.epoch.tolist() == [1, 2, 3]
    sound = fit(*machine(restarts=2), data(20), scheme=helm.ExactMeanField(max_enumerated=0), **settings).history
    assert own.value.tolist() == pytest.approx(sound[sound.restart == 0].value.tolist(), rel=1e-6)
    with pytest.raises(ValueError, match=r"would take \d+ nodes"):
        fit(*machine(), data(20), scheme=RunsAway(max_enumerated=0), **settings)


class Interrupting(helm.ReweightedWakeSleep):
    """Ctrl-C in the third epoch."""

    steps = 0

    def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        self.steps += 1
        if self.steps == 9:
            raise KeyboardInterrupt
        return super().restart_losses(model, guide, *args, **kwargs)


def test_ctrl_c_ends_it_with_what_there_is(tmp_path: Path) -> None:
    model, guide = machine(restarts=2)
    result = fit(model, guide, valid=data(20, seed=1), scheme=Interrupting(3), num_epochs=50, out=tmp_path / "run")
    assert result.interrupted
    assert result.history.epoch.max() == 2  # three steps an epoch
    loaded, _ = helm.load(tmp_path / "run")
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_out_holds_the_machine_and_its_history(tmp_path: Path) -> None:
    model, guide = machine(restarts=2)
    result = fit(model, guide, out=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name != ".lock") == [
        "config.json",
        "history.csv",
        "history.parquet",
        "machine.safetensors",
        "state.pt",
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "run" / "history.parquet"), result.history)
    loaded, loaded_guide = helm.load(tmp_path / "run")
    assert torch.equal(loaded.generative[0].weight, model.generative[0].weight)
    assert torch.equal(loaded_guide.recognition[0].weight, guide.recognition[0].weight)


def test_any_torch_optimiser_and_schedule() -> None:
    for optimizer in (torch.optim.SGD, partial(torch.optim.RMSprop, momentum=0.5), torch.optim.NAdam):
        schedule = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
        fit(*machine(2), optimizer=optimizer, learning_rate=0.01, schedule=schedule)
    fit(*machine(1), optimizer=torch.optim.LBFGS, learning_rate=0.1)
    with pytest.raises(ValueError, match="LBFGS mixes the entries of a parameter and so would mix its 2 restarts"):
        fit(*machine(2), optimizer=torch.optim.LBFGS)


def test_a_schedule_lowers_the_learning_rate_each_epoch() -> None:
    still = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda epoch: float(epoch == 0))
    one, three = machine(), machine()
    fit(*one, num_epochs=1, schedule=still)
    fit(*three, num_epochs=3, schedule=still)
    assert torch.equal(one[0].generative[0].weight, three[0].generative[0].weight)


def test_seconds_end_it() -> None:
    result = fit(*machine(), num_epochs=10_000, max_seconds=0.2)
    assert 1 <= result.history.epoch.max() < 10_000
    assert result.history.seconds.max() < 5


def test_a_progress_bar_shows_scheme_and_bound(capsys: pytest.CaptureFixture[str]) -> None:
    fit(*machine(), valid=data(20, seed=1), progress=True, dataset="prototypes")
    shown = capsys.readouterr()
    assert "prototypes sigmoid reweighted_wake_sleep" in " ".join(shown.err.split())
    assert shown.out == ""


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"x": data() * 2}, ValueError, "data"),
        ({"x": data()[:, :5]}, ValueError, "data"),
        ({"valid": data()[:, :5]}, ValueError, "valid"),
        ({"num_epochs": 0}, ValueError, "num_epochs must be at least 1, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"patience": 3}, ValueError, "patience needs validation data to judge by, but valid is None"),
        (
            {"scheme": "vimco"},
            TypeError,
            "scheme must be an inference scheme such as ReweightedWakeSleep(), got 'vimco'",
        ),
        ({"scheme": helm.Reinforce}, TypeError, "scheme must be an inference scheme"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(settings: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        fit(*machine(), **settings)


def test_plain_functions_are_sent_to_svi() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch or Pyro module .* pyro.infer.SVI"):
        fit(lambda observations: None, machine()[1])


def test_restarts_need_a_dimension_in_every_parameter() -> None:
    model, _ = machine(restarts=2)
    with pytest.raises(ValueError, match=r"with 2 restarts every parameter must have them as its first dimension"):
        fit(model, torch.nn.Linear(6, 4), scheme=helm.WakeSleep())


def test_machines_of_other_sizes_or_restarts_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the same sizes"):
        fit(machine()[0], FactorialRecognition((6, 3)))
    with pytest.raises(ValueError, match="must have the same restarts, got 1 and 2"):
        fit(machine()[0], machine(restarts=2)[1])


class OwnModel(PyroModule):  # type: ignore[misc]
    """As users write them: without restarts, with a constrained parameter."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = PyroParam(torch.full((3, 6), rate), dist.constraints.positive)

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            h = pyro.sample("h", dist.Bernoulli(torch.full((3,), 0.4)).to_event(1))
            pyro.sample("x", helm.NoisyOrBernoulli(h @ self.rate + 0.05).to_event(1), obs=observations["x"])


class OwnGuide(PyroModule):  # type: ignore[misc]
    def __init__(self, name: str = "scale") -> None:
        super().__init__()
        self.net = torch.nn.Linear(6, 3)
        self.name = name
        setattr(self, name, PyroParam(torch.tensor(1.0), dist.constraints.positive))

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", observations["x"].shape[-2], dim=-1):
            logits = getattr(self, self.name) * self.net(observations["x"])
            pyro.sample("h", dist.Bernoulli(logits=logits).to_event(1))


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s.name != "exact_layers"], ids=lambda scheme: scheme.name)
def test_ones_own_modules_train_and_are_scored_each_with_their_own_parameters(scheme: helm.Scheme) -> None:
    pyro.clear_param_store()
    first, second = OwnModel(), OwnModel(0.4)
    guides = OwnGuide(), OwnGuide()
    for model, guide in zip((first, second), guides, strict=True):
        parameter, before = model.rate_unconstrained, model.rate.detach().clone()
        fit(model, guide, data(), scheme=scheme, num_epochs=2, learning_rate=0.2)
        assert model.rate_unconstrained is parameter
        assert not torch.allclose(model.rate, before, atol=0.1)
    assert not torch.equal(first.rate, second.rate)
    # scored after another machine of the same names, a machine scores what it scores by itself
    fresh = OwnModel()
    alone = helm.log_likelihood(fresh, guides[1], data(), num_samples=50).table
    helm.log_likelihood(first, guides[0], data(), num_samples=50)
    again = helm.log_likelihood(fresh, guides[1], data(), num_samples=50).table
    assert again.equals(alone)
    assert not dict(pyro.get_param_store())


def test_parameters_that_pyro_would_take_for_one_are_refused() -> None:
    with pytest.raises(ValueError, match="model and guide, or two modules in them, each have a parameter 'rate'"):
        fit(OwnModel(), OwnGuide("rate"))


class WithParamStatement(OwnModel):
    def forward(self, observations: dict[str, Tensor]) -> None:
        pyro.param("offset", torch.tensor(1.0))
        super().forward(observations)


def test_a_parameter_that_would_not_be_trained_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'offset' is made by a pyro.param statement and is no parameter of the module"
    ):
        fit(WithParamStatement(), OwnGuide())


def test_a_restart_that_has_stopped_leaves_no_more_rows() -> None:
    result = fit(*machine(6), valid=data(20, seed=1), num_epochs=40, learning_rate=0.3, patience=2)
    scores = result.history[result.history.metric == "valid_log_likelihood"]
    for _, row in result.summary.iterrows():
        own = scores[scores.restart == row.restart]
        assert own.value.max() == pytest.approx(row.best)
        assert own.epoch.max() <= row.best_epoch + 2
    assert len(set(scores.groupby("restart").epoch.max())) > 1


def test_a_run_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    fit(*machine(), out=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="holds a run already"):
        fit(*machine(seed=1), out=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_save_on_the_way_holds_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_helm.training.saving._SHARE", 1e9)
    saved = []
    original = helm.save

    def recorded(path: Path, model: Any, guide: Any) -> None:
        original(path, model, guide)
        loaded, _ = helm.load(path)
        saved.append(loaded.generative[0].weight_unconstrained.detach().clone())

    monkeypatch.setattr("pyro_helm.training.saving.save", recorded)
    settings: dict[str, Any] = {"save_every": 0.0, "valid": data(20, seed=1), "num_epochs": 8, "learning_rate": 1.0}
    result = fit(*machine(), out=tmp_path, **settings)
    best = result.summary.best_epoch.item()
    assert 1 <= best < 8
    # from the best epoch on every save is the same
    assert all(torch.equal(weight, saved[-1]) for weight in saved[best - 1 :])


def test_a_folder_that_cannot_be_made_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        fit(*machine(), scheme=Interrupting(3), out=tmp_path / "file" / "run")


class Coins(torch.nn.Module):
    """A model without parameters."""

    def forward(self, observations: dict[str, Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("x", dist.Bernoulli(torch.full((6,), 0.5)).to_event(1), obs=observations["x"])


def test_more_settings_are_checked_at_the_door() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"patience": 0, "valid": data()}, "patience must be at least 1, got 0"),
        ({"max_seconds": -1.0}, "max_seconds must be positive, got -1.0"),
        ({"seed": 2**64}, "seed must be from 0 to 2^62 - 1"),
        ({"device": "nowhere"}, "device 'nowhere' can't be used here"),
        ({"schedule": torch.optim.lr_scheduler.ReduceLROnPlateau}, "ReduceLROnPlateau follows a single metric"),
    ]
    for settings, sentence in cases:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            fit(*machine(), **settings)
    with pytest.raises(ValueError, match="no parameters to train"):
        fit(Coins(), torch.nn.Module())


def test_one_validation_datum_is_enough() -> None:
    result = fit(*machine(), valid=data(1))
    assert result.history[result.history.metric == "valid_elbo"].stderr.isna().all()


# 0.5, 0.25, 0.125 and 0.125: four patterns, or eight rows
COUNTS = torch.tensor([4, 2, 1, 1])
PATTERNS = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]])
DISTRIBUTION = helm.PatternDistribution(PATTERNS, COUNTS.double() / 8)
REPEATED = PATTERNS.repeat_interleave(COUNTS, 0)
ONE_STEP: dict[str, Any] = {
    "optimizer": partial(torch.optim.SGD, lr=1.0),
    "num_epochs": 1,
    "batch_size": None,
    "dtype": torch.float64,
}


def weighted_bound(model: Any, guide: Any, scheme: helm.Scheme) -> Tensor:
    """Minus the mean loss per datum, ``[restarts]``."""
    with torch.no_grad():
        return -scheme.restart_losses(model, guide, observations={"x": REPEATED}) / len(REPEATED)


@pytest.mark.parametrize("scheme", DETERMINISTIC[:2], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("restarts", [1, 2])
def test_a_distribution_is_the_set_that_repeats_its_patterns_in_proportion(scheme: helm.Scheme, restarts: int) -> None:
    listed, repeated = machine(restarts, "odds"), machine(restarts, "odds")
    results = [
        fit(*listed, DISTRIBUTION, scheme=scheme, **ONE_STEP),
        fit(*repeated, REPEATED, scheme=scheme, **ONE_STEP),
    ]
    assert results[0].history.value.tolist() == pytest.approx(results[1].history.value.tolist(), rel=1e-12)
    for part, other in zip(listed, repeated, strict=True):
        for (name, value), expected in zip(part.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.allclose(value, expected, rtol=1e-12, atol=1e-12), name


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_train_bound_is_the_mean_over_the_distribution(batch_size: int | None) -> None:
    model, guide = machine(2, "noisy_or")
    still = ONE_STEP | {"optimizer": partial(torch.optim.SGD, lr=0.0), "batch_size": batch_size}
    for scheme in DETERMINISTIC[:2]:
        history = fit(model, guide, DISTRIBUTION, scheme=scheme, **still).history
        assert history.value.tolist() == pytest.approx(weighted_bound(model, guide, scheme).tolist(), rel=1e-12)


def test_minibatches_of_a_distribution_follow_its_gradient_on_average() -> None:
    """The step of an epoch of single patterns, each at the initial parameters, is the sum of their weighted steps."""
    scheme, steps = helm.MeanField(), []
    for batch_size in (None, 1):
        model, guide = machine()
        before = guide.recognition[0].weight_unconstrained.detach().double().clone()
        small = partial(torch.optim.SGD, lr=1e-7)  # so small that the parameters stay where they are
        fit(model, guide, DISTRIBUTION, scheme=scheme, **ONE_STEP | {"optimizer": small, "batch_size": batch_size})
        steps.append((guide.recognition[0].weight_unconstrained.detach() - before) / 1e-7)
    # four steps of a minibatch's mean are four times the mean of all
    assert torch.allclose(steps[1], 4 * steps[0], rtol=1e-4, atol=1e-6)


def test_a_scheme_that_dreams_learns_a_distribution() -> None:
    model, guide = machine(restarts=4)
    fit(model, guide, DISTRIBUTION, scheme=helm.WakeSleep(2), num_epochs=200, batch_size=None, learning_rate=0.1)
    log_likelihood = helm.log_likelihood(model, None, REPEATED, method="exact").summary.log_likelihood.max()
    rates = REPEATED.mean(0)
    independent = float(torch.special.entr(rates).sum() + torch.special.entr(1 - rates).sum())
    assert -log_likelihood < independent - 0.7
    assert -log_likelihood > DISTRIBUTION.entropy


def test_validation_by_a_distribution_is_its_expectation() -> None:
    model, guide = machine(2)
    still: dict[str, Any] = {"optimizer": partial(torch.optim.SGD, lr=0.0), "num_epochs": 1, "valid_samples": 10_000}
    history = fit(model, guide, valid=DISTRIBUTION, dtype=torch.float64, **still).history
    rows = history[history.metric == "valid_log_likelihood"]
    exact = helm.log_likelihood(model, None, REPEATED.double(), method="exact").summary.log_likelihood
    assert rows.value.tolist() == pytest.approx(exact.tolist(), abs=0.02)
    assert rows.stderr.isna().all()  # nothing of it is drawn at random from a population


def test_all_data_in_a_batch_are_one_step_an_epoch() -> None:
    class Counting(helm.MeanField):
        sizes: ClassVar[list[int]] = []

        def restart_losses(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
            self.sizes.append(len(kwargs["observations"]["x"]))
            return super().restart_losses(model, guide, *args, **kwargs)

    fit(*machine(), data(60), scheme=Counting(), batch_size=None, num_epochs=3)
    assert Counting.sizes == [60] * 4  # the first tries the programs out


def test_without_a_learning_rate_the_optimiser_has_its_own() -> None:
    steps: list[tuple[dict[str, Any], float]] = [({}, 0.01), ({"learning_rate": 0.03}, 0.03)]
    for settings, step in steps:
        model, guide = machine()
        before = guide.recognition[0].weight_unconstrained.detach().clone()
        fit(model, guide, scheme=helm.MeanField(), num_epochs=1, batch_size=None, **settings)
        # Adam's first step is its learning rate in every entry
        moved = (guide.recognition[0].weight_unconstrained.detach() - before).abs()
        assert torch.allclose(moved, torch.full_like(moved, step), rtol=1e-3)


@pytest.mark.parametrize(
    ("patterns", "probabilities", "sentence"),
    [
        (PATTERNS, [0.5, 0.5], "data has 4 patterns and probabilities of shape [2], expected one for each"),
        (PATTERNS, [4.0, 2, 1, 1], "probabilities of data must be 0 or more and sum to 1, their sum is 8.0"),
        (PATTERNS, [1.5, -0.5, 0, 0], "probabilities of data must be 0 or more"),
        (PATTERNS, [float("nan"), 0.5, 0.25, 0.25], "probabilities of data must be 0 or more"),
        (2 * PATTERNS, [0.25] * 4, "data has 2.0 at row 0, column 0 (counted from 0), expected 0 or 1"),
        (PATTERNS[:, :5], [0.25] * 4, "data has width 5, expected 6 columns"),
    ],
)
def test_what_is_no_distribution_is_refused_in_a_sentence(
    patterns: Tensor, probabilities: list[float], sentence: str
) -> None:
    distribution = helm.PatternDistribution(patterns, torch.tensor(probabilities).double())
    with pytest.raises(ValueError, match=re.escape(sentence)):
        fit(*machine(), distribution)
    with pytest.raises(ValueError, match=re.escape(sentence.replace("data", "valid"))):
        fit(*machine(), valid=distribution)


@pytest.mark.parametrize("scheme", [helm.Gibbs(2), helm.ExactEM()], ids=lambda scheme: scheme.name)
def test_a_scheme_that_needs_no_guide_trains_the_model_alone(scheme: helm.Scheme, tmp_path: Path) -> None:
    model, _ = machine(restarts=2)
    before = helm.log_likelihood(model, None, data(), method="exact").summary.log_likelihood.min()
    result = fit(model, None, scheme=scheme, num_epochs=20, out=tmp_path)
    assert result.guide is None
    assert helm.log_likelihood(model, None, data(), method="exact").summary.log_likelihood.min() > before + 0.2
    assert helm.load(tmp_path)[1] is None


def test_a_guide_is_left_out_only_where_nothing_draws_from_it() -> None:
    model, _ = machine()
    with pytest.raises(TypeError, match="VIMCO draws from a guide, got None; without one use Gibbs or ExactEM"):
        fit(model, None, scheme=helm.VIMCO(2))


def test_without_a_guide_validation_is_exact_and_the_best_parameters_are_kept() -> None:
    model, _ = machine(restarts=2)
    result = fit(model, None, scheme=helm.ExactEM(), valid=data(10), num_epochs=5)
    exact = helm.log_likelihood(model, None, data(10), method="exact").summary.log_likelihood
    assert result.summary.best.tolist() == pytest.approx(exact.tolist())
    assert set(result.history.metric) == {"train_bound", "valid_log_likelihood"}


def test_without_a_guide_too_many_states_are_not_validated_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_TERMS", 1)
    model, _ = machine()
    with pytest.warns(RuntimeWarning, match="nothing is validated, and the parameters that are kept are the last"):
        result = fit(model, None, scheme=helm.ExactEM(), valid=data(10), num_epochs=2)
    assert set(result.history.metric) == {"train_bound"}
    assert result.summary.best_epoch.tolist() == [2]
    with pytest.raises(ValueError, match="patience needs validation, but without a guide"):
        fit(model, None, scheme=helm.ExactEM(), valid=data(10), num_epochs=2, patience=1)
