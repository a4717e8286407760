"""Charts as a browser gets them: made once for equal rows, and anew for any others."""

import subprocess
import sys
import threading
from functools import partial
from typing import Any

import altair as alt
import polars as pl
import pytest

import app.drawn
from app.drawn import Picture, drawn, specification

ROWS = pl.DataFrame({"step": list(range(60_000)), "accuracy": [0.5] * 60_000})
made: list[pl.DataFrame] = []


def line(rows: pl.DataFrame, name: str, **more: str) -> alt.Chart:
    made.append(rows)
    return alt.Chart(rows, title=name, **more).mark_line().encode(x="step:Q", y="accuracy:Q")


def two(rows: pl.DataFrame, others: pl.DataFrame) -> alt.LayerChart:
    return alt.layer(line(rows, ""), line(others, ""), line(rows, ""))


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    made.clear()


def changed(step: int) -> pl.DataFrame:
    """Rows of which one alone is another, in so many that Streamlit would hash a sample."""
    return ROWS.with_columns(
        pl.when(pl.col("step") == step).then(0.6).otherwise(pl.col("accuracy")).alias("accuracy")
    )


def test_an_equal_picture_is_made_once() -> None:
    first = drawn(partial(line, ROWS, "kept"), "light")
    again = drawn(partial(line, ROWS.clone(), "kept"), "light")
    assert again is first
    assert len(made) == 1


@pytest.mark.parametrize("step", [0, 31_415, 59_999])
def test_one_other_number_makes_another_picture(step: int) -> None:
    first = drawn(partial(line, ROWS, "numbers"), "light")
    other = drawn(partial(line, changed(step), "numbers"), "light")
    assert other is not first
    assert other.rows["rows-0"]["accuracy"][step] == 0.6
    # Rows alone differ: a browser keeps the picture and replaces them.
    assert other.specification == first.specification


def _named(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "usermeta": 2}


def test_whatever_changes_the_picture_is_part_of_its_key() -> None:
    picture = partial(line, ROWS, "one")
    found = [
        drawn(picture, "light"),
        drawn(picture, "dark"),
        drawn(partial(line, ROWS, "other"), "light"),
        drawn(partial(line, ROWS, "one", description="said"), "light"),
        drawn(picture, "light", moving=_named),
    ]
    assert len({each.specification for each in found}) == len(found)
    assert len({id(each) for each in found}) == len(found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        ({1}, {2}),
        ([], {}),
        (ROWS, changed(7)),
        (0.0, ""),
    ],
)
def test_values_of_any_kind_are_told_apart(one: object, other: object) -> None:
    picture = partial(line, ROWS, "kinds")
    found = [drawn(partial(of, picture, value), "light") for value in (one, other, one)]
    assert found[0] is found[2]
    assert found[0] is not found[1]
    assert len(made) == 2


def of(picture: Picture, _: object) -> alt.TopLevelMixin:
    return picture()


@pytest.mark.parametrize("value", [bytearray(), object()])
def test_what_can_not_be_told_apart_is_refused(value: object) -> None:
    name = type(value).__name__
    with pytest.raises(TypeError, match=f"expected values that can be told apart, got {name}"):
        drawn(partial(line, ROWS, value), "light")  # type: ignore[arg-type]


def test_pictures_kept_are_of_a_bounded_size_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one used last stays, the oldest goes."""
    kept = app.drawn._made.cache  # type: ignore[attr-defined]
    for number in range(3 * kept.maxsize // ROWS.estimated_size()):
        drawn(partial(line, ROWS, f"many {number}"), "light")
        assert kept.currsize <= kept.maxsize
    made.clear()
    drawn(partial(line, ROWS, f"many {number}"), "light")
    assert made == []
    drawn(partial(line, ROWS, "many 0"), "light")
    assert len(made) == 1


def test_rows_lie_apart_and_each_frame_once() -> None:
    others = ROWS.head(2)
    found = drawn(partial(two, ROWS, others), "light")
    assert {name: len(rows) for name, rows in found.rows.items()} == {"rows-0": 60_000, "rows-1": 2}
    assert [layer["data"]["name"] for layer in found.whole["layer"]] == [
        "rows-0",
        "rows-1",
        "rows-0",
    ]
    assert "59999" not in found.specification


def test_a_page_may_change_what_it_was_given() -> None:
    picture = partial(line, ROWS, "changed")
    del drawn(picture, "light").whole["datasets"]
    assert set(drawn(picture, "light").whole["datasets"]) == {"rows-0"}


def test_files_and_pictures_made_at_once_have_their_own_data() -> None:
    """Altair's transformer of data is one for all threads."""
    wrong: list[object] = []

    def whole() -> None:
        for _ in range(30):
            spec = specification(line(ROWS.head(3), "file"))
            if "datasets" not in spec or len(next(iter(spec["datasets"].values()))) != 3:
                wrong.append(spec)

    def apart(number: int) -> None:
        for turn in range(30):
            found = drawn(partial(line, ROWS.head(2), f"{number} {turn}"), "light")
            if set(found.rows) != {"rows-0"}:
                wrong.append(found)

    threads = [
        threading.Thread(target=whole),
        *(threading.Thread(target=apart, args=(k,)) for k in (1, 2)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_visitors_at_once_never_wait_for_each_other_for_ever() -> None:
    """A Python function inside polars once froze the whole server (``tests/app/together.py``)."""
    command = [sys.executable, "-m", "tests.app.together"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
