"""Splices, now: the stored numbers, from files alone; the command ``featdyn splice``."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from statsmodels.stats.proportion import proportion_confint

from featdyn_engine import cli, live
from featdyn_engine.analyses import controls, splices
from featdyn_engine.analyses.asked import Evaluation, asked_set
from featdyn_engine.analyses.splices import Settings
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, EvalConfig, InputError, Job, NetworkConfig, RunConfig
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from featdyn_engine.units import evaluation_unit, perform
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON, with_recipe
from tests.store.rows import listing

RUN = replace(
    with_recipe(PERCEPTRON, batch_size=32, lr=0.1),
    data=DataConfig(name="digits", train_size=300),
    checkpoints=(0, 4, 10),
)
OTHER = controls.other_run(controls.Settings(), "other_seed", RUN, 0)
PLAIN = replace(RUN, network=NetworkConfig(name="mlp", norm_layer="none", options={"width": 16}))
WIDER = replace(
    RUN, network=NetworkConfig(name="mlp", norm_layer="batch", options={"width": 8, "depth": 3})
)
SUBSET = EvalConfig(data=RUN.data, split="test", n=50)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs and an evaluation set of 50 images. Nothing may be written to it."""
    home = tmp_path_factory.mktemp("live")
    for run in (RUN, OTHER, PLAIN, WIDER):
        train(run, home)
    perform(Job((evaluation_unit(SUBSET),)), home, 1, lambda share: None)
    return home


def cells(home: Path, **words: object) -> list[live.Cell]:
    asked = {"run": RUN.run_id, "shallow": "all", "deep": 10, "cut": "layer2", **words}
    return live.splice(live.request(home, **asked), home)  # type: ignore[arg-type]


def stored(home: Path, norm: str, run: RunConfig = RUN) -> list[dict[str, object]]:
    """The rows that a study would store, up to layer2, on the whole test split."""
    settings = Settings(cuts=("layer2",), norm=(norm,))  # type: ignore[arg-type]
    (unit,) = splices.units(settings, run, HERE)
    return splices.compute(unit.spec, home, lambda share: None)["splices"].to_pylist()


@pytest.mark.parametrize("norm", ["inherit", "recalibrate", "recalibrate_deep"])
def test_cells_are_those_that_a_study_stores(norm: str, home: Path) -> None:
    expected = {row["shallow_step"]: row for row in stored(home, norm) if row["deep_step"] == 10}
    found = cells(home, norm=norm)
    assert [cell.shallow_step for cell in found] == [0, 4, 10]
    for cell in found:
        row = expected[cell.shallow_step]
        same = ("run_id", "shallow_run_id", "deep_step", "cut", "depth", "norm", "split", "n")
        numbers = ("correct", "accuracy", "loss", "margin", "agreement", "corruption", "severity")
        for name in (*same, *numbers):
            assert getattr(cell, name) == row[name], name
        low, high = proportion_confint(cell.correct, cell.n, method="wilson")
        assert (cell.accuracy_low, cell.accuracy_high) == pytest.approx((low, high))
    # Deep step 10 under itself is the network; it agrees with itself under every mode.
    assert found[2].agreement == 1
    assert found[0].agreement < 1


def test_one_step_alone_is_its_cell_of_the_column(home: Path) -> None:
    for norm in ("inherit", "recalibrate"):
        column = cells(home, norm=norm)
        assert cells(home, norm=norm, shallow="4") == column[1:2]


def test_a_network_without_batch_norm_has_the_mode_none(home: Path) -> None:
    found = cells(home, run=PLAIN.run_id, cut="layer2")
    assert {cell.norm for cell in found} == {"none"}
    expected = [row for row in stored(home, "none", PLAIN) if row["deep_step"] == 10]
    assert [cell.loss for cell in found] == [row["loss"] for row in expected]
    assert cells(home, run=PLAIN.run_id, norm="none") == found


def test_the_shallow_part_may_be_another_runs(home: Path) -> None:
    settings = controls.Settings(controls=("other_seed",), cuts=("layer2",))
    (unit,) = controls.units(settings, RUN, HERE)
    rows = controls.compute(unit.spec, home, lambda share: None)["controls"].to_pylist()
    expected = [row for row in rows if row["deep_step"] == 10]
    found = cells(home, shallow_run=OTHER.run_id)
    assert [cell.correct for cell in found] == [row["correct"] for row in expected]
    assert [cell.loss for cell in found] == [row["loss"] for row in expected]
    assert {cell.shallow_run_id for cell in found} == {OTHER.run_id}
    assert f"step 4 of {OTHER.run_id} up to layer2" in live.sentence(found[1])


