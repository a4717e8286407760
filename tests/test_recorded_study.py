"""Recorded runs as arms of a study: under analyses, on pages, and what is refused."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import nn
from torch.utils.data import TensorDataset

from featdyn_engine import api, live, pipeline, study, verification
from featdyn_engine.data import registry
from featdyn_engine.domain import CONTROLS, DataConfig, InputError
from featdyn_engine.factories import VARIABLE
from featdyn_engine.record import Recorder
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.study import Study
from tests.networks import Net, images_and_labels

DIGITS = DataConfig(name="digits", train_size=100)
SETS = [{"split": "train", "n": 40}, {"split": "test", "n": 40}]
ANALYSES: list[dict[str, Any]] = [
    {"kind": "splices", "evaluations": SETS},
    {"kind": "controls", "cuts": ["first"], "evaluations": SETS[1:]},
    {"kind": "displacement", "evaluations": SETS},
    {"kind": "consistency", "resamples": 20},
    {"kind": "trajectories", "cuts": ["first"], "n": 40, "method": "pca"},
]
STUDY = """
name = "mine"
arms = [{{ name = "my loop", run = "{run}"{more} }}]
{sections}
[[analyses]]
kind = "splices"
"""


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def recorded(home: Path, **told: Any) -> Recorder:
    """Train a small network on digits, in a loop of the user's own."""
    dataset = registry.load(DIGITS, home)
    images, labels = dataset.normalise(dataset.train_images), dataset.train_labels
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    asked = {"schedule": 10, "steps": 24, "optimizer": optimizer, "name": "my loop"}
    with Recorder(model, home=home, steps_per_epoch=2, **{**asked, **told}) as recorder:
        for update in range(24):
            optimizer.param_groups[0]["lr"] = 0.1 if update < 16 else 0.01
            half = slice(50) if update % 2 else slice(50, 100)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[half]), labels[half]).backward()
            optimizer.step()
            recorder.step()
    return recorder


@pytest.fixture(scope="module")
def bare_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with a recorded run that says nothing of its data. Tests must not write to it."""
    home = tmp_path_factory.mktemp("bare")
    with cpu_threads(1):
        return home, recorded(home).run_id


@pytest.fixture(scope="module")
def done_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A home with a recorded run under analyses. Tests must not write to it."""
    home = tmp_path_factory.mktemp("recorded")
    with cpu_threads(1), pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "")
        run_id = recorded(home, data=DIGITS, batch_size=50).run_id
        outcome = api.evaluate(home, run_id, ANALYSES, model=Net, name="mine")
        assert not outcome.failures
        yield home, run_id


