"""Memory from stored parts, and at a margin from networks, of a small perceptron on digits."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from featdyn_engine import study
from featdyn_engine.analyses import memory, memory_rows, splices
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.memory import Settings, Spec, compute, units
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.domain import InputError, Job, Unit
from featdyn_engine.parts import part_path
from featdyn_engine.science.consistency import (
    Pairs,
    cumulative_learning_rate,
    pair_weights,
    retention_under,
)
from featdyn_engine.science.cube import margins
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.intervals import mcnemar
from featdyn_engine.science.memory import example_memory
from featdyn_engine.science.splice import compose
from featdyn_engine.training import train
from featdyn_engine.units import perform
from tests.cases import HERE, QUICK_STUDY
from tests.recipes.runs import PERCEPTRON

# Long enough that its last networks have every training example, and the first nearly none.
RUN = replace(
    PERCEPTRON,
    recipe=replace(PERCEPTRON.recipe, steps=90, lr=0.1, monitor=40),
    checkpoints=(0, 2, 5, 8, 12, 18, 24, 30, 50, 70, 90),
)
TRAIN = Evaluation(split="train")
TEST = Evaluation(split="test", n=50)
NOISY = Evaluation(split="test", n=50, corruption="gaussian_noise", severity=3)
STEPS = list(RUN.stored_steps)
T = len(STEPS)
CUT = ("layer2", 2)
KEY = (
    "run_id",
    "eval_id",
    "cut",
    "norm",
    "dtype",
    "gamma",
    "eps",
    "loss_eps",
    "high",
    "shallow_step",
    "deep_step",
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


def cubes(**options: Any) -> list[Unit]:
    asked = {"evaluations": (TRAIN, TEST, NOISY), "cuts": ("layer1", "layer2"), **options}
    return splices.units(splices.Settings(**asked), RUN, HERE)


def silent(share: float) -> None: ...


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the run, and the parts of its cubes. Tests must not write to it."""
    folder = tmp_path_factory.mktemp("memory")
    train(RUN, folder)
    perform(Job(tuple(cubes()[:2])), folder, 1, silent)
    perform(Job(tuple(cubes()[2:4])), folder, 1, silent)
    perform(Job(tuple(cubes()[4:])), folder, 1, silent)
    return folder


def spec_of(split: str, corruption: str = "none", **settings: Any) -> Spec:
    found = [
        unit.spec
        for unit in units(Settings(**settings), cubes())
        if (unit.spec.evaluation.split, unit.spec.evaluation.corruption) == (split, corruption)
    ]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def on_train(home: Path) -> dict[str, pa.Table]:
    return compute(spec_of("train"), home, silent)


@pytest.fixture(scope="module")
def on_test(home: Path) -> dict[str, pa.Table]:
    return compute(spec_of("test"), home, silent)


def at_cut(table: pa.Table) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["cut"] == CUT[0]]


@pytest.fixture(scope="module")
def logits(home: Path) -> dict[tuple[int, int], Tensor]:
    """Logits (N, K) of every composed network at the cut, on the training set."""
    examples = evaluation.load(spec_of("train").evaluation, HERE)
    networks = [load_network(home, RUN.run_id, step) for step in STEPS]
    with torch.no_grad():
        return {
            (STEPS[s], STEPS[t]): compose(networks[s], networks[t], CUT[1])(examples.images)
            for s in range(T)
            for t in range(T)
        }


def labels() -> Tensor:
    return evaluation.load(spec_of("train").evaluation, HERE).labels


# --- Rows -----------------------------------------------------------------------------------


def test_rows_have_one_key_each_and_every_pair(on_test: dict[str, pa.Table]) -> None:
    assert on_test["memory"].schema.equals(memory.TABLE)
    assert on_test["memory_examples"].schema.equals(memory_rows.EXAMPLES)
    rows = on_test["memory"].to_pylist()
    keys = {tuple(row[name] for name in KEY) for row in rows}
    assert len(keys) == len(rows) == 2 * T * T
    assert not any(value is None for key in keys for value in key)
    assert {(row["cut"], row["depth"]) for row in rows} == {("layer1", 1), ("layer2", 2)}


