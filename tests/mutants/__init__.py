"""Old, wrong behaviour as small changes of the code, each of which a test must notice.

``python -m tests.mutants`` puts them back one by one and runs the tests that must fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """One change of the code that must make tests fail.

    Attributes:
        words: what then goes wrong.
        file: in which, from the root.
        old: text that stands there once.
        new: what it is replaced by.
        tests: files or single tests, under ``tests/``, of which one must fail.

    """

    words: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self) -> str:
        """The file's text with the change; ValueError unless the old text stands there once."""
        text = (ROOT / self.file).read_text()
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file} has the text of {self.words!r} {found} times, expected once: {self.old!r}")
        return text.replace(self.old, self.new)
