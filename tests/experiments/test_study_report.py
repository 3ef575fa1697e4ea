"""The report of a study: one page that holds all it shows, whose numbers are the study's, and that a browser runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import pyro_helm as helm
from pyro_helm.cli.app import app
from pyro_helm.experiments.html_tables import Cell, page_table
from pyro_helm.experiments.study_figures import Picture, _pictures, best_restart, if_possible

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
EVIL = "</script><img src=http://example.org/x.png onerror=alert(1)>"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> helm.Study:
    """Two schemes at two learning rates, and one that has too many states."""
    x = (torch.rand(30, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    made = helm.Study(
        tmp_path_factory.mktemp("study"),
        datasets=[helm.Data("noise", x, x[:10].clone(), x[10:25].clone(), (2, 3))],
        machines=["sigmoid 3"],
        schemes=["wake_sleep", "vimco", {"scheme": "exact_em", "max_terms": 10}],
        settings={"learning_rate": [0.01, 0.1], "batch_size": 10},
        budget="2 epochs",
        restarts=3,
        scores={"num_samples": 5},
        name=f"a study {EVIL}",
        question="Does it <b>work</b>?",
    )
    with pytest.warns(RuntimeWarning, match="exact EM would sum over"):
        made.run(workers=1, progress=False)
    return made


@pytest.fixture(scope="module")
def page(study: helm.Study) -> str:
    """Written by the command line; it says where."""
    shown = CliRunner().invoke(app, ["report", str(study.folder)])
    assert shown.exit_code == 0
    path = study.folder / "report.html"
    assert shown.output == f"report: {path}\n"
    return path.read_text()


class Reader(HTMLParser):
    """Tags with their attributes, the text of every cell of a table, and all words outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.values: dict[str, list[list[str]]] = {}
        self.words, self._table, self._in = "", "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self._in = tag
        if tag == "table":
            self._table = given["id"] or ""
            self.rows[self._table], self.values[self._table] = [], []
        elif tag == "tr":
            self.rows[self._table].append([])
            self.values[self._table].append([])
        elif tag in ("td", "th"):
            self.rows[self._table][-1].append("")
            self.values[self._table][-1].append(given.get("data-value") or "")

    def handle_endtag(self, tag: str) -> None:
        self._in = "" if tag in ("td", "th", "script", "style") else self._in

    def handle_data(self, data: str) -> None:
        if self._in in ("td", "th", "button"):
            self.rows[self._table][-1][-1] += data
        if self._in not in ("script", "style"):
            self.words += data


def test_a_picture_that_fails_costs_no_page() -> None:
    def broken() -> list[Picture]:
        raise IndexError("index 5 is out of bounds")

    assert if_possible("weights", broken) == (
        [],
        ["Left out: weights. The reason: IndexError: index 5 is out of bounds."],
    )