def test_flips_and_shares_are_those_of_the_composed_networks(
    on_train: dict[str, pa.Table], logits: dict[tuple[int, int], Tensor]
) -> None:
    truth = labels()
    for row in at_cut(on_train["memory"]):
        s, t = row["shallow_step"], row["deep_step"]
        cell, own = (logits[place].argmax(dim=1) == truth for place in ((s, t), (t, t)))
        assert row["right_to_wrong"] == int((own & ~cell).sum())
        assert row["wrong_to_right"] == int((cell & ~own).sum())
        assert row["p"] == pytest.approx(mcnemar(row["wrong_to_right"], row["right_to_wrong"]))
        assert (row["held"], row["kept"]) == (int(own.sum()), int((own & cell).sum()))
        assert row["accuracy"] == pytest.approx(float(cell.double().mean()))
        assert row["own_accuracy"] == pytest.approx(float(own.double().mean()))
        assert row["lost"] == pytest.approx(row["own_accuracy"] - row["accuracy"])
        assert row["lost_low"] <= row["lost"] <= row["lost_high"]
        earlier = logits[s, s].argmax(dim=1) == truth
        assert row["earlier_accuracy"] == pytest.approx(float(earlier.double().mean()))


def test_losses_and_empirical_memory_are_those_of_the_composed_networks(
    on_train: dict[str, pa.Table], logits: dict[tuple[int, int], Tensor]
) -> None:
    truth = labels()
    loss = {
        place: float(torch.nn.functional.cross_entropy(each.double(), truth))
        for place, each in logits.items()
    }
    rows = at_cut(on_train["memory"])
    for row in rows:
        s, t = row["shallow_step"], row["deep_step"]
        assert row["loss"] == pytest.approx(loss[s, t], abs=1e-5)
        assert row["own_loss"] == pytest.approx(loss[t, t], abs=1e-5)
        assert row["loss_difference"] == pytest.approx(row["loss"] - row["own_loss"])
        assert row["empirical"] == (abs(row["loss_difference"]) <= 0.1)
        assert row["loss_bound"] == pytest.approx(math.log(10))
    assert {row["empirical"] for row in rows} == {True, False}


def test_forgotten_is_null_unless_earlier_and_above_chance(
    on_train: dict[str, pa.Table], logits: dict[tuple[int, int], Tensor]
) -> None:
    truth = labels()
    n = len(truth)
    shares = torch.bincount(truth, minlength=10).double() / n
    networks = [logits[t, t].argmax(dim=1) for t in STEPS]
    chance = torch.stack([(torch.bincount(p, minlength=10) / n * shares).sum() for p in networks])
    right = torch.stack([(p == truth).sum() for p in networks])
    ratio = retention_under((right / n - chance)[:, None], right, chance, n)
    told = 0
    for row in at_cut(on_train["memory"]):
        s, t = STEPS.index(row["shallow_step"]), STEPS.index(row["deep_step"])
        if s >= t or bool(ratio[s, t].isnan()):
            assert row["forgotten"] is None
            continue
        told += 1
        assert row["forgotten"] == (bool(ratio[s, t] >= 0.9) and row["lost_low"] > 0.01)
    assert told


def test_a_gap_is_held_against_the_training_set(
    on_train: dict[str, pa.Table], on_test: dict[str, pa.Table]
) -> None:
    of_train = on_train["memory"].to_pylist()
    for row, other in zip(of_train, on_test["memory"].to_pylist(), strict=True):
        assert (row["train_eval_id"], row["gap"], row["gap_low"]) == ("none", None, None)
        assert other["train_eval_id"] == row["eval_id"]
        assert other["gap"] == pytest.approx(row["lost"] - other["lost"])
        below = math.hypot(row["lost"] - row["lost_low"], other["lost_high"] - other["lost"])
        assert other["gap_low"] == pytest.approx(other["gap"] - below)


