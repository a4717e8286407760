"""The evaluator behind the Splice lab, what the lab is told, and the process that tells it."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featdyn_engine import checkpoints, live, live_answers
from featdyn_engine.analyses import splices
from featdyn_engine.analyses.splices import Settings
from featdyn_engine.api import load_network
from featdyn_engine.domain import InputError, NetworkConfig
from featdyn_engine.kept import Kept, tensor_bytes
from featdyn_engine.live_answers import MOST_FLIPS
from featdyn_engine.live_worker import Cancelled, Worker
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.splice import logits_of
from featdyn_engine.training import train
from tests.cases import HERE
from tests.test_live import PLAIN, RUN

CPU = torch.device("cpu")
FOREIGN = replace(RUN, network=NetworkConfig(name="tests.foreign:small", norm_layer="own"))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, and the configuration of a third whose network is somebody's code."""
    home = tmp_path_factory.mktemp("answers")
    for run in (RUN, PLAIN):
        train(run, home)
    folder = checkpoints.run_folder(home, FOREIGN.run_id)
    folder.mkdir()
    content = json.loads((home / "runs" / RUN.run_id / "config.json").read_text())
    content["network"] = {"name": "tests.foreign:small", "norm_layer": "own", "options": {}}
    (folder / "config.json").write_text(json.dumps(content))
    return home


@pytest.fixture
def evaluator(home: Path) -> live.Evaluator:
    return live.Evaluator(home, CPU)


def words(**more: object) -> dict[str, Any]:
    run = more.get("run", RUN.run_id)
    return {
        "run": run,
        "shallow_run": run,
        "shallow": 4,
        "deep": 10,
        "cut": "layer2",
        "evaluation": "test",
        "corruption": "none",
        "severity": 0,
        "norm": None,
        "upload": None,
        **more,
    }


def scored(evaluator: live.Evaluator, **more: object) -> live.Scored:
    asked, step = live_answers.asked_splice(evaluator, words(**more))
    return evaluator.scored(asked, step)


def answer(evaluator: live.Evaluator, **more: object) -> dict[str, Any]:
    found = live_answers.splice(evaluator, words(**more), lambda share: None)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


# The evaluator


@pytest.mark.parametrize("norm", ["inherit", "recalibrate", "recalibrate_deep"])
def test_every_prediction_is_the_stored_one(norm: str, evaluator: live.Evaluator) -> None:
    settings = Settings(cuts=("layer2",), norm=(norm,))  # type: ignore[arg-type]
    (unit,) = splices.units(settings, RUN, HERE)
    tables = splices.compute(unit.spec, evaluator.home, lambda share: None)
    for row in tables["predictions"].to_pylist():
        found = scored(evaluator, shallow=row["shallow_step"], deep=row["deep_step"], norm=norm)
        assert found.logits.argmax(dim=1).tolist() == row["predicted"]


def test_mini_batches_on_several_threads_give_the_same_bits(home: Path) -> None:
    network = load_network(home, RUN.run_id, 10)
    images = torch.randn(1000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logits_of(network, images, 250, 3), logits_of(network, images, 250))


def test_the_work_ends_where_progress_raises(home: Path) -> None:
    heard: list[float] = []

    def stop(share: float) -> None:
        heard.append(share)
        raise Cancelled

    with pytest.raises(Cancelled):
        logits_of(load_network(home, RUN.run_id, 10), torch.zeros(100, 1, 8, 8), 10, 2, stop)
    assert heard == [0.1]


