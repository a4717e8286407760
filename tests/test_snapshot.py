"""Snapshots: a part of a home for others to look at, whole or not at all, held to its manifest."""

import json
import shutil
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from featdyn_engine import checkpoints, folders, halving, snapshot
from featdyn_engine.api import load_eval, load_evaluation, load_network, load_run
from featdyn_engine.data import bundled, digits
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    DataConfig,
    EvalConfig,
    InputError,
    NetworkConfig,
    Recipe,
    RunConfig,
)
from featdyn_engine.parts import part_path, write_part
from featdyn_engine.pipeline import engine_lock
from featdyn_engine.snapshot import Choice, parsed_steps
from featdyn_engine.verification import verify
from store import extract as extracting
from store.connection import reading, writing
from store.extract import compact
from store.home import StoreError
from store.results import ingest
from tests.cases import QUICK_STUDY
from tests.conftest import fill
from tests.store import cube
from tests.store.rows import VIEWS, listing, rows

STEPS = (0, 2, 4, 6, 8, 10)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies: trainings of a second, and the one made up by hand. Tests must not write."""
    home = tmp_path_factory.mktemp("snapshots") / "home"
    fill(home, QUICK_STUDY)
    ingest(home, cube.write_all(home))
    return home


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of all of it. Tests must not write."""
    out = tmp_path_factory.mktemp("out") / "whole"
    take(home, out)
    return out


def take(home: Path, out: Path, **choice: Any) -> dict[str, Any]:
    said: list[str] = []
    manifest = snapshot.snapshot(home, out, Choice(**choice), said.append)
    return {**manifest, "said": said}


def runs_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "runs").iterdir())


def test_every_row_of_every_view_comes_along(home: Path, whole: Path) -> None:
    there, here = rows(whole, but_times=False), rows(home, but_times=False)
    # Images alone stay behind, of sets of which it isn't known that they may be passed on.
    assert here.pop("trajectory_images")
    assert not there.pop("trajectory_images")
    assert there == here


def test_a_failure_comes_along_without_the_folders_of_its_machine(
    home: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(home, tmp_path / "home"))
    failed = pa.table(
        {
            "kind": ["splices"],
            "run_id": [cube.TRUE],
            "label": ["splices stem"],
            "reason": ["broke"],
            "traceback": ["File /home/somebody/own.py"],
            "failed_at": [datetime(2026, 1, 1)],
        }
    )
    write_part(own, "failures", "f" * 12, failed, {"kind": "failures", "unit_id": "f" * 12})
    ingest(own, [part_path(own, "failures", "f" * 12)])
    take(own, tmp_path / "out")
    told = "SELECT reason, traceback FROM units WHERE status = 'failed'"
    found = []
    for folder in (own, tmp_path / "out"):
        with reading(folder) as connection:
            found.append(connection.execute(told).fetchall())
    assert found == [[("broke", "File /home/somebody/own.py")], [("broke", None)]]


def test_one_study_brings_its_own_rows_and_no_others(home: Path, tmp_path: Path) -> None:
    take(home, tmp_path / "out", studies=("quick",))
    found, all_rows = rows(tmp_path / "out"), rows(home)
    with reading(home) as connection:
        ours = {
            run
            for (run,) in connection.execute(
                "SELECT run_id FROM study_runs WHERE study = 'quick'"
            ).fetchall()
        }
    assert found["study_runs"] == [row for row in all_rows["study_runs"] if row[0] == "quick"]
    assert found["metrics"] == [row for row in all_rows["metrics"] if row[0] in ours]
    assert found["checkpoints"] == [row for row in all_rows["checkpoints"] if row[0] in ours]
    assert len(found["metrics"]) > 0
    assert found["splices"] == found["predictions"] == found["evaluations"] == []


def test_the_other_study_brings_all_of_its_tables(home: Path, tmp_path: Path) -> None:
    take(home, tmp_path / "out", studies=("by-hand",))
    found, all_rows = rows(tmp_path / "out"), rows(home)
    for view in VIEWS:
        if view not in (
            "runs",
            "study_runs",
            "metrics",
            "checkpoints",
            "units",
            "trajectory_images",
        ):
            assert found[view] == all_rows[view], view
    assert len(found["splices"]) > 0


