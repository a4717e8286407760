"""Commands under FEATDYN_READONLY and FEATDYN_STORE: those that write are refused in a line."""

import sys
from pathlib import Path

import pytest

from featdyn_engine import checkpoints, live
from featdyn_engine.api import load_evaluation, load_network, load_run
from featdyn_engine.domain import DataConfig, InputError, NetworkConfig, Recipe, RunConfig, Task
from featdyn_engine.files import write_json
from featdyn_engine.models import registry
from tests.cases import QUICK_STUDY
from tests.conftest import fill
from tests.store import cube
from tests.store.rows import listing
from tests.test_cli import assert_refused, featdyn, study_file

WRITING = [
    ("run", "tiny.toml"),
    ("demo",),
    ("rebuild",),
    ("snapshot", "out"),
    ("restore", "out"),
    ("export", cube.TRUE, "out"),
]


@pytest.mark.parametrize("words", WRITING, ids=lambda words: words[0])
def test_a_command_that_writes_is_refused_and_writes_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_file(tmp_path)
    (tmp_path / "home" / "parts").mkdir(parents=True)
    content = listing(tmp_path)
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    refused = featdyn(tmp_path / "home", *words)
    assert_refused(refused, "FEATDYN_READONLY=1: expected a command that only reads", words[0])
    assert listing(tmp_path) == content


def test_status_reads_the_other_store_and_writes_nothing(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    monkeypatch.setenv("FEATDYN_STORE", str(cube_home))
    before = listing(cube_home)
    result = featdyn(tmp_path / "home", "status")
    assert result.returncode == 0, result.stderr
    assert f"study {cube.STUDY}" in result.stdout
    assert listing(cube_home) == before
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with trainings of a second. Tests must not write."""
    home = tmp_path_factory.mktemp("read-only") / "home"
    fill(home, QUICK_STUDY)
    return home


def first_run(home: Path) -> str:
    return sorted(path.name for path in (home / "runs").iterdir())[0]


def spliced(home: Path, run_id: str) -> list[live.Cell]:
    asked = live.request(home, run=run_id, shallow="4", deep=10, cut="layer1")
    return live.splice(asked, home)


def test_a_live_splice_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    before = listing(home)
    assert spliced(home, first_run(home))[0].n == 360
    assert listing(home) == before


@pytest.mark.parametrize("identity", ["../../etc", "..", "", "a" * 300, "0" * 12, "*", "%00"])
def test_an_identity_that_is_a_path_is_no_run_and_no_set(identity: str, home: Path) -> None:
    (home.parent / "config.json").write_text("{}")
    with pytest.raises(InputError, match="expected a run of"):
        load_run(home, identity)
    with pytest.raises(InputError, match="expected an evaluation set of"):
        load_evaluation(home, identity)


def test_a_lost_checkpoint_is_said_in_a_line_and_the_others_go_on(
    home: Path, tmp_path: Path
) -> None:
    run_id = first_run(home)
    folder = checkpoints.run_folder(home, run_id)
    path = folder / "checkpoints" / "step-00000004.safetensors"
    aside = path.rename(tmp_path / "aside")
    try:
        with pytest.raises(InputError, match="expected the file that its record") as caught:
            spliced(home, run_id)
        assert "\n" not in str(caught.value)
        load_network(home, run_id, 10)
    finally:
        aside.rename(path)


FACTORY = """
from pathlib import Path
Path({trace!r}).write_text("imported")
def make(): raise SystemExit
"""


def test_no_module_that_a_home_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "harmful.py").write_text(FACTORY.format(trace=str(trace)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    network = NetworkConfig(name="harmful:make")
    with pytest.raises(InputError, match="code that is not imported then") as caught:
        registry.build(network, Task(1, 8, 10))
    assert "\n" not in str(caught.value)
    assert "harmful" not in sys.modules
    assert not trace.exists()


def test_no_splice_of_such_a_run_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "harmful.py").write_text(FACTORY.format(trace=str(trace)))
    monkeypatch.syspath_prepend(str(tmp_path))
    run = RunConfig(
        data=DataConfig(name="digits"),
        network=NetworkConfig(name="harmful:make"),
        recipe=Recipe(steps=10),
        checkpoints=(0, 4, 10),
    )
    from dataclasses import asdict

    folder = checkpoints.run_folder(tmp_path, run.run_id)
    write_json(folder / "config.json", asdict(run))
    for step in (4, 10):
        checkpoints.save(folder, step, 0.0, {})
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    with pytest.raises(InputError, match="code that is not imported then"):
        spliced(tmp_path, run.run_id)
    assert not trace.exists()
