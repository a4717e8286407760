from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from featdyn_engine import study
from featdyn_engine.analyses import splices
from featdyn_engine.analyses.asked import Evaluation, evaluation_sets
from featdyn_engine.analyses.splices import TABLE, Settings, units
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    DataConfig,
    InputError,
    NetworkConfig,
    Norm,
    Recipe,
    RunConfig,
    Seeds,
    Unit,
)
from featdyn_engine.parts import part_path
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.splice import compose, plain_predictions
from featdyn_engine.training import train
from tests.cases import HERE, TINY_STUDY
from tests.oracles import naive_chance, naive_retention
from tests.recipes.runs import PERCEPTRON

RUN = RunConfig(
    data=DataConfig(name="digits", train_size=96),
    network=NetworkConfig(name="resnet20"),
    recipe=Recipe(steps=20, batch_size=32),
    checkpoints=(0, 5, 20),
    label_noise=0.4,
    seeds=Seeds(labels=3),
)
BOTH = (Evaluation(split="train", n=40), Evaluation(split="test", n=40))
KEY = (
    "run_id",
    "shallow_run_id",
    "control",
    "replicate",
    "eval_id",
    "cut",
    "shallow_step",
    "deep_step",
    "norm",
    "dtype",
    "batch_size",
    "target_half_width",
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the engine's workers: sums in one order, and no fight for cores."""
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def tiny_units() -> list[Unit]:
    return study.parse(TINY_STUDY, "tiny.toml", HERE).units(HERE)


def stored(home: Path, unit: Unit) -> pa.Table:
    return pq.read_table(part_path(home, "splices", unit.unit_id))


def silent(share: float) -> None: ...


def matrix(table: pa.Table, column: str, size: int) -> list[list[float]]:
    values = table[column].to_pylist()
    return [values[row * size : (row + 1) * size] for row in range(size)]


def test_there_is_one_unit_a_cut_and_evaluation_set() -> None:
    planned = units(Settings(evaluations=BOTH), RUN, HERE)
    assert len(planned) == 10 * 2
    places = {(unit.spec.cut.name, unit.spec.evaluation.split) for unit in planned}
    assert len(places) == 20


def test_there_is_one_unit_a_norm_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    norm: tuple[Norm, ...] = ("inherit", "recalibrate", "recalibrate_deep", "inherit")
    planned = units(Settings(cuts=("stem",), norm=norm), RUN, HERE)
    # Once each, in the order asked for.
    assert [unit.spec.norm for unit in planned] == ["inherit", "recalibrate", "recalibrate_deep"]
    assert len({unit.unit_id for unit in planned}) == 3


def test_a_network_without_batch_norm_has_one_mode() -> None:
    plain = replace(RUN, network=NetworkConfig(name="resnet20", norm_layer="group"))
    norm: tuple[Norm, ...] = ("inherit", "recalibrate", "recalibrate_deep")
    for asked in (norm, ("none",)):
        planned = units(Settings(cuts=("stem",), norm=asked), plain, HERE)
        assert [unit.spec.norm for unit in planned] == ["none"]


def test_no_mode_is_refused_where_there_is_batch_norm() -> None:
    pattern = (
        r"norm: expected inherit, recalibrate or recalibrate_deep for resnet20 with BatchNorm, "
        r"got none; that is for networks without it"
    )
    with pytest.raises(InputError, match=pattern):
        units(Settings(norm=("inherit", "none")), RUN, HERE)


def test_cells_that_are_estimated_anew_cannot_be_refined() -> None:
    pattern = (
        r"half_width: expected norm = \['inherit'\] beside it, got inherit, recalibrate; "
        r"leave half_width out to evaluate every example"
    )
    with pytest.raises(InputError, match=pattern):
        units(Settings(half_width=0.01, norm=("inherit", "recalibrate")), RUN, HERE)


def test_units_that_differ_in_the_cut_alone_are_a_bundle() -> None:
    settings = Settings(evaluations=BOTH, norm=("inherit", "recalibrate"))
    planned = units(settings, RUN, HERE)
    found: dict[str, list[Unit]] = {}
    for unit in planned:
        found.setdefault(unit.bundle, []).append(unit)
    assert "" not in found
    assert [len(group) for group in found.values()] == [10] * 4
    for group in found.values():
        assert len({(unit.spec.norm, unit.spec.evaluation.eval_id) for unit in group}) == 1
        assert [unit.spec.cut.depth for unit in group] == list(range(1, 11))


def test_every_unit_has_its_own_id(tiny_units: Sequence[Unit]) -> None:
    assert len({unit.unit_id for unit in tiny_units}) == len(tiny_units) == 2 * 2 * 10


def test_the_same_work_has_the_same_id() -> None:
    one, other = (units(Settings(evaluations=BOTH), RUN, HERE) for _ in range(2))
    assert [unit.unit_id for unit in one] == [unit.unit_id for unit in other]


@pytest.mark.parametrize(
    ("settings", "run"),
    [
        (Settings(batch_size=100), RUN),
        (Settings(evaluations=(Evaluation(split="test", n=50),)), RUN),
        (Settings(evaluations=(Evaluation(split="test", subset_seed=1),)), RUN),
        (Settings(dtype="bfloat16"), RUN),
        (Settings(half_width=0.01), RUN),
        (Settings(norm=("recalibrate",)), RUN),
        (Settings(), replace(RUN, checkpoints=(0, 20))),
        (Settings(), replace(RUN, seeds=Seeds(init=1, labels=3))),
    ],
)
def test_other_work_has_another_id(settings: Settings, run: RunConfig) -> None:
    known = {unit.unit_id for unit in units(Settings(), RUN, HERE)}
    assert not known & {unit.unit_id for unit in units(settings, run, HERE)}


def test_how_much_memory_there_is_changes_no_identity() -> None:
    one, other = (units(Settings(memory=memory), RUN, HERE) for memory in (16, 4096))
    assert [unit.unit_id for unit in one] == [unit.unit_id for unit in other]
    assert [unit.bundle for unit in one] == [unit.bundle for unit in other]
    assert one[0].spec.memory == 16


def test_a_unit_waits_for_its_run_and_its_evaluation_set() -> None:
    for unit in units(Settings(evaluations=BOTH), RUN, HERE):
        assert set(unit.needs) == {RUN.run_id, unit.spec.evaluation.eval_id}
        assert unit.run_id == RUN.run_id
        assert unit.kind == "splices"


def test_shallow_cuts_cost_more_than_deep_ones() -> None:
    costs = [unit.cost for unit in units(Settings(), RUN, HERE)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] > 0


def test_chosen_cuts_come_shallowest_first() -> None:
    planned = units(Settings(cuts=("stage3.0", "stem")), RUN, HERE)
    assert [(unit.spec.cut.name, unit.spec.cut.depth) for unit in planned] == [
        ("stem", 1),
        ("stage3.0", 8),
    ]


def test_an_unknown_cut_is_refused_with_the_known_ones() -> None:
    pattern = r"cuts: expected names among stem, .*stage3\.2 .*resnet20.*got 'stage9\.0'"
    with pytest.raises(InputError, match=pattern):
        units(Settings(cuts=("stem", "stage9.0")), RUN, HERE)


def test_the_training_set_is_scored_with_the_labels_trained_on_the_test_set_with_true_ones() -> (
    None
):
    train, test = evaluation_sets(Settings(evaluations=BOTH), RUN, HERE)
    assert (train.split, train.labels, train.label_noise, train.seed_labels) == (
        "train",
        "trained_on",
        0.4,
        3,
    )
    assert (test.split, test.labels, test.label_noise, test.seed_labels) == ("test", "true", 0.0, 0)


def test_runs_with_other_labels_share_their_test_set() -> None:
    other = replace(RUN, label_noise=0.0, seeds=Seeds(labels=8))
    settings = Settings(evaluations=BOTH[1:])
    assert evaluation_sets(settings, RUN, HERE) == evaluation_sets(settings, other, HERE)


@pytest.mark.parametrize("index", [0, 19, 35])
def test_computing_again_gives_the_stored_rows(
    index: int, tiny_units: Sequence[Unit], tiny_home: Path
) -> None:
    unit = tiny_units[index]
    with cpu_threads(1):
        tables = splices.compute(unit.spec, tiny_home, silent)
    assert set(tables) == {"splices", "predictions"}
    for kind, table in tables.items():
        part = pq.read_table(part_path(tiny_home, kind, unit.unit_id))
        assert table.equals(part.drop_columns("unit_id")), kind


def test_rows_are_every_pair_of_checkpoints_once(
    tiny_units: Sequence[Unit], tiny_home: Path
) -> None:
    for unit in tiny_units:
        table = stored(tiny_home, unit)
        steps = unit.spec.run.checkpoints
        pairs = list(zip(*(table[name].to_pylist() for name in KEY[6:8]), strict=True))
        assert pairs == [(s, t) for s in steps for t in steps]
        assert table.drop_columns("unit_id").schema.equals(TABLE)


def test_rows_say_what_they_are_of(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    for unit in tiny_units:
        spec = unit.spec
        expected = {
            "run_id": spec.run.run_id,
            "shallow_run_id": spec.run.run_id,
            "control": "none",
            "replicate": 0,
            "eval_id": spec.evaluation.eval_id,
            "split": spec.evaluation.split,
            "corruption": "none",
            "severity": 0,
            "cut": spec.cut.name,
            "depth": spec.cut.depth,
            "norm": "inherit",
            "dtype": "float32",
            "batch_size": 250,
            "n": 40,
            "target_half_width": 0.0,
            "half_width": 0.0,
            "dtype_agreement": 1.0,
        }
        table = stored(tiny_home, unit)
        assert {name: table[name].unique().to_pylist() for name in expected} == {
            name: [value] for name, value in expected.items()
        }


def test_a_key_is_never_null_and_never_twice(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    table = pa.concat_tables([stored(tiny_home, unit) for unit in tiny_units])
    keys = list(zip(*(table[name].to_pylist() for name in KEY), strict=True))
    assert len(set(keys)) == len(keys) == 4000
    assert all(value is not None for key in keys for value in key)


def test_only_retention_may_be_null(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    table = pa.concat_tables([stored(tiny_home, unit) for unit in tiny_units])
    assert {name for name in table.column_names if table[name].null_count} <= {"retention"}
    # SQL would count a NaN as a number.
    assert not any(value != value for value in table["retention"].to_pylist())


def test_accuracy_is_the_share_that_is_correct(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    for row in pa.concat_tables([stored(tiny_home, unit) for unit in tiny_units]).to_pylist():
        assert row["accuracy"] == row["correct"] / row["n"]
        assert 0 <= row["agreement"] <= 1
        assert 0 <= row["chance"] <= 1
        assert row["loss"] >= 0


def test_a_network_agrees_with_itself(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    for unit in tiny_units:
        agreement = matrix(stored(tiny_home, unit), "agreement", 10)
        assert [agreement[i][i] for i in range(10)] == [1.0] * 10


def test_the_chance_of_a_cell_is_that_of_its_own_predictions(
    tiny_units: Sequence[Unit], tiny_home: Path
) -> None:
    unit = tiny_units[14]
    examples = evaluation.load(unit.spec.evaluation, HERE)
    depth, run_id = unit.spec.cut.depth, unit.spec.run.run_id
    shallow, deep = (load_network(tiny_home, run_id, step) for step in (8, 20))
    with torch.inference_mode():
        guesses = deep[depth:](shallow[:depth](examples.images)).argmax(dim=1).tolist()
    row = stored(tiny_home, unit).to_pylist()[5 * 10 + 9]
    assert (row["shallow_step"], row["deep_step"]) == (8, 20)
    assert row["chance"] == pytest.approx(naive_chance(examples.labels.tolist(), guesses))


def test_retention_is_null_exactly_where_the_network_is_within_nine_standard_errors(
    tiny_units: Sequence[Unit], tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twenty updates fit nothing: labels that the last network gives right make one column kept.
    spec = tiny_units[4].spec
    examples = evaluation.load(spec.evaluation, HERE)
    with torch.inference_mode(), cpu_threads(1):
        guesses = load_network(tiny_home, spec.run.run_id, 20)(examples.images).argmax(dim=1)
    fitted = replace(examples, labels=guesses)
    monkeypatch.setattr(evaluation, "load", lambda config, home: fitted)
    with cpu_threads(1):
        table = splices.compute(spec, tiny_home, silent)["splices"]
    expected = naive_retention(matrix(table, "correct", 10), 40, matrix(table, "chance", 10))
    found = matrix(table, "retention", 10)
    assert found[9][9] == 1.0
    assert found[0][0] is None
    for found_row, expected_row in zip(found, expected, strict=True):
        assert found_row == pytest.approx(expected_row)


def test_progress_ends_at_one(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    heard: list[float] = []
    splices.compute(tiny_units[9].spec, tiny_home, heard.append)
    assert heard[-1] == pytest.approx(1)


QUICK = replace(
    PERCEPTRON, data=DataConfig(name="digits", train_size=600), checkpoints=(0, 2, 5, 10)
)
SCORED = (Evaluation(split="test", n=60),)
MODES: tuple[Norm, ...] = ("inherit", "recalibrate", "recalibrate_deep")


@pytest.fixture(scope="module")
def quick_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A perceptron with BatchNorm at four steps; blocks layer1, layer2, layer3, head."""
    home = tmp_path_factory.mktemp("quick")
    with cpu_threads(1):
        train(QUICK, home)
    return home


def quick_units(**options: object) -> list[Unit]:
    return units(Settings(evaluations=SCORED, **options), QUICK, HERE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [*({"norm": (norm,)} for norm in MODES), {"half_width": 0.1}, {"dtype": "bfloat16"}],
    ids=str,
)
def test_a_bundle_gives_the_rows_of_each_unit_alone(
    options: dict[str, object], quick_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splices, "LEAST_DTYPE_AGREEMENT", 0.5)
    planned = quick_units(**options)
    assert len(planned) == 3
    together = splices.compute_together([unit.spec for unit in planned], quick_home, silent)
    for unit, tables in zip(planned, together, strict=True):
        alone = splices.compute(unit.spec, quick_home, silent)
        assert tables.keys() == alone.keys()
        assert all(tables[kind].equals(alone[kind]) for kind in tables)
        assert set(tables["splices"]["cut"].to_pylist()) == {unit.spec.cut.name}


@pytest.mark.parametrize("norm", MODES)
def test_predictions_agree_with_the_scores(norm: Norm, quick_home: Path) -> None:
    unit = quick_units(norm=(norm,))[1]
    tables = splices.compute(unit.spec, quick_home, silent)
    labels = evaluation.load(unit.spec.evaluation, HERE).labels.tolist()
    rows, guesses = tables["splices"].to_pylist(), tables["predictions"].to_pylist()
    assert len(rows) == len(guesses) == 4 * 4
    own = {
        row["deep_step"]: row["predicted"]
        for row in guesses
        if row["shallow_step"] == row["deep_step"]
    }
    for row, guess in zip(rows, guesses, strict=True):
        assert {name: guess[name] for name in KEY[:-1]} == {name: row[name] for name in KEY[:-1]}
        predicted = guess["predicted"]
        assert len(predicted) == guess["n"] == row["n"] == 60
        hits = sum(a == b for a, b in zip(predicted, labels, strict=True))
        assert hits == row["correct"]
        same = sum(a == b for a, b in zip(predicted, own[row["deep_step"]], strict=True))
        assert same / 60 == row["agreement"]
        assert row["chance"] == pytest.approx(naive_chance(labels, predicted))
        # Relative to the network under the same normalisation.
        if row["shallow_step"] == row["deep_step"]:
            assert row["agreement"] == 1


def test_predictions_are_left_out_where_nobody_wants_them(quick_home: Path) -> None:
    with_them, without = (quick_units(predictions=wanted)[0] for wanted in (True, False))
    tables = splices.compute(without.spec, quick_home, silent)
    assert set(tables) == {"splices"}
    assert tables["splices"].equals(splices.compute(with_them.spec, quick_home, silent)["splices"])


def test_modes_are_cubes_of_their_own(quick_home: Path) -> None:
    losses = []
    for norm in MODES:
        table = splices.compute(quick_units(norm=(norm,))[0].spec, quick_home, silent)["splices"]
        assert set(table["norm"].to_pylist()) == {norm}
        losses.append(table["loss"].to_pylist())
    assert losses[0] != losses[1] != losses[2] != losses[0]


def test_memory_changes_no_row(quick_home: Path) -> None:
    spec = quick_units()[1].spec
    one, other = (
        splices.compute(replace(spec, memory=memory), quick_home, silent) for memory in (16, 2048)
    )
    assert one == other


def test_refined_cells_say_how_many_examples_they_saw(quick_home: Path) -> None:
    (unit,) = units(
        Settings(cuts=("layer2",), evaluations=(Evaluation(split="train"),), half_width=0.04),
        QUICK,
        HERE,
    )
    tables = splices.compute(unit.spec, quick_home, silent)
    # Not every example was seen: there is no row of predictions.
    assert set(tables) == {"splices"}
    census = splices.compute(replace(unit.spec, half_width=0.0), quick_home, silent)["splices"]
    size = evaluation.size(unit.spec.evaluation, HERE)
    rows, expected = tables["splices"].to_pylist(), census.to_pylist()
    assert any(row["n"] < size for row in rows)
    for row, true in zip(rows, expected, strict=True):
        assert row["target_half_width"] == 0.04
        assert (row["half_width"] <= 0.04) or row["n"] == size
        assert abs(row["accuracy"] - true["accuracy"]) <= 2 * row["half_width"] + 1e-12
        if row["n"] == size:
            assert (row["correct"], row["accuracy"]) == (true["correct"], true["accuracy"])
        if row["shallow_step"] == row["deep_step"]:
            assert (row["n"], row["half_width"]) == (size, 0)


def test_lower_precision_says_how_well_it_agrees(
    quick_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splices, "LEAST_DTYPE_AGREEMENT", 0.5)
    unit = quick_units(dtype="bfloat16")[0]
    table = splices.compute(unit.spec, quick_home, silent)["splices"]
    (found,) = set(table["dtype_agreement"].to_pylist())
    assert set(table["dtype"].to_pylist()) == {"bfloat16"}
    # By hand: the plain networks in both formats, on every image.
    images = evaluation.load(unit.spec.evaluation, HERE).images
    exact = [load_network(quick_home, QUICK.run_id, step) for step in QUICK.checkpoints]
    lower = [load_network(quick_home, QUICK.run_id, step).bfloat16() for step in QUICK.checkpoints]
    same = plain_predictions(exact, images, 60) == plain_predictions(lower, images.bfloat16(), 60)
    assert found == pytest.approx(float(same.double().mean()), abs=0.02)
    assert 0.9 < found <= 1


def test_lower_precision_that_predicts_something_else_is_refused(
    quick_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = splices.plain_predictions
    asked: list[int] = []

    def one_in_a_hundred(*arguments: object) -> torch.Tensor:
        found = turned(*arguments)  # type: ignore[arg-type]
        asked.append(len(found))
        if len(asked) == 2:
            # Two of the 240 predictions: 99.2 %.
            found = asked_first.clone()
            found[0, :2] += 1
        return found

    spec = quick_units(dtype="bfloat16")[0].spec
    images = evaluation.load(spec.evaluation, HERE).images
    networks = [load_network(quick_home, QUICK.run_id, step) for step in QUICK.checkpoints]
    asked_first = turned(networks, images, 250)
    monkeypatch.setattr(splices, "plain_predictions", one_in_a_hundred)
    pattern = (
        r"dtype: expected bfloat16 to predict as float32 does on at least 99\.5% of the examples, "
        r"got 99\.2%; use float32"
    )
    with pytest.raises(InputError, match=pattern):
        splices.compute(spec, quick_home, silent)


def test_a_splice_by_hand_is_the_stored_cell(quick_home: Path) -> None:
    unit = quick_units()[2]
    examples = evaluation.load(unit.spec.evaluation, HERE)
    shallow, deep = (load_network(quick_home, QUICK.run_id, step) for step in (2, 10))
    with torch.inference_mode():
        logits = compose(shallow, deep, 3)(examples.images)
    (row,) = (
        row
        for row in splices.compute(unit.spec, quick_home, silent)["splices"].to_pylist()
        if (row["shallow_step"], row["deep_step"]) == (2, 10)
    )
    assert row["correct"] == int((logits.argmax(dim=1) == examples.labels).sum())
    loss = torch.nn.functional.cross_entropy(logits.double(), examples.labels)
    assert row["loss"] == pytest.approx(float(loss), rel=1e-5)
