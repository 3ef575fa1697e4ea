"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_helm.runtime.atomic_files import atomic_path, newest, take_up, written_together


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_error_or_ctrl_c_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "b.txt"
    target.write_text("old")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def fail_half_way(folder: Path) -> None:
    with written_together(folder) as together:
        (together / "a").write_text("never")
        (together / "missing" / "b").write_text("never")


def test_files_take_their_places_together_or_not_at_all(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with written_together(tmp_path) as together:
            for name in ("a", "b"):
                (together / name).write_text(text)
    with pytest.raises(FileNotFoundError):
        fail_half_way(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_what_was_killed_between_two_files_is_finished(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    (tmp_path / "a").write_text("new")  # one of the two was moved
    (tmp_path / ".saved").mkdir()
    (tmp_path / ".saved" / "b").write_text("new")
    (tmp_path / ".saving").mkdir()
    (tmp_path / ".saving" / "a").write_text("half")
    assert newest(tmp_path, "b").read_text() == "new"
    assert newest(tmp_path, "a").read_text() == "new"
    take_up(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}
