"""The folder of a run: who may write to it, what it holds, and how that is replaced in one go."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from pyro_helm.runtime.atomic_files import take_up, written_together
from pyro_helm.training.checkpoint import FILE_NAME
from pyro_helm.training.manifest import Manifest, changed_surroundings, differences

CONFIG, STATE, STUDY = "config.json", "state.pt", "study.json"
_FILES = (CONFIG, STATE, FILE_NAME, "history.parquet", "history.csv")


class FolderInUse(ValueError):
    """A folder to which another run is being written at this moment."""


class RunFolder:
    """What a run has on disk. All files of one save take their places together.

    Args:
        path: of the folder, which exists.
        manifest: of the run that writes there.

    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out; the lock is the process's, and ends with it.

        Raises:
            FolderInUse: if another run is writing there.

        """
        lock = FileLock(self.path / ".lock", blocking=False, thread_local=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise FolderInUse(
                f"another run is being written to {self.path}; wait for its end, or choose another out"
            ) from error
        except OSError as error:
            raise OSError(f"out={str(self.path)!r} can't be written: {error.strerror or error}") from error
        try:
            take_up(self.path)
            yield
        finally:
            lock.release()

    def begin(self, *, resume: bool, overwrite: bool) -> tuple[dict[str, Any] | None, list[str]]:
        """The state to go on from, if there is one, and what has changed around it.

        Raises:
            ValueError: for a folder that holds a run that is not to be gone on with, or a study.

        """
        if (self.path / STUDY).exists():
            raise ValueError(f"out={str(self.path)!r} holds a study or a comparison ({STUDY}); choose another out")
        held = [name for name in _FILES if (self.path / name).exists()]
        if not held:
            return None, []
        if overwrite:
            forget_run(self.path)
            return None, []
        if not resume:
            raise ValueError(
                f"out={str(self.path)!r} holds a run already ({', '.join(held)}); go on with it by resume=True, "
                "replace it by overwrite=True, or choose another folder"
            )
        before = self._manifest()
        found = differences(before, self.manifest)
        if found:
            raise ValueError(
                f"the run in {self.path} can't be resumed, because it was made otherwise ({'; '.join(found)}); choose "
                "another out, or overwrite=True to replace it"
            )
        self.manifest["started"] = before.get("started")
        return self._state(), changed_surroundings(before, self.manifest)

    def save(self, state: Mapping[str, Any], others: Callable[[Path], None] | None) -> None:
        """Replace the state, and with it the files that ``others`` writes to the folder that it is given."""
        written = io.BytesIO()  # on a full disk torch has no OSError
        torch.save(state, written)
        self.write(lambda together: (together / STATE).write_bytes(written.getvalue()), others)

    def write(self, *writers: Callable[[Path], object] | None) -> None:
        """Replace what these write to the folder that they are given, together."""
        with written_together(self.path) as together:
            (together / CONFIG).write_text(json.dumps(self.manifest, indent=2) + "\n", encoding="utf-8")
            for write in writers:
                if write is not None:
                    write(together)

    def _manifest(self) -> Manifest:
        file = self.path / CONFIG
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path} can't be resumed, its {CONFIG} can't be read: {error}") from error
        if not isinstance(manifest, dict) or manifest.get("format") != self.manifest["format"]:
            raise ValueError(f"{self.path} can't be resumed, its {CONFIG} is not one of this version's")
        return manifest

    def _state(self) -> dict[str, Any] | None:
        """None for a run that was ended before its first save."""
        file = self.path / STATE
        return read_state(file) if file.exists() else None


def check_holds_no_run(path: Path) -> None:
    """Refuse a folder in which a run of its own has been written."""
    held = [name for name in _FILES if (path / name).exists()]
    if held:
        raise ValueError(f"out={str(path)!r} holds a run of fit ({', '.join(held)}); choose another out")


def forget_run(path: Path) -> None:
    """Remove the files of a run from its folder."""
    for name in _FILES:
        (path / name).unlink(missing_ok=True)


def read_state(file: Path) -> dict[str, Any]:
    """The state in a file, which may hold tensors, numbers and text but no code."""
    try:
        state: dict[str, Any] = torch.load(file, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"the state of the run in {file} can't be read: {reason}") from error
    return state
