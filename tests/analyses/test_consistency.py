from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from featdyn_engine.analyses import controls, splices
from featdyn_engine.analyses.consistency import (
    HORIZONS,
    RETENTIONS,
    TABLE,
    Settings,
    Spec,
    compute,
    units,
)
from featdyn_engine.analyses.scored import Control
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    Branch,
    Cut,
    DataConfig,
    EvalConfig,
    InputError,
    NetworkConfig,
    Recipe,
    RunConfig,
    Unit,
)
from featdyn_engine.parts import write_part
from featdyn_engine.science.consistency import memory_horizon

STEPS = list(range(0, 101, 5))
DATA = DataConfig(name="digits")
RUN = RunConfig(
    data=DATA,
    network=NetworkConfig(name="mlp"),
    recipe=Recipe(steps=100, milestones=(0.5,)),
    checkpoints=tuple(STEPS),
)
EXAMPLES = EvalConfig(data=DATA, split="test", n=200)
SPEC = Spec(
    run=RUN, evaluation=EXAMPLES, norm="inherit", dtype="float32", main=("own",), resamples=40
)
KEY = (
    "run_id",
    "eval_id",
    "cut",
    "norm",
    "dtype",
    "control",
    "replicate",
    "measure",
    "weighting",
    "pairs",
)
Keep = Callable[[int, int], bool]


def silent(share: float) -> None: ...


def cube(targets: Tensor, right: float, seed: int) -> Tensor:
    """Cells right on a share of examples, the diagonal on nearly all."""
    generator = torch.Generator().manual_seed(seed)
    size = len(STEPS)
    cells = targets.repeat(size, size, 1)
    missed = torch.rand(cells.shape, generator=generator) > right
    missed.diagonal().zero_()
    return torch.where(missed, (cells + 1) % 10, cells).to(torch.uint8)


def store(
    home: Path,
    unit_id: str,
    predicted: Tensor,
    cut: tuple[str, int] = ("hidden1", 1),
    kept: Keep = lambda s, t: True,
) -> None:
    rows = [
        {
            "cut": cut[0],
            "depth": cut[1],
            "shallow_step": s,
            "deep_step": t,
            "predicted": predicted[i, j].tolist(),
        }
        for i, s in enumerate(STEPS)
        for j, t in enumerate(STEPS)
        if kept(s, t)
    ]
    schema = pa.schema(
        [
            ("cut", pa.string()),
            ("depth", pa.int32()),
            ("shallow_step", pa.int64()),
            ("deep_step", pa.int64()),
            ("predicted", pa.list_(pa.uint8())),
        ]
    )
    # The order of the rows says nothing.
    table = pa.Table.from_pylist(rows[::-1], schema)
    write_part(home, "predictions", unit_id, table, {})


@pytest.fixture(scope="module")
def targets() -> Tensor:
    return evaluation.load(EXAMPLES, Path("no-home")).labels


@pytest.fixture(scope="module")
def own(targets: Tensor) -> Tensor:
    return cube(targets, 0.8, 0)


@pytest.fixture
def home(tmp_path: Path, own: Tensor) -> Path:
    store(tmp_path, "own", own)
    return tmp_path


