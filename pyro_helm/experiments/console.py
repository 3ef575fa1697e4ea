"""Tables in the terminal.

In a file or a pipe a row is a line with all its columns, as in a terminal that is wide enough. In a narrower one what
is the same in all rows is told above, texts and headings are broken, and what has no room then is named below.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from pyro_helm.likelihoods import Scores


def print_summary(summary: pd.DataFrame, *, interrupted: bool = False) -> None:
    """Print a comparison's summary, one row per scheme and imaging model."""
    columns = {
        "dataset": "data",
        "sizes": "sizes",
        "imaging": "imaging",
        "machine_model": "model",
        "guide": "guide",
        "scheme": "scheme",
        "restarts": "restarts",
        "failed": "failed",
        "log_likelihood": "log p median",
        "log_likelihood_stderr": "± s.e.",
        "log_likelihood_best": "log p best",
        "elbo": "-F median",
        "elbo_stderr": "± s.e. ",
        "elbo_best": "-F best",
        "seconds": "s/restart",
    }
    shown = summary[[name for name in columns if name in summary]].rename(columns=columns)
    title = "log-likelihood log p and bound -F in nats per datum (higher is better), over restarts"
    print_table(shown, title + (" (interrupted)" if interrupted else ""))


def print_scores(scores: Scores, title: str) -> None:
    """Print one row per restart, and warnings to standard error. Files have the other columns too."""
    columns = ["restart", "log_likelihood", "stderr", "elbo", "ess", "khat", "jackknife"]
    print_table(scores.summary[[name for name in columns if name in scores.summary]], title)
    for restart, warning in zip(scores.summary.restart, scores.summary.warnings, strict=True):
        if warning:
            print(f"restart {restart}: {warning}", file=sys.stderr)


def print_table(frame: pd.DataFrame, title: str, *, apart: str = "") -> None:
    """Print a frame under its title, numbers to three digits.

    Args:
        frame: to print.
        title: above it.
        apart: a column of texts that is told below, each text with the first column's names, where there is no room.

    """
    console = Console()
    whole = _table(frame, None)
    needed = Console(width=1000).measure(whole).maximum
    is_narrow = console.is_terminal and needed > console.width
    if not is_narrow:
        console.width = max(console.width, needed, 0 if console.is_terminal else len(title))  # a row stays a line
    console.print(Text(title))
    if is_narrow:
        _print_narrow(console, frame, apart)
    else:
        console.print(whole)


def _print_narrow(console: Console, frame: pd.DataFrame, apart: str) -> None:
    """A frame in the width of a terminal."""
    cells = frame.map(_shown)
    alike = [name for name in cells if len(cells) > 1 and len(set(cells[name])) == 1]
    if alike:
        _print_wrapped(console, f"in all rows: {', '.join(f'{name} {cells[name].iloc[0]}' for name in alike)}")
    shown = [name for name in frame if name not in (*alike, apart)]
    widths = _widths(frame[shown], console.width)
    left_out = shown[len(widths) :]
    console.print(_table(frame[shown[: len(widths)]], widths))
    if left_out:
        _print_wrapped(console, f"in a wider terminal or a file also: {', '.join(map(str, left_out))}")
    if apart in cells:
        for text, rows in cells[cells[apart] != ""].groupby(apart, sort=False):
            _print_wrapped(console, f"{apart} of {', '.join(rows.iloc[:, 0])}: {text}")


def _print_wrapped(console: Console, line: str) -> None:
    console.print(Text("\n".join(textwrap.wrap(line, console.width, subsequent_indent="  "))))


def _widths(frame: pd.DataFrame, room: int) -> list[int]:
    """Of columns, texts broken as far as there is need; of the first ones alone if that is not enough."""
    least, widths = [], []
    for place, name in enumerate(frame):
        values = [_shown(value) for value in frame[name]]
        is_broken = place > 0 and _is_text(frame[name])  # what the rows are called is not
        pieces = [piece for value in values for piece in (_pieces(value) if is_broken else [value])]
        least.append(max(len(piece.rstrip()) for piece in [*_pieces(str(name)), *pieces]))
        # a heading is broken in any case, and the widest text first
        widths.append(max(least[-1], *map(len, values)))
    fits = [number for number in range(1, len(least) + 1) if sum(least[:number]) + number - 1 <= room]
    widths = widths[: max(fits, default=1)]
    while sum(widths) + len(widths) - 1 > room and widths > least[: len(widths)]:
        widths[max(range(len(widths)), key=lambda number: (widths[number] > least[number], widths[number]))] -= 1
    return widths


def _pieces(text: str) -> list[str]:
    """What stays together on a line, with the blank after it."""
    return re.split(r"(?<=[\s_/,;-])", text)


def _broken(text: str, width: int) -> str:
    """The text in lines of at most the width, broken between its pieces."""
    lines = [""]
    for piece in _pieces(text):
        if len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines if line)


def _table(frame: pd.DataFrame, widths: Sequence[int] | None) -> Table:
    """The frame as a table, its columns of these widths; None for what they need."""
    narrow = widths is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=not narrow, padding=0 if narrow else (0, 1))
    of = dict(zip(frame, widths or [sys.maxsize] * frame.shape[1], strict=True))
    for name in frame:
        justify: JustifyMethod = "left" if _is_text(frame[name]) else "right"
        table.add_column(Text(_broken(str(name), of[name])), justify=justify, no_wrap=True)
    for row in frame.itertuples(index=False):
        # text, since names may hold what rich takes for markup
        table.add_row(*(Text(_broken(_shown(value), width)) for value, width in zip(row, of.values(), strict=True)))
    return table


def _is_text(column: pd.Series[Any]) -> bool:
    return column.dtype.kind not in "fiub"


def _shown(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
