"""Whether the effect holds: the rule on planted quantities, what arms change, and the page."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app import sensitivity
from app.findings import Comparison
from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube

Limits = tuple[float, float, float]


def quantities(score: Limits | None, over: str = "seeds", **nulls: Limits) -> pl.DataFrame:
    rows = [("score", "none", score or (None, None, None))]
    rows += [("excess", name, limits) for name, limits in nulls.items()]
    return pl.DataFrame(
        [
            {
                "arm": "a",
                "quantity": q,
                "control": c,
                "value": v,
                "low": low,
                "high": high,
                "over": over,
            }
            for q, c, (v, low, high) in rows
        ],
        schema_overrides=dict.fromkeys(["value", "low", "high"], pl.Float64),
    )


HIGH, LOW, WIDE = (0.9, 0.8, 0.95), (0.3, 0.2, 0.4), (0.6, 0.4, 0.8)
BEATEN, EQUALLED, UNSURE = (0.2, 0.1, 0.3), (0.0, -0.02, 0.03), (0.2, -0.1, 0.5)


@pytest.mark.parametrize(
    ("given", "word", "reason"),
    [
        (quantities(HIGH, twin=BEATEN), "holds", "it exceeds twin"),
        (quantities(HIGH, twin=BEATEN, mirror=EQUALLED), "doesn't", "mirror does as well"),
        # Above 0 for sure, but too little to count.
        (
            quantities(HIGH, twin=(0.02, 0.01, 0.03)),
            "doesn't",
            "twin is exceeded by less than 5 points (+2.0 points, +1.0 to +3.0)",
        ),
        (quantities(HIGH, twin=(-0.2, -0.3, -0.1)), "doesn't", "twin does better (-20.0 points"),
        (
            quantities(HIGH, over="examples", twin=EQUALLED),
            "doesn't",
            "twin does as well (+0.0 points, -2.0 to +3.0, one seed, over examples)",
        ),
        (quantities(HIGH, twin=BEATEN, mirror=UNSURE), "can't be told", "over mirror is uncertain"),
        (quantities(HIGH), "can't be told", "it has no null"),
        (quantities(LOW, twin=BEATEN), "doesn't", "TC is at most 0.40"),
        (quantities(WIDE, twin=BEATEN), "can't be told", "TC may be 0.40 or 0.80"),
        (quantities(None, twin=BEATEN), "can't be told", "it has no score"),
    ],
)
def test_the_rule(given: pl.DataFrame, word: str, reason: str) -> None:
    found = sensitivity.verdict("a", given, ["twin", "mirror"])
    assert found.word == word
    assert reason in found.reason


def test_a_null_that_was_not_asked_for_does_not_count() -> None:
    given = quantities(HIGH, twin=BEATEN, mirror=EQUALLED)
    assert sensitivity.verdict("a", given, ["twin"]).word == "holds"


def test_the_finding_counts_arms_and_gives_a_reason_that_they_share() -> None:
    found = [
        sensitivity.Verdict("one", "holds", "it exceeds twin"),
        sensitivity.Verdict("two", "doesn't", "TC is at most 0.40"),
        sensitivity.Verdict("three", "can't be told", "it has no score"),
        sensitivity.Verdict("four", "can't be told", "it has no null"),
    ]
    assert sensitivity.finding(found, "every null") == (
        "Against every null, **the effect holds in 1 of 4 arms**; in 1 it doesn't hold (TC is at "
        "most 0.40); in 2 it can't be told."
    )


def settings(*arms: dict[str, Any]) -> pl.DataFrame:
    usual = {
        "dataset": "digits",
        "train_size": 300,
        "network": "mlp",
        "norm_layer": "batch",
        "optimizer": "sgd",
        "lr": 0.1,
        "batch_size": 50,
        "weight_decay": 0.0,
        "steps": 100,
        "augmentation": "none",
        "label_noise": 0.0,
        "pixels_permuted": False,
        "n_seeds": 2,
    }
    return pl.DataFrame([usual | {"arm": f"arm {i}"} | arm for i, arm in enumerate(arms)])


def test_arms_stand_under_the_first_thing_that_they_change() -> None:
    found = sensitivity.changed(
        settings(
            {},
            {"batch_size": 25, "steps": 200},
            {"optimizer": "adam", "lr": 0.003},
            {"lr": 0.3},
            {"batch_size": 100, "steps": 50},
            {"label_noise": 0.4},
            {"arm": "frozen"},
        )
    )
    assert dict(zip(found["arm"], found["field"], strict=True)) == {
        "arm 0": sensitivity.NOTHING,
        "arm 1": "batch size",
        "arm 4": "batch size",
        "arm 2": "optimiser",
        "arm 3": "learning rate",
        "arm 5": "random labels",
        "frozen": sensitivity.ELSE,
    }
    labels = dict(zip(found["arm"], found["label"], strict=True))
    assert labels["arm 2"] == "optimiser adam (lr 0.003)"
    assert labels["arm 4"] == "batch size 100"
    assert labels["arm 5"] == "40% random labels"
    # Those of one field stand together.
    assert found["arm"].to_list()[:3] == ["arm 0", "arm 1", "arm 4"]


def test_arms_of_one_label_keep_their_names() -> None:
    found = sensitivity.changed(settings({}, {"arm": "x", "lr": 0.3}, {"arm": "y", "lr": 0.3}))
    assert found["label"].to_list() == ["arm 0", "x", "y"]


def test_arms_that_differ_are_named_only_where_both_pictures_agree() -> None:
    sentence = sensitivity.differing(
        [Comparison("a", "b", {"own_accuracy": None, "displacement": None})], {"b": "rate 1"}
    )
    assert "it can't be told for 1 (rate 1)" in sentence


def specs(test: Any) -> dict[str, Any]:
    found = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    return {spec["title"]["text"]: spec for spec in found}


def test_the_page_draws_arms_with_verdict_nulls_and_the_rule(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("sensitivity", cube_home, monkeypatch, split="test", cut="stem")
    assert not test.exception
    assert not test.warning
    drawn = specs(test)
    assert list(drawn)[:4] == [
        "Score of each arm",
        "Over other seed",
        "Over twin",
        "Forward minus backward",
    ]
    assert drawn["Score of each arm"]["title"]["subtitle"] == (
        "bars: 95 % over seeds (t); one seed: 95 % over examples"
    )
    text = text_of(test)
    assert "**the effect holds in 0 of 2 arms**" in text
    assert "The rule is ours" in text
    assert f"n = {cube.N}" in text
    (reasons,) = (each.value for each in test.dataframe if "because" in each.value.columns)
    assert list(reasons["the effect"]) == ["can't be told", "can't be told"]


def test_the_link_chooses_the_null(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened("sensitivity", cube_home, monkeypatch, split="test", cut="stem", null="twin")
    assert "Over other seed" not in specs(test)
    assert "Against twin, " in text_of(test)


def test_without_scores_the_page_says_how_to_sweep(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("sensitivity", tiny_home, monkeypatch)
    assert not test.exception
    assert "sweep.training.optimizer" in test.code[0].value
    ingest(tmp_path, [cube.write_study(tmp_path)])
    assert not opened("sensitivity", tmp_path, monkeypatch).exception
