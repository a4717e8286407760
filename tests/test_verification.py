"""``verify``: each kind of damage is found and named; a sound home has no findings."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from featdyn_engine import checkpoints, pipeline
from featdyn_engine.files import write_json
from featdyn_engine.verification import verify
from store.connection import StoreMissingError, writing
from tests.cases import QUICK_STUDY
from tests.conftest import fill
from tests.store.rows import listing
from tests.test_cli import featdyn


@pytest.fixture(scope="module")
def sound_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two finished trainings. Tests must not write to it."""
    home = tmp_path_factory.mktemp("sound")
    fill(home, QUICK_STUDY)
    return home


@pytest.fixture
def home(sound_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound_home, tmp_path / "home"))


def first_run(home: Path) -> Path:
    return sorted((home / "runs").iterdir())[0]


def weights(home: Path, step: int) -> Path:
    return first_run(home) / "checkpoints" / f"step-{step:08d}.safetensors"


def part(home: Path) -> Path:
    return home / "parts" / "metrics" / f"{first_run(home).name}.parquet"


def findings(home: Path, *expected: str) -> tuple[str, ...]:
    before = listing(home / "runs")
    found = verify(home).findings
    assert len(found) == len(expected), found
    for line, words in zip(found, expected, strict=True):
        assert words in line
        assert "\n" not in line
    assert listing(home / "runs") == before
    return found


def test_a_sound_home_has_no_findings_and_is_counted(sound_home: Path) -> None:
    verdict = verify(sound_home)
    assert verdict.findings == ()
    assert (verdict.runs, verdict.checkpoints) == (2, 12)
    assert verdict.parts == len(list(sound_home.glob("parts/*/*.parquet"))) >= 3


def test_a_missing_checkpoint_is_found(home: Path) -> None:
    weights(home, 4).unlink()
    findings(home, f"{weights(home, 4)}: expected the file of step 4, found none")


def test_a_missing_record_is_found(home: Path) -> None:
    weights(home, 4).with_suffix(".json").unlink()
    findings(home, f"{weights(home, 4)}: expected the checkpoint of step 4, found none")


def test_a_truncated_checkpoint_is_found(home: Path) -> None:
    whole = weights(home, 4).read_bytes()
    weights(home, 4).write_bytes(whole[:-1])
    findings(
        home,
        f"{weights(home, 4)}: expected {len(whole)} bytes, got {len(whole) - 1}: truncated",
    )


def test_an_altered_checkpoint_is_found(home: Path) -> None:
    whole = bytearray(weights(home, 4).read_bytes())
    whole[-5] ^= 1
    weights(home, 4).write_bytes(bytes(whole))
    findings(home, f"{weights(home, 4)}: expected the bytes that training wrote, got others")


def test_a_duplicate_checkpoint_is_found_behind_its_running_statistics(home: Path) -> None:
    tensors = load_file(weights(home, 4))
    tensors["layer1.norm.running_mean"] += 1
    checkpoints.save(first_run(home), 6, 1.2, tensors)
    findings(home, f"{weights(home, 6)}: expected other weights at every step, got those of step 4")


def test_a_damaged_record_is_found(home: Path) -> None:
    weights(home, 4).with_suffix(".json").write_text("{")
    findings(home, "expected the record of a checkpoint", "expected the checkpoint of step 4")


def test_a_configuration_of_another_run_is_found(home: Path) -> None:
    one, other = sorted((home / "runs").iterdir())
    shutil.copy(other / "config.json", one / "config.json")
    findings(home, f"expected the configuration of run {one.name}, got that of {other.name}")


def test_a_damaged_configuration_is_found(home: Path) -> None:
    write_json(first_run(home) / "config.json", {"data": 3})
    findings(home, f"{first_run(home) / 'config.json'}: expected a run's configuration")


def test_a_finished_run_whose_files_are_gone_is_found(home: Path) -> None:
    folder = first_run(home)
    shutil.rmtree(folder)
    findings(home, f"{folder / 'config.json'}: expected a run's configuration, got: No")


def test_a_missing_part_is_found(home: Path) -> None:
    part(home).unlink()
    findings(home, f"unit metrics {part(home).stem}: expected its part in parts/, found none")


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.0])
def test_a_damaged_part_is_found(keep: float, home: Path) -> None:
    whole = part(home).read_bytes()
    part(home).write_bytes(whole[: int(keep * len(whole))])
    findings(home, f"{part(home)}: expected a whole part, got")


def test_a_part_under_another_name_is_found(home: Path) -> None:
    shutil.copy(part(home), part(home).with_name("abcdefabcdef.parquet"))
    findings(
        home,
        "abcdefabcdef/config.json: expected a run's configuration, got: No such file",
        "expected the part of unit abcdefabcdef, got that of",
        "part metrics/abcdefabcdef: expected its rows in the store, found none",
    )


def test_orphan_rows_are_found_and_rebuilding_removes_them(home: Path) -> None:
    with writing(home) as connection:
        connection.execute("UPDATE base.metrics SET unit_id = 'gone' WHERE step = 4")
    found = findings(home, "expected rows of known units, got")
    assert "of gone; run `featdyn rebuild`" in found[0]
    pipeline.rebuild(home)
    findings(home)


def test_a_part_that_was_not_ingested_is_found_and_rebuilding_takes_it_in(home: Path) -> None:
    with writing(home) as connection:
        connection.execute("DELETE FROM base.units WHERE kind = 'metrics'")
    assert len(verify(home).findings) >= 2
    pipeline.rebuild(home)
    findings(home)


def test_an_interrupted_run_is_no_finding(home: Path) -> None:
    """Without its part a run is unfinished: what is not there yet is not missing."""
    part(home).unlink()
    weights(home, 10).unlink()
    weights(home, 10).with_suffix(".json").unlink()
    pipeline.rebuild(home)
    findings(home)


def test_a_home_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        verify(tmp_path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "none": lambda home: None,
    "missing": lambda home: weights(home, 4).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_command_names_findings_and_ends_with_1(damage: str, home: Path) -> None:
    DAMAGES[damage](home)
    result: subprocess.CompletedProcess[str] = featdyn(home, "verify")
    lines = result.stdout.splitlines()
    if damage == "none":
        assert (result.returncode, len(lines)) == (0, 1), result.stdout + result.stderr
        assert "2 runs, 12 checkpoints" in lines[0]
        assert lines[0].endswith("no findings")
    else:
        assert (result.returncode, len(lines)) == (1, 2), result.stdout + result.stderr
        assert str(weights(home, 4)) in lines[0]
        assert "then run its study again" in lines[0]
