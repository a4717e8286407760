"""Sentences from planted frames: what differs, what does not, what can't be told."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from app import findings

# Retention as a function of own accuracy or displacement, by arm and seed.
Law = Callable[[float, float], float]
VALUES = np.linspace(0, 1, 11)


def run(
    arm: str,
    law: Law,
    seed: int = 0,
    accuracies: tuple[float, float] = (0.2, 1.0),
    displacements: tuple[float, float] = (1.5, 0.0),
    half_width: float = 0.02,
) -> pl.DataFrame:
    """Checkpoints of one run: accuracy grows, displacement from the final features falls."""
    own = accuracies[0] + VALUES * (accuracies[1] - accuracies[0])
    moved = displacements[0] + VALUES * (displacements[1] - displacements[0])
    kept = [law(a, d) for a, d in zip(own, moved, strict=True)]
    return pl.DataFrame(
        {
            "run_id": f"{arm}-{seed}",
            "arm": arm,
            "own_accuracy": own,
            "displacement": moved,
            "retention": kept,
            "retention_low": [value - half_width for value in kept],
            "retention_high": [value + half_width for value in kept],
            "n": 500,
            "split": "test",
            "norm": "inherit",
        }
    )


def said(*runs: pl.DataFrame) -> str:
    points = pl.concat(runs)
    (sentence,) = findings.matched_arms(points, points["arm"].unique(maintain_order=True).to_list())
    return sentence


def test_a_contrast_is_the_mean_distance_of_two_lines_over_the_range_in_common() -> None:
    points = pl.concat(
        [
            run("true", lambda a, d: a, half_width=0.03),
            run("random", lambda a, d: a - 0.1, accuracies=(0.5, 0.9), half_width=0.04),
        ]
    )
    found = findings.contrast(points, "true", "random", "own_accuracy")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.5, 0.9))
    assert (found.first, found.second) == pytest.approx((0.7, 0.6))
    # Independent errors of 0.03 and 0.04 add to 0.05, whichever checkpoint. Between checkpoints the
    # arms rise by 0.08 and 0.04, of which lines may miss half.
    assert found.difference_low == pytest.approx(0.1 - 0.05 - 0.06, abs=1e-3)
    assert found.difference_high == pytest.approx(0.1 + 0.05 + 0.06, abs=1e-3)


def test_what_lies_between_checkpoints_far_apart_is_not_told() -> None:
    true, random = run("true", lambda a, d: 0.9 * a), run("random", lambda a, d: 0.5 * a)
    sparse = [pl.concat([each[:1], each[-1:]]) for each in (true, random)]
    found = findings.contrast(pl.concat(sparse), "true", "random", "own_accuracy")
    assert found is not None
    # Two checkpoints: the first arm may have been anywhere between 0.18 and 0.9, the second
    # between 0.1 and 0.5, at nearly every value in between.
    error = np.hypot(0.02, 0.02)
    assert found.difference_low == pytest.approx(0.18 - 0.5 - error, abs=0.01)
    assert found.difference_high == pytest.approx(0.9 - 0.1 + error, abs=0.01)
    assert not found.differs


def test_a_contrast_does_not_depend_on_where_the_checkpoints_lie() -> None:
    true, random = run("true", lambda a, d: 0.9 * a), run("random", lambda a, d: 0.5 * a)
    late = pl.concat([true[:2], true[2:].gather_every(4), true[-1:]])
    whole = findings.contrast(pl.concat([true, random]), "true", "random", "own_accuracy")
    thinned = findings.contrast(pl.concat([late, random]), "true", "random", "own_accuracy")
    assert whole is not None
    assert thinned is not None
    assert thinned.difference == pytest.approx(whole.difference)


def test_two_seeds_an_arm_give_welchs_interval_over_seeds() -> None:
    from scipy.stats import ttest_ind

    levels = {"true": (0.9, 0.8, 0.86), "random": (0.5, 0.6)}
    points = pl.concat(
        run(arm, lambda a, d, level=level: level, seed)  # type: ignore[misc]
        for arm, of_arm in levels.items()
        for seed, level in enumerate(of_arm)
    )
    found = findings.contrast(points, "true", "random", "own_accuracy")
    assert found is not None
    expected = ttest_ind(*levels.values(), equal_var=False).confidence_interval(0.95)
    assert (found.difference_low, found.difference_high) == pytest.approx(
        (expected.low, expected.high)
    )
    assert "over seeds (t; 3 of true, 2 of random)" in findings.matched_basis(points)


def test_where_both_pictures_agree_a_difference_is_called_with_its_numbers() -> None:
    sentence = said(run("true", lambda a, d: 0.9), run("random", lambda a, d: 0.3))
    assert sentence.startswith("**The arms differ**, true against random")
    assert sentence.count("they differ (") == 2
    assert sentence.count("**90.0%** against **30.0%** retained, +60.0 points") == 2
    assert "A(s,s) from 20% to 100%" in sentence


@pytest.mark.parametrize("picture", ["own_accuracy", "displacement"])
def test_what_one_picture_alone_shows_is_not_called(picture: str) -> None:
    # Both arms on one line in one picture; in the other the second arm is shifted along it.
    if picture == "displacement":
        true = run("true", lambda a, d: a)
        random = run("random", lambda a, d: a, displacements=(0.75, 0.0))
    else:
        true = run("true", lambda a, d: 1 - d / 1.5)
        random = run("random", lambda a, d: 1 - d / 1.5, accuracies=(0.6, 1.0))
    sentence = said(true, random)
    assert sentence.startswith("This picture alone does not decide, true against random")
    differs, same = ("equal displacement", "equal accuracy of the earlier network")
    if picture == "own_accuracy":
        differs, same = same, differs
    assert f"at {differs} they differ (" in sentence
    assert f"at {same} no difference shows (" in sentence


def test_opposite_differences_contradict_each_other() -> None:
    # More at equal accuracy; at equal displacement less, since its features moved little early on.
    true = run("true", lambda a, d: a)
    random = run("random", lambda a, d: a + 0.3, displacements=(0.35, 0.0), accuracies=(0.2, 0.7))
    assert said(true, random).startswith("The two pictures contradict each other")


def test_without_a_range_in_common_it_cant_be_told() -> None:
    sentence = said(
        run("true", lambda a, d: a, accuracies=(0.8, 1.0), displacements=(0.5, 0.0)),
        run("random", lambda a, d: a, accuracies=(0.1, 0.3), displacements=(3.0, 1.0)),
    )
    assert sentence.startswith("Whether the arms differ can't be told, true against random")
    assert "true A(s,s) from 80% to 100%; random A(s,s) from 10% to 30%" in sentence


def test_without_displacement_a_difference_is_not_called() -> None:
    points = [run("true", lambda a, d: 0.9), run("random", lambda a, d: 0.3)]
    blank = [each.with_columns(pl.lit(None, pl.Float64).alias("displacement")) for each in points]
    sentence = said(*blank)
    assert sentence.startswith("This picture alone does not decide")
    assert "displacement of true is not in the store" in sentence


@pytest.mark.parametrize(("gap", "half_width"), [(0.04, 0.001), (0.2, 0.3), (0.0, 0.02)])
def test_small_or_uncertain_differences_are_none(gap: float, half_width: float) -> None:
    sentence = said(
        run("true", lambda a, d: 0.8, half_width=half_width),
        run("random", lambda a, d: 0.8 - gap, half_width=half_width),
    )
    assert sentence.startswith("No difference between the arms shows")


def test_every_other_arm_is_held_against_the_first_and_one_arm_against_none() -> None:
    runs = [run(arm, lambda a, d: 0.5) for arm in ("true", "random", "constant rate")]
    arms = ["true", "random", "constant rate"]
    assert len(findings.matched_arms(pl.concat(runs), arms)) == 2
    assert findings.matched_arms(runs[0], arms) == []


def test_the_basis_says_set_n_normalisation_and_which_variance() -> None:
    basis = findings.matched_basis(
        pl.concat([run("true", lambda a, d: 0.5), run("random", lambda a, d: 0.5)])
    )
    assert basis.startswith("Test set, n = 500, BatchNorm `inherit`.")
    assert "95 % over examples; of some arm there is one seed" in basis
    assert "over seeds" not in basis


def test_two_arms_of_several_seeds_keep_their_variance_beside_an_arm_of_one() -> None:
    several = [run(arm, lambda a, d: 0.5, seed) for arm in ("true", "random") for seed in (0, 1)]
    points = pl.concat([*several, run("augmented", lambda a, d: 0.5)])
    true_random, true_augmented = findings.matched_arms(points, ["true", "random", "augmented"])
    assert true_random.count("95 % over seeds: ") == 2
    assert true_augmented.count("95 % over examples: ") == 2
    basis = findings.matched_basis(points)
    assert "2 of true, 2 of random, 1 of augmented) of two arms" in basis
    assert "else over examples, which says nothing about other trainings" in basis


def test_an_equal_epoch_is_one_that_all_runs_have() -> None:
    def cells(run_id: str, steps_an_epoch: int, epochs: list[float]) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "run_id": run_id,
                "shallow_epoch": epochs,
                "shallow_step": [round(steps_an_epoch * epoch) for epoch in epochs],
                "deep_epoch": 36.0,
                "deep_step": 36 * steps_an_epoch,
                "accuracy": [epoch / 100 for epoch in epochs],
                "accuracy_low": 0.0,
                "accuracy_high": 1.0,
                "n": 500,
            }
        )

    both = pl.concat([cells("one", 6, [1.0, 3.0, 6.0]), cells("two", 12, [1.0, 3.0, 5.0])])
    names = {"one": "batch 50", "two": "batch 25"}
    told = findings.equal_epoch(both, names, "stem", "test")
    assert told is not None
    assert "taken from epoch 3," in told
    assert (
        "**3.0%** (0.0% to 100.0%) with batch 50, **3.0%** (0.0% to 100.0%) with batch 25" in told
    )
    apart = pl.concat([cells("one", 6, [3.0]), cells("two", 12, [5.0])])
    assert findings.equal_epoch(apart, names, "stem", "test") is None