def rows(home: Path, kind: str) -> list[dict[str, Any]]:
    parts = sorted((home / "parts" / kind).glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def read(home: Path, run: str, more: str = "", sections: str = "") -> Study:
    return study.parse(STUDY.format(run=run, more=more, sections=sections), "my.toml", home)


NAMED = ', network = { name = "tests.networks:Net" }'
DATA = '[data]\nname = "digits"\ntrain_size = 100\n'


def test_metrics_come_from_the_checkpoints(
    done_home: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, run_id = done_home
    monkeypatch.setenv(VARIABLE, "tests.networks")
    found = rows(home, "metrics")
    assert {row["run_id"] for row in found} == {run_id}
    assert sorted({row["step"] for row in found})[-1] == 24
    assert {(row["split"], row["mode"]) for row in found} == {("train", "eval"), ("test", "eval")}
    last = next(row for row in found if (row["step"], row["split"]) == (24, "train"))
    assert (last["n"], last["epoch"], last["lr"]) == (100, 12.0, 0.01)
    network = api.load_network(home, run_id, 24)
    dataset = registry.load(DIGITS, home)
    with torch.inference_mode():
        logits = network(dataset.normalise(dataset.train_images))
    assert last["correct"] == int((logits.argmax(dim=1) == dataset.train_labels).sum())


def test_cells_can_be_made_again_with_plain_torch(
    done_home: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, run_id = done_home
    monkeypatch.setenv(VARIABLE, "tests.networks")
    cells = [row for row in rows(home, "splices") if row["cut"] == "second"]
    for row in [cells[3], cells[-2]]:
        shallow = api.load_network(home, run_id, row["shallow_step"])
        deep = api.load_network(home, run_id, row["deep_step"])
        images, labels = api.load_eval(home, row["eval_id"])
        with torch.inference_mode():
            logits = deep[row["depth"] :](shallow[: row["depth"]](images))
        assert row["correct"] == int((logits.argmax(dim=1) == labels).sum())


def test_controls_are_those_that_need_no_other_training(done_home: tuple[Path, str]) -> None:
    found = {row["control"] for row in rows(done_home[0], "controls")}
    others = {"other_seed", "other_seed_matched", "same_init", "twin"}
    assert found == set(CONTROLS) - others


def test_scores_are_weighed_by_the_rates_that_were_told(done_home: tuple[Path, str]) -> None:
    home, _ = done_home
    own = [row for row in rows(home, "consistency") if row["control"] == "none"]
    assert {row["pairs"] for row in own} == {"all", "final", "before_decay", "after_decay"}


def test_a_home_with_a_recorded_run_is_sound_and_can_be_rebuilt(
    done_home: tuple[Path, str], tmp_path: Path
) -> None:
    home = tmp_path / "copy"
    shutil.copytree(done_home[0], home)
    assert verification.verify(home).findings == ()
    (home / "featdyn.duckdb").unlink()
    assert pipeline.rebuild(home) > 0
    assert verification.verify(home).findings == ()


def test_a_splice_can_be_evaluated_now(
    done_home: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, run_id = done_home
    asked = {"run": run_id, "shallow": "24", "deep": 24, "cut": "first"}
    with pytest.raises(
        InputError, match=f"a module that you allow, got 'tests.networks'.*{VARIABLE}"
    ):
        live.splice(live.request(home, **asked), home)
    monkeypatch.setenv(VARIABLE, "tests.networks")
    (cell,) = live.splice(live.request(home, **asked), home)
    assert cell.agreement == 1.0


def draw(path: str) -> None:
    from app.pages import PAGES, shown

    next(shown(page) for page in PAGES if page.path == path)()


@pytest.mark.parametrize("path", ["consistency", "runs", "trajectories"])
def test_a_page_shows_a_recorded_run(
    path: str, done_home: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_HOME", str(done_home[0]))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    test = AppTest.from_function(draw, default_timeout=120, args=(path,)).run()
    assert not test.exception
    assert test.get("vega_lite_chart")


def test_a_study_names_run_network_and_data(bare_home: tuple[Path, str]) -> None:
    home, run_id = bare_home
    (run,) = read(home, run_id, NAMED, DATA).runs
    assert run.name == "my loop, my loop"
    assert run.config.run_id == run_id
    assert (run.config.data, run.train_size) == (DIGITS, 100)
    assert run.config.checkpoints[-1] == 24


def test_the_network_may_stand_in_the_study_s_own_table(bare_home: tuple[Path, str]) -> None:
    home, run_id = bare_home
    (run,) = read(home, run_id, "", DATA + '[network]\nname = "tests.networks:wide"').runs
    assert run.config.network.name == "tests.networks:wide"


def test_a_run_without_its_network_named_needs_its_module_allowed(
    bare_home: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, run_id = bare_home
    with pytest.raises(
        InputError, match=r"a module that you allow, got 'tests.networks'"
    ) as caught:
        read(home, run_id, "", DATA)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(VARIABLE, "tests.networks")
    assert read(home, run_id, "", DATA).runs[0].config.network.name == "tests.networks:Net"


def test_several_runs_of_one_arm_are_told_apart(
    bare_home: tuple[Path, str], tmp_path: Path
) -> None:
    home = tmp_path / "two"
    shutil.copytree(bare_home[0], home)
    ids = [bare_home[1], recorded(home, name="again").run_id]
    text = STUDY.format(run="X", more=NAMED, sections=DATA).replace('"X"', json.dumps(ids))
    runs = study.parse(text, "my.toml", home).runs
    assert [run.name for run in runs] == ["my loop, my loop", "my loop, again"]
    assert [run.config.seeds.init for run in runs] == [0, 1]


REFUSED = [
    ({"run": "0" * 12}, r"arms\[0\].run: expected a recorded or imported run .*, got '0+'"),
    ({"run": "mine"}, r"arms\[0\].run: expected "),
    ({"sections": ""}, r"arms\[0\]: expected \[data\], as run \w+ says none, got none; add it"),
    ({"more": f"{NAMED}, seeds = [1]"}, r"arms\[0\].seeds: expected none beside run"),
    ({"more": f"{NAMED}, training = {{ lr = 1.0 }}"}, r"arms\[0\].training: expected none beside"),
    ({"more": ', network = { name = "mlp" }'}, r"network.name: expected module:factory for a rec"),
    (
        {"more": ', network = { name = "tests.networks:Net", options = { width = 5 } }'},
        r"expected tests.networks:Net to make the network of run \w+, .* got 9 tensors that "
        r"differ: first.first.weight \(\[5, 1, 3, 3\], \[6, 1, 3, 3\]\)",
    ),
    (
        {"more": ', network = { name = "tests.networks:Net", blocks = ["norm", "head"] }'},
        r"tensors that differ: \S+ \(\[.*\], not in the checkpoints\)",
    ),
]


@pytest.mark.parametrize(("change", "pattern"), REFUSED)
def test_what_does_not_fit_a_recorded_run_is_refused(
    change: dict[str, str], pattern: str, bare_home: tuple[Path, str]
) -> None:
    home, run_id = bare_home
    with pytest.raises(InputError, match=pattern) as caught:
        read(home, **{"run": run_id, "more": NAMED, "sections": DATA, **change})
    assert "\n" not in str(caught.value)


def test_other_data_than_the_run_s_are_refused(done_home: tuple[Path, str]) -> None:
    home, run_id = done_home
    other = DATA.replace("100", "90")
    with pytest.raises(
        InputError, match=r"expected that of run \w+, digits, train_size 100, got dig"
    ):
        read(home, run_id, NAMED, other)


def test_noise_needs_to_know_the_batch_size(bare_home: tuple[Path, str]) -> None:
    home, run_id = bare_home
    text = STUDY.format(run=run_id, more=NAMED, sections=DATA).replace("splices", "noise")
    with pytest.raises(
        InputError, match=r"noise: expected a run whose batch_size and learning rat"
    ):
        study.parse(text, "my.toml", home)


def test_controls_that_need_trainings_are_refused_alone(bare_home: tuple[Path, str]) -> None:
    home, run_id = bare_home
    text = STUDY.format(run=run_id, more=NAMED, sections=DATA)
    text = text.replace('kind = "splices"', 'kind = "controls"\ncontrols = ["twin"]')
    with pytest.raises(InputError, match=r"expected one of random_parameters, .* got twin, which"):
        study.parse(text, "my.toml", home)


def test_an_optimizer_called_other_cannot_be_trained_with(tmp_path: Path) -> None:
    text = STUDY.format(run="X", more="", sections=DATA).replace(', run = "X"', "")
    text += '[network]\nname = "mlp"\n[training]\nsteps = 5\nbatch_size = 5\noptimizer = "other"\n'
    with pytest.raises(InputError, match=r"training.optimizer: expected sgd, adam, .*got 'other'"):
        study.parse(text, "my.toml", tmp_path)


def test_a_data_set_object_serves_a_recorded_run(
    bare_home: tuple[Path, str], tmp_path: Path
) -> None:
    home = tmp_path / "own"
    shutil.copytree(bare_home[0], home)
    train, test = (TensorDataset(*images_and_labels(n)) for n in (60, 40))
    asked = [{"kind": "displacement", "n": 20}]
    outcome = api.evaluate(home, bare_home[1], asked, model=Net, data=(train, test))
    assert not outcome.failures
    assert {row["n"] for row in rows(home, "evaluations")} == {40}
    with pytest.raises(InputError, match=r"expected tensors to hold pixels, uint8, for other data"):
        api.evaluate(home, bare_home[1], [{"kind": "corruptions"}], model=Net, data=(train, test))
