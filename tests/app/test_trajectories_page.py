from pathlib import Path

import polars as pl
import pytest

from app import charts
from app.charts.style import ARM_COLOURS, CLASS_COLOURS
from tests.app.test_views import drawn, opened, text_of
from tests.store import cube


def points() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"frame": t, "step": 5 * t, "epoch": t / 2, "example": i, "class": "ab"[i % 2]}
            | {"x": float(i * t), "y": 1.0, "displacement": 0.5, "turning": None}
            for t in range(3)
            for i in range(4)
        ]
    )


def test_the_slider_is_the_charts_own_and_begins_at_the_last_checkpoint() -> None:
    spec = charts.trajectory(points(), ["a", "b", "c"], "pooled_umap").to_dict()
    (at,) = spec["params"]
    assert (at["name"], at["value"]) == ("at", 2)
    assert at["bind"] == {"input": "range", "min": 0, "max": 2, "step": 1, "name": "checkpoint "}
    assert "datum.frame == at" in str(spec["layer"][1]["transform"])


def test_the_plane_stands_still_while_the_slider_moves() -> None:
    spec = charts.trajectory(points(), ["a", "b"], "pca").to_dict()
    for layer in spec["layer"][:2]:
        assert layer["encoding"]["x"]["scale"]["domain"] == [0, 6]
        assert layer["encoding"]["y"]["scale"]["domain"] == [1, 1]


def test_a_class_has_the_colour_of_its_number_whichever_are_shown() -> None:
    only_b = points().filter(pl.col("class") == "b")
    spec = charts.trajectory(only_b, ["a", "b", "c"], "pca").to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale == {"domain": ["a", "b", "c"], "range": CLASS_COLOURS[:3]}
    assert CLASS_COLOURS[:6] == ARM_COLOURS
    assert len(set(CLASS_COLOURS)) == 10


def test_the_page_draws_the_picture_its_quality_and_the_motion(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("trajectories", cube_home, monkeypatch, study=cube.STUDY)
    assert not test.exception
    assert not test.warning
    assert drawn(test) == [
        "UMAP of all checkpoints",
        "Trustworthiness",
        "Overlap of nearest neighbours",
        "Displacement of the features",
        "Turning cosine",
    ]
    text = text_of(test)
    assert "Distances and cluster sizes in a UMAP mean nothing." in text
    assert "n = 30 examples followed" in text
    assert "BatchNorm inherit" in text


def test_the_comparator_can_be_looked_at(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened("trajectories", cube_home, monkeypatch, study=cube.STUDY, method="pca")
    assert not test.exception
    assert drawn(test)[0] == "first two principal components"


def test_without_trajectories_the_page_says_what_to_write_into_the_study(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("trajectories", tiny_home, monkeypatch)
    assert not test.exception
    assert '[[analyses]]\nkind = "trajectories"' in [code.value for code in test.code]
