"""Pictures of recognition, posteriors, codes and bounds: what is drawn equals the numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import pyro_helm as helm
from pyro_helm.experiments import plots
from pyro_helm.experiments.plots.recognition_means import recognised
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork

X = (torch.rand(12, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()
MODEL, GUIDE = BeliefNetwork((6, 4, 2), restarts=2, seed=0), FactorialRecognition((6, 4, 2), restarts=2, seed=0)
POSTERIOR = helm.exact_posterior(MODEL, GUIDE, X)
GAP = helm.log_likelihood_gap(MODEL, GUIDE, num_data=10, num_samples=5, schedule=5)
HISTORY = pd.DataFrame(
    {
        "epoch": [epoch for epoch in range(1, 21) for _ in range(3)],
        "seconds": [epoch / 10 for epoch in range(1, 21) for _ in range(3)],
        "restart": [0, 1, 2] * 20,
        "metric": "train_bound",
        "value": [-9.0 - restart - 50 / epoch for epoch in range(1, 21) for restart in range(3)],
    }
)

COMPARED = HISTORY.assign(dataset="bars", sizes="6-4", imaging="sigmoid", scheme="vimco")
STUDIED = pd.DataFrame(
    {
        "dataset": "bars",
        "machine": machine,
        "budget": "10 epochs",
        "scheme": "vimco",
        "split": "valid",
        "metric": "log_likelihood",
        "learning_rate": rate,
        "value": -9 + rate,
    }
    for machine in ("sigmoid 4", "odds 4")
    for rate in (0.01, 0.1)
)

EACH: dict[str, Callable[..., Figure]] = {
    "curves": lambda **ax: plots.training_curves(HISTORY, **ax),
    "weights": lambda **ax: plots.weight_diagram(MODEL, GUIDE, image_shape=(2, 3), **ax),
    "dreams": lambda **ax: plots.dream_sheet({"data": X}, image_shape=(2, 3), **ax),
    "reconstructions": lambda **ax: plots.reconstruction_sheet(MODEL, GUIDE, X, image_shape=(2, 3), num_draws=2, **ax),
    "posterior": lambda **ax: plots.posterior_chart(POSTERIOR, GUIDE, num_draws=2, **ax),
    "codes": lambda **ax: plots.code_map(MODEL, GUIDE, X, X.sum(1), num_draws=2, **ax),
    "sandwich": lambda **ax: plots.bound_sandwich(GAP, **ax),
    "schemes": lambda **ax: plots.learning_curves(COMPARED, metric="train_bound", **ax),
    "sensitivity": lambda **ax: plots.setting_sensitivity(STUDIED[STUDIED.machine == "odds 4"], **ax),
}
GRIDS: dict[str, Callable[..., Figure]] = {
    "schemes": lambda **ax: plots.learning_curves(
        pd.concat([COMPARED, COMPARED.assign(imaging="odds")]), metric="train_bound", **ax
    ),
    "sensitivity": lambda **ax: plots.setting_sensitivity(STUDIED, **ax),
}


@pytest.mark.parametrize("name", EACH)
def test_it_draws_on_axes_that_are_given_and_leaves_others_alone(name: str) -> None:
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    assert EACH[name](ax=right) is figure
    assert right.has_data()
    assert not left.has_data()
    assert figure.get_size_inches().tolist() == [8, 3]


@pytest.mark.parametrize("name", EACH)
def test_it_makes_a_figure_that_notebooks_show(name: str) -> None:
    figure = EACH[name]()
    (ax,) = figure.axes
    assert ax.has_data()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", EACH)
def test_what_is_no_axes_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r"ax must be matplotlib axes, .* got int"):
        EACH[name](ax=3)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("name", GRIDS)
def test_several_panels_divide_the_place_of_the_axes(name: str, by_hand: bool) -> None:
    figure = Figure(figsize=(12, 3))
    left, right = (
        [figure.add_axes((0.0, 0.1, 0.3, 0.8)), figure.add_axes((0.4, 0.1, 0.6, 0.8))]
        if by_hand
        else figure.subplots(1, 2)
    )
    place = right.get_position()
    assert GRIDS[name](ax=right) is figure
    panels = [ax for ax in figure.axes if ax not in (left, right)]
    assert len(panels) == 2
    for ax in panels:
        box = ax.get_position()
        assert ax.has_data()
        assert place.x0 - 1e-9 <= box.x0 < box.x1 <= place.x1 + 1e-9
        assert place.y0 - 1e-9 <= box.y0 < box.y1 <= place.y1 + 1e-9
    assert not right.axison
    assert not left.has_data()


def axes(figure: Figure) -> Axes:
    return figure.axes[0]


# curves


def test_a_training_has_a_line_per_metric_of_medians_by_epoch_or_seconds() -> None:
    for by in ("epoch", "seconds"):
        (line,) = axes(plots.training_curves(HISTORY, by=by)).get_lines()
        np.testing.assert_allclose(np.asarray(line.get_ydata()), HISTORY.groupby("epoch").value.median())
        np.testing.assert_allclose(np.asarray(line.get_xdata()), HISTORY[by].unique())
    with pytest.raises(ValueError, match="by must be one of epoch, seconds; got 'steps'"):
        plots.training_curves(HISTORY, by="steps")
    with pytest.raises(ValueError, match="no finite value"):
        plots.training_curves(HISTORY.assign(value=np.nan))


def test_a_result_plots_its_history() -> None:
    model, guide = BeliefNetwork((6, 4), restarts=2, seed=0), FactorialRecognition((6, 4), restarts=2, seed=0)
    result = helm.fit(model, guide, X, scheme=helm.WakeSleep(), valid=X, num_epochs=3, progress=False)
    labels = [str(line.get_label()) for line in axes(result.plot(by="seconds")).get_lines()]
    assert [label.split(",")[0] for label in labels] == [
        "validation log-likelihood", "validation bound (ELBO)", "training bound of the scheme",
    ]  # fmt: skip


# recognition


def test_means_of_recognition_agree_with_enumeration() -> None:
    """Of the lowest layer exactly, of the next by draws: a z of 5 for the worst of 24 units."""
    found = recognised(MODEL, GUIDE, X, restart=1, num_draws=4000, seed=0)
    q1 = GUIDE.recognition[0](X).mean[1].detach()
    torch.testing.assert_close(found.units["h1"], q1)
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    weight = (q1[:, None] * states + (1 - q1[:, None]) * (1 - states)).prod(-1)
    q2 = weight @ GUIDE.recognition[1](states).mean[1].detach()
    assert (found.units["h2"] - q2).abs().max() < 5 * 0.5 / 4000**0.5
    mean = weight @ MODEL.generative[0](states).mean[1].detach()
    assert (found.mean - mean).abs().max() < 5 * 0.5 / 4000**0.5
    assert found.dream.shape == X.shape
    assert set(found.dream.unique().tolist()) <= {0.0, 1.0}


def test_recognition_of_any_pyro_programs_and_the_callers_random_state() -> None:
    def model(observations: dict[str, torch.Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            on = pyro.sample("on", dist.Bernoulli(torch.tensor(0.3)))
            pyro.sample(
                "x", dist.Bernoulli(0.1 + 0.8 * on[..., None].expand(*on.shape, 6)).to_event(1), obs=observations["x"]
            )

    def guide(observations: dict[str, torch.Tensor]) -> None:
        with pyro.plate("data", len(observations["x"]), dim=-1):
            pyro.sample("on", dist.Bernoulli(observations["x"].mean(-1)))

    before = torch.random.get_rng_state()
    found = recognised(model, guide, X, restart=0, num_draws=3, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(found.units["on"], X.mean(-1))
    with pytest.raises(ValueError, match="restart must be from 0 to 0, got 1"):
        recognised(model, guide, X, restart=1, num_draws=3, seed=0)


def test_reconstructions_are_three_blocks_of_the_same_cases() -> None:
    ax = axes(plots.reconstruction_sheet(MODEL, GUIDE, X[:4], image_shape=(2, 3), num_draws=3))
    data, mean, dream = (np.asarray(image.get_array()) for image in ax.get_images())
    assert data.shape == mean.shape == dream.shape
    np.testing.assert_array_equal(data[:2, :3].ravel(), X[0])
    assert 0 < mean[0, 0] < 1


# posterior


def test_bars_are_the_exact_marginals_and_dots_are_of_recognition() -> None:
    ax = axes(plots.posterior_chart(POSTERIOR, GUIDE, datum=3, restart=1, num_draws=50))
    heights = [bar.get_height() for bar in ax.patches if isinstance(bar, Rectangle)]
    expected = torch.cat([POSTERIOR.marginals[name][1, 3] for name in ("h1", "h2")])
    np.testing.assert_allclose(heights, expected, rtol=1e-6)
    dots = np.concatenate([np.asarray(line.get_ydata()) for line in ax.get_lines()])
    np.testing.assert_allclose(dots[:4], GUIDE.recognition[0](X).mean[1, 3].detach(), rtol=1e-5)
    assert POSTERIOR.kl is not None
    assert f"{POSTERIOR.log_likelihood[1, 3]:.2f}" in ax.get_title()
    assert f"{POSTERIOR.kl[1, 3]:.2f} nats" in ax.get_title()


def test_a_case_or_restart_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="datum must be from 0 to 11, got 12"):
        plots.posterior_chart(POSTERIOR, GUIDE, datum=12)
    with pytest.raises(ValueError, match="restart must be from 0 to 1, got 2"):
        plots.posterior_chart(POSTERIOR, GUIDE, restart=2)


# codes


def test_a_map_has_every_datum_once_in_the_colour_of_its_label() -> None:
    labels = np.array(["a", "b", "c"] * 4)
    ax = axes(plots.code_map(MODEL, GUIDE, X, labels, num_draws=2))
    assert [str(part.get_label()) for part in ax.collections] == ["a", "b", "c"]
    assert [len(np.asarray(part.get_offsets())) for part in ax.collections] == [4, 4, 4]
    assert len({part.get_facecolor()[0].tobytes() for part in ax.collections}) == 3  # type: ignore[union-attr]


def test_components_keep_distances_where_a_code_has_two_units() -> None:
    units = recognised(MODEL, GUIDE, X, restart=0, num_draws=20, seed=0).units["h2"]
    ax = axes(plots.code_map(MODEL, GUIDE, X, sites=["h2"]))
    places = torch.as_tensor(np.asarray(ax.collections[0].get_offsets()))
    torch.testing.assert_close(torch.pdist(places), torch.pdist(units.double()))


def test_errors_of_code_maps() -> None:
    with pytest.raises(ValueError, match="labels must be one per datum, 12"):
        plots.code_map(MODEL, GUIDE, X, [1, 2])
    with pytest.raises(ValueError, match="no site 'h3'; it has h1, h2"):
        plots.code_map(MODEL, GUIDE, X, sites=["h3"])
    with pytest.raises(ValueError, match="two data and two hidden units or more, got 1 and 6"):
        plots.code_map(MODEL, GUIDE, X[:1])


# bounds


def test_estimates_stand_at_their_distance_below_the_upper_bound() -> None:
    ax = axes(plots.bound_sandwich(GAP))
    for container, name in zip(ax.containers, ("gap", "shortfall"), strict=True):
        np.testing.assert_allclose(np.asarray(container[0].get_ydata(), dtype=float), -GAP.summary[name])


def test_without_a_guide_annealing_stands_alone() -> None:
    alone = helm.Gap(GAP.table, GAP.summary.drop(columns=["shortfall", "shortfall_stderr", "importance"]))
    assert len(axes(plots.bound_sandwich(alone)).containers) == 1


def test_pictures_take_what_fit_takes() -> None:
    model = helm.BeliefNetwork((4, 3), seed=0)
    guide = helm.FactorialRecognition((4, 3), seed=0)
    x = (torch.rand(12, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    kinds: dict[str, Any] = {"tensor": x, "array": x.numpy(), "frame": pd.DataFrame(x.numpy()), "mapping": {"x": x}}
    sheet: dict[str, Any] = {name: data for name, data in kinds.items() if name != "mapping"}
    helm.plots.dream_sheet(sheet | {"dreams": helm.dreams(model, 3)}, image_shape=(2, 2))
    for draw in (partial(helm.plots.reconstruction_sheet, image_shape=(2, 2)), helm.plots.code_map):
        shown = {name: png(draw(model, guide, data)) for name, data in kinds.items()}
        assert len(set(shown.values())) == 1
    sequences = {"x": x.reshape(3, 4, 4), "length": torch.tensor([4, 2, 1])}
    temporal = helm.TemporalBeliefNetwork((4, 2), seed=0), helm.TemporalRecognition((4, 2), seed=0)
    helm.plots.code_map(*temporal, sequences, labels=["a", "b", "b"])


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=30)
    return file.getvalue()