def test_nothing_is_computed_twice(
    evaluator: live.Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scored(evaluator)
    monkeypatch.setattr(live, "logits_of", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(live, "network_of", lambda *_: pytest.fail("loaded again"))
    assert scored(evaluator).cell == first.cell
    with pytest.raises(pytest.fail.Exception):
        scored(evaluator, shallow=0)


def test_a_network_under_itself_is_the_same_at_every_cut(evaluator: live.Evaluator) -> None:
    first = scored(evaluator, shallow=10, cut="layer1")
    assert torch.equal(first.logits, first.own)
    assert scored(evaluator, shallow=10, cut="layer3").logits is first.logits


def test_one_image_says_what_it_says_among_others(evaluator: live.Evaluator) -> None:
    for norm in ("inherit", "recalibrate"):
        of_set = scored(evaluator, norm=norm)
        asked, step = live_answers.asked_splice(evaluator, words(norm=norm))
        logits, own = evaluator.one(asked, step, of_set.examples.images[7:8])
        torch.testing.assert_close(logits, of_set.logits[7])
        torch.testing.assert_close(own, of_set.own[7])


def test_a_replaced_checkpoint_is_read_anew_and_a_damaged_or_missing_one_is_a_sentence(
    home: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(home, tmp_path / "home"))
    evaluator = live.Evaluator(copy, CPU)
    before = scored(evaluator)
    folder = checkpoints.run_folder(copy, RUN.run_id)
    checkpoints.save(folder, 4, 0.4, checkpoints.load(folder, 0))
    replaced = scored(evaluator)
    assert replaced.cell.loss == scored(evaluator, shallow=0).cell.loss != before.cell.loss
    path = folder / "checkpoints" / "step-00000004.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    fresh = live.Evaluator(copy, CPU)
    with pytest.raises(InputError, match="expected the bytes that training wrote, got others"):
        scored(fresh)
    path.unlink()
    with pytest.raises(
        InputError, match="expected the file that its record beside it names, found none"
    ):
        scored(fresh)


def test_a_set_too_large_to_hold_is_refused_before_it_is_loaded(home: Path) -> None:
    evaluator = live.Evaluator(home, CPU, largest=100 * 64 * 4)
    with pytest.raises(InputError, match="expected at most 100 images of this size, got 360"):
        scored(evaluator)


def test_what_is_kept_is_bounded_in_bytes() -> None:
    kept, made = Kept(room=100), []

    def value(key: str, numbers: int) -> torch.Tensor:
        return kept.get(key, lambda: (made.append(key), torch.zeros(numbers))[1])

    value("a", 10)
    value("b", 10)
    value("a", 10)
    value("c", 10)
    assert kept.used == 80
    value("b", 10)
    assert made == ["a", "b", "c", "b"]
    value("huge", 1000)
    assert kept.used <= 100
    assert tensor_bytes(torch.nn.BatchNorm1d(4)) == 4 * 4 * 4 + 8


# What the lab is told


def test_counts_and_flips_are_those_of_the_predictions(evaluator: live.Evaluator) -> None:
    found, about = scored(evaluator, shallow=0), answer(evaluator, shallow=0)
    labels = found.examples.labels.tolist()
    said, own = found.logits.argmax(dim=1).tolist(), found.own.argmax(dim=1).tolist()
    lost = [i for i, y in enumerate(labels) if own[i] == y != said[i]]
    gained = [i for i, y in enumerate(labels) if own[i] != y == said[i]]
    other = [i for i, y in enumerate(labels) if y not in (own[i], said[i]) and own[i] != said[i]]
    assert list(about["changes"].values()) == [len(lost), len(gained), len(other)]
    assert min(about["changes"].values()) > 0
    flips = [(each["kind"], each["example"]) for each in about["flips"]]
    assert flips == [
        *(("right to wrong", i) for i in lost[:MOST_FLIPS]),
        *(("wrong to right", i) for i in gained[:MOST_FLIPS]),
    ]
    for each in about["flips"]:
        i = each["example"]
        assert (each["target"], each["own"], each["predicted"]) == tuple(
            map(str, (labels[i], own[i], said[i]))
        )
    for k in range(10):
        for j in range(10):
            pairs = sum(a == k and b == j for a, b in zip(own, said, strict=True))
            assert about["confusion"][k][j] == pairs
    for row in about["per_class"]:
        of_class = [i for i, y in enumerate(labels) if y == row["class"]]
        assert row["n"] == len(of_class)
        assert row["correct"] == sum(said[i] == row["class"] for i in of_class)
        right = sum(own[i] == row["class"] for i in of_class)
        assert row["own_accuracy"] == right / len(of_class)
    assert sum(row["correct"] for row in about["per_class"]) == about["cell"]["correct"]


def test_a_picture_is_the_raw_image_enlarged(evaluator: live.Evaluator) -> None:
    about = answer(evaluator, shallow=0)["flips"][0]
    content = base64.b64decode(about["png"].removeprefix("data:image/png;base64,"))
    shown = Image.open(io.BytesIO(content))
    assert shown.size == (96, 96)
    images = scored(evaluator).examples.images[about["example"]]
    levels = torch.tensor(np.asarray(shown.resize((8, 8), Image.Resampling.NEAREST))).float()
    # Brighter there, brighter here.
    assert torch.corrcoef(torch.stack([levels.flatten(), images.flatten()]))[0, 1] > 0.9999


def test_one_image_by_number_or_sent(evaluator: live.Evaluator) -> None:
    picked = live_answers.image(evaluator, words(example=3), lambda share: None)
    of_set = scored(evaluator)
    assert picked["target"] == str(int(of_set.examples.labels[3]))
    shares = of_set.logits[3].softmax(dim=0)
    for row in picked["shares"]:
        assert row["splice"] == pytest.approx(float(shares[row["class"]]))
    content = io.BytesIO()
    Image.new("RGB", (50, 40), (9, 200, 9)).save(content, "PNG")
    upload = base64.b64encode(content.getvalue()).decode()
    sent = live_answers.image(evaluator, words(upload=upload), lambda share: None)
    assert "target" not in sent
    assert sum(row["splice"] for row in sent["shares"]) == pytest.approx(1)
    with pytest.raises(InputError, match="from 0 to 359 in this set, got 360"):
        live_answers.image(evaluator, words(example=360), lambda share: None)


def test_the_outline_names_what_can_beasked_splice(evaluator: live.Evaluator) -> None:
    found = live_answers.outline(evaluator, {"run": RUN.run_id})
    assert found["cuts"] == ["layer1", "layer2", "layer3"]
    assert found["norms"] == ["inherit", "recalibrate", "recalibrate_deep"]
    assert "fog" in found["corruptions"]
    assert "snow" not in found["corruptions"]
    assert live_answers.outline(evaluator, {"run": PLAIN.run_id})["norms"] == ["none"]


def test_somebodys_code_is_imported_only_where_the_operator_names_it(
    evaluator: live.Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = next(p.name for p in (evaluator.home / "runs").iterdir() if "foreign" in
               (p / "config.json").read_text())  # fmt: skip
    monkeypatch.setenv("FEATDYN_ALLOW_FACTORIES", "tests.other")
    with pytest.raises(InputError, match=r"got 'tests\.foreign'; .* FEATDYN_ALLOW_FACTORIES"):
        live_answers.outline(evaluator, {"run": run})
    assert "tests.foreign" not in sys.modules
    # Named, it is looked for, and isn't there.
    monkeypatch.setenv("FEATDYN_ALLOW_FACTORIES", "tests.foreign")
    with pytest.raises(InputError, match=r"expected a module tests\.foreign"):
        live_answers.outline(evaluator, {"run": run})


# The process


def test_every_end_of_a_job_has_its_message(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(CPU)
    job = {"kind": "splice", "home": str(home), **words()}
    found = worker.answer(job, lambda share: None)["result"]
    assert (found["device"], found["cell"]["n"]) == ("CPU", 360)
    assert found["seconds"] > 0
    refused = worker.answer({**job, "cut": "head"}, lambda share: None)["refused"]
    assert refused.startswith("cut: expected one of layer1")

    def stop(share: float) -> None:
        raise Cancelled

    assert worker.answer({**job, "shallow": 0}, stop) == {"cancelled": True}
    monkeypatch.setattr(live_answers, "_per_class", lambda *_: 1 / 0)
    failed = worker.answer(job, lambda share: None)
    assert failed == {"failed": "ZeroDivisionError: division by zero"}
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_process_speaks_json_and_ends_with_its_input(home: Path) -> None:
    job = {"kind": "splice", "home": str(home), **words()}
    done = subprocess.Popen(
        [sys.executable, "-m", "featdyn_engine.live_start"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdin is not None
    assert done.stdout is not None
    with done:
        assert "ready" in json.loads(done.stdout.readline())
        # Pages come first where both want a core.
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, done.pid) == min(own + 10, 19)
        # Cancelled before it began: it says so at its first word of progress.
        print(json.dumps({"cancel": 1}), file=done.stdin)
        print(json.dumps({"id": 1, "job": job}), file=done.stdin)
        print(json.dumps({"id": 2, "job": job}), file=done.stdin, flush=True)
        messages = []
        while not messages or "result" not in messages[-1]:
            messages.append(json.loads(done.stdout.readline()))
        done.stdin.close()
        assert done.wait(timeout=20) == 0
    assert messages[0] == {"id": 1, "cancelled": True}
    assert [each["id"] for each in messages[1:]] == [2] * (len(messages) - 1)
    assert [each["share"] for each in messages[1:-1]] == [0.25, 0.5, 0.75, 1.0]
