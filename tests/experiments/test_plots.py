"""Figures: what is drawn equals the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyro_helm.experiments import plots
from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.runtime.tables import tidy

METRIC = "valid_log_likelihood"
SHAPE = (2, 3)


@pytest.fixture
def table() -> pd.DataFrame:
    noise = np.random.default_rng(0)
    return tidy(
        {
            "dataset": dataset, "sizes": "6-4", "imaging": imaging, "scheme": scheme, "restart": restart,
            "epoch": epoch, "metric": METRIC, "value": -4 - 96 / epoch**2 + noise.normal(),
        }
        for dataset, names in (("shifter", ("sigmoid", "odds")), ("digits", ("sigmoid",)))
        for imaging in names
        for scheme in ("wake_sleep", "reinforce")
        for restart in range(5)
        for epoch in range(1, 31)
    )  # fmt: skip


def panels(figure: Figure) -> dict[str, Axes]:
    return {ax.get_title(): ax for ax in figure.axes if ax.get_title()}


def legend(ax: Axes) -> dict[str, str]:
    """Colours by scheme, in the legend's order."""
    colours = {str(line.get_label()).split()[0]: to_hex(line.get_color()) for line in ax.get_lines()}
    box = ax.get_legend()
    assert box is not None
    return {name: colours[name] for name in (text.get_text().split()[0] for text in box.get_texts())}


def machine(
    imaging: str = "sigmoid", sizes: tuple[int, ...] = (6, 4, 2), restarts: int = 2
) -> tuple[BeliefNetwork, FactorialRecognition]:
    return BeliefNetwork(sizes, imaging, restarts=restarts, seed=3), FactorialRecognition(
        sizes, restarts=restarts, seed=3
    )


def squares(figure: Figure, label: str) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Centres, areas and colours of a block's squares."""
    (block,) = [
        part for part in figure.axes[0].collections if isinstance(part, PolyCollection) and part.get_label() == label
    ]
    corners = np.stack([np.asarray(path.vertices)[:4] for path in block.get_paths()])
    sides = np.ptp(corners, axis=1)
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], atol=1e-9)
    return corners.mean(1), sides.prod(1), [to_hex(colour) for colour in np.asarray(block.get_facecolor())]


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


# learning curves


def test_there_is_a_panel_for_every_data_set_and_imaging_model(table: pd.DataFrame) -> None:
    assert set(panels(plots.learning_curves(table))) == {
        "shifter 6-4, sigmoid",
        "shifter 6-4, odds",
        "digits 6-4, sigmoid",
    }


def test_machines_of_other_sizes_are_not_pooled(table: pd.DataFrame) -> None:
    small = table[(table.dataset == "digits")].assign(sizes="6-2")
    assert "digits 6-2, sigmoid" in panels(plots.learning_curves(pd.concat([table, small])))


def test_lines_are_medians_over_restarts_of_the_finite_values(table: pd.DataFrame) -> None:
    table.loc[table.index[::17], "value"] = np.nan
    table.loc[table.index[5::31], "value"] = -np.inf
    finite = table[np.isfinite(table.value)]
    for (dataset, imaging), panel in finite.groupby(["dataset", "imaging"]):
        ax = panels(plots.learning_curves(table))[f"{dataset} 6-4, {imaging}"]
        lines = {str(line.get_label()).split()[0]: line for line in ax.get_lines()}
        assert len(lines) == 2
        for scheme, group in panel.groupby("scheme"):
            medians = group.groupby("epoch").value.median()
            np.testing.assert_allclose(np.asarray(lines[str(scheme)].get_ydata()), medians)
            np.testing.assert_array_equal(np.asarray(lines[str(scheme)].get_xdata()), medians.index)


def test_light_bands_reach_from_worst_to_best_and_dark_ones_between_quartiles(table: pd.DataFrame) -> None:
    rows = table[(table.dataset == "digits") & (table.scheme == "reinforce")]
    light, dark = plots.learning_curves(rows).axes[0].collections
    last = rows[rows.epoch == 30].value
    for band, quantiles in ((light, (0.0, 1.0)), (dark, (0.25, 0.75))):
        vertices = np.asarray(band.get_paths()[0].vertices)
        heights = vertices[vertices[:, 0] == 30, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], last.quantile(list(quantiles)))