def test_evaluation_sets_go_by_split_or_id(home: Path) -> None:
    dataset = data_registry.load(RUN.data, HERE)
    (train_cell,) = cells(home, shallow="4", evaluation="train")
    assert (train_cell.split, train_cell.n) == ("train", len(dataset.train_labels))
    (test_cell,) = cells(home, shallow="4", evaluation="test")
    assert (test_cell.split, test_cell.n) == ("test", len(dataset.test_labels))
    (subset,) = cells(home, shallow="4", evaluation=SUBSET.eval_id)
    assert (subset.split, subset.n) == ("test", 50)


def test_the_training_set_is_scored_with_the_labels_that_were_trained_on(home: Path) -> None:
    noisy = replace(RUN, label_noise=1.0)
    train(noisy, home)
    request = live.request(
        home, run=noisy.run_id, shallow="4", deep=10, cut="layer1", evaluation="train"
    )
    assert (request.evaluation.labels, request.evaluation.label_noise) == ("trained_on", 1.0)
    assert request.evaluation == asked_set(Evaluation(split="train"), noisy, home)


def write_corrupted(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Files in the layout of CIFAR-10-C, with the digits' test images in all severities."""
    dataset = data_registry.load(RUN.data, HERE)
    images = dataset.test_images.permute(0, 2, 3, 1).numpy()
    np.save(folder / "fog.npy", np.concatenate([change(images)] + [images] * 4))
    np.save(folder / "frost.npy", np.concatenate([images] * 5))
    np.save(folder / "labels.npy", np.tile(dataset.test_labels.numpy(), 5))


def test_corrupted_images_come_from_their_folder(home: Path, tmp_path: Path) -> None:
    write_corrupted(tmp_path, lambda images: images // 4)
    words = {"corruption": "fog", "corruption_folder": tmp_path}
    clean, same, dark = (
        cells(home, shallow="4", **extra)[0]
        for extra in ({}, {**words, "severity": 2}, {**words, "severity": 1})
    )
    # From severity 2 on the files hold the clean images.
    assert (same.correct, same.loss) == (clean.correct, clean.loss)
    assert dark.loss != clean.loss
    assert (dark.corruption, dark.severity) == ("fog", 1)
    assert "digits test, fog 1, n = " in live.sentence(dark)


def test_without_a_folder_corrupted_images_are_made_here(home: Path) -> None:
    (cell,) = cells(home, shallow="10", corruption="contrast", severity=5)
    asked = Evaluation(split="test", corruption="contrast", severity=5)
    examples = evaluation.load(asked_set(asked, RUN, home), home)
    with torch.inference_mode():
        logits = load_network(home, RUN.run_id, 10)(examples.images)
    assert cell.correct == int((logits.argmax(dim=1) == examples.labels).sum())
    assert (cell.corruption, cell.severity) == ("contrast", 5)
    assert cell.correct != cells(home, shallow="10")[0].correct


def test_a_corruption_replaces_that_of_a_stored_set(home: Path, tmp_path: Path) -> None:
    write_corrupted(tmp_path, lambda images: images // 4)
    asked = Evaluation(split="test", corruption="fog", severity=1, corruption_folder=str(tmp_path))
    config = asked_set(asked, RUN, home)
    assert config.corruption_sha256 is not None
    perform(Job((evaluation_unit(config),)), home, 1, lambda share: None)
    (dark,) = cells(home, shallow="4", evaluation=config.eval_id)
    (frost,) = cells(home, shallow="4", evaluation=config.eval_id, corruption="frost", severity=1)
    (clean,) = cells(home, shallow="4")
    assert dark.loss != clean.loss
    # The frost of these files is no frost; they lie where the fog lies.
    assert (frost.corruption, frost.loss) == ("frost", clean.loss)


REFUSALS: dict[str, tuple[dict[str, object], str]] = {
    "no such run": ({"run": "nothing"}, r"expected a run of .*, got 'nothing'"),
    "no such other run": ({"shallow_run": "nothing"}, r"expected a run of .*, got 'nothing'"),
    "a shallow step in words": (
        {"shallow": "first"},
        r"--shallow: expected a step or all, got 'first'",
    ),
    "a negative shallow step": ({"shallow": "-1"}, r"--shallow: expected a step or all, got '-1'"),
    "a shallow step that isn't stored": (
        {"shallow": "5"},
        r"--shallow: expected a checkpoint step of run \w+ \(0, 4, 10\), got 5",
    ),
    "a deep step that isn't stored": (
        {"deep": 7},
        r"--deep: expected a checkpoint step of run \w+ \(0, 4, 10\), got 7",
    ),
    "no such cut": (
        {"cut": "head"},
        r"--cut: expected one of layer1, layer2, layer3, got 'head'",
    ),
    "no such mode": (
        {"norm": "batch"},
        r"--norm: expected one of inherit, recalibrate, recalibrate_deep, none, got 'batch'",
    ),
    "no normalisation with BatchNorm": (
        {"norm": "none"},
        r"--norm: expected inherit, recalibrate or recalibrate_deep for mlp, got none",
    ),
    "a mode without BatchNorm": (
        {"run": PLAIN.run_id, "norm": "recalibrate"},
        r"--norm: expected none for mlp, got recalibrate",
    ),
    "a run of another network": (
        {"shallow_run": WIDER.run_id},
        r"--shallow-run: expected a run of mlp \(norm_layer batch, width 16, depth 3\) on images "
        r"and classes like those of \w+, got mlp \(norm_layer batch, width 8, depth 3\) on digits",
    ),
    "no such set": ({"evaluation": "nothing"}, r"expected an evaluation set of .*, got 'nothing'"),
    "a corruption that such images can't have": (
        {"corruption": "snow", "severity": 1},
        r"corruption: expected one of .* for grey images of 8 pixels, got snow",
    ),
    "a severity of no corruption": (
        {"severity": 2},
        r"severity: expected 0 without a corruption, got 2; name one",
    ),
    "an unknown corruption": ({"corruption": "rain", "severity": 1}, r"corruption: .*'rain'"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_wrong_words_are_refused_in_one_line(why: str, home: Path) -> None:
    words, pattern = REFUSALS[why]
    with pytest.raises(InputError, match=pattern) as caught:
        cells(home, **words)
    assert "\n" not in str(caught.value)


def test_a_run_that_has_no_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a run of .* \(it has none\), got"):
        cells(tmp_path)


def command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """Exit code, output and errors of ``featdyn splice``, without a process of its own."""
    monkeypatch.setenv("FEATDYN_HOME", str(home))
    monkeypatch.setattr("sys.argv", ["featdyn", "splice", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


ASKED = (RUN.run_id, "--deep", "10", "--cut", "layer2")


def test_the_command_says_a_cell_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(home)
    code, out, err = command(home, monkeypatch, capsys, *ASKED, "--shallow", "4")
    (cell,) = cells(home, shallow="4")
    assert (code, err) == (0, "")
    assert " ".join(out.split()) == live.sentence(cell)
    assert live.sentence(cell).startswith("step 4 up to layer2, then step 10: ")
    assert f"{cell.accuracy:.1%} ({cell.accuracy_low:.1%} to {cell.accuracy_high:.1%}, 95 %" in out
    assert "normalisation inherit" in " ".join(out.split())
    assert listing(home) == before


def test_the_command_gives_one_object_of_json(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command(home, monkeypatch, capsys, *ASKED, "--shallow", "4", "--json")
    assert code == 0
    assert json.loads(out) == asdict(cells(home, shallow="4")[0])


def test_the_command_gives_a_column_as_a_list(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*ASKED, "--shallow", "all", "--norm", "recalibrate", "--eval", SUBSET.eval_id)
    code, out, _ = command(home, monkeypatch, capsys, *words, "--json")
    assert code == 0
    expected = cells(home, norm="recalibrate", evaluation=SUBSET.eval_id)
    assert json.loads(out) == [asdict(cell) for cell in expected]
    code, out, _ = command(home, monkeypatch, capsys, *words)
    assert code == 0
    assert " ".join(out.split()) == " ".join(live.sentence(cell) for cell in expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*ASKED, "--shallow", "5"), "(0, 4, 10), got 5"),
        (("nothing", *ASKED[1:], "--shallow", "4"), "got 'nothing'"),
        (ASKED, "--shallow"),
        ((*ASKED, "--shallow", "4", "--severity", "6"), "'--severity'"),
        ((*ASKED, "--shallow", "4", "--severity", "1"), "severity: expected 0"),
    ],
    ids=["step", "run", "missing", "severity", "corruption"],
)
def test_the_command_refuses_with_one_line_and_code_2(
    words: tuple[str, ...],
    expected: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = command(home, monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert expected in err
