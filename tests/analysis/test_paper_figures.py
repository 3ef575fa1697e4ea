"""The figures of the paper show what was computed, and what was computed is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import typer
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from pyro import poutine
from typer.testing import CliRunner

import pyro_helm as helm
from analysis.paper import architecture, shifter_patterns
from analysis.paper import free_energy_surface as surface
from pyro_helm.guides import FactorialRecognition
from pyro_helm.likelihoods.exact import exact_log_likelihood
from pyro_helm.models import BeliefNetwork


def words(figure: Figure) -> str:
    """All that is written in a figure, its lines joined."""
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    return " ".join([*texts, figure.get_supxlabel()]).replace("\n", " ")


FIGURES = {"fig1_shifter.png": shifter_patterns, "fig2_surface.png": surface, "fig3_architecture.png": architecture}


@pytest.mark.parametrize("name", FIGURES)
def test_a_script_writes_its_figure_and_prints_the_path(name: str, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(FIGURES[name].main)
    shown = CliRunner().invoke(app, ["--quick", "--threads", "1", "--out", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert shown.output.strip() == str(tmp_path / name)
    assert imread(tmp_path / name)[..., :3].std() > 0.02  # something is drawn


# Fig. 1: the shifter


@pytest.fixture(scope="module")
def data() -> helm.Data:
    return helm.load_data("shifter")


def test_patterns_are_divided_by_their_shift(data: helm.Data) -> None:
    assert data.distribution is not None
    shift = shifter_patterns.shift_of(data.distribution.patterns, (4, 8))
    assert {name: int(mask.sum()) for name, mask in shift.items()} == {"left": 252, "right": 252, "ambiguous": 4}
    for pattern, left, right in zip(data.distribution.patterns, shift["left"], shift["right"], strict=True):
        copy, _, _, original = pattern.reshape(4, 8).tolist()
        moved_left, moved_right = copy == original[1:] + original[:1], copy == original[-1:] + original[:-1]
        assert (bool(left), bool(right)) == (moved_left and not moved_right, moved_right and not moved_left)


def test_outer_rows_are_there_twice_and_bits_are_on_with_a_fifth(data: helm.Data) -> None:
    assert data.distribution is not None
    rows, p = data.distribution.patterns.reshape(-1, 4, 8), data.distribution.probabilities
    assert torch.equal(rows[:, 0], rows[:, 1])
    assert torch.equal(rows[:, 2], rows[:, 3])
    original = rows[:, 3]
    both_ways = (rows[:, 0] == original.roll(-1, -1)).all(-1).double() + (rows[:, 0] == original.roll(1, -1)).all(-1)
    of_bits = (0.2**original * 0.8 ** (1 - original)).double().prod(-1)
    assert torch.allclose(p, of_bits * both_ways / 2, rtol=1e-6)


def test_what_is_drawn_is_a_pattern_of_its_group_with_its_probability(data: helm.Data) -> None:
    assert data.distribution is not None
    shift = shifter_patterns.shift_of(data.distribution.patterns, (4, 8))
    axes = np.array(shifter_patterns.figure_of(data, num=5).axes).reshape(3, 5)
    drawn = {}
    for group, row in zip(("left", "right", "ambiguous"), axes, strict=True):
        drawn[group] = [torch.tensor(np.asarray(ax.images[0].get_array())) for ax in row if ax.images]
        for ax, image in zip(row, drawn[group], strict=False):
            (index,) = (data.distribution.patterns == image.flatten()).all(1).nonzero()[:, 0].tolist()
            assert shift[group][index]
            assert f"{float(data.distribution.probabilities[index]):.2g}" in ax.get_title()
    assert {group: len(images) for group, images in drawn.items()} == {"left": 5, "right": 5, "ambiguous": 4}
    # a column is one original under both shifts
    assert all(torch.equal(a[-1], b[-1]) for a, b in zip(drawn["left"], drawn["right"], strict=True))


def test_every_line_leads_from_a_pixel_to_its_copy(data: helm.Data) -> None:
    axes = shifter_patterns.figure_of(data, num=6).axes
    for ax, shifts in zip(axes, [(-1,)] * 6 + [(1,)] * 6 + [(-1, 1)] * 4, strict=False):
        image = np.asarray(ax.images[0].get_array())
        lines = [np.asarray(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 1.2]
        inside = {(int(a) % 8, int(b) % 8) for a, b in lines}
        expected = {(int(pixel), int(pixel + by) % 8) for pixel in image[-1].nonzero()[0] for by in shifts}
        assert inside == expected
        assert all(image[-1, a] == 1 and image[0, b] == 1 for a, b in inside)


def test_the_numbers_of_the_shifters_caption_are_those_of_the_distribution(data: helm.Data) -> None:
    caption = shifter_patterns.caption(data)
    blank = 0.8**8
    ambiguous = blank + 2 * 0.2**4 * 0.8**4 + 0.2**8
    for number in ("508", "4 x 8", "0.20", f"{ambiguous:.1%}", f"{blank:.1%}", "-4.579"):
        assert number in caption
    assert caption in words(shifter_patterns.figure_of(data))


def test_data_without_a_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="'digits' has none"):
        shifter_patterns.figure_of(helm.load_data("digits"))


# Fig. 2: the surface


@pytest.fixture(scope="module")
def land() -> Any:
    return surface.landscape(41)


def machine(theta: float) -> Any:
    """The machine of the figure at one theta, built by itself."""
    model = BeliefNetwork((3, 2), fixed_leak=(surface.LEAK, None), learned_leak=False).double()
    model.generative[0].weight = torch.full((1, 2, 3), theta, dtype=torch.float64)
    return model


def test_the_ridge_is_the_exact_log_likelihood(land: Any) -> None:
    for theta, log_p in zip(land.theta, land.log_p, strict=True):
        expected = float(exact_log_likelihood(machine(theta), surface.PATTERNS)[0] @ surface.WEIGHTS)
        assert log_p == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(land.free.diagonal(), land.log_p, rtol=0, atol=1e-9)


def test_the_surface_is_nowhere_above_the_log_likelihood_and_touches_it_on_the_ridge_alone(land: Any) -> None:
    off_ridge = ~np.eye(len(land.theta), dtype=bool)
    assert (land.free <= land.log_p + 1e-12).all()
    assert (land.free < land.log_p - 1e-9)[off_ridge].all()
    assert (land.constrained < land.log_p - 1e-9).all()


def test_the_ridge_of_the_constrained_plane_is_its_best_answer(land: Any) -> None:
    ridge = land.constrained.diagonal()
    assert (land.constrained <= ridge + 1e-9).all()
    q = torch.linspace(0, 1, 201, dtype=torch.float64)
    pairs = [torch.stack([1 - side, side], -1) for side in torch.cartesian_prod(q, q).unbind(-1)]
    products = (pairs[0][:, :, None] * pairs[1][:, None, :]).flatten(1)  # every factorial Q, nearly
    for place in range(0, len(land.theta), 5):
        per_datum = surface.bound_per_datum(land.joint[place][:, None], products).amax(-1)
        best = float(per_datum @ surface.WEIGHTS)
        assert best - 1e-9 <= ridge[place] <= best + 1e-3


def test_every_constrained_q_is_what_a_recognition_network_gives(land: Any) -> None:
    guide = FactorialRecognition((3, 2)).double()
    with_bias = torch.cat([surface.PATTERNS, torch.ones(4, 1, dtype=torch.float64)], -1)
    states = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    for place in range(0, len(land.theta), 8):
        joint = land.joint[place]
        phi = torch.linalg.solve(with_bias, torch.logit(surface.factorial(joint) @ states))
        guide.recognition[0].weight, guide.recognition[0].learned_leak = phi[None, :3], phi[None, 3:]
        program = poutine.condition(guide, {"h1": states.repeat(4, 1)})
        trace = poutine.trace(program).get_trace({"x": surface.PATTERNS.repeat_interleave(4, 0)})
        trace.compute_log_prob()
        q = trace.nodes["h1"]["log_prob"].detach().reshape(4, 4).exp()
        assert float(surface.bound(joint, q)) == pytest.approx(land.constrained[place, place], abs=1e-9)


def test_both_paths_climb_at_every_step(land: Any) -> None:
    for path in (land.em, land.constrained_em):
        heights = np.stack([path.after_e[:-1], path.after_m], -1).ravel()
        assert len(path.theta) > 3
        assert (np.diff([*heights, path.after_e[-1]]) >= -1e-12).all()
        assert path.after_m[0] > path.after_e[0] + 0.1
        assert path.after_e[1] > path.after_m[0] + 0.01


def test_each_step_of_a_path_is_the_best_of_its_kind(land: Any) -> None:
    for path, best_q in ((land.em, surface.posterior), (land.constrained_em, surface.factorial)):
        for step, q in enumerate(path.q[:-1]):
            joint = surface.log_joint(torch.tensor(path.theta[step : step + 1]))[0]
            torch.testing.assert_close(q, best_q(joint))
            assert path.after_e[step] == pytest.approx(float(surface.bound(joint, q)))
            along_theta = surface.bound(land.joint, q)
            assert path.after_m[step] >= float(along_theta.max()) - 1e-12
            assert abs(path.theta[step + 1] - land.theta[int(along_theta.argmax())]) <= np.diff(land.theta)[0]


def test_em_reaches_the_top_and_the_constrained_path_ends_below_at_another_theta(land: Any) -> None:
    em, constrained = land.em, land.constrained_em
    em_joint = surface.log_joint(torch.tensor(em.theta))
    log_p = surface.bound(em_joint, surface.posterior(em_joint)).numpy()
    np.testing.assert_allclose(em.after_e, log_p, atol=1e-9)
    assert em.after_e[-1] >= land.log_p.max() - 1e-6
    assert constrained.after_e[-1] >= land.constrained.diagonal().max() - 1e-6
    assert constrained.after_e[-1] < em.after_e[-1] - 0.1
    assert abs(constrained.theta[-1] - em.theta[-1]) > 0.5
    log_p_there = float(exact_log_likelihood(machine(constrained.theta[-1]), surface.PATTERNS)[0] @ surface.WEIGHTS)
    assert constrained.after_e[-1] < log_p_there < em.after_e[-1]
    for number in (em.after_e[-1], constrained.after_e[-1], log_p_there, em.after_e[-1] - log_p_there):
        assert f"{number:.3f}" in surface.caption(land)


def test_conjugate_gradient_ascends_the_constrained_surface_to_the_same_end(land: Any) -> None:
    theta, answered = land.gradient.T
    q = surface.factorial(surface.log_joint(torch.tensor(answered)))
    heights = surface.bound(surface.log_joint(torch.tensor(theta)), q).numpy()
    assert (np.diff(heights) > 0).all()
    assert heights[-1] == pytest.approx(land.constrained_em.after_e[-1], abs=1e-4)
    assert f"{heights[-1]:.3f} nats" in surface.caption(land)


def test_the_drawn_paths_are_the_computed_ones(land: Any) -> None:
    figure = surface.figure_of(land)
    (ascent,) = [line for line in figure.axes[1].lines if line.get_label() == "conjugate gradient"]
    np.testing.assert_array_equal(np.stack(ascent.get_data(), -1), land.gradient)
    for ax, path in zip(figure.axes, (land.em, land.constrained_em), strict=False):
        (drawn,) = [line for line in ax.lines if "M across" in str(line.get_label())]
        x, y = np.asarray(drawn.get_xdata()), np.asarray(drawn.get_ydata())
        assert ((np.diff(x) == 0) != (np.diff(y) == 0)).all()  # one of the two at a time
        np.testing.assert_array_equal(x[::2], path.theta)
        np.testing.assert_array_equal(y[::2], path.theta)
    assert "".join(surface.caption(land).split()) in "".join(words(figure).split())


def test_the_constrained_machine_ends_where_the_divergence_is_small(land: Any) -> None:
    """The penalty encourages the generative model to change as well (section 2)."""

    def divergence(theta: float) -> float:
        joint = surface.log_joint(torch.tensor([theta]).double())[0]
        return float(joint.logsumexp(-1) @ surface.WEIGHTS - surface.bound(joint, surface.factorial(joint)))

    em, constrained = float(land.em.theta[-1]), float(land.constrained_em.theta[-1])
    assert (em, constrained) == pytest.approx((3.75, 2.35), abs=0.005)
    assert (divergence(em), divergence(constrained)) == pytest.approx((0.541, 0.112), abs=5e-4)


# Fig. 3: the architecture

MACHINES: dict[str, tuple[tuple[int, ...], str | tuple[str, ...], int]] = {
    "odds": ((32, 24, 2), "odds", 1),
    "mixed": ((60, 5, 3, 1), ("sigmoid", "noisy_or", "odds", "sigmoid"), 3),
}


def pair(name: str) -> tuple[BeliefNetwork, FactorialRecognition]:
    sizes, imaging, restarts = MACHINES[name]
    return (
        BeliefNetwork(sizes, imaging, restarts=restarts, seed=0),
        FactorialRecognition(sizes, restarts=restarts, seed=0),
    )


@pytest.mark.parametrize("name", MACHINES)
def test_sites_are_read_with_their_parents_and_parameters(name: str) -> None:
    model, guide = pair(name)
    generative, recognition = architecture.read_machine(model, guide)
    names = ["x", *(f"h{level}" for level in range(1, len(model.sizes)))]
    assert [site.name for site in generative] == names[::-1]
    assert [site.name for site in recognition] == names[1:]
    assert [site.units for site in generative] == list(model.sizes[::-1])
    assert [site.parents for site in generative] == [(), *((above,) for above in names[:0:-1])]
    assert [site.parents for site in recognition] == [(below,) for below in names[:-1]]
    for level, site in enumerate(reversed(generative)):
        expected = {f"generative.{level}.learned_leak": (model.restarts, 1, site.units)}
        if level + 1 < len(model.sizes):
            expected[f"generative.{level}.weight"] = (model.restarts, model.sizes[level + 1], site.units)
        assert site.parameters == expected


@pytest.mark.parametrize("name", MACHINES)
def test_the_figure_shows_the_machine_that_it_is_given(name: str) -> None:
    model, guide = pair(name)
    figure = architecture.figure_of(model, guide)
    circles = {part.get_label(): part for part in figure.axes[0].collections if isinstance(part, EllipseCollection)}
    for level, units in enumerate(model.sizes):
        site = f"h{level}" if level else "x"
        offsets = np.asarray(circles[site].get_offsets())
        assert len(offsets) == units if units <= architecture.MAX_DRAWN else len(offsets) < units
        assert np.ptp(offsets[:, 1]) == 0
    heights = [np.asarray(part.get_offsets())[0, 1] for _, part in sorted(circles.items())]
    assert heights[-1] < min(heights[:-1])  # x, the last by name, is lowest
    assert heights[:-1] == sorted(heights[:-1])
    written = words(figure)
    assert "-".join(map(str, model.sizes)) in written
    for below, above in zip(model.sizes, model.sizes[1:], strict=False):
        assert f"[{below} x {above}]" in written
        assert f"[{above} x {below}]" in written
    assert ("3 restarts" in written) == (name == "mixed")


def test_recognition_runs_up_and_generation_down() -> None:
    figure = architecture.figure_of(*pair("odds"))
    fans = [part for part in figure.axes[0].collections if isinstance(part, LineCollection)]
    assert sorted(len(fan.get_segments()) for fan in fans) == [24, 24, 32, 32]
    for fan in fans:
        up = to_hex(np.asarray(fan.get_color())[0][:3]).upper() == architecture.RECOGNITION
        begins, ends = np.stack([np.asarray(segment) for segment in fan.get_segments()], 1)
        assert (ends[:, 1] > begins[:, 1]).all() == up
        assert len(np.unique((ends if up else begins)[:, 0])) == 1


def test_the_drawn_machine_has_the_layers_of_the_print_and_all_its_connections() -> None:
    """Fig. 3: five inputs, three layers, generative connections dashed and recognition solid."""
    sizes = architecture.DRAWN
    assert (sizes[0], len(sizes)) == (5, 3)
    figure = architecture.figure_of(BeliefNetwork(sizes, "odds"), FactorialRecognition(sizes))
    fans = [part for part in figure.axes[0].collections if isinstance(part, LineCollection)]
    assert sorted(len(fan.get_segments()) for fan in fans) == [6, 6, 15, 15]
    for fan in fans:
        ((_, dashes),) = cast(Any, fan.get_linestyle())
        solid = dashes is None
        assert solid == (to_hex(np.asarray(fan.get_color())[0][:3]).upper() == architecture.RECOGNITION)
    # biases: all layers in generation, all but the input in recognition
    assert sum(text.get_text() == "1" for text in figure.axes[0].texts) == 3 + 2


def test_formulae_follow_imaging_and_leaks() -> None:
    imaging, learned = ("noisy_or", "odds", "sigmoid"), (True, False, False)
    model = BeliefNetwork((4, 3, 2), imaging, fixed_leak=(None, 0.25, None), learned_leak=learned, seed=0)
    figure = architecture.figure_of(model, FactorialRecognition((4, 3, 2), seed=0))
    written = words(figure)
    assert r"p(x_j=1\,|\,h^{1})=1-e^{-r},\ \ r=\sum_i h^{1}_i\,\lambda_{ij}+b_j$" in written
    assert r"p(h^{1}_j=1\,|\,h^{2})=o/(1+o),\ \ o=\sum_i h^{2}_i\,\theta_{ij}+0.25$" in written
    assert r"p(h^{2}_j=1)=\sigma(z),\ \ z=0$" in written
    assert r"q(h^{2}_j=1\,|\,h^{1})=\sigma(z),\ \ z=\sum_i h^{1}_i\,\phi_{ij}+c_j$" in written
    # biases: x and h1 in generation, h1 and h2 in recognition
    assert sum(text.get_text() == "1" for text in figure.axes[0].texts) == 4