def test_a_scheme_has_one_colour_everywhere_and_the_best_is_named_first(table: pd.DataFrame) -> None:
    table.loc[(table.dataset == "digits") & (table.scheme == "wake_sleep"), "value"] += 5
    table.loc[(table.dataset == "shifter") & (table.scheme == "wake_sleep"), "value"] -= 5
    drawn = {title: legend(ax) for title, ax in panels(plots.learning_curves(table)).items()}
    assert len({tuple(sorted(colours.items())) for colours in drawn.values()}) == 1
    assert next(iter(drawn["digits 6-4, sigmoid"])) == "wake_sleep"
    assert next(iter(drawn["shifter 6-4, odds"])) == "reinforce"


def test_many_schemes_differ_in_colour_or_line(table: pd.DataFrame) -> None:
    rows = table[(table.dataset == "digits") & (table.scheme == "reinforce")]
    many = pd.concat([rows.assign(scheme=f"scheme{number}") for number in range(11)])
    styles = {(line.get_color(), line.get_linestyle()) for line in plots.learning_curves(many).axes[0].get_lines()}
    assert len(styles) == 11


def test_first_epochs_do_not_squash_the_rest_and_rows_share_their_limits(table: pd.DataFrame) -> None:
    figure = plots.learning_curves(table, ceilings={"shifter": -4.5})
    drawn = panels(figure)
    low, high = drawn["shifter 6-4, sigmoid"].get_ylim()
    assert low > -40
    assert high > table[table.dataset == "shifter"].value.max()
    assert drawn["shifter 6-4, odds"].get_ylim() == (low, high)
    assert drawn["digits 6-4, sigmoid"].get_ylim() != (low, high)


def test_a_scheme_that_stays_far_below_is_still_seen(table: pd.DataFrame) -> None:
    bad = (table.dataset == "digits") & (table.scheme == "reinforce")
    table.loc[bad, "value"] = -300.0
    low, _ = panels(plots.learning_curves(table))["digits 6-4, sigmoid"].get_ylim()
    assert low < -300


def test_a_ceiling_is_a_dashed_labelled_line_of_its_data_set_only(table: pd.DataFrame) -> None:
    drawn = panels(plots.learning_curves(table, ceilings={"shifter": -2.25}))
    for title, ax in drawn.items():
        dashed = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
        assert len(dashed) == title.startswith("shifter")
        assert all(np.asarray(line.get_ydata())[0] == -2.25 for line in dashed)
        assert any("-2.250" in text.get_text() for text in ax.texts) == title.startswith("shifter")


def test_axes_have_units_and_a_single_epoch_a_marker(table: pd.DataFrame) -> None:
    ax = plots.learning_curves(table[table.epoch == 1]).axes[0]
    assert ax.get_xlabel() == "epoch"
    assert "nats per datum" in ax.get_ylabel()
    assert all(line.get_marker() == "o" for line in ax.get_lines())


def test_errors_of_learning_curves(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="the table is empty"):
        plots.learning_curves(tidy([]))
    with pytest.raises(ValueError, match=f"'elbo'; it has the metrics {METRIC}"):
        plots.learning_curves(table, metric="elbo")
    with pytest.raises(ValueError, match="no finite value"):
        plots.learning_curves(table.assign(value=np.nan))


# weight diagrams


@pytest.mark.parametrize("imaging", ["sigmoid", "noisy_or", "odds"])
@pytest.mark.parametrize("restart", [0, 1])
def test_areas_are_proportional_to_magnitudes_and_colours_are_signs(imaging: str, restart: int) -> None:
    model, guide = machine(imaging)
    figure = plots.weight_diagram(model, guide, restart=restart, image_shape=SHAPE)
    with torch.no_grad():
        drives = {
            "generative weights, h1 to x": model.generative[0].weight[restart],
            "generative weights, h1 to x, bias": model.generative[1].leak[restart, 0],
            "generative weights, h2 to h1": model.generative[1].weight[restart],
            "generative weights, h2 to h1, bias": model.generative[2].leak[restart, 0],
            "generative leak of x": model.generative[0].leak[restart, 0],
        }
        shown = {name: drive if imaging == "sigmoid" else drive.log() for name, drive in drives.items()}
        shown |= {
            "recognition weights, x to h1": guide.recognition[0].weight[restart].mT,
            "recognition weights, x to h1, bias": guide.recognition[0].leak[restart, 0],
            "recognition weights, h1 to h2": guide.recognition[1].weight[restart].mT,
            "recognition weights, h1 to h2, bias": guide.recognition[1].leak[restart, 0],
        }
    for name, tensor in shown.items():
        values = tensor.detach().double().numpy().ravel()
        _, areas, colours = squares(figure, name)
        np.testing.assert_allclose(areas / areas.max(), np.abs(values) / np.abs(values).max(), atol=1e-6)
        assert colours == ["#ffffff" if value > 0 else "#000000" for value in values]
        assert f"largest {np.abs(values).max():.3g}" in words(figure)


