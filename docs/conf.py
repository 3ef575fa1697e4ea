"""The site: `make docs` builds it from the Markdown pages of this folder, the docstrings and the tutorials."""

from __future__ import annotations

import os
import pydoc
import re
import sys
from pathlib import Path

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import api_pages  # noqa: E402

# tutorials take one core, and their commands find this checkout
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")  # of tqdm, which would like widgets
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "pyro_helm"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["figures"]
html_theme = "furo"
html_title = "pyro_helm"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "executed")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds a cell, also on a busy machine
nb_merge_streams = True

default_role = "code"
toc_object_entries = False
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = True
nitpick_ignore_regex = [("py:.*", api_pages.ELSEWHERE)]


def pages_as_on_the_site(app: Sphinx, name: str, source: list[str]) -> None:
    """The README is the first page here."""
    source[0] = re.sub(r"\]\((?:\.\./)+README\.md", "](/index.md", source[0])


def public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: Element) -> Element | None:
    """Links of ``pyro_helm.data.sets.Data`` go to ``pyro_helm.Data``; what is there but not public is no link."""
    if node.get("refdomain") != "py":
        return None
    public = api_pages.documented_name(node["reftarget"])
    if public is None:
        return contents if pydoc.locate(node["reftarget"]) is not None else None
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, contents)


def no_types_in_prose(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Annotations have the types: what stands before a colon in a sentence isn't one, as napoleon would have it."""
    for index, line in enumerate(lines):
        if line.strip() == "Returns:" and index + 1 < len(lines):
            text = lines[index + 1].lstrip()
            lines[index + 1] = lines[index + 1].replace(text, f": {text}", 1)
    if what in ("attribute", "data", "property") and lines and ":" in lines[0]:
        lines[0] = f": {lines[0]}"


def setup(app: Sphinx) -> None:
    """Write the pages of the API before anything is read."""
    app.connect("config-inited", lambda app, config: api_pages.write(HERE / "api"))
    app.connect("source-read", pages_as_on_the_site)
    app.connect("autodoc-process-docstring", no_types_in_prose, priority=100)
    app.connect("missing-reference", public_name)
