"""Answers about cubes against slow oracles that count them in Python."""

import math
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from scipy.stats import binomtest, t

from store import queries
from store.connection import reading
from store.results import ingest
from tests.store import cube

RUNS = list(cube.ARMS)
OF_RUN = (cube.TRUE, cube.TEST, "stem", "inherit")


@pytest.fixture(scope="module")
def store(cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(cube_home) as connection:
        yield connection


def cell(s: int, t_: int, run: str = cube.TRUE, cut: str = "stem") -> cube.CellName:
    return (run, run, "none", cube.TEST, cut, s, t_)


def test_the_runs_of_a_study_are_those_of_its_arms(store: duckdb.DuckDBPyConnection) -> None:
    assert queries.study_runs(store, cube.STUDY)["run_id"].to_list() == RUNS


def test_control_runs_name_the_controls_that_they_serve(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.control_runs(store, cube.STUDY)
    assert found.select("run_id", "controls", "arm").rows() == [
        (cube.OTHER, ["other_seed"], "true")
    ]


def test_a_control_run_before_its_splices_names_no_control(tmp_path: Path) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    with reading(tmp_path) as connection:
        found = queries.control_runs(connection, cube.STUDY)
    assert found.select("run_id", "controls", "status").rows() == [(cube.OTHER, [], "planned")]


def test_a_run_that_is_an_arm_anywhere_is_described_as_an_arm(own_cube_home: Path) -> None:
    # The other study comes first in the alphabet, and needs the run for a control alone.
    row = next(row for row in cube.study_rows() if row["run_id"] == cube.OTHER)
    row |= {"study": "a-first", "run_id": cube.TRUE, "name": "as a control"}
    ingest(own_cube_home, [cube.write(own_cube_home, "studies", "a-first", [row], None)])
    with reading(own_cube_home) as connection:
        described = connection.execute(
            "SELECT study, name, role FROM runs WHERE run_id = ?", [cube.TRUE]
        ).fetchall()
        assert queries.control_runs(connection, "a-first")["run_id"].to_list() == [cube.TRUE]
        assert queries.study_runs(connection, "a-first").is_empty()
    assert described == [(cube.STUDY, "true, seed 0", "arm")]


def test_cells_of_a_control_are_asked_for_by_its_name(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.splice_cells(store, RUNS, "test", "inherit", "other_seed")
    assert set(found["shallow_run_id"]) == {cube.OTHER}
    assert len(found) == len(cube.CUTS) * len(cube.STEPS) ** 2
    own = queries.splice_cells(store, RUNS, "test", "inherit")
    assert (own["shallow_run_id"] == own["run_id"]).all()


def test_cells_on_a_corrupted_set_are_asked_for_by_kind_and_severity(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.splice_cells(store, RUNS, "test", "inherit", "none", "fog", 2)
    assert set(found["eval_id"]) == {cube.FOGGY}
    assert queries.splice_cells(store, RUNS, "test", "inherit", "none", "fog", 1).is_empty()
    clean = queries.splice_cells(store, RUNS, "test", "inherit")
    assert set(clean["eval_id"]) == {cube.TEST}


def test_choices_list_each_control_and_each_corruption(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.splice_choices(store, RUNS).filter(pl.col("cut") == "stem")
    assert found.select("split", "control", "corruption", "severity", "eval_id").rows() == [
        ("train", "none", "none", 0, cube.TRAIN),
        ("test", "none", "none", 0, cube.TEST),
        ("test", "none", "fog", 2, cube.FOGGY),
        ("test", "other_seed", "none", 0, cube.TEST),
    ]


def test_every_set_of_every_run_is_listed_once_clean_ones_first(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.evaluation_sets(store, RUNS)
    assert found.select("eval_id", "run_id").rows() == [
        (each, run) for each in (cube.TRAIN, cube.TEST, cube.FOGGY) for run in sorted(cube.ARMS)
    ]
    assert found.filter(pl.col("eval_id") == cube.FOGGY).select(
        "corruption", "severity", "n"
    ).rows() == [("fog", 2, cube.N)] * len(cube.ARMS)


def test_a_lag_profile_holds_every_pair_by_its_lag(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.lag_profile(store, *OF_RUN)
    rows = found.select("deep_step", "lag", "lag_epochs", "accuracy", "retention").rows()
    expected = [
        (
            deep,
            deep - s,
            deep / cube.STEPS_AN_EPOCH - s / cube.STEPS_AN_EPOCH,
            cube.correct(cell(s, deep)) / cube.N,
            cube.retention(cell(s, deep)),
        )
        for deep in cube.STEPS
        for s in reversed(cube.STEPS)
    ]
    assert rows == expected


def test_asymmetry_is_forward_minus_backward_retention(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.asymmetry(store, *OF_RUN)
    pairs = [(s, deep) for s in cube.STEPS for deep in cube.STEPS if s < deep]
    assert found.select("shallow_step", "deep_step").rows() == pairs
    for (s, deep), value in zip(pairs, found["asymmetry"], strict=True):
        forward, backward = cube.retention(cell(s, deep)), cube.retention(cell(deep, s))
        if forward is None or backward is None:
            assert value is None
        else:
            assert value == pytest.approx(forward - backward)


def test_matched_points_carry_own_accuracy_and_displacement(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.matched_points(store, RUNS, "test", "stage1", "inherit")
    last = cube.STEPS[-1]
    expected = [
        (
            run,
            s,
            cube.retention(cell(s, last, run, "stage1")),
            cube.correct(cell(s, s, run, "stage1")) / cube.N,
            cube.displacement(run, "stage1", s, last),
        )
        for run in RUNS
        for s in cube.STEPS[:-1]
    ]
    columns = ["run_id", "shallow_step", "retention", "own_accuracy", "displacement"]
    assert found.select(columns).rows() == expected
    assert set(found["deep_step"]) == {last}


def test_matched_points_of_a_corrupted_set_are_asked_for_by_its_kind(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.matched_points(store, RUNS, "test", "stage1", "inherit", "fog", 2)

    def foggy(run: str, s: int, t_: int) -> cube.CellName:
        return (run, run, "none", cube.FOGGY, "stage1", s, t_)

    expected = [
        (
            run,
            s,
            cube.FOGGY,
            cube.retention(foggy(run, s, cube.STEPS[-1])),
            cube.correct(foggy(run, s, s)) / cube.N,
        )
        for run in RUNS
        for s in cube.STEPS[:-1]
    ]
    columns = ["run_id", "shallow_step", "eval_id", "retention", "own_accuracy"]
    assert found.select(columns).rows() == expected


def test_matched_points_without_a_displacement_hold_null(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.matched_points(store, RUNS, "train", "stem", "inherit")
    assert len(found) == len(RUNS) * (len(cube.STEPS) - 1)
    assert found["displacement"].null_count() == len(found)


def test_matched_points_under_statistics_estimated_anew_take_the_displacement_of_inherit(
    own_cube_home: Path,
) -> None:
    names = [each for each in cube.cell_names() if each[:4] == cell(0, 0)[:4]]
    rows = [cube.splice_row(each) | {"norm": "recalibrate"} for each in names]
    ingest(own_cube_home, [cube.write(own_cube_home, "splices", "again", rows, cube.TRUE)])
    with reading(own_cube_home) as connection:
        found = queries.matched_points(connection, RUNS, "test", "stem", "recalibrate")
    expected = [cube.displacement(cube.TRUE, "stem", s, cube.STEPS[-1]) for s in cube.STEPS[:-1]]
    assert found["displacement"].to_list() == expected


def test_displacement_comes_with_the_epochs_of_both_steps(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.displacement_cells(store, RUNS, "test")
    assert len(found) == len(RUNS) * len(cube.CUTS) * len(cube.STEPS) ** 2
    for row in found.iter_rows(named=True):
        place = row["cut"], row["shallow_step"], row["deep_step"]
        assert row["displacement"] == cube.displacement(row["run_id"], *place)
        assert row["shallow_epoch"] == row["shallow_step"] / cube.STEPS_AN_EPOCH
        assert row["deep_epoch"] == row["deep_step"] / cube.STEPS_AN_EPOCH


def test_barriers_are_heights_above_the_line_between_the_ends(
    store: duckdb.DuckDBPyConnection,
) -> None:
    found = queries.connectivity(store, [cube.TRUE])
    barriers = {
        (row["path"], row["cut"]): (row["barrier"], row["accuracy_barrier"])
        for row in found.iter_rows(named=True)
    }
    # Losses 0.2 at alpha 0 and 0.6 at 1: 0.4 half-way, where the loss is 2.0 and 9 of 30 are right.
    assert barriers["parameters", "none"] == pytest.approx((2.0 - 0.4, (24 - 9) / 30))
    # Below the line everywhere: the ends themselves are the highest.
    assert barriers["shallow_parameters", "stem"] == pytest.approx((0.0, 0.0))
    # Without its end at alpha 1 a path has no line.
    assert barriers["shallow_parameters", "stage1"] == (None, None)
    assert len(found) == sum(len(losses) for *_, losses, _ in cube.PATHS)


def test_scores_are_the_runs_own_and_excesses_those_of_controls(
    store: duckdb.DuckDBPyConnection,
) -> None:
    scores = queries.consistency_scores(store, RUNS, "test")
    excesses = queries.excesses(store, RUNS, "test")
    # 2 sets of the split, 2 cuts, 2 measures, 2 weightings, 2 kinds of pairs.
    assert len(scores) == 3 * 32
    assert set(excesses["control"]) == {"other_seed", "twin"}
    assert len(excesses) == 2 * 32
    assert excesses["excess"].null_count() == 0
    assert set(scores.select("corruption", "severity").rows()) == {("none", 0), ("fog", 2)}


def over_seeds(store: duckdb.DuckDBPyConnection, **choice: str) -> dict[str, tuple[float, ...]]:
    found = queries.scores_over_seeds(store, cube.STUDY, [cube.TEST], "stem", "inherit", **choice)
    assert set(found.select("dataset", "n", "dtype").rows()) == {("digits", cube.N, "float32")}
    assert found["arm"].to_list() == ["true", "random"]
    rows = found.select("arm", "score", "score_low", "score_high", "n_seeds").rows()
    return {arm: tuple(values) for arm, *values in rows}


def test_scores_over_seeds_are_those_of_the_set_that_is_asked_for(
    store: duckdb.DuckDBPyConnection,
) -> None:
    def asked(eval_id: str) -> pl.DataFrame:
        return queries.scores_over_seeds(store, cube.STUDY, [eval_id], "stem", "inherit")

    stored = queries.consistency_scores(store, list(cube.ARMS), "test").filter(
        pl.col("cut") == "stem",
        pl.col("pairs") == "all",
        pl.col("weighting") == "learning_rate",
        pl.col("measure") == "accuracy",
        pl.col("run_id") == cube.RANDOM,
    )
    for eval_id, score in stored.select("eval_id", "score").iter_rows():
        rows = asked(eval_id)
        assert rows.filter(pl.col("arm") == "random")["score"].to_list() == [score]
    assert asked("9" * 12).is_empty()


def test_scores_over_seeds_have_students_interval(store: duckdb.DuckDBPyConnection) -> None:
    mean, low, high, seeds = over_seeds(store)["true"]
    scores = [cube.SCORES[cube.TRUE], cube.SCORES[cube.SECOND]]
    assert mean == pytest.approx(sum(scores) / 2)
    assert seeds == 2
    standard_error = abs(scores[0] - scores[1]) / math.sqrt(2) / math.sqrt(2)
    expected = t.interval(0.95, df=1, loc=mean, scale=standard_error)
    assert (low, high) == pytest.approx(expected)


def test_one_seed_has_a_score_and_no_interval(store: duckdb.DuckDBPyConnection) -> None:
    assert over_seeds(store)["random"] == (cube.SCORES[cube.RANDOM], None, None, 1)


def test_scores_over_seeds_are_those_of_the_asked_weighting(
    store: duckdb.DuckDBPyConnection,
) -> None:
    by_steps = over_seeds(store, weighting="steps")["random"]
    assert by_steps[0] == pytest.approx(cube.SCORES[cube.RANDOM] + 0.02)
    final = over_seeds(store, pairs="final")["random"]
    assert final[0] == pytest.approx(cube.SCORES[cube.RANDOM] + 0.01)


def test_a_run_on_two_sets_of_one_size_counts_as_one_seed(own_cube_home: Path) -> None:
    second = cube.evaluation_row(cube.TEST) | {"eval_id": "9" * 12}
    with reading(own_cube_home) as connection:
        rows = connection.sql(
            "SELECT * REPLACE ('999999999999' AS eval_id) FROM consistency "
            "WHERE run_id = ? AND eval_id = ?",
            params=[cube.TRUE, cube.TEST],
        ).to_arrow_table()
    parts = [
        cube.write(own_cube_home, "evaluations", "9" * 12, [second], None),
        cube.write(own_cube_home, "consistency", "second", rows, cube.TRUE),
    ]
    ingest(own_cube_home, parts)
    with reading(own_cube_home) as connection:
        assert over_seeds(connection)["true"][3] == 2


def test_horizons_come_with_the_epoch_of_their_deep_step(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.horizons(store, [cube.TRUE], "test")
    assert len(found) == len(cube.CUTS) * len(cube.STEPS) * 2
    assert found["deep_epoch"].to_list() == [s / cube.STEPS_AN_EPOCH for s in found["deep_step"]]
    assert queries.horizons(store, [cube.TRUE], "train").is_empty()


def test_comparators_have_wilsons_interval(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.comparators(store, [cube.TRUE])
    assert found["comparator"].to_list() == ["ensemble", "last", "swa"]
    right = cube.RIGHT["ensemble"]
    expected = binomtest(right, cube.N).proportion_ci(confidence_level=0.95, method="wilson")
    row = found.row(0, named=True)
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(
        (expected.low, expected.high), abs=1e-6
    )


@pytest.mark.parametrize(
    ("first", "second"), [((0, 10), (10, 40)), ((40, 10), (40, 40)), ((0, 0), (20, 0))]
)
def test_a_pair_of_cells_agrees_and_flips_as_counted_by_hand(
    first: tuple[int, int], second: tuple[int, int], store: duckdb.DuckDBPyConnection
) -> None:
    a, b = cube.predicted(cell(*first)), cube.predicted(cell(*second))
    found = queries.prediction_pair(store, *OF_RUN, list(first), list(second)).row(0, named=True)
    triples = list(zip(a, b, cube.TARGETS, strict=True))
    assert found["n"] == cube.N
    assert found["agreement"] == pytest.approx(sum(x == y for x, y, _ in triples) / cube.N)
    assert found["right_to_wrong"] == sum(x == z != y for x, y, z in triples)
    assert found["wrong_to_right"] == sum(y == z != x for x, y, z in triples)


def test_a_cell_agrees_with_itself(store: duckdb.DuckDBPyConnection) -> None:
    found = queries.prediction_pair(store, *OF_RUN, [0, 10], [0, 10])
    assert found.rows() == [("float32", 250, cube.N, 1.0, 0, 0)]


def test_without_targets_a_pair_still_agrees_but_no_flip_is_known(own_cube_home: Path) -> None:
    row = cube.evaluation_row(cube.TEST)
    del row["targets"]
    ingest(own_cube_home, [cube.write(own_cube_home, "evaluations", cube.TEST, [row], None)])
    with reading(own_cube_home) as connection:
        found = queries.prediction_pair(connection, *OF_RUN, [0, 10], [0, 10])
        run_id, *about = OF_RUN
        assert queries.stored_classes(connection, run_id, run_id, *about, [0, 10]).is_empty()
    assert found.rows() == [("float32", 250, cube.N, 1.0, None, None)]
