from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest

from app import charts
from app.charts.style import ARM_COLOURS, CLASS_COLOURS, QUIET
from app.drawn import specification
from tests.app.test_views import drawn, opened, text_of
from tests.store import cube


def points() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"frame": t, "step": 5 * t, "epoch": t / 2, "example": i, "class": "ab"[i % 2]}
            | {"x": float(i * t), "y": 1.0, "displacement": 0.5, "turning": None}
            | {"predicted": "a" if t < 2 else "ab"[i % 2]}
            for t in range(3)
            for i in range(4)
        ]
    )


CONTOURS = pl.DataFrame(
    {"step": [0] * 3, "class": ["a"] * 3, "mass": [0.5] * 3, "path": [0] * 3, "corner": [0, 1, 0]}
    | {"x": [0.0, 1.0, 0.0], "y": [0.0, 1.0, 0.0]}
)
IMAGES = pl.DataFrame({"example": [0, 1], "png": [b"one", b"two"]})


def chart(
    frame: pl.DataFrame | None = None,
    classes: tuple[str, ...] = ("a", "b", "c"),
    contours: pl.DataFrame = CONTOURS,
    colouring: str = "class",
) -> alt.LayerChart:
    shown = points() if frame is None else frame
    return charts.trajectory(shown, contours, IMAGES, list(classes), "pca", colouring)


def layers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Layers by what they draw."""
    names = ["contours", "trails", "heads", "touched", "when"]
    found = spec["layer"]
    return dict(zip(names[-len(found) :], found, strict=True))


def test_the_slider_is_the_charts_own_and_begins_at_the_last_checkpoint() -> None:
    parameters = {each["name"]: each for each in chart().to_dict()["params"]}
    assert parameters["at"]["value"] == 2
    assert parameters["at"]["bind"] == {
        "input": "range",
        "min": 0,
        "max": 2,
        "step": 1,
        "name": "checkpoint ",
    }
    assert parameters["playing"] == {
        "name": "playing",
        "value": False,
        "bind": {"input": "checkbox", "name": "play "},
    }


def test_the_clock_moves_to_the_next_checkpoint_and_begins_again_after_the_last() -> None:
    spec = charts.with_clock(specification(chart()))
    parameters = {each["name"]: each for each in spec["params"]}
    assert parameters["part"]["on"][0]["events"] == {"type": "timer", "throttle": 33}
    following, pressed = (event["update"] for event in parameters["at"]["on"])
    assert following == "playing && part == 0 ? (at < 2 ? at + 1 : 0) : at"
    assert pressed == "playing && at == 2 ? 0 : at"
    assert parameters["tick"]["on"][0]["update"] == "now()"
    # Everything else is the chart itself.
    for each in parameters.values():
        each.pop("on", None)
    assert spec["params"] == chart().to_dict()["params"]


def test_an_example_is_one_row_with_its_places_side_by_side() -> None:
    spec = chart().to_dict()
    rows = spec["datasets"][layers(spec)["heads"]["data"]["name"]]
    assert len(rows) == 4
    assert [rows[3][f"x{t}"] for t in range(3)] == [0, 3, 6]
    assert [rows[1][f"g{t}"] for t in range(3)] == ["a", "a", "b"]
    assert rows[0]["image"] == "data:image/png;base64,b25l"
    assert rows[3]["image"] is None


def test_the_plane_stands_still_while_the_slider_moves() -> None:
    found = layers(chart(classes=("a", "b")).to_dict())
    for name in ("contours", "trails", "heads", "touched"):
        assert found[name]["encoding"]["x"]["scale"]["domain"] == [0, 6]
        assert found[name]["encoding"]["y"]["scale"]["domain"] == [0, 1]


def test_outlines_lie_within_the_plane_whole() -> None:
    # Stored as narrower numbers than the points.
    wider = CONTOURS.with_columns(
        pl.Series("x", [-2.0, 9.0, -2.0], pl.Float32), pl.Series("y", [0.0, 3.0, 0.0], pl.Float32)
    )
    for frame in layers(chart(contours=wider).to_dict()).values():
        if "x" in frame["encoding"] and "scale" in frame["encoding"]["x"]:
            assert frame["encoding"]["x"]["scale"]["domain"] == [-2, 9]
            assert frame["encoding"]["y"]["scale"]["domain"] == [0, 3]


def test_what_the_turning_is_held_against_is_named_beside_the_plot_not_in_it() -> None:
    quality = pl.DataFrame({"step": [0, 5], "epoch": [0.0, 1.0], "turning_cosine": [None, 0.1]})
    spec = charts.turning(quality).to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["line", "rule"]
    dash = spec["layer"][1]["encoding"]["strokeDash"]
    assert dash["scale"]["domain"] == ["random walk", "independent jitter"]
    assert dash["legend"]["orient"] == "top"
    # One field would be one legend, without the samples of the dashes.
    assert dash["field"] != spec["layer"][0]["encoding"]["color"]["field"]


def test_a_class_has_the_colour_of_its_number_whichever_are_shown() -> None:
    only_b = points().filter(pl.col("class") == "b")
    found = layers(chart(only_b).to_dict())
    for name in ("contours", "trails", "heads"):
        scale = found[name]["encoding"]["color"]["scale"]
        assert scale == {"domain": ["a", "b", "c"], "range": CLASS_COLOURS[:3]}
    assert CLASS_COLOURS[:6] == ARM_COLOURS
    assert len(set(CLASS_COLOURS)) == 10


def test_colour_by_answer_is_of_the_slider_s_checkpoint() -> None:
    found = layers(chart(colouring="answer").to_dict())
    assert found["heads"]["encoding"]["color"]["field"] == "answer"
    assert "datum['g' + at] == datum.class" in str(found["heads"]["transform"])
    assert found["contours"]["encoding"]["color"] == {"value": QUIET}


def test_without_contours_nothing_is_said_of_them() -> None:
    spec = chart(contours=CONTOURS.clear()).to_dict()
    assert len(spec["layer"]) == 4
    assert spec["title"]["subtitle"] == "lines: the last 3 moves"
    assert chart().to_dict()["title"]["subtitle"].endswith("outlines: 50% of a class (KDE)")


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
        "Speed of the features",
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
