"""Help in plain text of 80 columns, in which arguments are named as people write them."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand


class PlainHelp(TyperCommand):
    """A command whose help shows ``DATA`` where typer writes ``{DATA}`` and ``DATA <str>``."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Words of the line ``Usage: ...``."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def get_help(self, ctx: Any) -> str:
        """All of ``--help``."""
        # as many spaces as the type had letters, since what follows is aligned
        text = re.sub(r"<str>(?=  )", "     ", super().get_help(ctx))
        return re.sub(r"\bx>=(\d+)", r"min \1", re.sub(r"(\d+)<=x<=(\d+)", r"\1 to \2", text))
