"""Files of a home in a storage: the same names, whole or not at all, nothing twice."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from featdyn_engine.domain import InputError
from featdyn_engine.storage import Storage, by_weight, local_names
from tests.store.rows import listing

FILES = {
    "runs/a/config.json": b"{}",
    "runs/a/checkpoints/step-00000001.safetensors": b"weights",
    "runs/a/checkpoints/step-00000001.json": b"{}",
    "runs/a/resume.safetensors": b"half",
    "parts/metrics/a.parquet": b"rows",
    "parts/studies/s.parquet": b"study",
    "data/set.bin": b"images",
    "data/decoded/set.safetensors": b"images again",
    "parts/metrics/b.parquet.0f.partial": b"ro",
    "featdyn.duckdb": b"index",
}
SHARED = set(FILES) - {
    "data/decoded/set.safetensors",
    "parts/metrics/b.parquet.0f.partial",
    "featdyn.duckdb",
}


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "file":
        yield Storage(f"file://{tmp_path}/storage")
        return
    name = uuid.uuid4().hex
    yield Storage(f"memory://{name}")
    fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "home"


def test_a_home_comes_back_but_for_what_is_its_own(
    storage: Storage, home: Path, tmp_path: Path
) -> None:
    storage.push(home)
    assert storage.names("runs", "parts", "data") == SHARED
    fresh = tmp_path / "fresh"
    assert storage.pull(fresh) == 5
    expected = SHARED - {"runs/a/resume.safetensors", "data/set.bin"}
    assert local_names(fresh, ".") == expected
    assert all((fresh / name).read_bytes() == FILES[name] for name in expected)
    assert storage.pull(fresh) == 0


def test_a_study_is_sent_again_and_all_else_once(storage: Storage, home: Path) -> None:
    storage.push(home)
    (home / "parts/studies/s.parquet").write_bytes(b"edited")
    (home / "parts/metrics/a.parquet").write_bytes(b"never sent again")
    storage.push(home)
    storage.get(["parts/studies/s.parquet", "parts/metrics/a.parquet"], home)
    assert (home / "parts/studies/s.parquet").read_bytes() == b"edited"
    assert (home / "parts/metrics/a.parquet").read_bytes() == b"rows"


def test_a_failed_fetch_leaves_nothing_behind(storage: Storage, home: Path, tmp_path: Path) -> None:
    storage.push(home)
    with pytest.raises(FileNotFoundError):
        storage.get(["runs/a/config.json", "runs/a/gone.json"], tmp_path / "fresh")
    assert [path for path in (tmp_path / "fresh").rglob("*") if path.is_file()] == []


def test_a_failed_transfer_leaves_the_old_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"file://{tmp_path}/storage")
    storage.push(home)
    before = listing(tmp_path / "storage")

    def cut_off(source: str, target: str) -> None:
        Path(target).write_bytes(b"re")
        raise OSError("the network is gone")

    (home / "parts/studies/s.parquet").write_bytes(b"replaced")
    monkeypatch.setattr(storage._files, "put_file", cut_off)
    with pytest.raises(OSError, match="network"):
        storage.push(home)
    names = storage.names("runs", "parts", "data")
    assert names == SHARED
    assert all(listing(tmp_path / "storage")[name] == before[name] for name in names)


def test_a_removed_file_is_gone_and_one_that_is_not_there_is_none(
    storage: Storage, home: Path
) -> None:
    storage.push(home)
    storage.remove("runs/a/resume.safetensors")
    storage.remove("runs/a/resume.safetensors")
    assert "runs/a/resume.safetensors" not in storage.names("runs")


def test_a_record_comes_after_its_weights_and_a_part_after_all() -> None:
    order = [name for group in by_weight(SHARED) for name in group]
    assert order.index("runs/a/checkpoints/step-00000001.json") > order.index(
        "runs/a/checkpoints/step-00000001.safetensors"
    )
    assert order.index("runs/a/resume.safetensors") > order.index("runs/a/config.json")
    assert order[-2:] == ["parts/metrics/a.parquet", "parts/studies/s.parquet"]
    assert sorted(order) == sorted(SHARED)


def test_a_storage_of_no_known_kind_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"--storage gopher://x: expected .* got: ") as caught:
        Storage("gopher://x")
    assert "\n" not in str(caught.value)