def scores(spec: Spec, home: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = compute(spec, home, silent)["consistency"].to_pylist()
    return rows


def of(rows: Sequence[dict[str, object]], **wanted: object) -> list[dict[str, object]]:
    return [row for row in rows if wanted.items() <= row.items()]


def with_control(name: str, branch_step: int | None = None) -> Spec:
    return replace(SPEC, controls=(Control(name, 0, branch_step, ("null",)),))


def test_rows_have_one_key_each_and_no_null_in_it(home: Path, targets: Tensor) -> None:
    store(home, "null", cube(targets, 0.3, 1))
    store(home, "deeper", cube(targets, 0.6, 2), ("hidden2", 2))
    spec = replace(with_control("other_seed"), main=("deeper", "own"))
    tables = compute(spec, home, silent)
    assert tables["consistency"].schema == TABLE
    assert tables["horizons"].schema == HORIZONS
    rows = tables["consistency"].to_pylist()
    keys = {tuple(row[name] for name in KEY) for row in rows}
    # Two measures, weightings and four sets of pairs; the control has the first cut alone.
    assert len(keys) == len(rows) == 3 * 16
    assert not any(value is None for key in keys for value in key)
    assert [row["cut"] for row in rows] == ["hidden1"] * 32 + ["hidden2"] * 16
    assert len(tables["horizons"]) == 2 * 2 * len(STEPS)


def test_scores_say_what_they_are_of(home: Path) -> None:
    row = of(scores(SPEC, home), measure="accuracy", pairs="all", weighting="steps")[0]
    assert row["run_id"] == RUN.run_id
    assert row["eval_id"] == EXAMPLES.eval_id
    assert (row["split"], row["depth"], row["n"], row["resamples"]) == ("test", 1, 200, 40)
    # Past 5 % of 100 steps: 10, 15, .. 100.
    assert row["checkpoints"] == 19
    # 80 % right, the other class otherwise: (0.8 - 0.1) / (1 - 0.1).
    assert row["score"] == pytest.approx(0.7 / 0.9, abs=0.02)
    assert row["excess"] is None


def test_weights_in_learning_rate_ignore_what_came_after_a_decay(home: Path, own: Tensor) -> None:
    # Deep steps past the decay at 50 lose all: a tenth of the learning rate, half of the steps.
    late = own.clone()
    for t, step in enumerate(STEPS):
        if step > 50:
            late[:t, t] = (late[t, t] + 1) % 10
    store(home, "own", late)
    rows = of(scores(SPEC, home), measure="agreement", pairs="all")
    by_weight = {str(row["weighting"]): float(str(row["score"])) for row in rows}
    assert by_weight["learning_rate"] > 1.5 * by_weight["steps"]


def test_before_and_after_a_decay_are_left_out_of_a_run_without_one(home: Path) -> None:
    assert {row["pairs"] for row in scores(SPEC, home)} == {
        "all",
        "final",
        "before_decay",
        "after_decay",
    }
    constant = replace(SPEC, run=replace(RUN, recipe=Recipe(steps=100, schedule="constant")))
    assert {row["pairs"] for row in scores(constant, home)} == {"all", "final"}


def test_a_control_that_is_the_run_has_no_excess(home: Path, own: Tensor) -> None:
    store(home, "null", own)
    rows = of(scores(with_control("same_init"), home), control="same_init")
    assert len(rows) == 16
    for row in rows:
        assert (row["excess"], row["excess_low"], row["excess_high"]) == (0, 0, 0)


def test_the_excess_is_the_difference_of_the_two_scores(home: Path, targets: Tensor) -> None:
    store(home, "null", cube(targets, 0.3, 1))
    rows = scores(with_control("other_seed"), home)
    for row in of(rows, control="none"):
        same = {name: row[name] for name in ("measure", "weighting", "pairs")}
        null = of(rows, control="other_seed", **same)[0]
        expected = float(str(row["score"])) - float(str(null["score"]))
        assert null["excess"] == pytest.approx(expected)
        assert float(str(null["excess_low"])) > 0


def test_a_twin_is_compared_past_its_branch_alone(home: Path, own: Tensor) -> None:
    # Before 30 the run keeps everything; the twin has no rows there.
    early = own.clone()
    for s, step in enumerate(STEPS):
        if step <= 30:
            early[s] = early[s, s]
    store(home, "own", early)
    store(home, "null", own, kept=lambda s, t: s > 30 and t >= s)
    rows = scores(with_control("twin", 30), home)
    twin = of(rows, control="twin", pairs="all", measure="accuracy", weighting="steps")[0]
    assert twin["checkpoints"] == 14
    assert twin["excess"] == 0


def test_a_control_without_a_diagonal_reaches_the_last_step(home: Path, own: Tensor) -> None:
    store(home, "null", own, kept=lambda s, t: s < t)
    rows = of(scores(with_control("mirror"), home), control="mirror", pairs="final")
    assert {row["excess"] for row in rows} == {0}
    assert {row["checkpoints"] for row in rows} == {19}


def test_a_control_on_fewer_checkpoints_is_compared_on_these(home: Path, own: Tensor) -> None:
    store(home, "null", own, kept=lambda s, t: s % 10 == 0 and t % 10 == 0)
    rows = scores(with_control("other_seed"), home)
    null = of(rows, control="other_seed", pairs="all")
    assert {(row["checkpoints"], row["excess"]) for row in null} == {(10, 0)}


def test_too_few_checkpoints_leave_the_score_empty_and_say_how_many(
    home: Path, own: Tensor
) -> None:
    store(home, "own", own, kept=lambda s, t: s % 15 == 0 and t % 15 == 0)
    rows = scores(SPEC, home)
    assert {(row["pairs"], row["checkpoints"]) for row in rows} == {
        ("all", 6),
        ("final", 6),
        ("before_decay", 3),
        ("after_decay", 3),
    }
    assert all(row["score"] is None and row["score_low"] is None for row in rows)


def test_horizons_are_those_of_the_stored_predictions(
    home: Path, own: Tensor, targets: Tensor
) -> None:
    kept = own.clone()
    kept[10:, 15] = kept[15, 15]
    store(home, "own", kept)
    rows = compute(SPEC, home, silent)["horizons"].to_pylist()
    expected = memory_horizon(kept == targets, STEPS, 0.05)
    wide = [row for row in rows if row["eps"] == 0.05]
    assert [row["horizon"] for row in wide] == expected.horizon.tolist()
    assert [row["censored"] for row in wide] == expected.censored.tolist()
    assert wide[15]["horizon"] == 25
    assert wide[15]["deep_step"] == 75


def test_a_run_has_an_asymmetry_and_a_control_or_a_cube_without_backward_cells_has_none(
    home: Path, own: Tensor
) -> None:
    # Backward cells lose all.
    backward = own.clone()
    below = torch.ones(own.shape[:2]).tril(-1).bool()
    backward[below] = (own.diagonal(dim1=0, dim2=1).T[None].expand(own.shape)[below] + 1) % 10
    store(home, "own", backward)
    store(home, "null", own)
    rows = scores(with_control("other_seed"), home)
    for row in of(rows, control="none", measure="agreement"):
        assert row["asymmetry"] == pytest.approx(row["score"])
        assert float(str(row["asymmetry_low"])) > 0.5
    assert {row["asymmetry"] for row in of(rows, control="other_seed")} == {None}
    store(home, "own", own, kept=lambda s, t: s <= t)
    forward = scores(SPEC, home)
    assert {row["asymmetry"] for row in forward} == {None}
    assert all(row["score"] is not None for row in forward)


def test_retentions_are_those_of_each_earlier_shallow_part_under_the_last_deep_part(
    home: Path, own: Tensor, targets: Tensor
) -> None:
    null = cube(targets, 0.3, 1)
    store(home, "null", null, kept=lambda s, t: s < t)
    table = compute(with_control("other_seed"), home, silent)["retentions"]
    assert table.schema == RETENTIONS
    rows = table.to_pylist()
    labels = torch.bincount(targets, minlength=10).double() / 200

    def above(predicted: Tensor) -> float:
        shares = torch.bincount(predicted.long(), minlength=10).double() / 200
        return float((predicted == targets).double().mean() - (labels * shares).sum())

    for name, predicted in (("none", own), ("other_seed", null)):
        found = of(rows, control=name)
        assert [row["shallow_step"] for row in found] == STEPS[:-1]
        assert {row["deep_step"] for row in found} == {100}
        for i, row in enumerate(found):
            assert row["retention"] == pytest.approx(above(predicted[i, -1]) / above(own[-1, -1]))
            assert row["retention_low"] < row["retention"] < row["retention_high"]


def test_a_last_network_near_chance_has_no_retention(home: Path, own: Tensor) -> None:
    guessing = own.clone()
    guessing[:, -1] = 3
    store(home, "own", guessing)
    rows = compute(SPEC, home, silent)["retentions"].to_pylist()
    assert len(rows) == len(STEPS) - 1
    assert {row[f"retention{end}"] for row in rows for end in ("", "_low", "_high")} == {None}


def test_the_same_spec_gives_the_same_rows_another_seed_other_limits(home: Path) -> None:
    one, again = scores(SPEC, home), scores(SPEC, home)
    other = scores(replace(SPEC, seed=1), home)
    assert one == again
    assert one[0]["score"] == other[0]["score"]
    assert one[0]["score_low"] != other[0]["score_low"]


def test_progress_ends_at_one(home: Path) -> None:
    heard: list[float] = []
    compute(SPEC, home, heard.append)
    assert heard == [1.0]


def test_a_missing_part_is_named(home: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.parquet: expected the predictions .* run the"):
        compute(replace(SPEC, main=("absent",)), home, silent)


def test_predictions_of_other_examples_are_refused(home: Path, own: Tensor) -> None:
    store(home, "own", own[..., :150])
    with pytest.raises(InputError, match="expected 200 examples in every cell, got 150; delete"):
        compute(SPEC, home, silent)


def test_a_control_with_a_gap_is_refused(home: Path, own: Tensor) -> None:
    store(home, "null", own, kept=lambda s, t: (s, t) != (20, 40))
    with pytest.raises(InputError, match=r"control mirror: expected every forward pair .* got 1"):
        compute(with_control("mirror"), home, silent)


def test_a_run_with_a_gap_is_refused(home: Path, own: Tensor) -> None:
    store(home, "own", own, kept=lambda s, t: (s, t) != (20, 20))
    with pytest.raises(InputError, match="of the run: expected every forward pair"):
        compute(SPEC, home, silent)


HIDDEN = (Cut("hidden1", 1), Cut("hidden2", 2))


def cube_unit(unit_id: str, cut: Cut = HIDDEN[0], **changes: Any) -> Unit:
    fields = {"evaluation": EXAMPLES, "norm": "inherit", "batch_size": 250, **changes}
    spec = splices.Spec(run=RUN, cut=cut, **fields)
    return Unit(kind="splices", unit_id=unit_id, label="", spec=spec, companions=("predictions",))


def control_unit(
    unit_id: str,
    control: Any,
    replicate: int = 0,
    cut: Cut = HIDDEN[0],
    branch_step: int | None = None,
    **changes: Any,
) -> Unit:
    fields = {"evaluation": EXAMPLES, "norm": "inherit", "batch_size": 250, **changes}
    other = replace(RUN, branch=Branch(step=branch_step, order=7)) if branch_step else None
    spec = controls.Spec(
        run=RUN, control=control, replicate=replicate, cut=cut, other=other, **fields
    )
    return Unit(kind="controls", unit_id=unit_id, label="", spec=spec)


def test_units_gather_the_cuts_and_controls_of_one_run_set_norm_and_dtype() -> None:
    train = replace(EXAMPLES, split="train")
    planned = [
        cube_unit("a"),
        cube_unit("b", evaluation=train),
        cube_unit("c", HIDDEN[1]),
        control_unit("d", "twin", branch_step=30),
        control_unit("e", "twin", cut=HIDDEN[1], branch_step=30),
        control_unit("f", "other_seed", 1, evaluation=train),
    ]
    first, second = units(Settings(resamples=7), planned)
    assert first.spec.main == ("a", "c")
    assert first.spec.controls == (Control("twin", 0, 30, ("d", "e")),)
    assert second.spec.controls == (Control("other_seed", 1, None, ("f",)),)
    assert first.needs == (RUN.run_id, EXAMPLES.eval_id, "a", "c", "d", "e")
    assert (first.kind, first.run_id, first.spec.resamples) == ("consistency", RUN.run_id, 7)
    assert first.unit_id != second.unit_id


@pytest.mark.parametrize(
    ("sizes", "scored"), [((100, 250, 500), 250), ((500, 100), 100), ((50, 250), 250)]
)
def test_of_cubes_of_several_batch_sizes_one_is_scored_whatever_their_order(
    sizes: tuple[int, ...], scored: int
) -> None:
    for order in (sizes, sizes[::-1]):
        cubes = [cube_unit(f"of {size}", batch_size=size) for size in order]
        # The other cut has one batch size alone, whatever is preferred.
        cubes.append(cube_unit("deeper", HIDDEN[1], batch_size=7))
        (found,) = units(Settings(), cubes)
        assert found.spec.main == (f"of {scored}", "deeper")


def test_a_control_is_scored_at_the_batch_size_of_the_cube_it_is_held_against() -> None:
    nulls = [control_unit(f"of {size}", "mirror", batch_size=size) for size in (50, 100, 250)]
    (found,) = units(Settings(), [cube_unit("a", batch_size=100), *nulls])
    assert found.spec.controls == (Control("mirror", 0, None, ("of 100",)),)
    (found,) = units(Settings(), [cube_unit("a", batch_size=99), *nulls])
    assert found.spec.controls == (Control("mirror", 0, None, ("of 250",)),)


def test_twins_that_branch_at_two_steps_are_refused() -> None:
    twins = [control_unit(f"from {step}", "twin", branch_step=step) for step in (30, 60)]
    with pytest.raises(InputError, match=r"one branch_at .* branches at steps 30 and 60; keep one"):
        units(Settings(), [cube_unit("a"), *twins])
    train = replace(EXAMPLES, split="train")
    apart = control_unit("elsewhere", "twin", branch_step=60, evaluation=train)
    cubes = [cube_unit("a"), cube_unit("b", evaluation=train)]
    assert len(units(Settings(), [*cubes, twins[0], apart])) == 2


def test_other_settings_make_another_unit() -> None:
    ids = {
        units(settings, [cube_unit("a")])[0].unit_id
        for settings in (Settings(), Settings(seed=1), Settings(resamples=10))
    }
    assert len(ids) == 3
