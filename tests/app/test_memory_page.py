"""The page on memory: full, without its analysis; its arms, charts and sentences."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from app import charts, memory_findings
from app.memory_arms import SETS, intervals, law, of_arms, variance
from store import queries
from store.connection import reading
from store.results import ingest
from tests.app.test_views import drawn, opened, text_of
from tests.store import cube


def test_the_page_draws_every_picture_and_says_what_it_rests_on(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("memory", cube_home, monkeypatch)
    assert not test.exception
    assert not test.warning
    arms = ["true", "random"]
    assert drawn(test) == [
        *arms,
        "Share of memory kept",
        *arms,
        *arms,
        "Training memory and test accuracy",
    ]
    text = text_of(test)
    for words in (
        "Our reading",
        "30 images",
        "BatchNorm `inherit`",
        "Null",
        "McNemar",
        "over seeds",
        "Forgotten",
        "log(1 + (K - 1) e^-gamma) = 1.1 nats",
        "No rank correlation: it needs 4 runs that differ, here are 3.",
    ):
        assert words in text


def test_the_link_chooses_set_cut_and_deep_part(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(
        "memory",
        cube_home,
        monkeypatch,
        split="test",
        test_set=cube.FOGGY,
        cut="stage1",
        deep="20",
    )
    assert not test.exception
    assert not test.warning
    numbers = test.dataframe[-1].value
    assert set(numbers["eval_id"]) == {cube.FOGGY}
    assert set(numbers["cut"]) == {"stage1"}
    assert set(numbers["deep_step"]) == {20}
    assert len(numbers) == len(cube.ARMS) * len(cube.STEPS)
    assert "fog 2" in text_of(test)


def test_a_cut_without_the_chosen_normalisation_says_so(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(cube_home, tmp_path / "home"))
    rows = cube.memory_rows(cube.TRUE)["memory"]
    deeper = [row | {"norm": "recalibrate"} for row in rows if row["cut"] == "stage1"]
    ingest(home, [cube.write(home, "memory", "deeper", deeper, cube.TRUE)])
    test = opened("memory", home, monkeypatch, norm="recalibrate", cut="stem")
    assert not test.exception
    assert "None at stem with this normalisation" in text_of(test)
    test = opened("memory", home, monkeypatch, norm="recalibrate", cut="stage1")
    assert not test.exception
    assert "BatchNorm `recalibrate`" in text_of(test)


def test_without_memory_the_page_says_what_to_write_into_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    test = opened("memory", tmp_path, monkeypatch)
    assert not test.exception
    assert 'kind = "memory"' in test.code[0].value
    assert 'split = "train"' in test.code[0].value


# --- Arms -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(cube_home: Path) -> pl.DataFrame:
    arms = {run: arm for run, (arm, _) in cube.ARMS.items()}
    with reading(cube_home) as connection:
        cells = queries.memory_cells(connection, list(arms), "stem")
        over_seeds = queries.memory_over_seeds(connection, cube.STUDY, "stem")
    return of_arms(cells.with_columns(pl.col("run_id").replace(arms).alias("arm")), over_seeds)


def test_an_arm_of_several_seeds_is_their_mean_and_another_its_run(rows: pl.DataFrame) -> None:
    place = ["arm", *SETS, "shallow_step", "deep_step"]
    assert len(rows) == len(rows.select(place).unique()) == 2 * 3 * len(cube.STEPS) ** 2
    assert set(rows.select("arm", "n_seeds").rows()) == {("true", 2), ("random", 1)}
    found = rows.filter(
        pl.col("split") == "train", pl.col("shallow_step") == 10, pl.col("deep_step") == 40
    )
    for row in found.iter_rows(named=True):
        seeds = [run for run, (arm, _) in cube.ARMS.items() if arm == row["arm"]]
        rights = [
            (
                cube.right(run, cube.TRAIN, "stem", 10, 40),
                cube.right(run, cube.TRAIN, "stem", 40, 40),
            )
            for run in seeds
        ]
        changes = [(sum(cell) - sum(own)) / cube.N for cell, own in rights]
        assert row["change"] == pytest.approx(sum(changes) / len(changes))
        assert row["change_low"] <= row["change"] <= row["change_high"]
        assert row["wrong_to_right"] - row["right_to_wrong"] == pytest.approx(row["change"])
        assert row["lag_epochs"] == 3


def test_the_variance_is_named(rows: pl.DataFrame) -> None:
    assert variance(rows.filter(pl.col("arm") == "true")) == "95 % over 2 seeds"
    assert variance(rows.filter(pl.col("arm") == "random")) == "95 % over examples"
    assert variance(rows) == "95 % over seeds, or examples for one seed"
    assert intervals(rows.filter(pl.col("arm") == "true")).endswith("2 seeds (Student's t).")
    assert "changes paired, shares Wilson's" in intervals(rows.filter(pl.col("arm") == "random"))


def test_a_law_is_named_by_what_differs_from_the_training_data() -> None:
    clean = {"dataset": "digits", "split": "test", "corruption": "none", "severity": 0}
    foggy = clean | {"corruption": "gaussian_noise", "severity": 3}
    assert law(clean, "digits") == "test"
    assert law(foggy, "digits") == "test, gaussian noise 3"
    assert law(clean | {"dataset": "svhn"}, "digits") == "svhn, test"


# --- Charts ---------------------------------------------------------------------------------


def test_flips_stand_on_either_side_of_zero(rows: pl.DataFrame) -> None:
    shown = rows.filter(
        pl.col("arm") == "true", pl.col("split") == "train", pl.col("deep_step") == 20
    )
    spec = charts.flips_by_lag(shown, 0.5, "true", variance(shown)).to_dict()
    bars = next(data for data in spec["datasets"].values() if "side" in data[0])
    assert len(bars) == 2 * len(cube.STEPS)
    for row in bars:
        lost = row["side"] == "right to wrong"
        assert row["flips"] == (-1 if lost else 1) * row["size"]
        assert row["size"] == row["right_to_wrong" if lost else "wrong_to_right"]
    axis = spec["layer"][0]["encoding"]["x"]
    assert axis["sort"] == [-2, 0, 1, 2]
    assert "future" in axis["title"]
    assert spec["title"]["subtitle"] == "dot: change of accuracy, 95 % over 2 seeds"


def test_the_last_deep_part_has_no_future(rows: pl.DataFrame) -> None:
    shown = rows.filter(pl.col("arm") == "true", pl.col("deep_step") == 40)
    spec = charts.flips_by_lag(shown.filter(pl.col("split") == "train"), 0.5, "true", "").to_dict()
    assert spec["layer"][0]["encoding"]["x"]["title"] == "lag, epochs"


def test_what_is_forgotten_bears_a_cross(rows: pl.DataFrame) -> None:
    shown = rows.filter(pl.col("arm") == "random", pl.col("split") == "train")
    spec = charts.share_heatmap(shown, "random").to_dict()
    crosses = [layer for layer in spec["layer"] if layer["mark"].get("text") == "×"]
    assert len(crosses) == 2
    assert all(layer["transform"] == [{"filter": "datum.forgotten"}] for layer in crosses)
    assert spec["layer"][0]["encoding"]["color"]["scale"]["domain"] == [0, 1]


def test_panels_of_gaps_share_their_axis_and_hold_zero(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("memory", cube_home, monkeypatch)
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    gaps = [spec for spec in specs if "lost on training" in json.dumps(spec)]
    domains = [spec["layer"][2]["encoding"]["y"]["scale"]["domain"] for spec in gaps]
    assert len(domains) == 2
    assert domains[0] == domains[1]
    assert domains[0][0] < 0 < domains[0][1]


# --- Sentences ------------------------------------------------------------------------------


def planted(arm: str, steps: tuple[int, ...] = (0, 10, 20, 40), **values: float) -> pl.DataFrame:
    """Cells under the deep part of step 40, each step ten epochs, all with these values."""
    shown: dict[str, object] = {
        "arm": arm,
        "deep_step": 40,
        "deep_epoch": 400.0,
        "share": 0.9,
        "share_low": 0.85,
        "share_high": 0.95,
        "right_to_wrong": 0.08,
        "wrong_to_right": 0.02,
        "p": 0.0004,
        "law": "test",
        "gap": 0.05,
        "gap_low": 0.01,
        "gap_high": 0.09,
        **values,
    }
    return pl.DataFrame([{"shallow_step": s, "shallow_epoch": 10.0 * s, **shown} for s in steps])


def test_the_place_spoken_of_is_halfway_back() -> None:
    assert memory_findings.halfway(planted("true")) == 20
    assert memory_findings.halfway(planted("true", (0, 10, 40))) == 10
    assert memory_findings.halfway(planted("true", (0, 30, 40))) == 30
    assert memory_findings.halfway(planted("true", (0, 40))) == 0
    assert memory_findings.halfway(planted("true", (40, 50))) is None


def test_what_is_kept_is_said_with_its_interval_flips_and_test() -> None:
    both = pl.concat([planted("true"), planted("random", share=0.4, share_low=0.3, share_high=0.5)])
    said = memory_findings.kept(both, both, ["true", "random"], "stem")
    assert said is not None
    assert "network of epoch 400" in said
    assert "features of epoch 200, cut stem" in said
    assert "**90.0%** (85.0% to 95.0%) with true (8.0% of all turn wrong, 2.0% turn right" in said
    assert "McNemar p < 0.001" in said
    assert "**40.0%** (30.0% to 50.0%) with random" in said


def test_p_values_of_several_seeds_are_counted() -> None:
    runs = pl.concat([planted("true", p=0.03), planted("true", p=0.2), planted("true", p=0.001)])
    said = memory_findings.kept(planted("true"), runs, ["true"], "stem")
    assert said is not None
    assert "p < 0.05 in 2 of 3 seeds" in said


def test_a_network_that_has_nothing_keeps_nothing() -> None:
    empty = planted("true").with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("share", "share_low", "share_high")
    )
    said = memory_findings.kept(empty, empty, ["true"], "stem")
    assert said is not None
    assert "nothing to keep with true" in said


def test_without_an_earlier_checkpoint_nothing_is_said() -> None:
    last = planted("true", (40,))
    assert memory_findings.kept(last, last, ["true"], "stem") is None
    assert memory_findings.transfer(last, ["true"]) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.09, "more on training"), (-0.01, 0.11, "no gap shows"), (-0.2, -0.1, "less on tr")],
)
def test_a_gap_is_called_one_only_where_its_interval_leaves_out_zero(
    low: float, high: float, verdict: str
) -> None:
    gaps = planted("true", gap=(low + high) / 2, gap_low=low, gap_high=high)
    said = memory_findings.transfer(gaps, ["true"])
    assert said is not None
    assert verdict in said
    assert f"**{50 * (low + high):+.1f} points** ({100 * low:+.1f} to {100 * high:+.1f};" in said


def test_forgotten_pairs_are_counted_where_it_can_be_said() -> None:
    cells = pl.DataFrame(
        {
            "arm": ["true"] * 4 + ["random"] * 2,
            "forgotten": [True, False, True, None, None, None],
        }
    )
    said = memory_findings.forgotten(cells, ["true", "random"])
    assert "**2** of 3 with true" in said
    assert "with random it can't be said of any (too close to chance)" in said
