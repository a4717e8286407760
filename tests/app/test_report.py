"""Findings as a document: verdicts by their rules, and every claim answered from a store."""

import json
from pathlib import Path

import polars as pl
import pytest

from app.findings import Contrast
from app.report import claims, further
from app.report.claims import CLAIMS
from app.report.document import answers, write
from app.report.gallery import Gallery, over_seeds
from app.report.verdicts import FAILS, HOLDS, PART, UNTOLD, by_contrasts, by_limits
from app.selection import usual_cut
from tests.store import cube, replays


@pytest.mark.parametrize(
    ("lows", "highs", "verdict"),
    [
        ([0.85, 0.9], [0.95, 1.0], HOLDS),
        ([0.7, 0.9], [0.9, 1.0], PART),
        ([0.1, 0.2], [0.3, 0.4], FAILS),
        ([0.7, 0.75], [0.9, 0.95], UNTOLD),
        ([None, 0.9], [None, 1.0], UNTOLD),
    ],
)
def test_a_verdict_follows_its_limits(
    lows: list[float | None], highs: list[float | None], verdict: str
) -> None:
    assert by_limits(lows, 0.8, highs) == verdict


def contrast(difference: float, half_width: float) -> Contrast:
    first = 0.5 + difference
    return Contrast(0, 1, first, 0.5, difference - half_width, difference + half_width)


ABOVE, BELOW, EQUAL = contrast(0.2, 0.1), contrast(-0.2, 0.1), contrast(0.0, 0.02)
WIDE = contrast(0.0, 0.2)


@pytest.mark.parametrize(
    ("contrasts", "verdict"),
    [
        ([ABOVE, ABOVE], HOLDS),
        ([ABOVE, WIDE], PART),
        ([ABOVE, EQUAL], PART),
        ([ABOVE, BELOW], UNTOLD),
        ([BELOW, ABOVE], UNTOLD),
        ([BELOW, WIDE], FAILS),
        ([EQUAL, WIDE], FAILS),
        ([WIDE, WIDE], UNTOLD),
        ([ABOVE, None], UNTOLD),
    ],
)
def test_two_pictures_decide_together(contrasts: list[Contrast | None], verdict: str) -> None:
    assert by_contrasts(contrasts) == verdict


def test_the_interval_over_seeds_is_students() -> None:
    # t(2 df, 0.975) = 4.302653; the standard deviation of 1, 2, 3 is 1.
    mean = over_seeds(pl.Series([1.0, 2.0, 3.0]))
    assert (mean.value, mean.seeds) == (2.0, 3)
    assert mean.high == pytest.approx(2 + 4.302653 / 3**0.5)
    assert "95 % over 3 seeds" in str(mean)
    assert "no interval" in str(over_seeds(pl.Series([0.5])))


def test_every_claim_has_a_section_with_its_verdict_and_figures(
    cube_home: Path, tmp_path: Path
) -> None:
    text = write(cube_home, [cube.STUDY], tmp_path).read_text(encoding="utf-8")
    for claim in CLAIMS:
        section = text.split(f"## {claim.title}\n")[1].split("\n## ")[0]
        assert claim.question in section
        assert section.count("**Verdict** ") == 1
    answered = answers(cube_home, [cube.STUDY])
    [title] = {gallery.title for _, found in answered for gallery, _ in found}
    verdicts = " | ".join(found[0][1].verdict for _, found in answered)
    assert f"| study | {' | '.join(claim.title for claim, _ in answered)} |" in text
    assert f"| {title} | {verdicts} |" in text
    named = {line.split("(findings/")[1][:-1] for line in text.splitlines() if line[:2] == "!["}
    assert named == {path.name for path in (tmp_path / "findings").iterdir()}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "findings").iterdir())


def test_a_figure_and_its_sentence_are_the_rows_of_the_store(cube_home: Path) -> None:
    gallery = Gallery(cube_home, cube.STUDY)
    found = claims.stable(gallery, "train")
    rows = gallery.ask("consistency_scores", gallery.run_ids, "train")
    scores = rows.filter(
        pl.col("measure") == "accuracy",
        pl.col("pairs") == "all",
        pl.col("weighting") == "learning_rate",
    )
    drawn = json.loads(found.charts[0].to_json())["datasets"].values()
    shown = {
        (row["run_id"], row["cut"], row["score"])
        for data in drawn
        for row in data
        if "run_id" in row
    }
    assert shown == set(scores.select("run_id", "cut", "score").iter_rows())
    of_first = scores.filter(pl.col("run_id").is_in(gallery.of_arm("true")))
    mean = of_first.filter(pl.col("cut") == "stem")["score"].mean()
    assert f"`stem` {mean:.3f}" in found.said[0]


def test_a_claim_without_rows_cannot_be_told(cube_home: Path) -> None:
    told = {claim.key: found for claim, found in answers(cube_home, [cube.STUDY])}
    [(_, finding)] = told["freezing"]
    assert (finding.verdict, finding.charts) == (UNTOLD, ())


def test_recipes_are_judged_by_the_score_of_every_arm(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery(cube_home, cube.STUDY)
    untold = further.robust(gallery)
    assert (untold.verdict, untold.charts) == (UNTOLD, ())
    # The study made by hand has two arms; a sweep of two is judged where that is enough.
    monkeypatch.setattr(further, "LEAST_ARMS", 2)
    found = further.robust(gallery)
    cut, shown = usual_cut(gallery.cuts), gallery.clean_set("test")
    asked = list(shown.eval_ids), cut, ["inherit", "none"]
    scores = gallery.ask("sensitivity", cube.STUDY, *asked).filter(pl.col("quantity") == "score")
    for arm, value in scores.select("arm", "value").iter_rows():
        assert f"{arm} {value:.3f}" in found.said[0]
    assert found.verdict == by_limits(scores["low"].to_list(), 0.8, scores["high"].to_list())
    assert len(found.charts) > 1


def test_averages_are_held_against_the_last_network(cube_home: Path) -> None:
    gallery = Gallery(cube_home, cube.STUDY)
    stored = gallery.ask("comparators", gallery.of_arm("true"))
    assert not stored.is_empty()
    found = further.averages(gallery)
    of_test = stored.filter(pl.col("split") == "test", pl.col("corruption") == "none")
    mean = {
        name: of_test.filter(pl.col("comparator") == name)["accuracy"].to_numpy().mean()
        for name in ("swa", "last")
    }
    assert f"swa: {mean['swa'] - mean['last']:.3f}" in found.said[0]


def test_replay_is_judged_against_its_control(tmp_path: Path, cube_home: Path) -> None:
    untold = further.replayed(Gallery(cube_home, cube.STUDY))
    assert (untold.verdict, untold.charts) == (UNTOLD, ())
    replays.write(tmp_path)
    gallery = Gallery(tmp_path, replays.STUDY)
    found = further.replayed(gallery)
    rows = gallery.ask("replay", replays.STUDY).filter(
        pl.col("source") == "stored", pl.col("network") == "last", pl.col("against") == "control"
    )
    asked = rows["difference_low"].to_list(), 0.0, rows["difference_high"].to_list()
    assert found.verdict == by_limits(*asked)
    assert "Older features against current ones" in " ".join(found.said)
    assert len(found.charts) == 2