def test_of_a_bare_study_results_alone_come_along(home: Path, tmp_path: Path) -> None:
    (trained,) = {study for (study,) in asked(home, "DISTINCT study FROM study_runs")} - {
        cube.STUDY
    }
    manifest = take(home, tmp_path / "out", studies=(trained,), bare=(cube.STUDY,))
    assert manifest["studies"] == sorted([cube.STUDY, trained])
    assert (
        manifest["checkpoints"] == take(home, tmp_path / "one", studies=(trained,))["checkpoints"]
    )
    counted = "count(*) FROM base.splices"
    assert asked(tmp_path / "out", counted) == asked(home, counted) != [(0,)]
    assert asked(home, "count(*) FROM base.predictions") != [(0,)]
    assert asked(tmp_path / "out", "count(*) FROM base.predictions") == [(0,)]
    left = "count(*) FROM base.companions WHERE kind = 'predictions'"
    assert asked(tmp_path / "out", left) == [(0,)]
    assert not verify(tmp_path / "out").findings
    with pytest.raises(StoreError, match="--bare: expected one of"):
        take(home, tmp_path / "other", bare=("nowhere",))


def asked(home: Path, question: str) -> list[tuple[Any, ...]]:
    with reading(home) as connection:
        return connection.execute(f"SELECT {question}").fetchall()


