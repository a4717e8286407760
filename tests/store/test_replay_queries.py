"""Replay and SWA against the plain run, on planted accuracies and scipy's t intervals."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from store import queries
from store.connection import reading
from tests.store import replays

PLAIN, REPLAY, CURRENT, LONELY = (arm[2] for arm in replays.ARMS)
# Of the means over severities of fog, and of snow, minus the clean accuracy.
COST = (0.15 + 0.3) / 2


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    home = tmp_path_factory.mktemp("replays")
    replays.write(home)
    with reading(home) as connection:
        return queries.replay(connection, replays.STUDY)


def row(found: pl.DataFrame, **wanted: str) -> dict[str, object]:
    return found.row(
        by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in wanted.items()), named=True
    )


def check(found: dict[str, object], differences: list[float]) -> None:
    expected = stats.t.interval(
        0.95, len(differences) - 1, np.mean(differences), stats.sem(differences)
    )
    assert found["n_pairs"] == len(differences)
    assert found["difference"] == pytest.approx(np.mean(differences))
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(expected)


def test_replay_is_paired_by_seed_with_the_plain_run(found: pl.DataFrame) -> None:
    clean = row(found, arm="replay", network="last", images="clean", against="plain")
    check(clean, [a - b for a, b in zip(REPLAY, PLAIN, strict=True)])
    assert clean["accuracy"] == pytest.approx(np.mean(REPLAY))


def test_corrupted_images_are_means_over_kinds_of_the_last_step(found: pl.DataFrame) -> None:
    corrupted = row(found, arm="replay", network="last", images="corrupted", against="plain")
    assert corrupted["accuracy"] == pytest.approx(np.mean(REPLAY) - COST)
    assert corrupted["kinds"] == 2
    check(corrupted, [a - b for a, b in zip(REPLAY, PLAIN, strict=True)])


def test_a_control_of_the_same_cost_is_compared_with_what_it_controls(found: pl.DataFrame) -> None:
    against = row(found, arm="replay", network="last", images="clean", against="control")
    check(against, [a - b for a, b in zip(REPLAY, CURRENT, strict=True)])
    assert found.filter(pl.col("against") == "control")["arm"].unique().to_list() == ["replay"]


def test_swa_is_held_against_the_last_plain_network(found: pl.DataFrame) -> None:
    swa = {arm[0]: arm[3] for arm in replays.ARMS}
    for images in ("clean", "corrupted"):
        check(
            row(found, arm="plain", network="swa", images=images, against="plain"),
            [a - b for a, b in zip(swa["plain"], PLAIN, strict=True)],
        )
    # A mean of other checkpoints than those of swa_from is another network.
    other = row(found, arm="current", network="swa", images="corrupted", against="plain")
    check(other, [a - b for a, b in zip(swa["current"][:2], PLAIN[:2], strict=True)])


def test_the_plain_run_itself_has_no_difference_and_one_seed_no_interval(
    found: pl.DataFrame,
) -> None:
    plain = row(found, arm="plain", network="last", images="clean", against="plain")
    assert plain["difference"] is None
    assert plain["accuracy"] == pytest.approx(np.mean(PLAIN))
    single = row(found, arm="lonely", network="last", images="clean", against="plain")
    assert single["difference"] == pytest.approx(LONELY[0] - PLAIN[0])
    assert single["difference_low"] is None


def test_passes_are_counted(found: pl.DataFrame) -> None:
    total = replays.LAST * replays.BATCH
    assert set(found["passes"]) == {total}
    # Half, or a quarter, of each mini-batch from step 10 on.
    spared = dict(found.select("arm", "without_gradient").iter_rows())
    assert spared == {"plain": 0, "replay": 30 * 4, "current": 30 * 4, "lonely": 30 * 2}


def test_a_study_without_either_has_no_rows(tmp_path: Path) -> None:
    from tests.store import freezing

    freezing.write(tmp_path)
    with reading(tmp_path) as connection:
        found = queries.replay(connection, freezing.STUDY)
        assert queries.replay(connection, "nosuch").is_empty()
    # One of its arms replays.
    assert set(found.filter(pl.col("source") != "none")["arm"]) == {"replay"}