def test_a_corrupted_set_is_a_law_too(home: Path) -> None:
    rows = compute(spec_of("test", "gaussian_noise"), home, silent)["memory"].to_pylist()
    assert all(row["gap"] is not None for row in rows)


def test_without_a_training_set_there_is_no_gap(home: Path) -> None:
    own = [unit for unit in cubes() if unit.spec.evaluation.split == "test"]
    spec = units(Settings(), own)[0].spec
    assert spec.train is None
    rows = compute(spec, home, silent)["memory"].to_pylist()
    assert {(row["train_eval_id"], row["gap"]) for row in rows} == {("none", None)}


def test_each_example_has_the_memory_of_the_stored_predictions(
    on_train: dict[str, pa.Table], logits: dict[tuple[int, int], Tensor]
) -> None:
    (row,) = at_cut(on_train["memory_examples"])
    truth = labels()
    right = torch.stack(
        [torch.stack([logits[s, t].argmax(dim=1) == truth for t in STEPS]) for s in STEPS]
    )
    rates = torch.full((STEPS[-1],), RUN.recipe.lr, dtype=torch.float64)
    weights = pair_weights(Pairs("all", STEPS[-1]), STEPS, cumulative_learning_rate(rates, STEPS))
    assert weights is not None
    expected = example_memory(right, weights)
    for found, wanted in zip(row["of_examples"], expected.tolist(), strict=True):
        assert (found is None) == math.isnan(wanted)
        assert found is None or found == pytest.approx(wanted, abs=1e-6)
    known = [value for value in row["of_examples"] if value is not None]
    assert row["known"] == len(known)
    assert row["memory"] == pytest.approx(sum(known) / len(known))
    assert row["checkpoints"] == 9


# --- A margin -------------------------------------------------------------------------------


def test_a_margin_above_zero_is_evaluated_on_the_networks(
    home: Path, logits: dict[tuple[int, int], Tensor]
) -> None:
    truth = labels()
    gamma = float(margins(logits[90, 90], truth).median())
    assert gamma > 0
    tables = compute(spec_of("train", gamma=gamma, loss_eps=2.0), home, silent)
    rows = at_cut(tables["memory"])
    for row in rows:
        s, t = row["shallow_step"], row["deep_step"]
        cell, own = (margins(logits[place], truth) >= gamma for place in ((s, t), (t, t)))
        assert (row["held"], row["kept"]) == (int(own.sum()), int((own & cell).sum()))
        assert (row["share"] is None) == (row["held"] == 0)
        assert row["loss_bound"] == pytest.approx(math.log(1 + 9 * math.exp(-gamma)))
    last = next(row for row in rows if row["shallow_step"] == row["deep_step"] == 90)
    assert 0 < last["held"] < len(truth)


def test_a_tiny_margin_keeps_what_is_right(home: Path, on_train: dict[str, pa.Table]) -> None:
    tables = compute(spec_of("train", gamma=1e-12), home, silent)
    for name in ("held", "kept", "right_to_wrong", "forgotten"):
        assert tables["memory"][name].to_pylist() == on_train["memory"][name].to_pylist()


@pytest.mark.parametrize(
    ("gamma", "loss_eps", "missed", "implied"),
    [(0.0, 2.31, 0, True), (0.0, 2.30, 0, False), (5.0, 0.06, 0, True), (5.0, 0.06, 1, False)],
)
def test_empirical_memory_is_implied_where_all_is_in_memory_and_eps_at_the_bound(
    gamma: float, loss_eps: float, missed: int, implied: bool
) -> None:
    targets = torch.arange(20) % 10
    has = torch.ones(2, 2, 20, dtype=torch.bool)
    has[0, 1, :missed] = False
    cells = memory_rows.Cells(
        steps=[0, 8],
        classes=10,
        predicted=targets.to(torch.uint8).expand(2, 2, 20),
        targets=targets,
        has=has,
        loss=torch.zeros(2, 2, dtype=torch.float64),
        train=None,
    )
    rule = memory_rows.Rule(gamma=gamma, eps=0.01, loss_eps=loss_eps, high=0.9)
    rows = memory_rows.cell_rows({"run_id": "r"}, cells, rule).to_pylist()
    found = {(row["shallow_step"], row["deep_step"]): row["implied"] for row in rows}
    assert found[0, 8] is implied
    assert found[8, 0] is (loss_eps >= rows[0]["loss_bound"])


