"""Paths as people write them, and folders that can't be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_helm.runtime.paths import check_writable_folder, expanded


def test_the_home_folder_is_put_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/runs") == tmp_path / "runs"
    assert expanded("runs/~") == Path("runs/~")
    with pytest.raises(ValueError, match=r"^'~nobody_of_this_name/x' begins with ~, but that user has no home folder"):
        expanded("~nobody_of_this_name/x")


def test_a_folder_that_exists_or_can_be_made_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "new" / "deeper", Path("relative"), Path()):
        check_writable_folder(folder, "--out")
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "deeper"):
        with pytest.raises(ValueError, match=f"^--out must be a folder, but {file} is a file$"):
            check_writable_folder(folder, "--out")
    with pytest.raises(ValueError, match=r"^--out can't be a folder here: "):
        check_writable_folder(tmp_path / ("x" * 300), "--out")
