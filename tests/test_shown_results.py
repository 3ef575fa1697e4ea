"""What users print: every result in a few lines of 80 columns, with its numbers, units and warnings."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch

import pyro_helm as helm
from pyro_helm.experiments.machines import machine_of
from pyro_helm.experiments.ranking import ranking_card, study_card
from pyro_helm.guides import GUIDES
from pyro_helm.models import MODELS
from pyro_helm.runtime.shown import WIDTH, as_text

LONG = "/a/long/path/of/a/data set with\nmany words" * 9


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """One of each, of tiny machines."""
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    model = helm.BeliefNetwork((6, 4, 2), restarts=3, seed=0)
    guide = helm.FactorialRecognition((6, 4, 2), restarts=3, seed=0)
    data = helm.Data("noise", x, x[:20], x[:20], (2, 3))
    result = helm.fit(
        model, guide, x, scheme=helm.VIMCO(5), valid=x[:20], num_epochs=2, dataset="noise", progress=False
    )
    settings = {"sizes": (6, 4), "restarts": 2, "num_epochs": 1, "num_samples": 10, "progress": False}
    return {
        "result": result,
        "scores": helm.log_likelihood(model, guide, x, num_samples=5),
        "exact scores": helm.log_likelihood(model, None, x, method="exact"),
        "data": data,
        "shifter": helm.load_data("shifter"),
        "gap": helm.log_likelihood_gap(model, guide, num_data=5, num_samples=5, schedule=5),
        "posterior": helm.exact_posterior(model, guide, x[:5]),
        "comparison": helm.compare(data, schemes=[helm.WakeSleep(), helm.VIMCO(2)], **settings),  # type: ignore[arg-type]
    }


NAMES = ["result", "scores", "exact scores", "data", "shifter", "gap", "posterior", "comparison"]


def fits(text: str) -> bool:
    return all(len(line) <= WIDTH for line in text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_a_few_ascii_lines_of_80_columns_that_tell_the_unit(name: str, results: dict[str, Any]) -> None:
    shown = str(results[name])
    assert fits(shown)
    assert 1 < len(shown.splitlines()) < 25
    assert shown.isascii()
    assert "tensor(" not in shown
    assert "nats" in shown or name == "data"
    assert repr(results[name]) == shown


@pytest.mark.parametrize("name", NAMES)
def test_it_is_html_in_a_notebook(name: str, results: dict[str, Any]) -> None:
    html = results[name]._repr_html_()
    assert ("<table" in html) == ("data" != name != "shifter")
    assert html.startswith("<div>")
    assert ("<svg" in html) == (name in ("result", "data", "shifter"))


def test_a_result_tells_the_machine_the_scheme_and_the_best_of_each_restart(results: dict[str, Any]) -> None:
    shown, best = str(results["result"]), results["result"].summary.best.max()
    assert "BeliefNetwork 6-4-2 sigmoid trained by vimco on noise" in shown
    assert f"{best:.3f}" in shown
    assert "`best` is the valid_log_likelihood" in shown


def test_a_result_of_stages_tells_every_scheme_in_their_order(results: dict[str, Any]) -> None:
    result = results["result"]
    stages = pd.concat([result.history.assign(scheme="wake_sleep"), result.history])
    assert "trained by wake_sleep, then vimco on noise" in str(replace(result, history=stages))


def test_a_result_tells_of_failed_restarts_and_of_an_interruption(results: dict[str, Any]) -> None:
    result = results["result"]
    cut = replace(result, interrupted=True, summary=result.summary.assign(failed=[False, True, False]))
    assert "! the training was interrupted" in str(cut)
    assert "! 1 of 3 restarts failed" in str(cut)
    assert "before its first epoch" in str(replace(cut, history=result.history.iloc[:0]))


def test_scores_have_their_warnings_below_the_table(results: dict[str, Any]) -> None:
    shown = str(results["scores"])
    *_, last_of_table = [line for line in shown.splitlines() if line.startswith("  ") and line.lstrip()[0].isdigit()][
        :3
    ]
    assert shown.index("! restart") > shown.index(last_of_table)
    assert "effective sample size" in " ".join(shown.split())
    assert "exact" in str(results["exact scores"])
    assert "!" not in str(results["exact scores"])


def test_data_of_a_known_distribution_tell_what_no_model_can_exceed(results: dict[str, Any]) -> None:
    assert "no model can score above -4.579" in " ".join(str(results["shifter"]).split())
    assert "4 x 8" in str(results["shifter"])
    assert "entropy 4.579 nats" in str(results["shifter"].distribution)


def test_data_tell_how_much_is_missing() -> None:
    x = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])
    assert "25.0% are missing" in " ".join(str(helm.Data("gaps", x, x, x)).split())


def test_a_comparison_has_a_row_per_scheme_with_common_labels_above(results: dict[str, Any]) -> None:
    title, medians, names, *rows = str(results["comparison"]).splitlines()
    assert title == "Comparison on noise, 6-4, sigmoid, in nats per datum (higher is better)"
    assert "medians over 2 restarts" in medians
    assert names.split() == ["scheme", "log_p", "stderr", "best", "elbo", "s/restart", "failed"]
    assert {row.split()[0] for row in rows} == {"wake_sleep", "vimco"}


def test_a_posterior_tells_its_sites_and_the_divergence(results: dict[str, Any]) -> None:
    shown = str(results["posterior"])
    assert "h1 4, h2 2" in shown
    assert f"{results['posterior'].kl[0].mean():.3f}" in shown


def test_wide_names_and_values_fit_too(results: dict[str, Any]) -> None:
    result, scores, data = results["result"], results["scores"], results["data"]
    many = pd.concat([result.summary.assign(restart=number, best=-1e9 * number) for number in range(500)])
    wide = replace(result, history=result.history.assign(dataset=LONG, sizes="1000-" * 40, scheme=LONG), summary=many)
    values = scores.summary.select_dtypes("number").columns.drop("restart")
    huge = scores.summary.assign(**{name: -1.23456789e9 for name in values}, warnings="x" * 400)
    summary = results["comparison"].summary
    rows = pd.concat(
        [summary.assign(dataset=f"{LONG}{n}", imaging=f"{LONG}{n}", log_likelihood=-1e9) for n in range(30)]
    )
    posterior = replace(results["posterior"], marginals={f"{LONG}{n}": torch.zeros(3, 5, 1000) for n in range(99)})
    for shown in (wide, replace(scores, summary=huge), replace(data, name=LONG), posterior):
        assert fits(str(shown))
    assert fits(str(replace(results["comparison"], summary=rows)))
    assert fits(str(replace(results["comparison"], summary=rows.iloc[:0], interrupted=True)))
    assert ranking_card(rows, interrupted=False).table is not None


def test_an_imputation_tells_how_many_values_it_made_and_of_what() -> None:
    model, guide = helm.BeliefNetwork((6, 4), seed=0), helm.FactorialRecognition((6, 4), seed=0)
    x = torch.tensor([[1.0, torch.nan, 0.0, torch.nan, 1.0, 1.0], [0.0] * 6])
    shown = str(helm.impute(model, guide, x, num_samples=5))
    assert fits(shown)
    assert shown.startswith("Imputation of data of shape 2 x 6\n  2 of 12 values are missing and uncertain")
    assert "! the means of 2 data rest on fewer than 10 effective samples" in shown


def test_a_study_tells_the_states_of_its_runs_and_the_chosen_settings() -> None:
    runs = pd.DataFrame({"run": list("abcde"), "state": ["finished", *["failed"] * 4], "why": "it " + "ran out " * 30})
    chosen = pd.DataFrame(
        {"dataset": [LONG, "digits"], "machine": "odds 4", "budget": "9 epochs", "scheme": LONG, "log_likelihood": -1e9,
         "log_likelihood_stderr": 0.1, "log_likelihood_best": -1.0, "failed": 0, "learning_rate": 0.01}
    )  # fmt: skip
    shown = as_text(study_card("a study", runs, chosen, ["learning_rate"]))
    assert fits(shown)
    assert "5 runs: 4 failed, 1 finished" in shown
    assert "! run b failed: it ran out" in shown
    assert "1 more runs failed" in shown
    assert "learning_rate" in shown
    assert "6 runs: 4 failed, 1 finished, 1 not begun" in as_text(study_card("", runs, chosen, [], not_begun=1))
    assert "no run has begun" in as_text(study_card("", runs.iloc[:0], chosen.iloc[:0], []))


@pytest.mark.parametrize("scheme", [scheme() for scheme in helm.SCHEMES.values()], ids=list(helm.SCHEMES))
def test_a_scheme_shows_as_the_call_that_makes_it(scheme: helm.Scheme) -> None:
    assert fits(repr(scheme))
    again = eval(repr(scheme), vars(helm) | {type(scheme).__name__: type(scheme)})
    assert repr(again) == repr(scheme) == repr(copy.copy(scheme))


@pytest.mark.parametrize(
    "call",
    [
        "VIMCO(num_particles=5)",
        "NVIL(num_particles=1, normalise=False)",
        "TVO(num_particles=3, partition='linear', num_intervals=4)",
        "TVO(num_particles=5, partition=[0.0, 0.5, 1.0])",
        "ExactEM()",
        "MeanField(max_enumerated=0)",
        "Relaxed(num_particles=2, temperature=0.1, straight_through=False)",
        "Gibbs(num_particles=2, num_sweeps=3)",
    ],
)
def test_a_scheme_shows_the_settings_that_differ_from_their_defaults(call: str) -> None:
    assert repr(eval(call, {name: getattr(helm, name) for name in helm.__all__})) == call


def test_a_users_scheme_shows_too() -> None:
    class Mine(helm.VIMCO):
        def __init__(self, num_particles: int = 3, *, unkept: str = "a") -> None:
            super().__init__(num_particles)

    assert repr(Mine()) == "Mine(num_particles=3, unkept=...)"


@pytest.mark.parametrize(
    ("name", "frame", "columns"),
    [
        ("scores", "summary", ["log_likelihood", "stderr", "ess"]),
        ("gap", "summary", ["lower", "upper", "gap"]),
        ("result", "history", ["metric", "value", "restart", "epoch"]),
        ("result", "summary", ["best", "failed"]),
    ],
)
def test_frames_print_their_numbers_in_80_columns(
    name: str, frame: str, columns: list[str], results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pd.option_context("display.max_columns", 0, "display.width", 80):
        shown = str(getattr(results[name], frame).tail())
    assert fits(shown)
    assert set(columns) <= set(shown.splitlines()[0].split())


@pytest.mark.parametrize("name", MODELS | GUIDES)
def test_a_machine_prints_its_sizes_and_restarts(name: str) -> None:
    made: Any = machine_of(6, seed=0, restarts=2, sizes=(6, 4, 2), **part_named(name))
    shown = repr(made[0] if name in MODELS else made[1])
    assert fits(shown)
    assert "6-4-2 units, bottom to top" in shown
    assert "2 restarts" in shown


def part_named(name: str) -> dict[str, str]:
    """A model or a guide by its line, with the labels that it needs."""
    line = f"{name} labels=3" if "labelled" in name else name
    return {"model": line} if name in MODELS else {"guide": line}