def test_too_few_checkpoints_leave_the_memory_of_examples_empty() -> None:
    cells = memory_rows.Cells(
        steps=[0, 8],
        classes=2,
        predicted=torch.zeros(2, 2, 5, dtype=torch.uint8),
        targets=torch.zeros(5, dtype=torch.int64),
        has=torch.ones(2, 2, 5, dtype=torch.bool),
        loss=torch.zeros(2, 2, dtype=torch.float64),
        train=None,
    )
    row = memory_rows.example_row({}, cells, [0.1] * cells.steps[-1])
    assert row == {"n": 5, "checkpoints": 1, "known": 0}


# --- Planning -------------------------------------------------------------------------------


def test_there_is_one_unit_a_set_and_norm_which_needs_both_cubes() -> None:
    own = cubes(norm=("inherit", "recalibrate"))
    found = units(Settings(), own)
    assert len(found) == 3 * 2
    of_train, of_test = found[0], found[1]
    assert of_train.spec.train is None
    assert of_test.spec.train == of_train.spec.evaluation
    assert of_test.companions == ("memory_examples",)
    assert set(of_test.needs) == {
        RUN.run_id,
        of_test.spec.evaluation.eval_id,
        of_train.spec.evaluation.eval_id,
        *of_test.spec.main,
        *of_train.spec.main,
    }
    assert len({unit.unit_id for unit in found}) == len(found)


def test_of_several_training_sets_the_largest_is_compared_with() -> None:
    small = Evaluation(split="train", n=20)
    own = cubes(evaluations=(small, TRAIN, TEST))
    (of_test,) = [u for u in units(Settings(), own) if u.spec.evaluation.split == "test"]
    assert of_test.spec.train.n is None


def test_of_cubes_of_several_batch_sizes_one_is_read_whatever_their_order() -> None:
    usual, small = cubes(), cubes(batch_size=50)
    for both in ([*usual, *small], [*small, *usual]):
        assert units(Settings(), both) == units(Settings(), usual)


def test_other_settings_make_another_unit() -> None:
    asked = [{}, {"gamma": 1.0}, {"eps": 0.02}, {"loss_eps": 0.2}, {"high": 0.8}]
    assert len({units(Settings(**each), cubes())[0].unit_id for each in asked}) == len(asked)


def test_only_a_margin_costs_forward_passes() -> None:
    free, dear = (units(Settings(gamma=gamma), cubes())[0].cost for gamma in (0.0, 1.0))
    assert free == 1
    assert dear == sum(unit.cost for unit in cubes()[:2])


def test_a_margin_leaves_out_cubes_whose_margins_are_not_evaluated() -> None:
    own = cubes(norm=("inherit", "recalibrate"))
    assert {unit.spec.norm for unit in units(Settings(gamma=1.0), own)} == {"inherit"}
    with pytest.raises(InputError, match=r"memory\.gamma: .* gamma = 1 beside recalibrate in floa"):
        units(Settings(gamma=1.0), cubes(norm=("recalibrate",)))


ASKED = '\n[[analyses]]\nkind = "memory"\n'
SPLICES = """
[[analyses]]
kind = "splices"
cuts = ["layer1"]
evaluations = [{ split = "test", n = 30 }]
"""


@pytest.mark.parametrize(
    "beside", ["", SPLICES + "half_width = 0.1\n", SPLICES + "predictions = false\n"]
)
def test_without_cubes_that_keep_predictions_a_study_is_refused(beside: str) -> None:
    with pytest.raises(
        InputError, match="memory: expected an analysis of kind 'splices'"
    ) as caught:
        study.parse(QUICK_STUDY + beside + ASKED, "s.toml", HERE)
    assert "\n" not in str(caught.value)


