"""Misuse of the public functions: each is answered in a sentence of this library's, which says what was expected."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from torch import Tensor

import pyro_helm
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

helm: Any = pyro_helm  # misuse is what type checkers are there to find

SIZES = (6, 4)
X = torch.tensor([[1.0, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0]])
MODEL, GUIDE = BeliefNetwork(SIZES, seed=0), FactorialRecognition(SIZES, seed=0)
FLOAT64 = FactorialRecognition(SIZES, seed=0).double()
FILE = Path(__file__)


def fit(model: Any = MODEL, guide: Any = GUIDE, data: Any = X, **settings: Any) -> Any:
    return helm.fit(model, guide, data, **({"scheme": helm.WakeSleep(), "num_epochs": 1, "progress": False} | settings))


def score(model: Any = MODEL, guide: Any = GUIDE, data: Any = X, **settings: Any) -> Any:
    return helm.log_likelihood(model, guide, data, **({"num_samples": 2} | settings))


def gap(model: Any = MODEL, guide: Any = GUIDE, **settings: Any) -> Any:
    return helm.log_likelihood_gap(model, guide, **({"num_data": 2, "num_samples": 2, "schedule": 2} | settings))


def compare(data: Any = None, **settings: Any) -> Any:
    defaults = {"schemes": [helm.WakeSleep()], "sizes": SIZES, "restarts": 1, "num_epochs": 1, "num_samples": 2}
    return helm.compare(small() if data is None else data, **(defaults | {"progress": False} | settings))


@cache
def small() -> Any:
    return helm.Data("small", X, X, X)


@cache
def scores() -> Any:
    return score(guide=None, method="exact")


@cache
def table() -> pd.DataFrame:
    frame: pd.DataFrame = compare().table
    return frame


def frozen() -> Any:
    model, guide = BeliefNetwork(SIZES, seed=0), FactorialRecognition(SIZES, seed=0)
    return fit(model.requires_grad_(False), guide.requires_grad_(False))


FIT: list[tuple[Callable[[], Any], str]] = [
    (lambda: fit(model=None), "model must be a torch or Pyro module"),
    (lambda: fit(model=BeliefNetwork), "model must be a torch or Pyro module"),
    (lambda: fit(model=X), "model must be a torch or Pyro module"),
    (lambda: fit(X, MODEL, GUIDE), "model must be a torch or Pyro module"),
    (lambda: fit(guide="guide"), "guide must be a torch or Pyro module"),
    (lambda: fit(guide=lambda observations: None), "guide must be a torch or Pyro module"),
    (lambda: fit(guide=None), "draws from a guide, got None"),
    (lambda: fit(guide=FactorialRecognition((6, 3))), "must have the same sizes"),
    (lambda: fit(guide=FactorialRecognition(SIZES, restarts=2)), "must have the same restarts"),
    (lambda: fit(guide=FLOAT64), "must be of one dtype"),
    (lambda: fit(guide=FactorialRecognition(SIZES).to("meta")), "must be of one device"),
    (lambda: fit(guide=torch.nn.LazyLinear(4)), "guide has parameters without a shape"),
    (frozen, "all parameters of model and guide are frozen"),
    (lambda: fit(data=None), "data is of type NoneType"),
    (lambda: fit(data=X.tolist()), "data is of type list"),
    (lambda: fit(data="digits"), "data is of type str"),
    (lambda: fit(data=small()), "data is of type Data"),
    (lambda: fit(data=X.to_sparse()), "data is a sparse or nested tensor"),
    (lambda: fit(data=X.to_sparse_csr()), "data is a sparse or nested tensor"),
    (lambda: fit(data=X.to("meta")), "data is on device 'meta'"),
    (lambda: fit(data=X.to(torch.complex64)), "data has complex numbers"),
    (lambda: fit(data=X[0]), "data has shape (6,), expected two dimensions"),
    (lambda: fit(data=X[None]), "data has shape (1, 3, 6), expected two dimensions"),
    (lambda: fit(data=X[:0]), "expected at least one row"),
    (lambda: fit(data=X[:, :5]), "data has width 5, expected 6"),
    (lambda: fit(data=X.T), "data has width 3, expected 6"),
    (lambda: fit(data=X / 2), "data has 0.5 at row 0"),
    (lambda: fit(data=X * torch.inf), "data has inf at row 0"),
    (lambda: fit(data=helm.PatternDistribution(X, torch.ones(3))), "probabilities of data must be 0 or more"),
    (lambda: fit(data=helm.PatternDistribution(X, [1, 0, 0])), "probabilities of data must be a tensor"),
    (lambda: fit(data=helm.PatternDistribution(None, torch.ones(3))), "patterns of data is of type NoneType"),
    (lambda: fit(valid=X[:, :2]), "valid has width 2"),
    (lambda: fit(valid=X + 1), "valid has 2.0"),
    (lambda: fit(valid=True), "valid is of type bool"),
    (lambda: fit(scheme=None), "scheme must be an inference scheme"),
    (lambda: fit(scheme="vimco"), "scheme must be an inference scheme"),
    (lambda: fit(scheme=helm.VIMCO), "scheme must be an inference scheme"),
    (lambda: fit(scheme=[helm.VIMCO(2)]), "scheme must be an inference scheme"),
    (lambda: fit(scheme=pyro.infer.Trace_ELBO()), "scheme must be an inference scheme"),
    (lambda: fit(num_epochs=0), "num_epochs must be at least 1"),
    (lambda: fit(num_epochs=-3), "num_epochs must be at least 1"),
    (lambda: fit(num_epochs=1.5), "num_epochs must be a whole number"),
    (lambda: fit(num_epochs=True), "num_epochs must be a whole number"),
    (lambda: fit(num_epochs="3"), "num_epochs must be a whole number"),
    (lambda: fit(num_epochs=None), "num_epochs must be a whole number"),
    (lambda: fit(batch_size=2.0), "batch_size must be a whole number"),
    (lambda: fit(batch_size=0), "batch_size must be at least 1"),
    (lambda: fit(batch_size="all"), "batch_size must be a whole number"),
    (lambda: fit(batch_size=False), "batch_size must be a whole number"),
    (lambda: fit(valid_samples=0), "valid_samples must be at least 1"),
    (lambda: fit(valid_samples=None), "valid_samples must be a whole number"),
    (lambda: fit(patience=2), "patience needs validation data"),
    (lambda: fit(patience=1.5, valid=X), "patience must be a whole number"),
    (lambda: fit(max_seconds="10"), "max_seconds must be a number"),
    (lambda: fit(max_seconds=0), "max_seconds must be positive"),
    (lambda: fit(max_seconds=float("nan")), "max_seconds must be positive"),
    (lambda: fit(seed=-1), "seed must be from 0"),
    (lambda: fit(seed=1.0), "seed must be from 0"),
    (lambda: fit(seed="0"), "seed must be from 0"),
    (lambda: fit(seed=None), "seed must be from 0"),
    (lambda: fit(learning_rate=-0.1), "learning_rate must be finite and not below 0"),
    (lambda: fit(learning_rate=float("inf")), "learning_rate must be finite and not below 0"),
    (lambda: fit(learning_rate="fast"), "learning_rate must be a number"),
    (lambda: fit(learning_rate=torch.ones(2)), "learning_rate must be a number"),
    (lambda: fit(optimizer="adam"), "optimizer must be a class such as torch.optim.Adam"),
    (lambda: fit(optimizer=None), "optimizer must be a class such as torch.optim.Adam"),
    (lambda: fit(optimizer=torch.optim.Adam(MODEL.parameters())), "an Adam that is made already"),
    (lambda: fit(optimizer=pyro.optim.Adam({"lr": 0.1})), "one of Pyro's own, which is for pyro.infer.SVI"),
    (lambda: fit(optimizer=pyro.optim.Adam), "optimizer"),
    (lambda: fit(optimizer=list), "what it made is a list"),
    (lambda: fit(optimizer=partial(torch.optim.SGD, nesterov=True)), "the optimizer could not be made"),
    (lambda: fit(optimizer=torch.optim.SparseAdam, learning_rate=0.1, step="eeger"), "step must be one of"),
    (lambda: fit(schedule="cosin"), "unknown schedule 'cosin'; did you mean cosine"),
    (lambda: fit(schedule=lambda descent: descent), "what it made is a"),
    (lambda: fit(schedule=torch.optim.lr_scheduler.ReduceLROnPlateau), "ReduceLROnPlateau"),
    (lambda: fit(step="fast"), "step must be one of eager, captured, compiled"),
    (lambda: fit(step="captured", scheme=helm.NVIL()), "use step='eager'"),
    (lambda: fit(device="nowhere"), "device 'nowhere' can't be used here"),
    (lambda: fit(device="meta"), "device 'meta' holds no numbers"),
    (lambda: fit(device=3.5), "device must be a torch.device or its name"),
    (lambda: fit(dtype="float64"), "dtype must be a floating-point type"),
    (lambda: fit(dtype=torch.int64), "dtype must be a floating-point type"),
    (lambda: fit(dtype=float), "dtype must be a floating-point type"),
    (lambda: fit(dataset=3), "dataset must be a name"),
    (lambda: fit(progress="no"), "progress must be True or False"),
    (lambda: fit(out=3), "out must be the path of a folder"),
    (lambda: fit(out=FILE), "out must be a folder"),
    (lambda: fit(out=FILE / "run"), "out must be a folder"),
]  # fmt: skip

SCORING: list[tuple[Callable[[], Any], str]] = [
    (lambda: score(model=None), "model must be a Pyro program"),
    (lambda: score(model=BeliefNetwork), "model must be a Pyro program, got the class"),
    (lambda: score(X, MODEL, GUIDE), "model must be a Pyro program"),
    (lambda: score(guide="guide"), "guide must be a Pyro program"),
    (lambda: score(guide=None), "needs a guide"),
    (lambda: score(guide=FactorialRecognition((6, 5))), "must have the same sizes"),
    (lambda: score(guide=FLOAT64), "must be of one dtype"),
    (lambda: score(data=X.to_sparse()), "data is a sparse or nested tensor"),
    (lambda: score(data=X / 2), "data has 0.5"),
    (lambda: score(data=X[0]), "expected two dimensions"),
    (lambda: score(data=X[:, :3]), "data has width 3"),
    (lambda: score(data=small()), "data is of type Data"),
    (lambda: score(method="exactly"), "method must be one of"),
    (lambda: score(method=None), "method must be one of"),
    (lambda: score(method=["exact"]), "method must be one of"),
    (lambda: score(num_samples=0), "num_samples must be at least 1"),
    (lambda: score(num_samples=1.5), "num_samples must be a whole number"),
    (lambda: score(num_samples=True), "num_samples must be a whole number"),
    (lambda: score(num_samples="many"), "num_samples must be a whole number"),
    (lambda: score(method="ais", num_chains=0), "num_chains must be at least 1"),
    (lambda: score(method="ais", num_chains=2.5), "num_chains must be a whole number"),
    (lambda: score(method="ais", schedule=0), "schedule must be at least 1"),
    (lambda: score(method="ais", schedule="long"), "schedule must be a whole number"),
    (lambda: score(method="ais", schedule=[1, 0]), "rise from 0 to 1"),
    (lambda: score(method="ais", schedule=[0, "half", 1]), "an inverse temperature of schedule must be a number"),
    (lambda: score(method="ais", start="middle"), "start"),
    (lambda: score(method="ais", start=None), "start"),
    (lambda: score(method="exact", max_terms=0), "max_terms must be at least 1"),
    (lambda: score(method="exact", max_terms="all"), "max_terms must be a whole number"),
    (lambda: score(method="exact", max_terms=2), "more than max_terms"),
    (lambda: score(weights=torch.ones(2)), "weights must be 3 non-negative numbers"),
    (lambda: score(weights=torch.zeros(3)), "weights must be 3 non-negative numbers"),
    (lambda: score(weights="equal"), "weights must be a tensor or list of numbers"),
    (lambda: score(weights=-torch.ones(3)), "weights must be 3 non-negative numbers"),
    (lambda: score(seed="now"), "seed must be from 0"),
    (lambda: score(seed=2**62), "seed must be from 0"),
    (lambda: score(progress=None), "progress must be True or False"),
    (lambda: score(resume=3), "resume must be the path of a folder"),
    (lambda: score(method="exact", resume="folder"), "leave resume out"),
    (lambda: helm.exact_posterior(X, None, MODEL), "model must be a Pyro program"),
    (lambda: helm.exact_posterior(MODEL, X, GUIDE), "guide must be a Pyro program"),
    (lambda: helm.exact_posterior(MODEL, None, X[:, :2]), "data has width 2"),
    (lambda: helm.exact_posterior(MODEL, FactorialRecognition((6, 5)), X), "must have the same sizes"),
    (lambda: helm.exact_posterior(MODEL, None, X, max_terms=0.5), "max_terms must be a whole number"),
    (lambda: helm.exact_posterior(MODEL, None, X, terms_at_once=0), "terms_at_once must be at least 1"),
    (lambda: gap(model=GUIDE), "BeliefNetwork"),
    (lambda: gap(model=None), "model must be a Pyro program"),
    (lambda: gap(guide=X), "guide must be a"),
    (lambda: gap(guide=None), "start"),
    (lambda: gap(num_data=0), "num_data must be at least 1"),
    (lambda: gap(num_data=1.5), "num_data must be a whole number"),
    (lambda: gap(num_samples=None), "num_samples must be a whole number"),
    (lambda: gap(num_chains=-1), "num_chains must be at least 1"),
    (lambda: gap(schedule=[0.5]), "rise from 0 to 1"),
    (lambda: gap(schedule=None), "schedule must be a whole number"),
    (lambda: gap(start="posterior"), "start"),
    (lambda: gap(seed=1.5), "seed must be from 0"),
    (lambda: helm.paired_differences(X), "scores must be what log_likelihood returned"),
    (lambda: helm.paired_differences(scores().table), "scores must be what log_likelihood returned"),
    (lambda: helm.paired_differences(scores(), scores().summary), "against must be what log_likelihood returned"),
    (lambda: helm.paired_differences(scores(), score(data=X[:2])), "scored on the same data"),
    (lambda: helm.paired_differences(scores(), score(data=1 - X)), "scored on the same data"),
]  # fmt: skip

COMPARING: list[tuple[Callable[[], Any], str]] = [
    (lambda: compare("digits"), "data must be a data set"),
    (lambda: compare(X), "data must be a data set"),
    (lambda: compare(schemes=["vimko"]), "unknown scheme 'vimko'"),
    (lambda: compare(schemes=helm.VIMCO(5)), "schemes must be a list of schemes"),
    (lambda: compare(schemes="all"), "schemes must be a list of schemes"),
    (lambda: compare(schemes=[helm.VIMCO]), "schemes must be a list of schemes"),
    (lambda: compare(schemes=None), "schemes must be a list of schemes"),
    (lambda: compare(schemes=[]), "schemes to compare must be one or more"),
    (lambda: compare(schemes=[helm.VIMCO(2), helm.VIMCO(2)]), "each named once"),
    (lambda: compare(sizes=6), "sizes must be two or more positive integers"),
    (lambda: compare(sizes="6-4"), "sizes must be two or more positive integers"),
    (lambda: compare(sizes=(5, 4)), "data has width 6, expected 5"),
    (lambda: compare(imaging=3), "imaging must be"),
    (lambda: compare(imaging="noisy"), "imaging must be one of"),
    (lambda: compare(imaging=[]), "imaging models to compare must be one or more"),
    (lambda: compare(restarts=0), "restarts must be a positive integer"),
    (lambda: compare(restarts=True), "restarts must be a positive integer"),
    (lambda: compare(fixed_leak="none"), "fixed_leak must be a number"),
    (lambda: compare(num_samples=0), "num_samples must be at least 1"),
    (lambda: compare(num_samples=10.0), "num_samples must be a whole number"),
    (lambda: compare(seed=-1), "seed must be from 0"),
    (lambda: compare(out=FILE), "out must be a folder"),
    (lambda: compare(out=1), "out must be the path of a folder"),
    (lambda: compare(epochs=2), "takes no setting 'epochs'; did you mean num_epochs?"),
    (lambda: compare(valid=X), "takes no setting 'valid'"),
    (lambda: compare(num_epochs=1.5), "num_epochs must be a whole number"),
    (lambda: helm.summarise([table()]), "table must be a DataFrame"),
    (lambda: helm.summarise(None), "table must be a DataFrame"),
    (lambda: helm.summarise(table().drop(columns="seed")), "seed is missing"),
    (lambda: helm.summarise(pd.concat([table(), table()])), "more than once"),
    (lambda: helm.summarise(pd.concat([table(), table().drop(columns="imaging")])), "column 'imaging' of the table"),
    (lambda: helm.summarise(pd.concat([table(), table()], axis=1)), "column 'metric' more than once"),
    (lambda: helm.summarise(table().assign(value="high")), "column 'value' of the table must be numbers"),
    (lambda: helm.summarise(table()[table().metric != "failed"]), "table lacks some of elbo, failed, log_likelihood"),
]  # fmt: skip

MAKING: list[tuple[Callable[[], Any], str]] = [
    *[
        (partial(make, *arguments), words)
        for make in (BeliefNetwork, FactorialRecognition)
        for arguments, words in (
            ((6,), "sizes must be two or more"),
            (("6-4",), "sizes must be two or more"),
            (((6,),), "sizes must be two or more"),
            (((6, 0),), "sizes must be two or more"),
            (((6, 4.0),), "sizes must be two or more"),
            (((6, True),), "sizes must be two or more"),
            ((None,), "sizes must be two or more"),
        )
    ],
    (lambda: helm_network(restarts=0), "restarts must be a positive integer"),
    (lambda: helm_network(restarts=1.5), "restarts must be a positive integer"),
    (lambda: helm_network(seed=-1), "seed must be from 0"),
    (lambda: helm_network(seed="a"), "seed must be from 0"),
    (lambda: helm_network(imaging="logistic"), "imaging must be one of"),
    (lambda: helm_network(imaging=3), "imaging must be one of"),
    (lambda: helm_network(imaging=["odds"]), "imaging must be one value or 2"),
    (lambda: helm_network(fixed_leak="a"), "fixed_leak must be a number"),
    (lambda: helm_network(learned_leak="yes"), "learned_leak must be True or False"),
    (lambda: MODEL(X), "observations must be values by site"),
    (lambda: MODEL({"x": X.tolist()}), "observations of 'x' must be a tensor"),
    (lambda: MODEL({"y": X}), "there is no site 'y'"),
    (lambda: MODEL({"x": X[:, :2]}), "observations of 'x' must have shape"),
    (lambda: GUIDE(X), "observations must be values by site"),
    (lambda: GUIDE(), "needs data to recognise"),
    *[
        (partial(make, particles), "num_particles to be an integer")
        for make in (helm.Reinforce, helm.NVIL, helm.DisARM, helm.VIMCO, helm.TVO, helm.WakeSleep)
        for particles in (0, 2.0, "5", True, None)
    ],
    (lambda: helm.VIMCO(1), "at least 2"),
    (lambda: helm.NVIL(hidden_units=0), "hidden_units must be at least 1"),
    (lambda: helm.NVIL(learning_rate="a"), "learning_rate must be a number"),
    (lambda: helm.NVIL(decay=1.0), "decay must be from 0"),
    (lambda: helm.NVIL(decay=None), "decay must be a number"),
    (lambda: helm.NVIL(normalise="no"), "normalise must be True or False"),
    (lambda: helm.DisARM(multi_sample=1), "multi_sample must be True or False"),
    (lambda: helm.TVO(partition="cubic"), "partition must be"),
    (lambda: helm.TVO(partition=3), "partition must be"),
    (lambda: helm.TVO(partition=[0, "a", 1]), "a point of the partition must be a number"),
    (lambda: helm.TVO(num_intervals=0), "num_intervals must be at least 1"),
    (lambda: helm.TVO(first=0), "first must be between 0 and 1"),
    (lambda: helm.TVO(first="a"), "first must be a number"),
    (lambda: helm.ReweightedWakeSleep(insomnia=2), "insomnia must be between 0"),
    (lambda: helm.ReweightedWakeSleep(insomnia="a"), "insomnia must be a number"),
    (lambda: helm.ReweightedWakeSleep(defensive=1), "defensive must be from 0"),
    (lambda: helm.ReweightedWakeSleep(defensive=None), "defensive must be a number"),
    (lambda: helm.Relaxed(temperature=0), "temperature must be positive"),
    (lambda: helm.Relaxed(temperature="hot"), "temperature must be a number"),
    (lambda: helm.Gibbs(num_sweeps=0), "num_sweeps must be at least 1"),
    (lambda: helm.Gibbs(block_size=1.5), "block_size must be a whole number"),
    (lambda: helm.ExactEM(max_terms=0), "max_terms must be at least 1"),
    (lambda: helm.MeanField(max_enumerated=-1), "max_enumerated"),
    (lambda: helm.ExactMeanField(max_enumerated="a"), "max_enumerated"),
    (lambda: helm.ExactMeanField(tolerance=2), "tolerance must be a number of nats"),
    (lambda: helm.ExactMeanField(tolerance="a"), "tolerance must be a number"),
    (lambda: helm.LBFGS(MODEL.parameters(), iterations=0), "iterations must be at least 1"),
    (lambda: helm.LBFGS(MODEL.parameters(), iterations="a"), "iterations must be a whole number"),
    (lambda: helm.ConjugateGradient(MODEL.parameters(), lr=0.1), "takes no learning_rate"),
    (lambda: helm.load_data("digit"), "unknown data set 'digit'"),
    (lambda: helm.load_data(3), "name_or_path must be the name of a data set"),
    (lambda: helm.load_data("digits", dtype="float"), "dtype must be a type of torch"),
    (lambda: helm.save("machine.safetensors", None, GUIDE), "model must be a module"),
    (lambda: helm.save("machine.safetensors", MODEL, X), "guide must be a module or None"),
    (lambda: helm.save(MODEL, GUIDE, "machine.safetensors"), "guide must be a module or None"),
    (lambda: helm.save(3, MODEL, GUIDE), "path must be that of a file"),
    (lambda: helm.load(3), "path must be that of a file"),
    (lambda: helm.load("no such machine"), "there is no machine at"),
    (lambda: helm.load(FILE), "is not a machine"),
    (lambda: helm.load(FILE, "model"), "model must be a module to load into"),
]  # fmt: skip


def helm_network(**settings: Any) -> Any:
    return BeliefNetwork(SIZES, **settings)


CASES = [*FIT, *SCORING, *COMPARING, *MAKING]


@pytest.mark.filterwarnings("ignore")  # of line searches in float32, of few samples: not what is asked here
@pytest.mark.parametrize(("call", "words"), CASES, ids=[f"{n}: {words[:50]}" for n, (_, words) in enumerate(CASES)])
def test_misuse_is_answered_in_a_sentence_of_ours(call: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError, OSError)) as raised:
        call()
    assert words in str(raised.value)
    where = traceback.extract_tb(raised.value.__traceback__)[-1].filename
    assert {"pyro_helm", "models", "guides"} & set(Path(where).parts), f"raised in {where}"


def test_there_are_200_misuses() -> None:
    assert len(CASES) >= 200


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    six: Any
    four: Any
    two: Any
    six, four, two = np.int64(6), np.int32(4), np.int16(2)
    model = BeliefNetwork((six, four), restarts=two, seed=six - 6)
    guide = FactorialRecognition((six, four), restarts=two, seed=six - 6)
    assert model.config == BeliefNetwork(SIZES, restarts=2).config
    result = fit(
        model, guide, valid=X, scheme=helm.VIMCO(two), num_epochs=two, batch_size=two, valid_samples=two, seed=four
    )
    same = fit(
        BeliefNetwork(SIZES, restarts=2, seed=0), FactorialRecognition(SIZES, restarts=2, seed=0), valid=X,
        scheme=helm.VIMCO(2), num_epochs=2, batch_size=2, valid_samples=2, seed=4,
    )  # fmt: skip
    pd.testing.assert_frame_equal(result.history.drop(columns="seconds"), same.history.drop(columns="seconds"))
    assert score(num_samples=np.int64(3), seed=two).table.equals(score(num_samples=3, seed=2).table)


def test_tables_of_several_seeds_and_of_other_types_are_summarised() -> None:
    other = compare(seed=1).table
    merged = pd.concat([table(), other.assign(value=other.value.astype("float32"), note="more")])
    categories = merged.astype({"dataset": "category", "imaging": "category", "scheme": "category"})
    assert helm.summarise(merged).restarts.tolist() == helm.summarise(categories).restarts.tolist() == [2]


def test_a_model_and_guide_of_unlike_types_are_made_one_by_dtype() -> None:
    guide = FactorialRecognition(SIZES, seed=0).double()
    assert not fit(BeliefNetwork(SIZES, seed=0), guide, dtype=torch.float64).summary.failed.any()
    assert isinstance(next(guide.parameters()), Tensor)
