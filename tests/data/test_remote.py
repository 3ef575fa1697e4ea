"""Published data are downloaded once, checked, read from the publishers' formats, and never left broken."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pyro_helm.data.remote import PublishedData, PublishedFile, cache_folder, fetch, published_data
from pyro_helm.data.sets import available_data, load_data

REAL_DATA = os.environ.get("PYRO_HELM_DATA")
ROWS, UNITS = {"train": 5, "valid": 2, "test": 3}, 4


@dataclass
class Publisher:
    """A server on this machine: what it has by path, what it says its sizes are, and what was asked of it."""

    address: str
    bodies: dict[str, bytes]
    sizes: dict[str, int]
    asked: list[str]


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("PYRO_HELM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYRO_HELM_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known = Publisher("", {}, {}, [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append(self.path)
            if self.path not in known.bodies:
                self.send_error(404)
                return
            body = known.bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(known.sizes.get(self.path, len(body))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield known
        server.shutdown()
        thread.join()


def text(rows: NDArray[np.uint8], separator: str) -> bytes:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows.tolist()).encode()


def published(
    publisher: Publisher, arrays: dict[str, NDArray[np.uint8]], separator: str = ",", name: str = "survey"
) -> PublishedData:
    """Publish arrays in a text format, as the registry would describe them."""
    files = {}
    for part, rows in arrays.items():
        path, body = f"/some/folder/{name}.{part}.data", text(rows, separator)
        publisher.bodies[path] = body
        files[part] = PublishedFile(publisher.address + path, hashlib.sha256(body).hexdigest(), len(body))
    shapes = {part: (len(rows), rows.shape[1]) for part, rows in arrays.items()}
    return PublishedData(name, "answers", "CC0", "the server of this test", shapes, separator, files)


@pytest.fixture
def arrays() -> dict[str, NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return {part: generator.integers(0, 2, (rows, UNITS), dtype=np.uint8) for part, rows in ROWS.items()}


def cached() -> list[str]:
    return sorted(path.name for path in cache_folder().rglob("*") if path.is_file())


# What is fetched.


@pytest.mark.parametrize("separator", [",", " "], ids=["the DEBD's .data", "the binarised MNIST's .amat"])
def test_text_files_are_read_as_published(
    separator: str, publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]
) -> None:
    found = fetch(published(publisher, arrays, separator))
    assert {part: rows.tolist() for part, rows in found.items()} == {part: x.tolist() for part, x in arrays.items()}
    assert all(rows.dtype == torch.uint8 for rows in found.values())


def test_a_file_is_downloaded_once(publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]) -> None:
    data = published(publisher, arrays)
    assert not data.is_here()
    fetch(data)
    assert data.is_here()
    assert len(publisher.asked) == 3
    publisher.bodies.clear()  # as without network
    assert fetch(data)["test"].tolist() == arrays["test"].tolist()
    assert len(publisher.asked) == 3


def test_a_download_shows_its_progress(
    publisher: Publisher, arrays: dict[str, NDArray[np.uint8]], capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(published(publisher, arrays))
    assert "100%" in capsys.readouterr().err


def test_a_name_is_enough(
    publisher: Publisher,
    arrays: dict[str, NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    data = published(publisher, arrays)
    monkeypatch.setattr("pyro_helm.data.sets.published_data", lambda: {"survey": data})
    row = available_data().set_index("name").loc["survey"]
    assert (row.source, row.here, row.licence, row.what) == ("download", False, "CC0", "answers")
    loaded = load_data("survey", dtype=torch.float64)
    assert loaded.train.dtype == torch.float64
    for part, rows in arrays.items():
        assert getattr(loaded, part).tolist() == rows.tolist()
    assert available_data().set_index("name").here["survey"]

    np.savez(tmp_path / "survey.npz", X=np.eye(10, dtype=np.uint8))  # goes before the download
    monkeypatch.setenv("PYRO_HELM_DATA", str(tmp_path))
    assert load_data("survey").train.shape == (7, 10)


# What goes wrong leaves nothing behind, and says how to place files by hand.


def test_a_server_that_is_not_there_is_said_in_a_sentence(
    publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]
) -> None:
    data = published(publisher, arrays)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        port = gone.server_port
    train = replace(data.files["train"], url=f"http://127.0.0.1:{port}/survey.train.data")
    sentence = (
        rf"^could not download http://127.0.0.1:{port}/survey.train.data for data set 'survey' \(ConnectionError\)\. "
        r"By hand, put survey.train.data, survey.valid.data, survey.test.data into .*cache/survey, or survey.npz in "
        r"the folder that PYRO_HELM_DATA names$"
    )
    with pytest.raises(ConnectionError, match=sentence):
        fetch(replace(data, files={**data.files, "train": train}))
    assert cached() == []


def test_a_file_that_the_server_lacks_is_said_in_a_sentence(
    publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]
) -> None:
    data = published(publisher, arrays)
    publisher.bodies.pop("/some/folder/survey.valid.data")
    with pytest.raises(ConnectionError, match=r"^could not download \S*survey.valid.data .*\(HTTPError\)\. By hand"):
        fetch(data)
    assert cached() == ["survey.train.data"]  # whole: it need not be downloaded again


def test_another_file_than_the_published_one_is_refused(
    publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]
) -> None:
    data = published(publisher, arrays)
    path = "/some/folder/survey.train.data"
    publisher.bodies[path] = publisher.bodies[path].replace(b"1", b"0")
    with pytest.raises(ValueError, match=r"survey.train.data differs from the published file .*SHA-256 \w{64} and 40"):
        fetch(data)
    assert cached() == []


@pytest.mark.parametrize("says_its_size", [True, False])
def test_a_download_that_is_cut_off_is_refused(
    says_its_size: bool, publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]
) -> None:
    data = published(publisher, arrays)
    path = "/some/folder/survey.train.data"
    if says_its_size:
        publisher.sizes[path] = len(publisher.bodies[path])
    publisher.bodies[path] = publisher.bodies[path][:11]
    with pytest.raises((ConnectionError, ValueError), match=r"By hand, put survey.train.data"):
        fetch(data)
    assert cached() == []


def test_the_download_can_be_tried_again(publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]) -> None:
    data = published(publisher, arrays)
    path = "/some/folder/survey.train.data"
    whole = publisher.bodies[path]
    publisher.bodies[path] = whole[:11]
    with pytest.raises(ValueError, match="Try again"):
        fetch(data)
    publisher.bodies[path] = whole
    assert fetch(data)["train"].tolist() == arrays["train"].tolist()


def test_files_may_be_placed_by_hand(publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]) -> None:
    data = published(publisher, arrays)
    for part, rows in arrays.items():
        data.cached(part).parent.mkdir(parents=True, exist_ok=True)
        data.cached(part).write_bytes(text(rows, ","))
    assert data.is_here()
    assert fetch(data)["train"].tolist() == arrays["train"].tolist()
    assert publisher.asked == []


def test_another_file_placed_by_hand_is_not_read(publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]) -> None:
    data = published(publisher, arrays)
    data.cached("train").parent.mkdir(parents=True)
    data.cached("train").write_bytes(text(1 - arrays["train"], ","))
    bodies = dict(publisher.bodies)
    publisher.bodies.clear()
    with pytest.raises(ConnectionError, match=r"The file that is there differs from the published one\. By hand"):
        fetch(data)
    publisher.bodies.update(bodies)
    assert fetch(data)["train"].tolist() == arrays["train"].tolist()


def test_a_file_of_other_rows_or_values_than_described_is_refused(
    publisher: Publisher, arrays: dict[str, NDArray[np.uint8]]
) -> None:
    data = published(publisher, arrays)
    with pytest.raises(ValueError, match=r"survey.train.data has 40 bytes, expected 6 lines of 4 digits$"):
        fetch(replace(data, shapes={**data.shapes, "train": (6, 4)}))
    with pytest.raises(ValueError, match=r"line 1, column 1 \(counted from 1\) is b'\d,', expected 0 or 1 and ' '$"):
        fetch(replace(data, separator=" "))
    wrong = {**arrays, "valid": np.array([[0, 1, 1, 0], [1, 2, 0, 0]], dtype=np.uint8)}
    with pytest.raises(ValueError, match=r"line 2, column 2 \(counted from 1\) is b'2,', expected 0 or 1 and ','$"):
        fetch(published(publisher, wrong, name="other"))


def test_a_set_without_public_files_says_how_to_make_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_HELM_DATA", raising=False)
    sentence = (
        "data set 'semeion' cannot be downloaded. Make semeion.npz with the arrays X (0 and 1) from its origin (UCI "
        "Semeion Handwritten Digit, semeion.data), and put it in the folder that PYRO_HELM_DATA names"
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(sentence)}$"):
        load_data("semeion")


# The registry.


def test_the_registry_is_complete() -> None:
    sets = published_data()
    assert sum(bool(data.files) for data in sets.values()) == 8
    for data in sets.values():
        assert data.what
        assert data.licence
        assert data.origin
        assert {units for _, units in data.shapes.values()} == {next(iter(data.shapes.values()))[1]}
        if data.files:
            assert list(data.files) == list(data.shapes) == ["train", "valid", "test"]
        for part, file in data.files.items():
            rows, units = data.shapes[part]
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.bytes == 2 * rows * units  # a digit and what ends it
            assert file.url.startswith("http")


def test_the_cache_is_the_systems_unless_a_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYRO_HELM_CACHE", raising=False)
    assert "pyro_helm" in cache_folder().parts
    monkeypatch.setenv("PYRO_HELM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


@pytest.mark.skipif(not REAL_DATA, reason="PYRO_HELM_DATA is not set")
@pytest.mark.parametrize("name", [name for name, data in published_data().items() if data.files])
def test_published_files_hold_the_rows_of_the_folder(name: str, publisher: Publisher) -> None:
    """The files as published, which the checksums are of, written anew from the rows in the folder PYRO_HELM_DATA."""
    path = Path(str(REAL_DATA)) / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    data = published_data()[name]
    files, expected = {}, np.load(path)
    for part, file in data.files.items():
        rows = expected[part]
        raw = np.full((*rows.shape, 2), ord(data.separator or ""), dtype=np.uint8)
        raw[:, :, 0], raw[:, -1, 1] = rows + ord("0"), ord("\n")
        publisher.bodies[f"/{file.name}"] = raw.tobytes()
        files[part] = replace(file, url=f"{publisher.address}/{file.name}")
    found = fetch(replace(data, files=files))
    assert all(np.array_equal(rows.numpy(), expected[part]) for part, rows in found.items())
