"""Paths as people write them, with ``~`` for their home folder."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """Path with ``~`` and ``~user`` replaced by the home folder.

    Raises:
        ValueError: if there is no such user.

    >>> expanded("runs/shifter")
    PosixPath('runs/shifter')
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"'{path}' begins with ~, but that user has no home folder; write the whole path") from error


def check_writable_folder(folder: Path, option: str) -> None:
    """Refuse a folder for results that can't be made or written to, before any work is done for it.

    Args:
        folder: may exist already, and so may some of the folders above it.
        option: what the user knows it as; it begins the sentence.

    Raises:
        ValueError: if a file is in the way, or this user may not write there.

    """
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        raise ValueError(f"{option} can't be a folder here: {error}") from error
    if not above.is_dir():
        raise ValueError(f"{option} must be a folder, but {above} is a file")
    if not os.access(above, os.W_OK):
        raise ValueError(f"{option} can't be written: {above} is read-only for this user")