def test_a_pixel_is_at_its_row_and_column_in_the_image_of_its_unit() -> None:
    model, guide = machine()
    figure = plots.weight_diagram(model, guide, image_shape=SHAPE)
    recognition, _, _ = squares(figure, "recognition weights, x to h1")
    generative, _, _ = squares(figure, "generative weights, h1 to x")
    images = recognition.reshape(4, *SHAPE, 2)
    cell = images[0, 0, 1, 0] - images[0, 0, 0, 0]
    for unit in range(4):
        for row in range(SHAPE[0]):
            for column in range(SHAPE[1]):
                expected = images[unit, 0, 0] + cell * np.array([column, row])  # y points downwards
                np.testing.assert_allclose(images[unit, row, column], expected)
    low, high = figure.axes[0].get_ylim()
    assert low > high
    # the generative image of a unit stands at the right of its recognition image
    steps = (generative - recognition).reshape(-1, 2)
    np.testing.assert_allclose(steps, np.broadcast_to([steps[0, 0], 0.0], steps.shape), atol=1e-9)
    assert steps[0, 0] > SHAPE[1] * cell


@pytest.mark.parametrize("sizes", [(6, 4), (6, 4, 2), (6, 70, 66, 3)])
def test_no_square_lies_outside_the_figure_or_on_another(sizes: tuple[int, ...]) -> None:
    figure = plots.weight_diagram(*machine(sizes=sizes), image_shape=SHAPE)
    blocks = [part for part in figure.axes[0].collections if not str(part.get_label()).startswith("_")]
    centres = np.concatenate([squares(figure, str(block.get_label()))[0] for block in blocks])
    assert (centres > 0).all()
    assert (centres < figure.get_size_inches()).all()
    assert len(np.unique(centres.round(6), axis=0)) == len(centres)


@pytest.mark.parametrize("imaging", ["sigmoid", "odds"])
@pytest.mark.parametrize("sizes", [(6, 4), (6, 70, 66, 3)])
def test_no_text_is_cut_off(imaging: str, sizes: tuple[int, ...]) -> None:
    figure = plots.weight_diagram(*machine(imaging, sizes), image_shape=SHAPE)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert max(box.x1 for box in boxes) < figure.bbox.x1
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])


def test_of_a_wide_layer_the_strongest_units_are_shown() -> None:
    model, guide = machine(sizes=(6, 70))
    with torch.no_grad():
        weight = model.generative[0].weight
        weight[0] = 1.0
        weight[0, [3, 10, 11, 12, 13, 69]] = 0.5
        model.generative[0].weight = weight
    figure = plots.weight_diagram(model, guide, image_shape=SHAPE)
    numbers = {int(text.split()[-1]) for text in words(figure).splitlines() if text.startswith("h1 unit")}
    assert numbers == set(range(70)) - {3, 10, 11, 12, 13, 69}
    assert "64 of the 70 in h1" in words(figure)


def test_a_weight_that_has_underflowed_is_drawn() -> None:
    model, guide = machine("odds")
    with torch.no_grad():
        model.generative[0].weight_unconstrained[0, 0, 0] = -1000.0
    assert model.generative[0].weight[0, 0, 0] == 0
    _, areas, colours = squares(plots.weight_diagram(model, guide), "generative weights, h1 to x")
    assert areas[0] == pytest.approx(areas[[colour == "#000000" for colour in colours]].max())


@pytest.mark.parametrize(
    ("fixed", "learned", "words_of_it"),
    [(None, True, "(learned)"), (0.05, True, "(learned + fixed 0.05)"), (0.05, False, "(fixed 0.05)")],
)
def test_it_says_what_the_leak_is_made_of(fixed: float | None, learned: bool, words_of_it: str) -> None:
    model = BeliefNetwork((6, 4), "odds", fixed_leak=fixed, learned_leak=learned, seed=0)
    assert words_of_it in words(plots.weight_diagram(model, FactorialRecognition((6, 4), seed=0)))


