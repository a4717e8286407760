"""The command line: exit codes, one clear line, nothing written on wrong input.

Called in this process, because a new one imports torch for seconds; ``as_process`` shows once that
the command itself does the same.
"""

import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from featdyn_engine import __version__, cli
from featdyn_engine.pipeline import engine_lock
from store.connection import MIGRATIONS, reading
from store.home import database_path
from tests.cases import HERE, QUICK_STUDY, TINY_STUDY
from tests.store.rows import listing, rows

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


def featdyn(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Call the command line as a process would: arguments, environment, folder, exit code."""
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as errors,
    ):
        patch.setenv("FEATDYN_HOME", str(home))
        patch.setattr(sys, "argv", ["featdyn", *words])
        patch.chdir(home.parent if home.parent.is_dir() else ROOT)
        with pytest.raises(SystemExit) as end:
            cli.main()
    return subprocess.CompletedProcess(
        words, int(end.value.code or 0), out.getvalue(), errors.getvalue()
    )


def as_process(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "featdyn_engine", *words],
        env={**os.environ, "FEATDYN_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def study_file(folder: Path, text: str = TINY_STUDY) -> str:
    path = folder / "tiny.toml"
    path.write_text(text)
    return str(path)


def assert_refused(result: subprocess.CompletedProcess[str], *expected: str) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    for words in expected:
        assert words in result.stderr


@pytest.fixture
def own_home(tiny_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_home, tmp_path / "home"))


def test_help_lists_every_command(tmp_path: Path) -> None:
    result = featdyn(tmp_path / "home", "--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^\W*{command}\s", result.stdout, re.MULTILINE), command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command: str) -> None:
    result = CliRunner().invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    about = typer.main.get_command(cli.app).commands[command]  # type: ignore[attr-defined]
    assert about.help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    texts += [path.read_text(encoding="utf-8") for path in ROOT.glob("README.md")]
    assert any(re.search(rf"\bfeatdyn {command}\b", text) for text in texts), (
        f"README.md or docs/*.md has to name `featdyn {command}`"
    )


def test_version_prints_the_version(tmp_path: Path) -> None:
    result = as_process(tmp_path / "home", "version")
    assert (result.returncode, result.stdout.strip()) == (0, __version__)


WRONG_STUDIES = {
    "an unknown network": ('name = "resnet20"', 'name = "resnet21"', ("network.name", "resnet20")),
    "a negative learning rate": ("lr = 0.05", "lr = -0.05", ("training.lr", "-0.05")),
    "a cut that there is not": (
        'kind = "splices"',
        'kind = "splices"\ncuts = ["stage9.9"]',
        ("stage9.9", "stage1.0"),
    ),
    "a syntax error": ("[data]", "[data", ("expected TOML",)),
    "a misspelt field": ("batch_size", "batchsize", ("did you mean 'batch_size'",)),
    "too many examples": ("train_size = 96", "train_size = 9600", ("1437", "9600")),
    "an unknown analysis": ('kind = "splices"', 'kind = "slices"', ("splices", "'slices'")),
}


@pytest.mark.parametrize("mistake", WRONG_STUDIES)
def test_a_wrong_study_is_refused_in_one_line_and_nothing_is_written(
    mistake: str, tmp_path: Path
) -> None:
    before, after, expected = WRONG_STUDIES[mistake]
    assert before in TINY_STUDY
    path = study_file(tmp_path, TINY_STUDY.replace(before, after))
    content = listing(tmp_path)
    assert_refused(featdyn(tmp_path / "home", "run", path), "tiny.toml", *expected)
    assert listing(tmp_path) == content


def test_a_missing_study_file_is_refused(tmp_path: Path) -> None:
    result = featdyn(tmp_path / "home", "run", "missing.toml")
    assert_refused(result, "missing.toml", "No such file")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_study_file_is_refused(tmp_path: Path) -> None:
    result = featdyn(tmp_path / "home", "run", str(tmp_path))
    assert_refused(result, "expected a readable study file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "below"),
    [(("run", "tiny.toml"), ""), (("demo",), "deep/home"), (("status",), "home")],
)
def test_a_home_that_is_or_lies_under_a_file_is_refused(
    words: tuple[str, ...], below: str, tmp_path: Path
) -> None:
    study_file(tmp_path)
    (tmp_path / "file").write_text("mine")
    content = listing(tmp_path)
    assert_refused(featdyn(tmp_path / "file" / below, *words), "FEATDYN_HOME", "is a file")
    assert listing(tmp_path) == content


def test_a_second_engine_is_refused_and_hears_who_is_at_work(own_home: Path) -> None:
    path = study_file(own_home.parent)
    with engine_lock(own_home, "featdyn run first.toml"):
        content = listing(own_home)
        result = featdyn(own_home, "run", path, "--device", "cpu")
        assert_refused(result, "`featdyn run first.toml`", f"process {os.getpid()}")
        assert_refused(featdyn(own_home, "rebuild"), "`featdyn run first.toml`")
        assert listing(own_home) == content


@pytest.mark.parametrize("words", [("run", "tiny.toml", "--device", "cpu"), ("status",)])
def test_a_store_of_a_newer_schema_is_refused(words: tuple[str, ...], own_home: Path) -> None:
    study_file(own_home.parent)
    with duckdb.connect(str(database_path(own_home))) as connection:
        connection.execute(
            "INSERT INTO base.schema_migrations VALUES (?, 'of the future')", [len(MIGRATIONS) + 1]
        )
    content = listing(own_home)
    assert_refused(featdyn(own_home, *words), "newer featdyn", "upgrade")
    assert listing(own_home) == content


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "tiny.toml", "--device", "abacus"), "abacus"),
        (("run", "tiny.toml", "--workers", "0"), "--workers"),
        (("run", "tiny.toml", "--workers", "many"), "--workers"),
        (("run", "tiny.toml", "--colour", "red"), "--colour"),
        (("run",), "STUDY.toml"),
        (("walk",), "walk"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    words: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    study_file(tmp_path)
    content = listing(tmp_path)
    assert_refused(featdyn(tmp_path / "home", *words), expected)
    assert listing(tmp_path) == content


@pytest.mark.parametrize("command", ["status", "rebuild"])
def test_an_empty_home_is_refused_with_the_remedy(command: str, tmp_path: Path) -> None:
    assert_refused(featdyn(tmp_path / "home", command), "run `featdyn demo`")
    assert list(tmp_path.iterdir()) == []


def test_plan_runs_and_writes_nothing(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    content = listing(tmp_path)
    result = featdyn(tmp_path / "home", "plan", path, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert re.search(r"trainings\s+2 units, 2 to do", result.stdout)
    assert re.search(r"splices\s+40 units, 40 to do", result.stdout)
    assert re.search(r"checkpoints\s+20", result.stdout)
    assert listing(tmp_path) == content


def test_demo_runs_the_embedded_study(monkeypatch: pytest.MonkeyPatch) -> None:
    from featdyn_engine import study

    asked: list[Path] = []
    monkeypatch.setattr(cli.studies, "_run", lambda path, *others: asked.append(path))
    assert CliRunner().invoke(cli.app, ["demo"]).exit_code == 0
    assert asked == [ROOT / "featdyn_engine" / "demo.toml"]
    embedded = study.read(asked[0], HERE)
    assert embedded.name == "digits"
    assert {run.config.label_noise for run in embedded.runs} == {0.0, 1.0}
    assert embedded.must_fit is not None


def test_a_finished_study_ends_with_exit_code_0(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    result = featdyn(own_home, "run", study_file(own_home.parent), "--device", "cpu")
    assert (result.returncode, result.stderr) == (0, "")
    assert "0 units done now, 45 before, of 45" in result.stdout
    assert rows(own_home, but_times=False) == before


def test_a_failed_unit_ends_with_exit_code_1(own_home: Path) -> None:
    for checkpoint in own_home.glob("runs/*/checkpoints/step-00000010.safetensors"):
        checkpoint.unlink()
    part = next((own_home / "parts" / "splices").iterdir())
    part.unlink()
    result = featdyn(own_home, "run", study_file(own_home.parent), "--device", "cpu")
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"splices {part.stem}" in result.stdout


def test_a_run_that_explodes_is_named_with_its_step_and_ends_with_exit_code_1(
    tmp_path: Path,
) -> None:
    study = study_file(tmp_path, QUICK_STUDY.replace("lr = 0.05", "lr = 1e30"))
    result = featdyn(tmp_path / "home", "run", study, "--device", "cpu")
    assert result.returncode == 1, result.stdout + result.stderr
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed at step ")]
    assert len(failed) == 2
    assert all("finite" in line for line in failed)
    assert "Traceback" not in result.stdout + result.stderr


def test_a_finding_ends_with_exit_code_1(own_home: Path) -> None:
    with reading(own_home) as connection:
        best = connection.execute(
            "SELECT max(accuracy) FROM metrics WHERE mode = 'eval' AND split = 'train' "
            "AND step = 20"
        ).fetchall()[0][0]
    text = TINY_STUDY.replace("[data]", f"must_fit = {best}\n[data]", 1)
    result = featdyn(own_home, "run", study_file(own_home.parent, text), "--device", "cpu")
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stdout.count(f"expected at least {best:.1%} on its training set") == 1


def test_status_and_rebuild_of_a_filled_home(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    rebuilt = featdyn(own_home, "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "from 86 parts" in rebuilt.stdout
    status = featdyn(own_home, "status")
    assert status.returncode == 0, status.stderr
    assert "2 of 2 runs finished" in status.stdout
    assert rows(own_home, but_times=False) == before


def test_rebuild_of_a_corrupt_part_names_it_without_a_traceback(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    part = next((own_home / "parts" / "splices").iterdir())
    part.write_bytes(part.read_bytes()[:1000])
    result = featdyn(own_home, "rebuild")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert part.name in result.stdout + result.stderr
    assert rows(own_home, but_times=False) == before


def test_a_home_whose_name_looks_like_markup_is_printed_as_it_is(own_home: Path) -> None:
    home = own_home.rename(own_home.with_name("[home]"))
    (home / "featdyn.duckdb").write_bytes(b"no database\n" * 500)
    result = featdyn(home, "run", study_file(home.parent), "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert "did not open" in result.stdout
    rebuilt = featdyn(home, "rebuild")
    assert str(database_path(home)) in rebuilt.stdout


@pytest.mark.parametrize(
    ("cores", "asked", "threads", "gpus", "expected"),
    [
        (8, None, 1, 0, 8),
        (8, None, 3, 0, 2),
        (8, 5, 2, 0, 4),
        (8, 3, 2, 0, 3),
        (2, 4, 4, 0, 1),
        (64, None, 1, 4, 4),
        (64, 12, 1, 4, 12),
        (2, None, 1, 4, 2),
    ],
)
def test_workers_times_threads_are_never_above_the_cores(
    cores: int,
    asked: int | None,
    threads: int,
    gpus: int,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli.studies, "cores", lambda: cores)
    workers = cli.studies._workers(asked, threads, gpus)
    assert workers == expected
    assert workers * threads <= cores or workers == 1


@pytest.mark.parametrize(
    "words", [("--address", "here:6379"), ("--storage", "file:///x"), ("--gpu-share", "0.5")]
)
def test_what_only_a_cluster_needs_is_refused_without_one(
    words: tuple[str, str], tmp_path: Path
) -> None:
    result = featdyn(tmp_path / "home", "run", study_file(tmp_path), *words)
    assert_refused(result, f"{words[0]}: expected --executor ray beside it, got local; add it")
    assert not (tmp_path / "home").exists()
