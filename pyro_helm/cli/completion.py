"""What the shell completes: names that begin as what is typed. Read from files, since a shell can't wait for torch."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

from pyro_helm.runtime.paths import expanded

_PACKAGE = Path(__file__).parent.parent
VISIBLE_ALONE = ("gaussian", "poisson", "categorical")
"""Imaging models that the layers of a machine can't all have."""

_BUILT_IN = ("shifter", "bars", "digits")


def data_names(incomplete: str) -> list[str]:
    """Data sets that can be named."""
    folder = os.environ.get("PYRO_HELM_DATA")
    files = [] if not folder else sorted(path.stem for path in expanded(folder).glob("*.npz"))
    published = json.loads((_PACKAGE / "data" / "published.json").read_text())
    return _beginning(incomplete, [*_BUILT_IN, *files, *published])


def scheme_names(incomplete: str) -> list[str]:
    """Inference schemes."""
    return _beginning(incomplete, _keys("schemes", "SCHEMES"))


def model_names(incomplete: str) -> list[str]:
    """Models."""
    return _beginning(incomplete, _keys("models", "MODELS"))


def guide_names(incomplete: str) -> list[str]:
    """Guides."""
    return _beginning(incomplete, _keys("guides", "GUIDES"))


def imaging_names(incomplete: str) -> list[str]:
    """Imaging models that any layer may have."""
    return _beginning(incomplete, [name for name in _keys("layers", "IMAGING") if name not in VISIBLE_ALONE])


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _keys(package: str, registry: str) -> list[str]:
    """Keys of a registry, without importing what it holds."""
    body = ast.parse((_PACKAGE / package / "__init__.py").read_text()).body
    values = {getattr(node.target, "id", ""): node.value for node in body if isinstance(node, ast.AnnAssign)}
    return [ast.literal_eval(key) for key in getattr(values[registry], "keys", [])]
