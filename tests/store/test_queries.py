"""Every question of store/queries: its columns, its order, its answer where there is none."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from scipy.stats import binomtest

from store import queries
from store.connection import migrate, reading
from tests.store import cube

RUN_COLUMNS = (
    "arm name run_id dataset network norm_layer optimizer label_noise pixels_permuted train_size "
    "seed_init seed_order seed_labels frozen_depth frozen_from replay parent_run_id parent_step "
    "config status failed_step failure"
)
RUNS = list(cube.ARMS)
NO_RUN = ["000000000000"]
OF_STUDY = (cube.STUDY,)
OF_RUNS = (RUNS,)
ON_TEST = (RUNS, "test")
CUBE = (RUNS, "test", "inherit")
AT_CUT = (RUNS, "test", "stem", "inherit")
OF_RUN = (cube.TRUE, cube.TEST, "stem", "inherit")
OF_PAIR = (cube.TRUE, cube.TRUE, cube.TEST, "stem", "inherit", [0, 10])
EXAMPLES = "dtype batch_size target_half_width"

# question: (arguments that find rows, columns, columns of the order)
QUESTIONS: dict[str, tuple[tuple[Any, ...], str, list[str]]] = {
    "studies": ((), "study title runs finished kinds", ["study"]),
    "study_contents": (OF_STUDY, "kind units rows seconds last_finished", ["kind"]),
    "study_summaries": (
        (),
        "study title arms datasets networks runs finished failed checkpoints",
        ["study"],
    ),
    "study_runs": (OF_STUDY, RUN_COLUMNS, []),
    "control_runs": (OF_STUDY, "controls " + RUN_COLUMNS, []),
    "metrics": (
        OF_RUNS,
        "run_id step epoch split mode labels n correct accuracy loss lr",
        ["run_id", "step"],
    ),
    "checkpoints": (OF_RUNS, "run_id step epoch sha256 bytes path", ["run_id", "step"]),
    "final_training_accuracy": (OF_RUNS, "run_id step accuracy", ["run_id"]),
    "final_accuracies": (OF_RUNS, "run_id step train_accuracy test_accuracy", ["run_id"]),
    "unit_counts": ((), "kind count seconds", ["kind"]),
    "unit_versions": (
        OF_RUNS,
        "run_id kind versions units seconds first_finished last_finished",
        ["run_id", "kind"],
    ),
    "view_columns": ((), "view column type", ["view"]),
    "stored_units": ((), "kind unit_id", []),
    "splice_choices": (
        OF_RUNS,
        "split norm cut depth classes control corruption severity eval_id dataset",
        ["norm", "depth"],
    ),
    "evaluation_sets": (
        OF_RUNS,
        "run_id eval_id split dataset n classes labels corruption severity subset",
        [],
    ),
    "splice_cells": (
        CUBE,
        "run_id cut depth shallow_step deep_step shallow_epoch deep_epoch n correct accuracy "
        "accuracy_low accuracy_high loss margin agreement chance retention half_width eval_id "
        "shallow_run_id replicate " + EXAMPLES,
        ["run_id", "depth", "shallow_step", "deep_step"],
    ),
    "lag_profile": (
        OF_RUN,
        "deep_step deep_epoch shallow_step lag lag_epochs n accuracy accuracy_low accuracy_high "
        "loss margin agreement retention " + EXAMPLES,
        ["deep_step", "lag"],
    ),
    "asymmetry": (
        OF_RUN,
        "shallow_step deep_step forward backward asymmetry " + EXAMPLES,
        ["shallow_step", "deep_step"],
    ),
    "matched_points": (
        AT_CUT,
        "run_id cut depth shallow_step deep_step shallow_epoch n accuracy accuracy_low "
        "accuracy_high agreement retention own_accuracy displacement one_minus_cka eval_id "
        + EXAMPLES,
        ["run_id", "shallow_step"],
    ),
    "displacement_cells": (
        ON_TEST,
        "run_id cut depth shallow_step deep_step shallow_epoch deep_epoch norm n displacement "
        "one_minus_cka eval_id corruption severity",
        ["run_id", "depth", "shallow_step", "deep_step"],
    ),
    "connectivity": (
        OF_RUNS,
        "run_id eval_id split path cut depth shallow_step deep_step alpha norm n correct accuracy "
        "loss barrier accuracy_barrier",
        ["run_id", "path", "depth", "shallow_step", "deep_step", "alpha"],
    ),
    "consistency_scores": (
        ON_TEST,
        "run_id cut depth norm dtype measure weighting pairs score score_low score_high n "
        "checkpoints resamples eval_id corruption severity",
        ["run_id", "depth", "norm", "measure", "weighting", "pairs", "eval_id"],
    ),
    "excesses": (
        ON_TEST,
        "run_id cut depth norm dtype control replicate measure weighting pairs score score_low "
        "score_high excess excess_low excess_high n checkpoints resamples eval_id corruption "
        "severity",
        ["run_id", "depth", "control", "replicate", "norm", "measure", "weighting", "pairs"],
    ),
    "scores_over_seeds": (
        (cube.STUDY, [cube.TEST], "stem", "inherit"),
        "arm dataset n dtype score score_low score_high n_seeds",
        [],
    ),
    "horizons": (
        ON_TEST,
        "run_id cut depth norm dtype deep_step deep_epoch eps horizon censored n eval_id "
        "corruption severity",
        ["run_id", "depth", "norm", "eps", "deep_step"],
    ),
    "comparators": (
        OF_RUNS,
        "run_id eval_id split comparator first_step last_step checkpoints norm n correct accuracy "
        "loss accuracy_low accuracy_high dataset classes labels corruption severity subset",
        ["run_id", "eval_id", "comparator"],
    ),
    "prediction_pair": (
        (*OF_RUN, [0, 10], [10, 40]),
        "dtype batch_size n agreement right_to_wrong wrong_to_right",
        ["dtype", "batch_size"],
    ),
    "stored_cell": (
        OF_PAIR,
        "control dtype batch_size target_half_width n correct accuracy accuracy_low accuracy_high "
        "loss margin agreement chance",
        [],
    ),
    "stored_classes": (
        OF_PAIR,
        "dtype batch_size class class_name n correct accuracy accuracy_low accuracy_high "
        "own_accuracy",
        ["dtype", "batch_size", "class"],
    ),
    "stored_changes": (
        OF_PAIR,
        "dtype batch_size target own predicted count",
        ["dtype", "batch_size", "target", "own", "predicted"],
    ),
    "corruptions": (
        OF_RUNS,
        "run_id eval_id split corruption severity step norm n correct accuracy accuracy_low "
        "accuracy_high epoch dataset classes official subset",
        ["run_id", "step"],
    ),
    "corruption_errors": (
        OF_RUNS,
        "run_id step epoch norm n subset kinds sets mean_error clean_error relative",
        ["run_id", "step"],
    ),
    "corrupted_scores": (
        OF_RUNS,
        "run_id cut depth norm dtype n corruption severity eval_id clean clean_low clean_high "
        "score score_low score_high",
        ["run_id", "depth", "norm"],
    ),
    "arm_settings": (
        OF_STUDY,
        "arm dataset train_size network norm_layer optimizer lr batch_size weight_decay steps "
        "augmentation label_noise pixels_permuted n_seeds",
        [],
    ),
    "sensitivity": (
        (cube.STUDY, [cube.TEST], "stem", ["inherit"]),
        "arm quantity control value low high over n_seeds n checkpoints",
        [],
    ),
    "retentions": (
        (RUNS, "test", "stem"),
        "run_id eval_id cut depth norm dtype control replicate shallow_step deep_step "
        "shallow_epoch retention retention_low retention_high own_accuracy displacement n",
        ["run_id"],
    ),
    "corrupted_retentions": (
        OF_RUNS,
        "run_id cut depth norm dtype n corruption severity shallow_step shallow_epoch deep_step "
        "eval_id clean clean_low clean_high retention retention_low retention_high",
        ["run_id", "depth", "norm"],
    ),
    "probes": (
        OF_RUNS,
        "run_id eval_id split cut depth step norm fit_labels pool n correct accuracy accuracy_low "
        "accuracy_high chance network_accuracy fit_n fit_accuracy strength epoch dataset "
        "corruption severity",
        [],
    ),
    "probe_points": (
        OF_RUNS,
        "run_id eval_id split cut depth norm fit_labels pool shallow_step deep_step shallow_epoch "
        "n probe_accuracy splice_accuracy residual",
        [],
    ),
    "probe_agreement": (
        OF_RUNS,
        "run_id eval_id cut norm fit_labels pool split depth deep_step spearman residual spread "
        "points n",
        [],
    ),
    "trajectory_pictures": (
        OF_RUNS,
        "run_id eval_id split dataset corruption severity class_names classes cut depth norm "
        "method n k parameters versions",
        ["run_id"],
    ),
    "trajectories": (
        (cube.TRUE, cube.TEST, "stem", "pca"),
        "step epoch frame example label class predicted_label predicted x y displacement speed "
        "turning",
        ["step", "example"],
    ),
    "trajectory_contours": (
        (cube.TRUE, cube.TEST, "stem", "pca"),
        "step label class mass path corner x y",
        ["step", "label", "path", "corner"],
    ),
    "trajectory_images": ((cube.TEST,), "example png", ["example"]),
    "trajectory_quality": (
        (cube.TRUE, cube.TEST, "stem", "pooled_umap"),
        "step epoch n k trustworthiness continuity neighbour_overlap chance pca_trustworthiness "
        "pca_continuity pca_neighbour_overlap spearman displacement speed turning_cosine",
        ["step"],
    ),
    "divergences": (
        ON_TEST,
        "run_id eval_id other_eval_id split cut depth shallow_step deep_step norm measure q "
        "labelled n other_n features permutations value null_mean null_high p excess "
        "shallow_epoch deep_epoch",
        ["run_id"],
    ),
    "bound_terms": (
        OF_RUNS,
        "run_id cut depth norm dtype batch_size target_half_width deep_step train_eval_id train_n "
        "checkpoints augmented_risk test_eval_id test_n risk tv_needed",
        ["run_id"],
    ),
    "noise_spectra": (
        (RUNS, "stem"),
        "run_id eval_id split cut depth step example norm batch_size step_rule "
        "representation source rank eigenvalue band_low "
        "band_high n p epoch dataset",
        ["run_id", "batch_size", "step_rule", "eval_id", "depth"],
    ),
    "noise_tests": (
        OF_RUNS,
        "run_id eval_id split cut depth step example norm batch_size step_rule "
        "representation source lr augmentation optimizer_state pr_sign "
        "pr_sign_low pr_sign_high participation_ratio participation_ratio_isotropic "
        "first_share first_share_isotropic components_90 components_90_isotropic "
        "effective_rank effective_rank_isotropic slope slope_isotropic slope_first slope_last "
        "edge_low edge_high mauchly mauchly_p john john_p ledoit_wolf ledoit_wolf_p "
        "tracy_widom tracy_widom_p spatial_sign spatial_sign_p mauchly_null delta delta_low "
        "delta_high delta_p delta_p_holm delta_p_bh verdict n p epoch dataset",
        ["run_id", "batch_size", "step_rule", "eval_id"],
    ),
    "noise_alignment": (
        (RUNS, "stem"),
        "run_id eval_id split cut depth step example norm batch_size step_rule "
        "representation later_step source k alignment "
        "uniform uniform_low uniform_high features features_low features_high m overlap "
        "overlap_random n p epoch dataset",
        ["run_id", "batch_size", "step_rule", "eval_id", "depth"],
    ),
    "memory_choices": (
        OF_RUNS,
        "run_id eval_id split cut depth norm dtype gamma eps loss_eps high",
        ["run_id", "eval_id", "depth"],
    ),
    "memory_cells": (
        (RUNS, "stem"),
        "run_id eval_id split cut depth norm dtype gamma shallow_step deep_step eps loss_eps high "
        "n accuracy own_accuracy earlier_accuracy lost lost_low lost_high "
        "right_to_wrong wrong_to_right p held kept share share_low share_high loss own_loss "
        "loss_difference loss_bound empirical implied forgotten train_eval_id gap gap_low "
        "gap_high shallow_epoch deep_epoch lag lag_epochs dataset labels "
        "corruption severity subset",
        ["run_id", "eval_id", "deep_step", "lag"],
    ),
    "transfer_gaps": (
        (RUNS, "stem"),
        "run_id eval_id dataset split corruption severity cut depth norm dtype shallow_step "
        "deep_step shallow_epoch deep_epoch lag_epochs n train_n lost train_lost gap gap_low "
        "gap_high train_eval_id",
        ["run_id", "deep_step", "lag_epochs"],
    ),
    "memory_over_seeds": (
        (cube.STUDY, "stem"),
        "arm split dataset n labels corruption severity subset norm dtype gamma eps loss_eps high "
        "shallow_step deep_step shallow_epoch deep_epoch share share_low share_high "
        "right_to_wrong right_to_wrong_low right_to_wrong_high wrong_to_right "
        "wrong_to_right_low wrong_to_right_high lost lost_low lost_high gap gap_low gap_high "
        "n_seeds",
        [],
    ),
    "example_memory": (
        OF_RUNS,
        "run_id eval_id split cut depth norm dtype gamma n checkpoints known memory memory_low "
        "memory_high dataset labels corruption severity",
        ["run_id", "depth", "split"],
    ),
    "induction_points": (
        OF_STUDY,
        "arm name run_id cut depth norm dtype gamma train_memory train_memory_low "
        "train_memory_high train_n test_memory test_memory_low test_memory_high test_accuracy "
        "test_n",
        ["depth"],
    ),
    "induction": (
        OF_STUDY,
        "cut depth norm dtype gamma with_accuracy with_memory runs arms",
        ["depth"],
    ),
}
# The study made up by hand has no rows for these: see test_companions.py, test_freezing_queries.py,
# test_replay_queries.py, test_run_queries.py.
FINDINGS: dict[str, tuple[Any, ...]] = {
    "orphan_rows": (),
    "freezing": OF_STUDY,
    "replay": OF_STUDY,
    "integrity_flags": OF_RUNS,
    "preview": ("checkpoints", 3),
}
OF_SEVERAL = [name for name, (given, *_) in QUESTIONS.items() if given and given[0] is RUNS]


@pytest.fixture(scope="module")
def store(cube_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with reading(cube_home) as connection:
        yield connection


@pytest.fixture
def empty_store() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        yield connection


def ask(store: duckdb.DuckDBPyConnection, name: str, *arguments: Any) -> pl.DataFrame:
    return getattr(queries, name)(store, *(arguments or QUESTIONS[name][0]))


def test_every_question_is_listed_here() -> None:
    assert set(queries.__all__) == set(QUESTIONS) | set(FINDINGS)


def test_every_public_function_can_be_asked_by_its_name() -> None:
    # By import: a function may bear its module's name, and hides it then.
    modules = [
        importlib.import_module(f"store.queries.{each.name}")
        for each in pkgutil.iter_modules(queries.__path__)
    ]
    public = {
        name
        for module in modules
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public - {"frame", "half_width"} == set(queries.__all__)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_answers_with_its_columns(name: str, store: duckdb.DuckDBPyConnection) -> None:
    found = ask(store, name)
    assert isinstance(found, pl.DataFrame)
    assert found.columns == QUESTIONS[name][1].split()
    assert len(found) > 0


@pytest.mark.parametrize("name", [name for name, (*_, order) in QUESTIONS.items() if order])
def test_an_answer_is_in_order(name: str, store: duckdb.DuckDBPyConnection) -> None:
    found = ask(store, name)
    groups = found.partition_by("split") if name == "splice_choices" else [found]
    for group in groups:
        keys = group.select(QUESTIONS[name][2]).rows()
        assert keys == sorted(keys)


@pytest.mark.parametrize("name", [name for name, (given, *_) in QUESTIONS.items() if given])
def test_asking_for_what_is_not_there_gives_the_same_columns_and_types_and_no_row(
    name: str, store: duckdb.DuckDBPyConnection
) -> None:
    first, *others = QUESTIONS[name][0]
    none = ask(store, name, NO_RUN if first is RUNS else "nothing", *others)
    assert len(none) == 0
    assert none.schema == ask(store, name).schema


# The views themselves are there, whatever they hold.
@pytest.mark.parametrize("name", sorted({*QUESTIONS, *FINDINGS} - {"view_columns"}))
def test_an_empty_store_answers_with_no_row(
    name: str, empty_store: duckdb.DuckDBPyConnection
) -> None:
    given = QUESTIONS[name][0] if name in QUESTIONS else FINDINGS[name]
    found = getattr(queries, name)(empty_store, *given)
    assert len(found) == 0
    if name in QUESTIONS:
        assert found.columns == QUESTIONS[name][1].split()


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_asking_for_no_run_at_all_gives_no_row(name: str, store: duckdb.DuckDBPyConnection) -> None:
    _, *others = QUESTIONS[name][0]
    assert len(ask(store, name, [], *others)) == 0


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_an_answer_holds_the_asked_run_alone(name: str, store: duckdb.DuckDBPyConnection) -> None:
    _, *others = QUESTIONS[name][0]
    found = ask(store, name, RUNS[:1], *others)
    if "run_id" in found.columns:
        assert set(found["run_id"]) == set(RUNS[:1])
    assert 0 < len(found) <= len(ask(store, name))


def test_the_interval_of_a_cell_is_wilsons(
    store: duckdb.DuckDBPyConnection,
) -> None:
    frame = ask(store, "splice_cells")
    found = {
        (k, n): (low, high)
        for k, n, low, high in frame.select(
            "correct", "n", "accuracy_low", "accuracy_high"
        ).iter_rows()
    }
    assert len(found) > 5
    for (k, n), interval in found.items():
        expected = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
        assert interval == pytest.approx((expected.low, expected.high), abs=1e-6)


WILSON = [(0, 1), (1, 1), (0, 40), (40, 40), (1, 360), (999, 1000), (5000, 10_000), (7, 12)]


@pytest.mark.parametrize(("k", "n"), WILSON)
def test_the_wilson_macros_agree_with_scipy(
    k: int, n: int, empty_store: duckdb.DuckDBPyConnection
) -> None:
    found = empty_store.execute("SELECT wilson_low(?, ?), wilson_high(?, ?)", [k, n, k, n])
    expected = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert found.fetchall()[0] == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_wilson_interval_holds_the_share_and_stays_between_zero_and_one(
    empty_store: duckdb.DuckDBPyConnection,
) -> None:
    outside = empty_store.execute(
        "SELECT k, n, wilson_low(k, n), wilson_high(k, n) FROM range(1, 201) AS a(n), "
        "range(0, 201) AS b(k) WHERE k <= n AND NOT (0 <= wilson_low(k, n) "
        "AND wilson_low(k, n) <= k / n + 1e-12 AND k / n - 1e-12 <= wilson_high(k, n) "
        "AND wilson_high(k, n) <= 1)"
    ).fetchall()
    assert outside == []
