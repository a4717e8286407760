"""Downloads, from a server of our own: tiny archives in the exact layout of the real ones."""

import socket
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import URLError

import pytest
from filelock import FileLock

from featdyn_engine.data import registry
from featdyn_engine.domain import DataConfig
from featdyn_engine.vision import torchvision_datasets
from tests.data.conftest import forget
from tests.data.tiny import md5, refused, trust_cifar, write_cifar10, write_mnist, write_svhn

CIFAR10 = DataConfig(name="cifar10")
ARCHIVE = "cifar-10-python.tar.gz"


class Server(ThreadingHTTPServer):
    """Serves a folder and remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        asked = self.asked = list[str]()

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                asked.append(self.path)

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent for a client that hangs up early: some tests read what stderr shows."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError | ConnectionResetError):
            super().handle_error(request, client_address)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
def server(served: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(served) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def written(
    tmp_path: Path, served: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """CIFAR-10 behind the server, its sums trusted; nothing of it in the home."""
    content = write_cifar10(tmp_path / "made")
    trust_cifar(monkeypatch, "CIFAR10", tmp_path / "made")
    with tarfile.open(served / ARCHIVE, "w:gz") as archive:
        archive.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    kind = torchvision_datasets().CIFAR10
    monkeypatch.setattr(kind, "url", server.address + ARCHIVE)
    monkeypatch.setattr(kind, "tgz_md5", md5(served / ARCHIVE))
    return content


def test_what_is_missing_is_downloaded_once_with_its_progress(
    tmp_path: Path, written: dict[str, Any], server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = registry.load(CIFAR10, tmp_path)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.test_labels.tolist() == written["test"][1]
    assert (tmp_path / "data" / "cifar-10-batches-py" / "test_batch").is_file()
    shown = capsys.readouterr().err
    assert f"downloading {server.address}{ARCHIVE}" in shown
    assert "100" in shown
    assert "%" in shown
    asked = len(server.asked)
    assert asked
    forget()
    assert registry.load(CIFAR10, tmp_path).sha256 == dataset.sha256
    assert len(server.asked) == asked
    assert not capsys.readouterr().err


def test_a_damaged_file_of_the_home_is_mended(tmp_path: Path, written: dict[str, Any]) -> None:
    first = registry.load(CIFAR10, tmp_path)
    path = tmp_path / "data" / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:100])
    forget()
    assert registry.load(CIFAR10, tmp_path).sha256 == first.sha256


def test_a_second_engine_waits_and_finds_the_files_there(
    tmp_path: Path, written: dict[str, Any], server: Server
) -> None:
    found: list[str] = []
    with FileLock(tmp_path / "data" / "cifar10.lock"):
        thread = Thread(target=lambda: found.append(registry.load(CIFAR10, tmp_path).sha256))
        thread.start()
        thread.join(0.5)
        assert not found
        assert not server.asked
        folder = tmp_path / "data" / "cifar-10-batches-py"
        (tmp_path / "made" / "cifar-10-batches-py").rename(folder)
    thread.join(20)
    assert len(found) == 1
    assert not server.asked


def test_a_refused_connection_is_one_line_that_says_what_to_do(
    tmp_path: Path, written: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/{ARCHIVE}"
        monkeypatch.setattr(torchvision_datasets().CIFAR10, "url", address)
        with refused(
            rf"data cifar10: expected .*data_batch_1, or a download from {address}, got .*"
            r"[Cc]onnection refused.*; put the files into a folder, .*, and name it in data.folder"
        ):
            registry.load(CIFAR10, tmp_path)


def test_an_address_without_the_file_is_told(
    tmp_path: Path, written: dict[str, Any], served: Path
) -> None:
    (served / ARCHIVE).unlink()
    with refused("data cifar10: .*or a download from http.*got HTTP Error 404.*; put the files"):
        registry.load(CIFAR10, tmp_path)


def test_another_archive_than_the_real_one_is_refused(
    tmp_path: Path, written: dict[str, Any], served: Path
) -> None:
    content = (served / ARCHIVE).read_bytes()
    (served / ARCHIVE).write_bytes(content[: len(content) // 2])
    with refused("data cifar10: .*or a download from http.*got File not found or corrupted"):
        registry.load(CIFAR10, tmp_path)


def test_a_home_that_cannot_hold_the_files_is_told(tmp_path: Path, written: dict[str, Any]) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with refused("data cifar10: .*or a download from http.*got .*exists.*; put the files"):
        registry.load(CIFAR10, tmp_path)


def test_the_files_of_mnist_are_downloaded_also_over_what_a_killed_download_left(
    tmp_path: Path, served: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_mnist(served, compressed=True)
    kind = torchvision_datasets().MNIST
    files = [(name, md5(served / name)) for name, _ in kind.resources]
    monkeypatch.setattr(kind, "resources", files)
    monkeypatch.setattr(kind, "mirrors", [server.address])
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, _ in files:
        (raw / name.removesuffix(".gz")).write_bytes(b"\0\0\x08\x03\0\0")
    dataset = registry.load(DataConfig(name="mnist"), tmp_path)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.test_labels.tolist() == written["test"][1]


def test_both_files_of_svhn_are_downloaded(
    tmp_path: Path, served: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_svhn(served, monkeypatch)
    splits = torchvision_datasets().SVHN.split_list
    for split in ("train", "test"):
        _, file, digest = splits[split]
        splits[split] = [server.address + file, file, digest]
    dataset = registry.load(DataConfig(name="svhn"), tmp_path)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.test_labels.tolist() == written["test"][1]


@pytest.mark.parametrize("name", ["mnist", "svhn", "stl10"])
def test_no_connection_is_one_line_for_other_sets_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError(ConnectionRefusedError(111, "Connection refused"))

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with refused(
        f"data {name}: expected {tmp_path}.*, or a download from http.*, got .*refused.*; put the "
        "files into a folder, as torchvision does, and name it in data.folder"
    ):
        registry.load(DataConfig(name=name), tmp_path)
