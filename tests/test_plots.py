"""Figures show what the tables and machines hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from pyro_helm.guides import FactorialRecognition
from pyro_helm.models import BeliefNetwork
from pyro_helm.plots import MAX_UNITS, dream_sheet, learning_curves, save_figure, weight_diagram
from pyro_helm.tables import tidy

SIZES = (8, 4, 2)


def history() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return tidy(
        {
            "dataset": "d",
            "imaging": imaging,
            "scheme": scheme,
            "restart": restart,
            "epoch": epoch,
            "metric": "valid_log_likelihood",
            "value": -10.0 + epoch + generator.normal(),
        }
        for imaging in ("sigmoid", "odds")
        for scheme in ("reinforce", "wake_sleep")
        for restart in range(5)
        for epoch in range(1, 4)
    )


def machine(imaging: str = "sigmoid", sizes: tuple[int, ...] = SIZES) -> tuple[BeliefNetwork, FactorialRecognition]:
    return BeliefNetwork(sizes, imaging, restarts=2, seed=0), FactorialRecognition(sizes, restarts=2, seed=0)


def axes_titled(figure: Any, title: str) -> Axes:
    (found,) = [ax for ax in figure.get_axes() if ax.get_title().startswith(title)]
    assert isinstance(found, Axes)
    return found


def squares(ax: Axes) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Centres [squares, 2], areas and colours."""
    _, drawn = [c for c in ax.collections if isinstance(c, PolyCollection)]
    corners = np.array([np.asarray(path.vertices)[:4] for path in drawn.get_paths()])
    sides = corners[:, 1, 0] - corners[:, 0, 0]
    return corners.mean(1), sides**2, [to_hex(colour) for colour in np.asarray(drawn.get_facecolor())]


def test_learning_curves_are_medians_with_the_spread_over_restarts() -> None:
    table = history()
    figure = learning_curves(table, ceilings={"d": -5.0})
    panels = figure.get_axes()
    assert [ax.get_title() for ax in panels] == ["d, sigmoid", "d, odds"]
    for ax, imaging in zip(panels, ("sigmoid", "odds"), strict=True):
        for line, band, scheme in zip(ax.get_lines(), ax.collections, ("reinforce", "wake_sleep"), strict=False):
            values = table[(table.imaging == imaging) & (table.scheme == scheme)].groupby("epoch").value
            assert np.allclose(np.asarray(line.get_ydata(), dtype=float), values.median())
            assert str(line.get_label()).startswith(scheme)
            heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
            assert heights.max() == pytest.approx(values.max().max())
            assert heights.min() == pytest.approx(values.min().min())
        assert ax.get_lines()[2].get_ydata() == [-5.0, -5.0]
        assert "nats per datum" in panels[0].get_ylabel()


def test_a_scheme_has_one_colour_in_every_panel() -> None:
    first, second = learning_curves(history()).get_axes()
    for one, other in zip(first.get_lines(), second.get_lines(), strict=True):
        assert one.get_color() == other.get_color()


def test_non_finite_values_are_left_out_and_an_empty_table_is_refused() -> None:
    table = history()
    table.loc[table.restart == 0, "value"] = np.nan
    learning_curves(table)
    with pytest.raises(ValueError, match=re.escape("no finite values of 'elbo'; its metrics are ['valid_log_like")):
        learning_curves(table, metric="elbo")


@pytest.mark.parametrize("imaging", ["sigmoid", "odds", "noisy_or"])
def test_areas_are_magnitudes_and_colours_signs(imaging: str) -> None:
    model, guide = machine(imaging)
    figure = weight_diagram(model, guide, restart=1, image_shape=(2, 4))
    weight = model.generative[0].weight[1].detach()
    shown = weight if imaging == "sigmoid" else weight.log()
    suffix = "" if imaging == "sigmoid" else " (log)"
    ax = axes_titled(figure, f"generative weights, h1 to x{suffix}")
    _, areas, colours = squares(ax)
    expected = shown.flatten().double().numpy()
    assert np.allclose(areas / areas.max(), np.abs(expected) / np.abs(expected).max(), atol=1e-6)
    assert [colour == "#ffffff" for colour in colours] == (expected > 0).tolist()
    assert f"largest magnitude {np.abs(expected).max():.2f}" in ax.get_title()


def test_a_receptive_field_is_laid_out_as_the_image_is() -> None:
    model, guide = machine()
    with torch.no_grad():
        weights = guide.recognition[0].weight_unconstrained
        weights.zero_()
        weights[0, 6, 0] = 1.0  # pixel in row 1, column 2 of a 2 by 4 image, unit 0
    figure = weight_diagram(model, guide, image_shape=(2, 4))
    centres, areas, _ = squares(axes_titled(figure, "recognition weights, x to h1"))
    assert centres[areas.argmax()].tolist() == pytest.approx([2.5, 1.5])


def test_of_many_units_the_strongest_are_drawn_and_it_says_so() -> None:
    model, guide = machine(sizes=(6, 100, 3))
    figure = weight_diagram(model, guide)
    _, areas, _ = squares(axes_titled(figure, "generative weights, h1 to x"))
    assert len(areas) == MAX_UNITS * 6
    title = figure._suptitle.get_text()  # type: ignore[attr-defined]
    assert "64 strongest of 100 units of h1" in title


def test_dreams_stand_under_data_in_ink_on_paper() -> None:
    images = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    figure = dream_sheet({"data": images, "dreams": images.flip(0)}, image_shape=(2, 2), columns=5)
    assert [ax.get_title(loc="left") for ax in figure.get_axes()] == ["data", "dreams"]
    sheet = np.asarray(figure.get_axes()[0].get_images()[0].get_array())
    assert np.array_equal(sheet[1:3, 1:3], [[0, 1], [1, 1]])
    assert np.array_equal(sheet[1:3, 4:6], [[1, 1], [1, 0]])


def test_bad_input_is_refused_in_a_sentence() -> None:
    model, guide = machine()
    with pytest.raises(ValueError, match="restart must be from 0 to 1, got 2"):
        weight_diagram(model, guide, restart=2)
    with pytest.raises(ValueError, match=re.escape("image_shape (3, 3) has 9 pixels for 8 visible units")):
        weight_diagram(model, guide, image_shape=(3, 3))
    with pytest.raises(ValueError, match=re.escape("image_shape (3, 3) has 9 pixels, but 'data' 8")):
        dream_sheet({"data": torch.zeros(2, 8)}, image_shape=(3, 3))


def test_a_figure_is_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_figure(weight_diagram(*machine("odds"), image_shape=(2, 4)), tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
