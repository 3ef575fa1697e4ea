"""Tables of ratios for the terminal."""

from __future__ import annotations

import pandas as pd

from analysis.benchmarks.contenders import MATMULS, TORCH
from analysis.benchmarks.goals import RWS, goals_of
from analysis.benchmarks.likelihood_times import OURS
from analysis.benchmarks.scaling import slopes
from pyro_helm.experiments.console import print_table


def print_report(table: pd.DataFrame) -> None:
    """Every group that was measured, then the goals."""
    groups = {name: rows for name, rows in table.groupby("group", sort=False)}
    if "training step" in groups:
        _print_steps(groups["training step"])
    if "schemes" in groups and RWS in set(groups["schemes"].scheme):
        _print_schemes(groups["schemes"])
    if "restarts" in groups:
        _print_restarts(groups["restarts"])
    found = slopes(table)
    if len(found):
        print_table(found, "slope of log time, upper half of the points; 1 is in proportion")
    if "epoch" in groups:
        _print_epochs(groups["epoch"])
    if "likelihoods" in groups:
        _print_ratios(groups["likelihoods"], ["net", "scheme"], OURS, "likelihoods and dreams, per datum")
    if "product over causes" in groups:
        _print_ratios(groups["product over causes"], ["net"], "matmul", "product over causes, forward and backward")
    if "start-up" in groups:
        print_table(groups["start-up"][["who", "seconds", "q25", "q75"]], "start-up")
    goals = goals_of(table)
    print_table(goals, "goals")
    short = goals[goals.verdict == "falls short"].goal
    print(f"{(goals.verdict == 'met').sum()} met, {len(short)} fall short" + "".join(f"\n  {goal}" for goal in short))


def _print_steps(rows: pd.DataFrame) -> None:
    for net, of_net in rows.groupby("net", sort=False):
        shown = _ratios(of_net, ["scheme"], {TORCH: "x PyTorch", MATMULS: "x products"})
        shown = shown.assign(prepare_s=of_net.prepare_seconds, log_likelihood=of_net.log_likelihood)
        if of_net.peak_mib.notna().any():
            shown = shown.assign(peak_mib=of_net.peak_mib)
        batch, particles, threads = of_net[["batch", "particles", "threads"]].iloc[0]
        title = f"training step, {net}: batch {batch}, {particles} particles, {threads} threads"
        print_table(shown, title + "; nats per datum after as many steps of each")


def _print_schemes(rows: pd.DataFrame) -> None:
    shown = rows.pivot(index="scheme", columns="net", values="seconds").reindex(
        index=rows.scheme.unique(), columns=rows.net.unique()
    )
    shown = shown / shown.loc[RWS]
    print_table(shown.reset_index(), "compiled step, times one of reweighted wake-sleep")


def _print_restarts(rows: pd.DataFrame) -> None:
    each = rows.assign(seconds=rows.seconds / rows.restarts)
    alone = each[each.restarts == 1].set_index(["net", "who"]).seconds
    keys = pd.MultiIndex.from_frame(each[["net", "who"]])
    shown = each[["net", "who", "restarts"]].assign(
        ms_each=1e3 * each.seconds, ratio=each.seconds.to_numpy() / alone.reindex(keys).to_numpy()
    )
    print_table(shown.rename(columns={"ratio": "each / one alone"}), "restarts in a batch")


def _print_epochs(rows: pd.DataFrame) -> None:
    shown = rows[["net", "who"]].assign(
        ms_per_step=1e3 * rows.seconds, q25=1e3 * rows.q25, q75=1e3 * rows.q75, prepare_s=rows.prepare_seconds
    )
    print_table(shown, "epochs of fit after the first")


def _print_ratios(rows: pd.DataFrame, by: list[str], base: str, title: str) -> None:
    shown = _ratios(rows, by, {base: f"x {base}"})
    print_table(shown.assign(peak_mib=rows.peak_mib) if rows.peak_mib.notna().any() else shown, title)


def _ratios(rows: pd.DataFrame, by: list[str], bases: dict[str, str]) -> pd.DataFrame:
    """Milliseconds with quartiles, and ratios of medians to those of each base, in the rows that agree in ``by``."""
    shown = rows[[*by, "who"]].assign(ms=1e3 * rows.seconds, q25=1e3 * rows.q25, q75=1e3 * rows.q75)
    for base, name in bases.items():
        of_base = rows[rows.who == base][[*by, "seconds"]]
        matched = rows[by].merge(of_base, on=by, how="left").seconds
        shown[name] = rows.seconds.to_numpy() / matched.to_numpy()
    return shown