def test_networks_and_images_are_those_of_the_home(home: Path, whole: Path) -> None:
    for run_id in runs_of(whole):
        assert load_run(whole, run_id) == load_run(home, run_id)
        ours, theirs = (load_network(each, run_id, 10).state_dict() for each in (whole, home))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_images_come_from_the_snapshot_itself(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DataConfig(name="digits", train_size=44)
    expected = data_registry.load(config, Path("elsewhere"))
    monkeypatch.setitem(data_registry.DATASETS, "digits", lambda *_: pytest.fail("read elsewhere"))
    data_registry.load.cache_clear()
    found = data_registry.load(config, whole)
    data_registry.load.cache_clear()
    assert found.sha256 == expected.sha256
    assert found.class_names == expected.class_names
    assert found.peak == expected.peak


def test_other_images_than_the_header_says_are_refused(home: Path, tmp_path: Path) -> None:
    dataset = digits.load(DataConfig(name="digits"), home)
    config = DataConfig(name="digits")
    path = bundled.path_of(config, tmp_path)
    bundled.write(dataset, path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="got others"):
        bundled.read(config, tmp_path)
    path.write_bytes(bytes(content[:100]))
    with pytest.raises(InputError, match="copy the snapshot anew"):
        bundled.read(config, tmp_path)


def test_a_sound_snapshot_has_no_findings_and_is_counted(whole: Path) -> None:
    verdict = verify(whole)
    assert verdict.findings == ()
    assert (verdict.runs, verdict.checkpoints) == (2, 12)


def test_every_kind_of_damage_is_found(whole: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    weights = sorted(copy.rglob("*.safetensors"))
    content = bytearray(weights[0].read_bytes())
    content[-1] ^= 1
    weights[0].write_bytes(bytes(content))
    weights[1].unlink()
    (copy / "extra.txt").write_text("x")
    found = verify(copy).findings
    assert len(found) == 3
    assert f"{copy / 'extra.txt'}: expected only files of the manifest" in found[0]
    assert any(f"{weights[0]}: expected the bytes of the manifest" in line for line in found)
    assert any(f"{weights[1]}: expected a file of" in line for line in found)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": {"a": 3}}'])
def test_a_manifest_that_is_none_is_found(content: str, tmp_path: Path) -> None:
    (tmp_path / "snapshot.json").write_text(content)
    (found,) = verify(tmp_path).findings
    assert "expected the manifest of a snapshot" in found


def test_the_manifest_says_what_it_was_made_of(home: Path, whole: Path) -> None:
    manifest = json.loads((whole / "snapshot.json").read_text())
    assert manifest["studies"] == ["by-hand", "quick"]
    assert manifest["revision"] == int((home / "revision").read_text())
    assert set(manifest["versions"]) >= {"featdyn", "torch", "duckdb"}
    assert manifest["checkpoints"] == 12
    (images,) = manifest["images"].values()
    assert images["included"]
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == files - {"snapshot.json"}


@pytest.mark.parametrize(("words", "steps"), [("none", ()), ("0,10", (0, 10)), ("all", STEPS)])
def test_checkpoints_are_chosen(
    words: str, steps: tuple[int, ...], home: Path, tmp_path: Path
) -> None:
    take(home, tmp_path / "out", studies=("quick",), steps=parsed_steps(words))
    for run_id in runs_of(tmp_path / "out"):
        folder = checkpoints.run_folder(tmp_path / "out", run_id)
        assert tuple(each.step for each in checkpoints.listing(folder)) == steps
        assert len(list(folder.rglob("*.safetensors"))) == len(steps)
    assert verify(tmp_path / "out").findings == ()


def test_of_named_checkpoints_those_of_controls_stay_behind(tmp_path: Path) -> None:
    """Nobody names a step for the sake of a run that an analysis alone needed."""
    controls = """
[[analyses]]
kind = "controls"
arms = ["true labels"]
controls = ["same_init"]
cuts = ["layer1"]
"""
    fill(tmp_path / "home", QUICK_STUDY + controls)
    take(tmp_path / "home", tmp_path / "out", steps=(10,))
    runs = {
        run_id: len(checkpoints.listing(checkpoints.run_folder(tmp_path / "out", run_id)))
        for run_id in runs_of(tmp_path / "out")
    }
    with reading(tmp_path / "out") as connection:
        found = connection.execute("SELECT run_id FROM study_runs WHERE role = 'arm'").fetchall()
    arms = {run_id for (run_id,) in found}
    assert len(runs) == 3
    assert len(arms) == 2
    assert runs == {run_id: int(run_id in arms) for run_id in runs}


def test_half_is_half_where_no_prediction_changes(home: Path, tmp_path: Path) -> None:
    manifest = take(home, tmp_path / "out", studies=("quick",), half=True)
    assert (
        manifest["checkpoints_in_float16"]
        + sum(
            len(line.split("steps ")[1].split(" kept")[0].split(", ")) for line in manifest["said"]
        )
        == len(STEPS) * 2
    )
    halved = 0
    for run_id in runs_of(tmp_path / "out"):
        ours = checkpoints.run_folder(home, run_id)
        theirs = checkpoints.run_folder(tmp_path / "out", run_id)
        for one, other in zip(checkpoints.listing(ours), checkpoints.listing(theirs), strict=True):
            state = checkpoints.load(theirs, other.step)
            if other.bytes < one.bytes:
                halved += 1
                assert {each.dtype for each in state.values()} <= {torch.float16, torch.int64}
    assert halved == manifest["checkpoints_in_float16"] > 0
    with reading(tmp_path / "out") as connection:
        recorded = connection.execute("SELECT path, sha256 FROM checkpoints").fetchall()
    assert len(recorded) == len(STEPS) * 2
    for path, sha256 in recorded:
        assert (
            json.loads((tmp_path / "out" / path).with_suffix(".json").read_text())["sha256"]
            == sha256
        )
    assert verify(tmp_path / "out").findings == ()


def test_a_checkpoint_whose_predictions_change_stays_in_float32(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = halving.halved
    monkeypatch.setattr(
        halving, "halved", lambda state: {k: v * -1 for k, v in real(state).items()}
    )
    manifest = take(home, tmp_path / "out", studies=("quick",), half=True)
    assert manifest["checkpoints_in_float16"] == 0
    assert len(manifest["said"]) == 2
    assert "kept in float32" in manifest["said"][0]
    assert rows(tmp_path / "out")["checkpoints"] == [
        row for row in rows(home)["checkpoints"] if row[0] in runs_of(tmp_path / "out")
    ]


@pytest.mark.parametrize("kind", ["file", "folder", "empty folder", "link"])
def test_what_is_no_snapshot_is_never_replaced(kind: str, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "link":
        (tmp_path / "other").mkdir()
        out.symlink_to(tmp_path / "other")
    else:
        out.mkdir()
        if kind == "folder":
            (out / "mine").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(InputError, match="expected a new path or a snapshot to replace"):
        take(home, out)
    assert listing(tmp_path) == before


def test_an_older_snapshot_is_replaced(home: Path, tmp_path: Path) -> None:
    take(home, tmp_path / "out", studies=("quick",), steps=())
    take(home, tmp_path / "out", studies=("by-hand",), steps=())
    assert {row[0] for row in rows(tmp_path / "out")["study_runs"]} == {"by-hand"}
    assert verify(tmp_path / "out").findings == ()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"studies": ("nosuch",)}, r"--study: expected one of by-hand, quick, got 'nosuch'"),
        ({"steps": (3,)}, r"--checkpoints: .* that some run of an arm stored \(0, 2, .*got 3"),
        ({"images": ("cifar10",)}, "--images: expected one of digits, got 'cifar10'"),
        ({"max_mb": 0.5}, r"--max-mb: expected at most 0.5 MB, got .* MB"),
    ],
)
def test_choices_that_the_home_does_not_offer_leave_nothing(
    choice: dict[str, Any], expected: str, home: Path, tmp_path: Path
) -> None:
    with pytest.raises((InputError, StoreError), match=expected) as caught:
        take(home, tmp_path / "out", **choice)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["", "some", "-1", "1,", "1.5", "²"])
