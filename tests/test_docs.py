"""The pages of the schemes are what their docstrings say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from pyro_helm.schemes import SCHEMES

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "schemes"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scheme_pages", ROOT / "docs" / "scheme_pages.py")
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
    for part in (f"# {scheme.__name__}\n", f"```python\n{scheme.__name__}(", "**Loss:**", "## Example", "## Source"):
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
