"""One page per inference scheme, written from its docstrings.

    python docs/scheme_pages.py            # writes docs/schemes/NAME.md of every scheme, and the index README.md
    python docs/scheme_pages.py --check    # writes nothing; names the pages that are out of date and exits with 1

A page has the equations and prose of the scheme's module, the arguments of its class, and its example with the imports
that make it run as it stands.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

import pyro_helm
from pyro_helm.schemes import SCHEMES, Scheme

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "schemes"
INDEX = "README.md"
SECTIONS = {"Args:": "Arguments", "Raises:": "Errors"}
LONGEST_LINE = 100
EDIT = "<!-- Written by docs/scheme_pages.py; change the docstrings in {source} and run it again. -->"


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a page is out of date.")
    ] = False,
) -> None:
    """Write the pages, or check that they are up to date."""
    if not check:
        FOLDER.mkdir(exist_ok=True)
        for name, text in pages().items():
            (FOLDER / name).write_text(text)
        return
    wrong = outdated(FOLDER)
    for name in wrong:
        typer.echo(f"docs/schemes/{name} is out of date; run python docs/scheme_pages.py", err=True)
    raise typer.Exit(1 if wrong else 0)


def pages() -> dict[str, str]:
    """The text of every page by the name of its file."""
    return {INDEX: index(), **{f"{name}.md": page(scheme) for name, scheme in SCHEMES.items()}}


def outdated(folder: Path) -> list[str]:
    """Pages in a folder that are missing, differ from what the docstrings give, or belong to no scheme."""
    expected = pages()
    found = {path.name: path.read_text() for path in folder.glob("*.md")}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def index() -> str:
    """The list of all pages, with the first sentence of each."""
    rows = [
        f"| [`{scheme.__name__}`]({name}.md) | `{name}` | {_cell(_title(scheme))} |" for name, scheme in SCHEMES.items()
    ]
    return "\n".join(
        [
            EDIT.format(source="pyro_helm/schemes/"),
            "# Inference schemes",
            "",
            "Each is a loss for `pyro.infer.SVI` and a scheme for `helm.fit`. Which programs each takes, and how to",
            "write another, is in [own model, own guide, own scheme](../extending.md).",
            "",
            "| class | on the command line | what it is |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def page(scheme: type[Scheme]) -> str:
    """The page of one scheme."""
    module = _module(scheme)
    source = scheme.__module__.replace(".", "/") + ".py"
    _, *body, reference = _paragraphs(inspect.getdoc(module) or "")
    prose, sections, example = _class_docstring(scheme)
    parts = [
        EDIT.format(source=source) + f"\n# {scheme.__name__}",
        _markdown(_title(scheme)),
        *(_block_or_prose(paragraph) for paragraph in body),
        f"## `helm.{scheme.__name__}`",
        f"```python\n{_signature(scheme)}\n```",
        *(_block_or_prose(paragraph) for paragraph in prose),
    ]
    for heading, entries in sections.items():
        parts += [f"**{heading}**", "\n".join(f"- `{name}`: {_markdown(text)}" for name, text in entries)]
    parts += [
        f"**Bound:** {_markdown(_first_lower(inspect.getdoc(scheme.estimate) or ''))}",
        "## Example",
        f"```python\n{_runnable(example)}\n```",
        f"On the command line it is `{scheme.name}`, as in `pyro-helm fit DATA --scheme {scheme.name}`.",
        "## Source",
        _markdown(reference),
        f"The code is [`{source}`](../../{source}); [all schemes]({INDEX}).",
    ]
    return "\n\n".join(parts) + "\n"


def _module(scheme: type[Scheme]) -> ModuleType:
    return sys.modules[scheme.__module__]


def _title(scheme: type[Scheme]) -> str:
    return _paragraphs(inspect.getdoc(_module(scheme)) or "")[0]


def _paragraphs(text: str) -> list[str]:
    """Parts between blank lines; blocks that follow one another, as one."""
    parts: list[str] = []
    for part in re.split(r"\n\s*\n", text):
        if parts and _is_block(parts[-1]) and _is_block(part):
            parts[-1] += f"\n\n{part}"
        else:
            parts.append(part)
    return parts


def _is_block(paragraph: str) -> bool:
    return paragraph.startswith("    ")


def _block_or_prose(paragraph: str) -> str:
    if not _is_block(paragraph):
        return _markdown(paragraph)
    return f"```text\n{textwrap.dedent(paragraph).strip()}\n```"


def _markdown(text: str) -> str:
    """Double backticks and roles of reStructuredText as Markdown, schemes and modules as links."""
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    return re.sub(r":(?:\w+):`~?([^`]+)`", lambda role: _link(role[1]), text)


def _link(target: str) -> str:
    for name, scheme in SCHEMES.items():
        if target == scheme.__name__:
            return f"[`{target}`]({name}.md)"
    file = Path(*target.split(".")).with_suffix(".py").as_posix()
    return f"[`{target}`](../../{file})" if (ROOT / file).is_file() else f"`{target}`"


def _class_docstring(scheme: type[Scheme]) -> tuple[list[str], dict[str, list[tuple[str, str]]], str]:
    """Its prose, its sections by heading as names and texts, and its example."""
    text = inspect.getdoc(scheme) or ""
    prose, example = [], []
    sections: dict[str, list[tuple[str, str]]] = {}
    for paragraph in _paragraphs(text):
        first, _, rest = paragraph.partition("\n")
        if first in SECTIONS:
            entries = re.split(r"\n(?=\S)", textwrap.dedent(rest).strip())
            sections[SECTIONS[first]] = [_entry(entry) for entry in entries]
        elif first.startswith(">>>"):
            example.append(paragraph)
        else:
            prose.append(paragraph)
    return prose, sections, "\n\n".join(example)


def _entry(text: str) -> tuple[str, str]:
    """``name: what it is`` with what it is on lines that a list item goes on with."""
    name, _, meaning = text.partition(": ")
    return name, re.sub(r"\n\s*", "\n  ", meaning)


def _signature(scheme: type[Scheme]) -> str:
    arguments = []
    keyword_only = False
    for name, parameter in inspect.signature(scheme.__init__).parameters.items():
        if name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            arguments.append("*")
        default = "" if parameter.default is parameter.empty else f" = {_literal(parameter.default)}"
        arguments.append(f"{name}: {parameter.annotation}{default}")
    call = f"{scheme.__name__}({', '.join(arguments)})"
    if len(call) <= LONGEST_LINE:
        return call
    return f"{scheme.__name__}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _runnable(example: str) -> str:
    """A doctest as a script: the imports that it needs, its code, and what comes out as comments."""
    lines = []
    for part in doctest.DocTestParser().get_examples(example):
        lines.append(part.source.rstrip())
        lines += [f"# {line}" for line in part.want.splitlines()]
    code = "\n".join(lines)
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    names = ", ".join(name for name in pyro_helm.__all__ if name in used)
    imports = ["import torch"] if "torch" in used else []
    imports.append(f"from pyro_helm import {names}")
    imports += ["from pyro_helm.guides import FactorialRecognition"] if "FactorialRecognition" in used else []
    imports += ["from pyro_helm.models import BeliefNetwork"] if "BeliefNetwork" in used else []
    return "\n".join([*imports, "", code])


def _cell(text: str) -> str:
    return _markdown(text).replace("|", r"\|").replace("\n", " ")


def _first_lower(text: str) -> str:
    """With a small first letter, unless it is a symbol or a name."""
    return text[0].lower() + text[1:] if re.match(r"[A-Z][a-z]", text) else text


if __name__ == "__main__":
    typer.run(main)