def test_the_page_asks_for_nothing_from_elsewhere(page: str) -> None:
    for tag, attributes in Reader(page).tags:
        for name in ("src", "href", "action", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in page
    assert not re.search(r"url\(", page)
    assert "default-src 'none'" in page


def test_names_are_shown_as_they_are_and_never_run(page: str) -> None:
    assert EVIL not in page
    assert EVIL in Reader(page).words
    assert "Does it <b>work</b>?" in Reader(page).words
    assert [tag for tag, _ in Reader(page).tags].count("script") == 1


def test_the_answer_stands_first_with_the_studys_numbers(study: helm.Study, page: str) -> None:
    words = " ".join(Reader(page).words.split())
    chosen = study.chosen()
    leader = chosen.sort_values("valid_log_likelihood").iloc[-1]
    sentence = words.index(
        f"{leader.scheme} is best on validation data; on test data it has {leader.log_likelihood:.3f}"
    )
    assert words.index("Question and answer") < sentence < words.index("Every scheme at its best setting")
    (difference,) = study.differences(leader.scheme).difference
    assert f"{-difference:.3f} [" in words or f"{difference:.3f} [" in words


def test_the_first_table_has_a_row_per_scheme_with_the_difference_from_the_leader(study: helm.Study, page: str) -> None:
    reader, chosen = Reader(page), study.chosen()
    header, *rows = reader.rows["chosen"]
    assert len(rows) == len(chosen) == 2
    assert header[:3] == ["scheme", "log p", "± s.e."]
    assert "learning rate" in header
    values = [[row[header.index(name)] for name in ("scheme", "log p")] for row in reader.values["chosen"][1:]]
    assert [(scheme, float(value)) for scheme, value in values] == list(
        zip(chosen.scheme, chosen.log_likelihood, strict=True)
    )
    behind = {row[0]: row[header.index("behind leader")] for row in reader.values["chosen"][1:]}
    leader = chosen.sort_values("valid_log_likelihood").scheme.iloc[-1]
    assert behind.pop(leader) == ""
    assert float(*behind.values()) == pytest.approx(study.differences(leader).difference.item())


def test_every_run_and_every_number_is_in_a_table(study: helm.Study, page: str) -> None:
    rows = Reader(page).rows
    assert len(rows["runs"]) == len(study.runs()) + 1
    assert len(rows["numbers"]) == len(study.table()) + 1


def test_what_failed_and_what_is_doubtful_is_said_with_why(study: helm.Study, page: str) -> None:
    words = Reader(page).words
    refused = study.runs().query("state == 'intractable'")
    assert len(refused) == 2
    assert all(f"run {run} (noise, sigmoid 3, exact_em" in words for run in refused.run)
    assert all(why in words for why in refused.why)
    assert "effective sample size" in words


def test_there_are_curves_by_steps_and_seconds_sensitivity_and_machines(page: str) -> None:
    captions = [attributes["alt"] or "" for tag, attributes in Reader(page).tags if tag == "img"]
    for words in ("training steps", "seconds of training", "over the learning rate", "what it has learned", "dreams",
                  "what the machine keeps", "test case 0: the exact posterior"):  # fmt: skip
        assert any(words in caption for caption in captions), words


def test_the_code_that_reproduces_a_number_runs(study: helm.Study, page: str) -> None:
    found = re.search(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    assert found is not None
    code = found[1].replace("&#39;", "'")
    exec(code, {"print": lambda _: None})


def test_the_best_restart_is_the_one_of_the_largest_validation_score(study: helm.Study) -> None:
    table = study.table()
    rows = table[(table.split == "valid") & (table.metric == "log_likelihood")]
    run, restart, value = best_restart(table, list(rows.run.unique()))
    assert value == rows.value.max()
    assert rows[(rows.run == run) & (rows.restart == restart)].value.item() == value


def test_of_a_machine_that_is_too_large_the_posterior_is_left_out_with_the_reason() -> None:
    zeros = torch.zeros(3, 6)
    data = helm.Data("noise", zeros, zeros, zeros)
    machine = helm.BeliefNetwork((6, 30), seed=0), helm.FactorialRecognition((6, 30), seed=0)
    notes, found = _pictures(*machine, data, 0)
    assert [note[:20] for note in notes] == ["Left out: posterior."]
    assert len(found) == 3


def test_a_study_prints_its_runs_and_its_best_settings(study: helm.Study) -> None:
    first, states, _, _, *table = str(study).splitlines()
    assert first.startswith("Study a study </script>")
    assert states == "  6 runs: 4 finished, 2 intractable"
    assert {line.split()[0] for line in table} >= {"scheme", "vimco", "wake_sleep"}


def test_a_folder_without_a_study_is_refused_in_one_sentence(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "there is no study at" in wrong.output
    assert len(wrong.output.strip().splitlines()) == 1


def test_cells_are_sorted_by_their_whole_value_and_missing_ones_are_empty() -> None:
    import pandas as pd

    table = page_table(pd.DataFrame({"value": [-1.23456, np.nan], "word": ["a", None]}), {"value": ("log p", "nats")})
    assert table.columns[0] == ("log p", "nats", True)
    assert table.rows[0].cells[0] == Cell("-1.235", "-1.23456", "number")
    assert [cell.value for cell in table.rows[1].cells] == ["", ""]


# --- in a browser -------------------------------------------------------------------------------------------------

DRIVE = """<script>
const seen = {errors: window.failures};
const table = document.getElementById("runs");
const column = name => [...table.querySelectorAll("th")].findIndex(heading => heading.textContent.trim() === name);
const values = name => [...table.tBodies[0].rows].map(row => row.cells[column(name)].dataset.value);
const click = name => table.querySelectorAll("th button")[column(name)].click();
click("learning rate"); seen.down = values("learning rate");
click("learning rate"); seen.up = values("learning rate");
click("scheme"); seen.words = values("scheme");
const box = document.getElementById("runs-filter");
box.value = "VIMCO finished"; box.dispatchEvent(new Event("input"));
seen.kept = [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[column("scheme")].textContent);
seen.count = document.querySelector("[data-table=runs] span").textContent;
seen.images = [...document.images].every(image => image.complete && image.naturalWidth > 0);
seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const names = performance.getEntriesByType("resource").map(entry => entry.name);
seen.requests = names.filter(name => !name.startsWith("data:"));
document.documentElement.insertAdjacentHTML("beforeend", `<pre id="seen">${JSON.stringify(seen)}</pre>`);
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: sorting and filtering are not tried out")
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser_it_loads_without_errors_sorts_filters_and_asks_for_nothing(
    page: str, width: int, tmp_path: Path
) -> None:
    watch = "window.failures = []; addEventListener('error', event => failures.push(event.message), true);"
    driven = page.replace("<head>", f"<head><script>{watch}</script>")
    (tmp_path / "page.html").write_text(driven.replace("</body>", f"{DRIVE}</body>"))
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
               f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--enable-logging=stderr",
               "--dump-dom", (tmp_path / "page.html").as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in shown.stderr
    *_, found = re.findall(r'<pre id="seen">(.*?)</pre>', shown.stdout, re.DOTALL)
    seen = json.loads(unescape(found))
    assert seen["errors"] == []
    assert seen["down"] == ["0.1"] * 3 + ["0.01"] * 3
    assert seen["up"] == ["0.01"] * 3 + ["0.1"] * 3
    assert seen["words"] == sorted(seen["words"])
    assert seen["kept"] == ["vimco", "vimco"]
    assert seen["count"] == "2 of 6 rows"
    assert seen["images"]
    assert seen["overflow"] <= 0
    assert seen["requests"] == []
