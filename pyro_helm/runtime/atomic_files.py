"""Files that are either written whole or not at all, one by one or several together."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BEING_WRITTEN, _COMPLETE = ".saving", ".saved"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Path of a temporary file that takes the place of ``path`` when the block ends well.

    Until then, and after an error, a full disk or Ctrl-C, ``path`` is as it was. Folders above it are made.

    >>> with atomic_path("greeting.txt") as temporary:
    ...     _ = temporary.write_text("hello")
    >>> Path("greeting.txt").read_text()
    'hello'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """A folder whose files take their places in ``folder`` together when the block ends well.

    They are complete once that folder has its second name. A process that is killed later leaves it, and
    :func:`take_up` finishes the move; one that is killed sooner leaves ``folder`` as it was.

    >>> Path("run").mkdir()
    >>> with written_together(Path("run")) as together:
    ...     _ = (together / "greeting.txt").write_text("hello")
    >>> Path("run/greeting.txt").read_text()
    'hello'
    """
    take_up(folder)
    together = folder / _BEING_WRITTEN
    together.mkdir()
    try:
        yield together
        for file in together.iterdir():
            _flush(file)
        together.rename(folder / _COMPLETE)
    finally:
        shutil.rmtree(together, ignore_errors=True)
    take_up(folder)


def take_up(folder: Path) -> None:
    """Finish what a process that was killed left in the folder: complete files are moved, others removed."""
    complete = folder / _COMPLETE
    if complete.is_dir():
        for file in complete.iterdir():
            file.replace(folder / file.name)
        complete.rmdir()
    shutil.rmtree(folder / _BEING_WRITTEN, ignore_errors=True)


def newest(folder: Path, name: str) -> Path:
    """Where the newest complete file of this name is, for those who only read."""
    complete = folder / _COMPLETE / name
    return complete if complete.exists() else folder / name


def _flush(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