def test_arms_without_cubes_are_refused() -> None:
    text = QUICK_STUDY + SPLICES + 'arms = ["true labels"]\n' + ASKED
    with pytest.raises(InputError, match="memory: expected an analysis of kind 'splices'"):
        study.parse(text, "s.toml", HERE)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("gamma = -0.5", "greater than or equal to 0, got -0.5"),
        ("gamma = inf", "finite number"),
        ("gamma = nan", "finite number"),
        ("eps = 0.0", "greater than 0, got 0.0"),
        ("eps = -0.01", "greater than 0, got -0.01"),
        ("eps = 1.0", "less than 1, got 1.0"),
        ("loss_eps = 0.0", "greater than 0, got 0.0"),
        ("high = 1.5", "less than or equal to 1, got 1.5"),
        ("high = 0.0", "greater than 0, got 0.0"),
        ("tau = 1", "no such field; expected one of gamma, eps, loss_eps, high"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_one_line(field: str, expected: str) -> None:
    text = QUICK_STUDY + SPLICES + ASKED + field + "\n"
    with pytest.raises(InputError) as caught:
        study.parse(text, "s.toml", HERE)
    name = field.split(" ")[0]
    assert str(caught.value).startswith(f"s.toml: analyses[1].{name}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


# --- Damaged parts --------------------------------------------------------------------------


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A home with links to the parts, of which a test may replace some."""
    for kind in ("predictions", "splices"):
        (tmp_path / "parts" / kind).mkdir(parents=True)
        for part in (home / "parts" / kind).iterdir():
            (tmp_path / "parts" / kind / part.name).symlink_to(part)
    return tmp_path


def replaced(home: Path, kind: str, unit_id: str, table: pa.Table) -> None:
    path = part_path(home, kind, unit_id)
    path.unlink()
    pq.write_table(table, path)


@pytest.mark.parametrize("wrong", [None, math.nan, math.inf])
def test_a_loss_that_is_missing_is_refused(wrong: float | None, own_home: Path) -> None:
    spec = spec_of("train")
    table = pq.read_table(part_path(own_home, "splices", spec.main[0]))
    losses = [wrong, *table["loss"].to_pylist()[1:]]
    place = table.schema.get_field_index("loss")
    table = table.set_column(place, "loss", pa.array(losses, pa.float64()))
    replaced(own_home, "splices", spec.main[0], table)
    pattern = rf"losses at layer1: expected a finite number in every cell, got 1 of {T * T} without"
    with pytest.raises(InputError, match=pattern):
        compute(spec, own_home, silent)


def test_a_cube_without_its_cells_is_refused(own_home: Path) -> None:
    spec = spec_of("train")
    part_path(own_home, "splices", spec.main[0]).unlink()
    with pytest.raises(InputError, match="expected the cells of stored predictions, got no such"):
        compute(spec, own_home, silent)


def test_a_cube_without_a_pair_is_refused(own_home: Path) -> None:
    spec = spec_of("train")
    table = pq.read_table(part_path(own_home, "predictions", spec.main[0]))
    replaced(own_home, "predictions", spec.main[0], table.slice(1))
    with pytest.raises(InputError, match=rf"every pair of {T} steps, got {T * T - 1} of {T * T}"):
        compute(spec, own_home, silent)


def test_a_run_that_lost_a_checkpoint_has_no_margins(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, networks = memory.stored_networks(RUN, home)
    fewer = (steps[1:], networks[1:])
    monkeypatch.setattr(memory, "stored_networks", lambda run, home: fewer)
    with pytest.raises(
        InputError, match=r"expected steps 0, 2, .* as the cells at layer1 have them"
    ):
        compute(spec_of("train", gamma=1.0), home, silent)


def test_progress_ends_at_one(home: Path) -> None:
    heard: list[float] = []
    compute(spec_of("test"), home, heard.append)
    assert heard == [0.5, 1.0]
