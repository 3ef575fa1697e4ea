"""Models, guides and schemes as a line of text: a name, then settings.

``"lateral_recognition iterations=5 damping=0.3"`` is a guide of the library, ``"mine:Guide hidden=20"`` one of the
user's own. Values are written as in a study file: ``2``, ``0.5``, ``true``, ``[2, 3]``, ``{h1 = 4}``, ``"text"``; the
quotes of a single word may be left out.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from pyro_helm.experiments.own_names import is_own_name, named
from pyro_helm.runtime.suggestions import unknown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_line(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a line.

    Args:
        text: for example ``"vimco num_particles=10"``.
        what: what it is for; begins the sentence of an error.

    Raises:
        TypeError: if it is no text.
        ValueError: for a word that is no setting, or one that stands twice.

    >>> read_line("factorial_recognition missing=true groups={h1=[2, 3]}", "guide")
    ('factorial_recognition', {'missing': True, 'groups': {'h1': [2, 3]}})
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a name, or module:name of your own, got {text!r:.60}")
    name, *words = split_outside_brackets(text.strip(), " ")
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{what} {text!r}: {word!r} is not name=value")
        if key in settings:
            raise ValueError(f"{what} {text!r}: setting {key!r} stands there twice")
        settings[key] = _value(value, f"{what} {text!r}: {word!r}")
    return name, settings


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Parts between separators that are in no brackets and no quotes; empty ones at spaces are left out.

    >>> split_outside_brackets("tvo betas=[0.1, 1],vimco", ",")
    ['tvo betas=[0.1, 1]', 'vimco']
    """
    parts, depth, quoted = [""], 0, False
    for sign in text:
        quoted ^= sign == '"'
        depth += 0 if quoted else (sign in "[{") - (sign in "]}")
        if sign == separator and depth <= 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += sign
    return [part for part in parts if part] or [""] if separator == " " else parts


def _value(text: str, where: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError as error:
        if re.fullmatch(r"[A-Za-z_][\w.:/-]*", text):
            return text
        raise ValueError(
            f"{where} has no value that can be read; write numbers, true, false, words, [lists] and {{tables}}"
        ) from error


def made(
    name: str,
    settings: Mapping[str, Any],
    known: Mapping[str, Callable[..., Any]],
    what: str,
    *,
    given: Mapping[str, Any],
    kind: type,
) -> Any:
    """What a name and settings make.

    Args:
        name: in ``known``, or ``module:name``.
        settings: of its constructor; text ``module:name`` among them stands for what is there.
        known: of the library.
        what: what it is for; begins the sentence of an error.
        given: more arguments, for a constructor that takes them.
        kind: what must come of it.

    Raises:
        ValueError: for an unknown name or setting, or a constructor that fails or makes something else.

    """
    maker = maker_of(name, known, what)
    taken = inspect.signature(maker).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    handed = {key: value for key, value in given.items() if takes_any or key in taken}
    check_settings(name, [each for each in settings if each not in handed], maker, not_asked=given)
    for setting in settings:
        if setting in handed:
            raise ValueError(f"{what} {name}: {setting} is given elsewhere, got {setting}={settings[setting]!r}")
    live = {key: named(value, key) if is_own_name(value) else value for key, value in settings.items()}
    try:
        thing = maker(**handed, **live)
    except Exception as error:
        if name in known and isinstance(error, ValueError):
            raise  # which says it all
        arguments = ", ".join(f"{key}={value!r}" for key, value in (handed | dict(settings)).items())
        raise ValueError(f"{what} {name}({arguments}) can't be made: {type(error).__name__}: {error}") from error
    if not isinstance(thing, kind):
        raise ValueError(f"{what} {name} made a {type(thing).__name__}, expected a {kind.__name__}")
    return thing


def check_settings(name: str, settings: Iterable[str], maker: Callable[..., Any], *, not_asked: Container[str]) -> None:
    """Refuse settings that a constructor does not take, or that are not the user's to give; ValueError."""
    taken = inspect.signature(maker).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()):
        return
    known = [each for each in taken if each not in not_asked]
    for setting in settings:
        if setting not in known:
            raise ValueError(unknown(f"setting of {name}", setting, known))


def maker_of(name: str, known: Mapping[str, Callable[..., Any]], what: str) -> Callable[..., Any]:
    """The class or function of a name in ``known``, or of ``module:name``; ValueError for none."""
    if ":" in name:
        return named(name, what)
    if name not in known:
        raise ValueError(unknown(what, name, known))
    return known[name]
