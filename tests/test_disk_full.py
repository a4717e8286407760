"""A disk that fills up in the middle: one clear line, exit 1, nothing lost, and it goes on."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from featdyn_engine import planning, study
from featdyn_engine.domain import InputError
from tests.cases import QUICK_STUDY
from tests.test_cli import assert_refused, featdyn
from tests.test_kill import LONG_STUDY, PATIENCE_SECONDS, count, start, wait_for

MEGABYTES = 48


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux") or not shutil.which("mount"):
        pytest.skip("needs a Linux with mount, for a small tmpfs")
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small tmpfs isn't allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(path: Path) -> None:
    """Write until there is no room left, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def stored(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.glob("runs/*/checkpoints/*")}


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_training_and_room_lets_it_go_on(
    small_disk: Path, tmp_path: Path
) -> None:
    home = small_disk / "home"
    engine = start(home, LONG_STUDY)
    wait_for(engine, lambda: count(home, "runs/*/checkpoints/*.json") >= 5)
    fill_up(small_disk / "filler")
    output, _ = engine.communicate(timeout=PATIENCE_SECONDS)
    assert engine.returncode == 1, output
    assert "Traceback" not in output
    told = [line for line in output.splitlines() if line.startswith(("featdyn:", "failed"))]
    assert len(told) == 1, output
    assert "expected room on the disk" in told[0]
    assert "make room, then the same command goes on from here" in told[0]
    finished = stored(home)
    assert 5 <= len(finished) // 2 < 101

    # Still full: as clear, and as harmless.
    output, _ = start(home, LONG_STUDY).communicate(timeout=PATIENCE_SECONDS)
    assert "make room" in output
    assert "Traceback" not in output
    assert stored(home) == finished

    (small_disk / "filler").unlink()
    engine = start(home, LONG_STUDY)
    output, _ = engine.communicate(timeout=PATIENCE_SECONDS)
    assert engine.returncode == 0, output
    assert featdyn(home, "verify").returncode == 0
    undisturbed = tmp_path / "undisturbed"
    output, _ = start(undisturbed, LONG_STUDY).communicate(timeout=PATIENCE_SECONDS)
    assert stored(home) == stored(undisturbed)
    assert len(stored(home)) == 2 * 101


def quick_plan(home: Path) -> planning.Plan:
    return planning.plan(study.parse(QUICK_STUDY, "quick.toml", home), home)


def test_a_plan_counts_the_checkpoints_and_their_bytes(tmp_path: Path) -> None:
    plan = quick_plan(tmp_path)
    forecast = planning.forecast(plan, tmp_path, 1)
    # 64 x 16, 16 x 16 and 16 x 10 weights, 10 biases, four vectors of each of two BatchNorms of
    # 16 channels, and their counters of eight bytes.
    state = 4 * (64 * 16 + 16 * 16 + 16 * 10 + 10 + 2 * 4 * 16) + 2 * 8
    assert forecast.checkpoints == 2 * 6
    # Besides, a resume point of up to three states, written anew beside the old one.
    assert forecast.bytes == 2 * (6 + 6) * state


def test_planning_and_running_refuse_where_the_disk_lacks_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quick_plan(tmp_path)
    needed = planning.check_room(plan, tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    assert planning.check_room(plan, tmp_path) == needed
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    for refuse in (
        lambda: planning.check_room(plan, tmp_path),
        lambda: planning.forecast(plan, tmp_path, 1),
    ):
        with pytest.raises(InputError, match=r"MB free for this study, got .* make room") as told:
            refuse()
        assert "\n" not in str(told.value)


def test_both_commands_refuse_before_they_begin(small_disk: Path) -> None:
    path = small_disk / "big.toml"
    path.write_text(QUICK_STUDY.replace("width = 16", "width = 2000"))
    home = small_disk / "home"
    for command in ("plan", "run"):
        assert_refused(
            featdyn(home, command, str(path), "--device", "cpu"), "MB free for this study"
        )
        assert count(home, "runs/*") == 0


def test_the_room_of_what_is_stored_already_is_not_asked_again(tmp_path: Path) -> None:
    plan = quick_plan(tmp_path)
    before = planning.check_room(plan, tmp_path)
    folder = tmp_path / "runs" / plan.units[0].unit_id / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step-00000000.json").write_text('{"step": 0, "epoch": 0, "sha256": "0", "bytes": 1}')
    assert planning.check_room(plan, tmp_path) < before