def test_other_words_for_checkpoints_are_refused(words: str) -> None:
    with pytest.raises(InputError, match="expected all, none or steps"):
        parsed_steps(words)


def test_a_failure_leaves_the_old_one_and_no_trace(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(home, tmp_path / "out", studies=("quick",), steps=())
    before = listing(tmp_path)
    monkeypatch.setattr(snapshot, "_manifest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        take(home, tmp_path / "out")
    assert listing(tmp_path) == before


def test_no_engine_works_in_a_snapshot(whole: Path) -> None:
    before = listing(whole)
    with pytest.raises(StoreError, match="got a snapshot"), engine_lock(whole, "featdyn demo"):
        pass
    with pytest.raises(StoreError, match="got a snapshot"):
        take(whole, whole.parent / "again")
    assert listing(whole) == before


CONFIG = '{"data": {"folder": "/home/me/secret/cifar", "name": "parquet"}, "n": [1, {"folder": 3}]}'


def test_folders_of_this_machine_stay_here() -> None:
    assert json.loads(folders.shortened(CONFIG)) == {
        "data": {"folder": "cifar", "name": "parquet"},
        "n": [1, {"folder": 3}],
    }
    text = "folder = \"/home/me/secret/cifar\"\nx = { corruption_folder='../a/b' } # folder"
    assert folders.shortened_toml(text) == (
        'folder = "cifar"\nx = { corruption_folder="b" } # folder'
    )


def test_a_compacted_database_has_its_rows_and_no_byte_of_what_was_changed(tmp_path: Path) -> None:
    ingest(tmp_path, cube.write_all(tmp_path))
    database = tmp_path / "featdyn.duckdb"
    before = rows(tmp_path, but_times=False)
    with writing(tmp_path) as connection:
        connection.execute("CREATE TABLE base.secrets AS SELECT 'of my machine' AS folder")
        connection.execute("CHECKPOINT")
        connection.execute("DROP TABLE base.secrets")
    assert b"of my machine" in database.read_bytes()
    compact(database)
    assert b"of my machine" not in database.read_bytes()
    assert rows(tmp_path, but_times=False) == before
    assert not list(tmp_path.glob("*.compact*"))


@pytest.mark.parametrize(("small", "bytes_of_a_block"), [(100e6, 65_536), (0, 262_144)])
def test_a_small_database_has_small_blocks(
    small: float, bytes_of_a_block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extracting, "SMALL_DATABASE", small)
    ingest(tmp_path, cube.write_all(tmp_path))
    compact(tmp_path / "featdyn.duckdb")
    with reading(tmp_path) as connection:
        size = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()
    assert size == [(bytes_of_a_block,)]


def test_a_set_that_is_not_embedded_needs_its_licence_said(tmp_path: Path) -> None:
    run = run_on(DataConfig(name="parquet", folder="/data/mine", sha256="0" * 64))
    left_out = snapshot._sources([run], [], (), tmp_path)
    brought = snapshot._sources([run], [], ("parquet",), tmp_path)
    assert [each.brought for each in (*left_out.values(), *brought.values())] == [False, True]


def run_on(data: DataConfig) -> RunConfig:
    return RunConfig(
        data=data,
        network=NetworkConfig(name="mlp"),
        recipe=Recipe(steps=1),
        checkpoints=(0, 1),
    )


def test_images_left_out_are_never_looked_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    data_registry.load.cache_clear()
    with pytest.raises(InputError, match="--images parquet where its licence allows"):
        data_registry.load(DataConfig(name="parquet", folder=str(tmp_path)), tmp_path)


def test_stored_sets_can_be_loaded_from_a_snapshot(tmp_path: Path) -> None:
    config = EvalConfig(data=DataConfig(name="digits", folder="/home/me/secret"), split="test", n=9)
    rows = [{"config": json.dumps(asdict(config))}]
    part = part_path(tmp_path / "home", "evaluations", config.eval_id)
    part.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), part)
    snapshot._copy_evaluation(tmp_path / "home", tmp_path / "out", config.eval_id)
    ours = load_eval(tmp_path / "out", config.eval_id)
    theirs = load_eval(tmp_path / "home", config.eval_id)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    stored = load_evaluation(tmp_path / "out", config.eval_id)
    assert stored.eval_id == config.eval_id
    assert stored.data.folder == "secret"
