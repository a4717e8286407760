"""Freezing against the unfrozen run, on planted accuracies and scipy's t intervals."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from store import queries
from store.connection import reading
from tests.store import freezing


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("freezing")
    freezing.write(folder)
    return folder


@pytest.fixture(scope="module")
def found(home: Path) -> pl.DataFrame:
    with reading(home) as connection:
        return queries.freezing(connection, freezing.STUDY)


def limits(values: list[float]) -> tuple[float, float]:
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))  # type: ignore[no-any-return]


def test_every_condition_is_one_row_in_the_order_of_the_study(found: pl.DataFrame) -> None:
    assert found["arm"].to_list() == [arm[0] for arm in freezing.ARMS]
    assert found["n_seeds"].to_list() == [len(arm[4]) for arm in freezing.ARMS]


def test_means_and_limits_over_seeds_are_those_of_the_final_test_accuracy(
    found: pl.DataFrame,
) -> None:
    for row, (_, _, _, _, values) in zip(found.iter_rows(named=True), freezing.ARMS, strict=True):
        assert row["accuracy"] == pytest.approx(np.mean(values))
        if len(values) > 1:
            got = (row["accuracy_low"], row["accuracy_high"])
            assert got == pytest.approx(limits(values))
        else:
            assert row["accuracy_low"] is row["accuracy_high"] is None


def test_differences_are_paired_by_seed_with_the_unfrozen_run_of_the_same_setting(
    found: pl.DataFrame,
) -> None:
    references = {arm[1]: arm[4] for arm in freezing.ARMS if arm[2] is None and arm[3] is None}
    for row, (_, lr, freeze, replay, values) in zip(
        found.iter_rows(named=True), freezing.ARMS, strict=True
    ):
        if (freeze is None and replay is None) or lr not in references:
            assert row["difference"] is None
            assert row["n_pairs"] == 0
            continue
        differences = [a - b for a, b in zip(values, references[lr], strict=False)]
        assert row["n_pairs"] == len(values)
        assert row["difference"] == pytest.approx(np.mean(differences))
        if len(values) > 1:
            got = (row["difference_low"], row["difference_high"])
            assert got == pytest.approx(limits(differences))


def test_a_frozen_shallow_part_is_paired_with_its_deep_control(found: pl.DataFrame) -> None:
    values = {arm[0]: arm[4] for arm in freezing.ARMS}
    row = found.row(by_predicate=pl.col("arm") == "frozen 1 from 0", named=True)
    shallow, deep = values["frozen 1 from 0"], values["deep control"]
    differences = [a - b for a, b in zip(shallow, deep, strict=True)]
    assert (row["n_deep"], row["over_deep"]) == (3, pytest.approx(np.mean(differences)))
    assert (row["over_deep_low"], row["over_deep_high"]) == pytest.approx(limits(differences))
    # Another step, other blocks, another rate: the control is not theirs, nor its own.
    others = found.filter(pl.col("arm") != "frozen 1 from 0")
    assert others["over_deep"].null_count() == len(others)


def test_pairing_takes_out_what_seeds_have_in_common(found: pl.DataFrame) -> None:
    row = found.row(by_predicate=pl.col("arm") == "frozen 1 from 20", named=True)
    assert row["accuracy_high"] - row["accuracy_low"] > 2 * (
        row["difference_high"] - row["difference_low"]
    )
    assert row["difference_high"] > 0 > row["difference"]


def test_a_row_tells_its_intervention(found: pl.DataFrame) -> None:
    told = ("part", "replay", "frozen_depth", "frozen_from", "frozen_from_epoch", "weights_of")
    rows = {row["arm"]: tuple(row[name] for name in told) for row in found.iter_rows(named=True)}
    assert rows["not frozen"] == ("none", False, None, None, None, None)
    assert rows["frozen 1 from 20"] == ("shallow", False, 1, 20, 2.0, None)
    assert rows["deep control"] == ("deep", False, 1, 0, 0.0, None)
    assert rows["final"] == ("final", False, 1, 0, 0.0, freezing.LAST)
    assert rows["replay"] == ("none", True, 1, 10, 1.0, None)


def test_a_sweep_of_learning_rates_has_one_setting_each(found: pl.DataFrame) -> None:
    settings = found.group_by("setting").agg(pl.col("lr").unique(), pl.len())
    assert sorted(settings.select(pl.col("lr").list.first(), "len").rows()) == [
        (0.01, 2),
        (0.1, 7),
        (0.5, 1),
    ]


def test_an_unknown_study_has_no_rows(tmp_path: Path) -> None:
    freezing.write(tmp_path)
    with reading(tmp_path) as connection:
        found = queries.freezing(connection, "nosuch")
    assert found.is_empty()
    assert "difference_low" in found.columns


def test_on_corrupted_images_kinds_count_alike_and_sets_are_those_that_all_share(
    home: Path,
) -> None:
    with reading(home) as connection:
        corrupted = queries.freezing(connection, freezing.STUDY, "corrupted")
    assert corrupted["arm"].to_list() == [arm[0] for arm in freezing.ARMS]
    assert set(corrupted["n"]) == {50}
    for row, (*_, values) in zip(corrupted.iter_rows(named=True), freezing.ARMS, strict=True):
        scores = [freezing.under_corruption(value) for value in values]
        assert row["accuracy"] == pytest.approx(np.mean(scores))
    plain = [freezing.under_corruption(value) for value in freezing.ARMS[0][4]]
    frozen = [freezing.under_corruption(value) for value in freezing.ARMS[1][4]]
    paired = [a - b for a, b in zip(frozen, plain, strict=True)]
    row = corrupted.row(1, named=True)
    got = (row["difference"], row["difference_low"], row["difference_high"])
    assert got == pytest.approx((np.mean(paired), *limits(paired)))
