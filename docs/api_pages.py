"""The pages of the API: one for each package, with every public name that it defines.

The names are those of ``pyro_helm/__init__.pyi`` and of each package's ``__all__``, so that a new one is on a page as
soon as it is public. What a page says of a name is its docstring.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from functools import cache
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import pyro_helm

ELSEWHERE = r"(?!pyro_helm\b)\w+(\..*)?"
"""Names of other projects: their pages can't be asked without network."""

INDEX_HEAD = """# All names

Every public name, by the package that defines it. Those written `helm.NAME` come with `import pyro_helm as helm`;
`layers.NAME`, say, is `pyro_helm.layers.NAME`.
"""


@cache
def names_by_package() -> dict[str, dict[str, str]]:
    """Of each package the dotted public names, in order, each with the module to look for its docstring."""
    stub = ast.parse(Path(pyro_helm.__file__).with_suffix(".pyi").read_text())
    found: dict[str, dict[str, str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = found.setdefault(node.module.split(".")[0], {})
            for alias in node.names:
                names[f"pyro_helm.{alias.name}"] = f"pyro_helm.{node.module}"
                parts = getattr(getattr(pyro_helm, alias.name), "__all__", [])  # of a module among the names
                names.update({f"pyro_helm.{alias.name}.{part}": "" for part in parts})
    for package in pkgutil.iter_modules(pyro_helm.__path__, "pyro_helm."):
        for name in getattr(importlib.import_module(package.name), "__all__", []):
            if name not in pyro_helm.__all__:
                found.setdefault(_last(package.name), {})[f"{package.name}.{name}"] = package.name
    return {package: dict(sorted(names.items(), key=_order)) for package, names in sorted(found.items())}


def documented_name(name: str) -> str | None:
    """The public name of what is defined, or referred to, as ``name``."""
    public = {_last(name): name for names in names_by_package().values() for name in names}
    return public.get(_last(name))


def pages() -> dict[str, str]:
    """The text of every page by the name of its file."""
    packages = names_by_package()
    toctree = f"```{{toctree}}\n:hidden:\n\n{chr(10).join(packages)}\n```"
    index = "\n\n".join([INDEX_HEAD + "\n" + toctree, *(table(package) for package in packages)])
    return {"index.md": index + "\n", **{f"{package}.md": page(package) for package in packages}}


def write(folder: Path) -> None:
    """Write the pages that changed, and remove those of packages that are gone."""
    folder.mkdir(exist_ok=True)
    texts = pages()
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def page(package: str) -> str:
    """The package's docstring and every name."""
    parts = [f"# {package}", _rst(inspect.getdoc(importlib.import_module(f"pyro_helm.{package}")) or "")]
    for name, module in names_by_package()[package].items():
        parts += [f"## {_shown(name)}", _rst(_directive(name, module))]
    return "\n\n".join(parts) + "\n"


def table(package: str) -> str:
    """Each name of a package with its first sentence."""
    rows = [
        f"   * - :py:obj:`{_shown(name)} <{name}>`\n     - {_first_sentence(name, module)}"
        for name, module in names_by_package()[package].items()
    ]
    return f"## {package}\n\n" + _rst(".. list-table::\n   :widths: 38 62\n\n" + "\n".join(rows))


def _directive(name: str, module: str) -> str:
    value = attrgetter(name.removeprefix("pyro_helm."))(pyro_helm)
    if inspect.ismodule(value):
        return f".. py:module:: {name}\n\n{inspect.getdoc(value)}"
    if inspect.isclass(value):
        bases = "" if value.__bases__ == (object,) else "\n   :show-inheritance:"
        return f".. autoclass:: {name}\n   :members:{bases}"
    if inspect.isroutine(value):
        return f".. autofunction:: {name}"
    return f".. py:data:: {name}\n\n{textwrap.indent(_docstring(name, module), '   ')}"


def _docstring(name: str, module: str) -> str:
    value = attrgetter(name.removeprefix("pyro_helm."))(pyro_helm)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        return inspect.getdoc(value) or ""
    return _docstring_below(_last(name), module)


def _docstring_below(name: str, module: str) -> str:
    """The string that stands below a value, where it is defined."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, text in pairwise(body):
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            return _docstring_below(name, node.module)
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if name in [getattr(target, "id", None) for target in targets]:
            return inspect.cleandoc(ast.literal_eval(text.value)) if isinstance(text, ast.Expr) else ""
    return ""


def _first_sentence(name: str, module: str) -> str:
    paragraph = " ".join(_docstring(name, module).split("\n\n")[0].split())
    found = re.match(r".*?[.:](?=\s+[A-Z]|$)", paragraph)
    return found[0].rstrip(".:") if found else paragraph


def _rst(text: str) -> str:
    return f"```{{eval-rst}}\n.. py:currentmodule:: pyro_helm\n\n{text}\n```"


def _shown(name: str) -> str:
    return f"helm.{_last(name)}" if name.count(".") == 1 else name.removeprefix("pyro_helm.")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _order(item: tuple[str, str]) -> tuple[int, str]:
    """Those of ``import pyro_helm`` first, each in order of name."""
    return item[0].count("."), _last(item[0]).lower()