@pytest.mark.parametrize(("skip", "condition"), [(True, None), (False, 3)])
def test_of_skip_connections_and_labels_the_weights_of_neighbours_are_drawn(skip: bool, condition: int | None) -> None:
    model = BeliefNetwork((6, 4, 2), skip=skip, condition=condition, seed=0)
    guide = FactorialRecognition((6, 4, 2), condition=condition, seed=0)
    figure = plots.weight_diagram(model, guide, image_shape=SHAPE)
    for name, weight in (
        ("generative weights, h1 to x", model.generative[0].weight[0, :4]),
        ("recognition weights, x to h1", guide.recognition[0].weight[0, :6].mT),
        ("generative weights, h2 to h1", model.generative[1].weight[0, :2]),
    ):
        _, areas, _ = squares(figure, name)
        values = np.abs(weight.detach().double().numpy().ravel())
        np.testing.assert_allclose(areas / areas.max(), values / values.max(), atol=1e-6)
    assert "Weights between layers that are no neighbours, and those from a label, are not drawn." in words(figure)


def test_errors_of_weight_diagrams() -> None:
    model, guide = machine()
    for restart in (-1, 2):
        with pytest.raises(ValueError, match=f"restart must be from 0 to 1, got {restart}"):
            plots.weight_diagram(model, guide, restart=restart)
    with pytest.raises(ValueError, match="image_shape must have 6 pixels, one per visible unit, got 2 x 2"):
        plots.weight_diagram(model, guide, image_shape=(2, 2))
    with pytest.raises(ValueError, match="same sizes"):
        plots.weight_diagram(model, FactorialRecognition((6, 4)))


# dreams


def test_images_stand_in_rows_of_their_group_with_ones_in_black() -> None:
    data = torch.bernoulli(torch.full((5, 6), 0.5), generator=torch.Generator().manual_seed(0))
    figure = plots.dream_sheet({"data": data, "dreams": 1 - data[:2]}, image_shape=SHAPE, columns=3)
    assert words(figure) == "data\ndreams"
    first, second = figure.axes[0].get_images()
    assert first.get_cmap().name == "gray_r"
    assert first.get_clim() == (0, 1)
    sheet = np.asarray(first.get_array())
    for index, image in enumerate(data):
        top, left = index // 3 * (SHAPE[0] + 1), index % 3 * (SHAPE[1] + 1)
        np.testing.assert_array_equal(sheet[top : top + SHAPE[0], left : left + SHAPE[1]], image.reshape(SHAPE))
    scales = [np.ptp(drawn.get_extent()[:2]) / np.asarray(drawn.get_array()).shape[1] for drawn in (first, second)]
    assert scales[0] == pytest.approx(scales[1])
    assert max(first.get_extent()[2:]) < min(second.get_extent()[2:])  # y points downwards


def test_values_beyond_zero_and_one_widen_the_scale_of_all_groups() -> None:
    figure = plots.dream_sheet({"data": torch.full((1, 6), 3.0), "dreams": torch.full((1, 6), -2.0)}, image_shape=SHAPE)
    assert [image.get_clim() for image in figure.axes[0].get_images()] == [(-2, 3)] * 2


def test_errors_of_dream_sheets() -> None:
    with pytest.raises(ValueError, match="needs a group"):
        plots.dream_sheet({}, image_shape=SHAPE)
    with pytest.raises(ValueError, match=r"images of 'data' must be .* got \[0, 6\]"):
        plots.dream_sheet({"data": torch.zeros(0, 6)}, image_shape=SHAPE)
    with pytest.raises(ValueError, match="image_shape must have 7 pixels"):
        plots.dream_sheet({"data": torch.zeros(1, 7)}, image_shape=SHAPE)


# files


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_figure_makes_the_same_bytes(tmp_path: Path, table: pd.DataFrame, suffix: str) -> None:
    for name in ("one", "two"):
        plots.save_figure(plots.learning_curves(table), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.png"
    path.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    figure = plots.dream_sheet({"data": torch.zeros(1, 6)}, image_shape=SHAPE)
    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.save_figure(figure, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_without_a_suffix_gets_a_png(tmp_path: Path) -> None:
    plots.save_figure(plots.dream_sheet({"data": torch.zeros(1, 6)}, image_shape=SHAPE), tmp_path / "figure")
    assert [path.name for path in tmp_path.iterdir()] == ["figure"]
    assert (tmp_path / "figure").read_bytes().startswith(b"\x89PNG")
