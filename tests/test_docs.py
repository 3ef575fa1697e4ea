"""The pages of the schemes are what their docstrings say, and the site has every page and every public name."""

from __future__ import annotations

import ast
import importlib.util
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

import pyro_helm
from pyro_helm.schemes import SCHEMES

ROOT = Path(__file__).parent.parent
SITE = ROOT / "docs"
PAGES = SITE / "schemes"


def script(name: str = "scheme_pages") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_scheme_has_a_page_and_the_index_links_to_it() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {"README", *SCHEMES}
    index = (PAGES / "README.md").read_text()
    assert all(f"({name}.md)" in index for name in SCHEMES)


def test_pages_are_up_to_date() -> None:
    assert not script().outdated(PAGES), "run python docs/scheme_pages.py"


@pytest.mark.parametrize("name", SCHEMES)
def test_a_page_has_all_parts_and_no_restructured_text(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    scheme = SCHEMES[name]
    for part in (f"# {scheme.__name__}\n", f"```python\n{scheme.__name__}(", "**Bound:**", "## Example", "## Source"):
        assert part in text
    assert f"--scheme {name}`" in text
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert "``" not in prose
    assert not re.search(r":\w+:`", prose)
    assert all(re.match(r"- `\w+`: \S", line) for line in prose.splitlines() if line.startswith("- "))


@pytest.mark.parametrize("name", SCHEMES)
def test_the_example_runs_as_printed(name: str) -> None:
    """With what comes out as the docstring has it; only expressions are compared."""
    (example,) = re.findall(r"## Example\n\n```python\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.DOTALL)
    *lines, last, result = example.strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert f"# {eval(last, names)}" == result


def test_check_names_what_is_out_of_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = script()
    monkeypatch.setattr(pages, "FOLDER", tmp_path / "schemes")
    app = typer.Typer()
    app.command()(pages.main)
    assert CliRunner().invoke(app, []).exit_code == 0
    assert CliRunner().invoke(app, ["--check"]).exit_code == 0
    (tmp_path / "schemes" / "vimco.md").write_text("another")
    (tmp_path / "schemes" / "README.md").unlink()
    (tmp_path / "schemes" / "gone.md").write_text("of a scheme that is no more")
    result = CliRunner().invoke(app, ["--check"])
    assert result.exit_code == 1
    assert re.findall(r"docs/schemes/(\S+) is out of date", result.output) == ["README.md", "gone.md", "vimco.md"]


# --- the site -----------------------------------------------------------------------------------------------------


def listed_pages() -> set[Path]:
    """What the tables of contents name, followed from the first page."""
    listed, to_read = set(), [SITE / "index.md"]
    while to_read:
        page = to_read.pop()
        listed.add(page)
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            entries = [line for line in block.splitlines() if line and not line.startswith(":")]
            entries = [entry for entry in entries if entry != "api/index"]  # its pages are written at each build
            assert all(any(SITE.glob(f"{entry}.md")) for entry in entries), page
            found = {path for entry in entries for path in SITE.glob(f"{entry}.md")}
            to_read += found - listed
    return listed


def test_every_page_is_in_the_table_of_contents() -> None:
    assert listed_pages() == {path for path in SITE.rglob("*.md") if path.parent != SITE / "api"}


def test_every_public_name_is_on_a_page_of_the_api() -> None:
    pages = script("api_pages").pages()
    for name in pyro_helm.__all__:
        assert sum(f":: pyro_helm.{name}\n" in text for text in pages.values()) == 1, name
    assert ":: pyro_helm.layers.Imaging\n" in pages["layers.md"]
    assert all(f"<pyro_helm.{name}>`" in pages["index.md"] for name in pyro_helm.__all__)


def test_every_public_name_has_a_sentence_in_the_index() -> None:
    rows = re.findall(r":py:obj:`(.*?) <.*>`\n     - (.*)", script("api_pages").pages()["index.md"])
    assert len(rows) >= len(pyro_helm.__all__)
    assert [name for name, sentence in rows if len(sentence.split()) < 3] == []


def test_links_pictures_and_anchors_of_the_site_are_checked(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text('<h1 id="there">There</h1>')
    links = ["other.html#there", "#here", "https://example.org", "other.html#gone", "gone.html", "#gone"]
    body = "".join(f'<a href="{link}">link</a>' for link in links)
    (tmp_path / "index.html").write_text(f'<p id="here"></p>{body}<img src="gone.png">')
    wrong = [f"index.html: {target}" for target in ("#gone", "gone.html", "gone.png", "other.html#gone")]
    assert script("check_site").missing(tmp_path) == wrong


def test_the_page_of_published_numbers_is_up_to_date() -> None:
    assert (SITE / "published.md").read_text() == script("published_page").page(), "run python docs/published_page.py"


def test_the_gallery_is_up_to_date_and_has_every_figure() -> None:
    gallery = script("gallery_page")
    assert (SITE / "gallery.md").read_text() == gallery.page(), "run python docs/gallery_page.py"
    figures = set(pyro_helm.plots.__all__) - {"save_figure"}
    shown = {path.stem for path in (SITE / "figures" / "gallery").glob("*.png")}
    assert shown == {entry.name for entry in gallery.ENTRIES}
    assert all(any(name in entry.code or name == entry.name for entry in gallery.ENTRIES) for name in figures)


def test_the_code_of_the_gallery_runs() -> None:
    """As printed, but for fewer epochs, restarts and draws."""
    gallery = script("gallery_page")
    smaller = {"num_epochs=40": "num_epochs=1", "num_epochs=10": "num_epochs=1", "num_samples=100": "num_samples=5",
               "schedule=100": "schedule=3", "test[:20]": "test[:10]"}  # fmt: skip
    names: dict[str, object] = {}
    for code in (gallery.MACHINE, *(entry.code for entry in gallery.ENTRIES)):
        for old, new in smaller.items():
            code = code.replace(old, new)
        exec(code, names)
        assert code == gallery.MACHINE or "figure" in names or "result" in names


# --- tutorials: `make docs` runs them; here only what can be seen without ------------------------------------------

TUTORIALS = sorted((SITE / "tutorials").glob("*.md"))
CELL = re.compile(r"```\{code-cell\} python\n(.*?)```", re.DOTALL)


def names_used(tree: ast.AST) -> Iterator[str]:
    """Names of the library in a page's code, as ``package.name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "helm":
            yield f"pyro_helm.{node.attr}"
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyro_helm"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_answers_one_question_and_ends_with_a_picture(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("---\nfile_format: mystnb\n")
    assert text.count("**Question: ") == 1
    assert re.search(r"plt\.show\(\)|plots\.\w+\(|\.plot\(", CELL.findall(text)[-1])


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_uses_names_that_there_are(page: Path) -> None:
    used = set(names_used(ast.parse("\n".join(CELL.findall(page.read_text())))))
    assert used
    assert [name for name in used if pydoc.locate(name) is None] == []


def test_the_study_of_the_tutorial_is_the_same_as_a_file() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 or newer
    text = (SITE / "tutorials" / "study.md").read_text()
    (call,) = [
        node
        for node in ast.walk(ast.parse(CELL.findall(text)[0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "Study"
    ]
    said = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert tomllib.loads(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0]) == said
