import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.analyses import control_cubes, controls, splices
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.controls import ALL, TABLE, Settings, extra_runs, other_run, units
from featdyn_engine.analyses.networks import stored_networks
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    CONTROLS,
    Branch,
    DataConfig,
    Freeze,
    InputError,
    NetworkConfig,
    Replay,
    RunConfig,
    Seeds,
    Unit,
)
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.splice import compose
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON, with_recipe

# Long enough to fit some of its digits; blocks layer1, layer2, layer3, head.
RUN = replace(
    with_recipe(PERCEPTRON, steps=60, batch_size=32, lr=0.1),
    data=DataConfig(name="digits", train_size=500),
    checkpoints=(0, 5, 20, 40, 60),
    seeds=Seeds(init=3, order=4, labels=5),
)
STEPS = list(RUN.checkpoints)
SCORED = (Evaluation(split="test", n=100),)
OPTIONS = {"evaluations": SCORED, "branch_at": 0.4}
FORWARD = [(s, t) for s in STEPS for t in STEPS if s <= t]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run and those that its controls need."""
    home = tmp_path_factory.mktemp("controls")
    train(RUN, home)
    for _, run in extra_runs(Settings(**OPTIONS), RUN):  # type: ignore[arg-type]
        train(run, home)
    return home


def silent(share: float) -> None: ...


def planned(*names: str, run: RunConfig = RUN, **options: object) -> list[Unit]:
    chosen = {**OPTIONS, "controls": names or ALL, **options}
    found = units(Settings(**chosen), run, HERE)  # type: ignore[arg-type]
    return [unit for unit in found if unit.kind == "controls"]


def rows_of(unit: Unit, home: Path) -> list[dict[str, object]]:
    table = controls.compute(unit.spec, home, silent)["controls"]
    assert table.schema.equals(TABLE)
    return table.to_pylist()


def cells(rows: list[dict[str, object]], column: str) -> dict[tuple[int, int], float]:
    return {(row["shallow_step"], row["deep_step"]): row[column] for row in rows}  # type: ignore[misc]


def test_every_control_has_its_cube_and_its_objection() -> None:
    assert set(ALL) == set(CONTROLS) == set(control_cubes.CUBES)


def test_there_is_one_unit_a_control_replicate_cut_and_set() -> None:
    sets = (*SCORED, Evaluation(split="train", n=50))
    found = planned(replicates=2, evaluations=sets)
    assert len({unit.unit_id for unit in found}) == len(found) == len(ALL) * 2 * 3 * 2
    bundles: dict[str, list[Unit]] = {}
    for unit in found:
        spec = unit.spec
        bundles.setdefault(unit.bundle, []).append(unit)
        others = () if spec.other is None else (spec.other.run_id,)
        assert unit.needs == (RUN.run_id, *others, spec.evaluation.eval_id)
        assert (spec.other is not None) == (spec.control in controls.OTHER_RUNS)
        assert spec.norm == ("recalibrate" if spec.control == "other_seed_matched" else "inherit")
        assert unit.cost > 0
    assert "" not in bundles
    for group in bundles.values():
        assert [unit.spec.cut.depth for unit in group] == [1, 2, 3]
        assert len({(unit.spec.control, unit.spec.replicate) for unit in group}) == 1
    assert "mirror 2 layer1 test" in {unit.label for unit in found}


def test_a_network_without_batch_norm_has_one_mode() -> None:
    plain = NetworkConfig(name="mlp", norm_layer="none", options={"width": 8, "depth": 2})
    found = planned(run=replace(RUN, network=plain))
    assert {unit.spec.norm for unit in found} == {"none"}


def test_other_runs_differ_in_what_their_names_say() -> None:
    settings = Settings(branch_at=0.4)
    for replicate in (0, 1):
        shift = 1 + replicate
        seeds = Seeds(init=3 + shift, order=4 + shift, labels=5 + shift)
        assert other_run(settings, "other_seed", RUN, replicate) == replace(RUN, seeds=seeds)
        assert other_run(settings, "other_seed_matched", RUN, replicate).seeds == seeds
        same = replace(RUN, seeds=replace(RUN.seeds, order=1004 + replicate))
        assert other_run(settings, "same_init", RUN, replicate) == same
        twin = replace(RUN, branch=Branch(step=20, order=1004 + replicate))
        assert other_run(settings, "twin", RUN, replicate) == twin
        assert twin.parent == RUN


def test_random_labels_are_the_task_and_stay() -> None:
    noisy = replace(RUN, label_noise=1.0)
    for name in ("other_seed", "other_seed_matched", "same_init", "twin"):
        assert other_run(Settings(), name, noisy, 0).seeds.labels == 5
    # So that it may be the run of the study with the next seeds.
    following = replace(RUN, seeds=Seeds(init=4, order=5, labels=6))
    assert other_run(Settings(), "other_seed", RUN, 0).run_id == following.run_id


@pytest.mark.parametrize(
    ("branch_at", "step"), [(0.1, 5), (0.3, 5), (1 / 3, 20), (0.5, 20), (0.99, 40)]
)
def test_a_twin_branches_at_the_last_checkpoint_up_to_the_share(
    branch_at: float, step: int
) -> None:
    assert controls.branch_step(Settings(branch_at=branch_at), RUN) == step


def test_a_twin_without_an_early_checkpoint_is_refused() -> None:
    late = replace(RUN, checkpoints=(0, 50, 60))
    pattern = (
        r"controls: expected a checkpoint after step 0 and up to step 6 \(branch_at = 0\.1\) for "
        r"twin, got \(0, 50, 60\); add one, or set branch_at"
    )
    with pytest.raises(InputError, match=pattern):
        extra_runs(Settings(), late)
    with pytest.raises(InputError, match="for twin"):
        units(Settings(), late, HERE)
    assert extra_runs(Settings(controls=("mirror",)), late) == []


def test_extra_runs_are_named_once_a_replicate() -> None:
    found = extra_runs(Settings(branch_at=0.4, replicates=2), RUN)
    assert [name for name, _ in found] == ["other_seed"] * 2 + ["same_init"] * 2 + ["twin"] * 2
    assert len({run.run_id for _, run in found}) == 6
    # The matched one takes the runs of the unmatched one.
    for names in (("other_seed_matched",), ("other_seed", "other_seed_matched")):
        only = extra_runs(Settings(controls=names), RUN)  # type: ignore[arg-type]
        assert only == [("other_seed", other_run(Settings(), "other_seed", RUN, 0))]
    assert extra_runs(Settings(controls=("random_parameters", "mirror")), RUN) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"branch": Branch(step=20, order=1)},
        {"freeze": Freeze(depth=1)},
        {"replay": Replay(depth=1)},
    ],
    ids=["branches", "freezes", "replays"],
)
def test_a_run_that_is_disturbed_has_no_controls(changed: dict[str, object]) -> None:
    run = replace(RUN, **changed)  # type: ignore[arg-type]
    assert extra_runs(Settings(branch_at=0.4), run) == []
    assert units(Settings(branch_at=0.4), run, HERE) == []


def test_what_the_matched_control_is_held_against_is_planned_as_splices_would() -> None:
    both = (*SCORED, Evaluation(split="train", n=50))
    settings = Settings(controls=("other_seed_matched",), evaluations=both, batch_size=100)
    found = [unit for unit in units(settings, RUN, HERE) if unit.kind == "splices"]
    same = splices.Settings(evaluations=both, batch_size=100, norm=("recalibrate",))
    expected = splices.units(same, RUN, HERE)
    assert [unit.unit_id for unit in found] == [unit.unit_id for unit in expected]
    assert found == expected
    without = Settings(controls=("other_seed",), evaluations=both)
    assert {unit.kind for unit in units(without, RUN, HERE)} == {"controls"}


@pytest.mark.parametrize("control", ALL)
def test_a_bundle_gives_the_rows_of_each_unit_alone(control: str, home: Path) -> None:
    found = planned(control)
    heard: list[float] = []
    together = controls.compute_together([unit.spec for unit in found], home, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
    for unit, tables in zip(found, together, strict=True):
        alone = controls.compute(unit.spec, home, silent)
        assert set(tables) == set(alone) == {"controls", "predictions"}
        assert all(tables[kind].equals(alone[kind]) for kind in tables)


@pytest.mark.parametrize("control", ALL)
def test_rows_say_what_they_are_and_predictions_agree(control: str, home: Path) -> None:
    unit = planned(control)[1]
    spec = unit.spec
    tables = controls.compute(spec, home, silent)
    labels = evaluation.load(spec.evaluation, HERE).labels.tolist()
    rows, guesses = tables["controls"].to_pylist(), tables["predictions"].to_pylist()
    pairs = FORWARD
    if control == "twin":
        # Up to step 20 the twin is the run itself.
        pairs = [(s, t) for s, t in FORWARD if s > 20]
    assert [(row["shallow_step"], row["deep_step"]) for row in rows] == pairs
    for row, guess in zip(rows, guesses, strict=True):
        expected = {
            "run_id": RUN.run_id,
            "shallow_run_id": (spec.other or RUN).run_id,
            "control": control,
            "replicate": 0,
            "eval_id": spec.evaluation.eval_id,
            "cut": "layer2",
            "depth": 2,
            "norm": spec.norm,
            "dtype": "float32",
            "batch_size": 250,
            "n": 100,
        }
        assert {name: row[name] for name in expected} == expected
        assert {name: guess[name] for name in expected} == expected
        assert (guess["shallow_step"], guess["deep_step"]) == (
            row["shallow_step"],
            row["deep_step"],
        )
        hits = sum(a == b for a, b in zip(guess["predicted"], labels, strict=True))
        assert hits == row["correct"]
        assert row["accuracy"] == hits / 100
        assert row["target_half_width"] == row["half_width"] == 0


@pytest.mark.parametrize("control", sorted({*ALL} - {*controls.OTHER_RUNS}))
def test_on_the_diagonal_nothing_is_displaced(control: str, home: Path) -> None:
    for unit in planned(control):
        agreement = cells(rows_of(unit, home), "agreement")
        assert all(agreement[t, t] == 1 for t in STEPS)
        assert any(value < 1 for value in agreement.values())


@pytest.mark.parametrize("control", ["other_seed", "same_init", "twin"])
def test_a_cell_is_the_other_runs_shallow_part_under_this_runs_deep_part(
    control: str, home: Path
) -> None:
    unit = planned(control)[1]
    examples = evaluation.load(unit.spec.evaluation, HERE)
    own = dict(zip(*stored_networks(RUN, home), strict=True))
    others = dict(zip(*stored_networks(unit.spec.other, home), strict=True))
    found = rows_of(unit, home)
    correct, agreement, loss = (cells(found, name) for name in ("correct", "agreement", "loss"))
    with torch.inference_mode():
        for s, t in correct:
            logits = compose(others[s], own[t], 2)(examples.images)
            guesses = logits.argmax(dim=1)
            assert correct[s, t] == int((guesses == examples.labels).sum())
            plain = own[t](examples.images).argmax(dim=1)
            assert agreement[s, t] == pytest.approx(float((guesses == plain).double().mean()))
            expected = nn.functional.cross_entropy(logits.double(), examples.labels)
            assert loss[s, t] == pytest.approx(float(expected), rel=1e-4)


def test_same_init_is_the_run_itself_before_the_first_update(home: Path) -> None:
    own = splices.units(splices.Settings(evaluations=SCORED), RUN, HERE)[0]
    expected = cells(splices.compute(own.spec, home, silent)["splices"].to_pylist(), "loss")
    found = cells(rows_of(planned("same_init")[0], home), "loss")
    other = cells(rows_of(planned("other_seed")[0], home), "loss")
    for t in STEPS:
        assert found[0, t] == expected[0, t]
        assert other[0, t] != expected[0, t]
    assert found[40, 60] != expected[40, 60]


def reordered(network: nn.Sequential, orders: list[Tensor]) -> nn.Sequential:
    """The same function, with the units of every hidden layer in another order."""
    result = copy.deepcopy(network)
    before = None
    for block, order in zip(result, orders, strict=False):
        if before is not None:
            block.linear.weight.data = block.linear.weight[:, before]
        block.linear.weight.data = block.linear.weight[order]
        for tensor in block.norm.state_dict().values():
            if tensor.ndim:
                tensor.copy_(tensor[order].clone())
        before = order
    result[-1].weight.data = result[-1].weight[:, before]
    return result


def test_a_planted_permutation_is_a_floor_until_it_is_undone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = torch.Generator().manual_seed(0)
    orders = [torch.randperm(16, generator=stream) for _ in range(3)]
    steps, networks = stored_networks(RUN, home)
    planted = [reordered(network, orders) for network in networks]
    images = evaluation.load(planned("mirror")[0].spec.evaluation, HERE).images
    with torch.inference_mode():
        for plain, moved in zip(networks, planted, strict=True):
            torch.testing.assert_close(moved(images), plain(images), rtol=1e-4, atol=1e-5)

    def stored(run: RunConfig, home: Path) -> tuple[list[int], list[nn.Sequential]]:
        return steps, networks if run == RUN else planted

    monkeypatch.setattr(control_cubes, "stored_networks", stored)
    recalibrated = splices.units(
        splices.Settings(evaluations=SCORED, norm=("recalibrate",)), RUN, HERE
    )
    for own, matched, other in zip(
        recalibrated, planned("other_seed_matched"), planned("other_seed"), strict=True
    ):
        found = splices.compute(own.spec, home, silent)["splices"].to_pylist()
        undone, floor = rows_of(matched, home), rows_of(other, home)
        for column in ("correct", "agreement", "chance"):
            expected, got = cells(found, column), cells(undone, column)
            assert [got[t, t] for t in steps] == [expected[t, t] for t in steps], column
        expected, got = cells(found, "loss"), cells(undone, "loss")
        for t in steps:
            assert got[t, t] == pytest.approx(expected[t, t], rel=1e-4)
        accuracy = cells(found, "accuracy")[60, 60]
        assert accuracy > 0.6
        assert cells(floor, "accuracy")[60, 60] < accuracy - 0.3


def test_channels_are_matched_under_the_statistics_they_are_used_with(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under the running statistics stored in it, every unit of this network is dead.
    steps, networks = stored_networks(RUN, home)
    for norm in (module for module in networks[2].modules() if hasattr(module, "running_mean")):
        norm.running_mean.fill_(1e6)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    planted = [reordered(network, [order] * 3) for network in networks]
    monkeypatch.setattr(
        control_cubes,
        "stored_networks",
        lambda run, home: (steps, networks if run == RUN else planted),
    )
    own = splices.units(splices.Settings(evaluations=SCORED, norm=("recalibrate",)), RUN, HERE)[0]
    expected = cells(splices.compute(own.spec, home, silent)["splices"].to_pylist(), "correct")
    found = cells(rows_of(planned("other_seed_matched")[0], home), "correct")
    assert found[20, 20] == expected[20, 20] > 50


def test_replicates_draw_other_numbers(home: Path) -> None:
    for control in ("random_parameters", "random_features", "other_example"):
        one, other = (
            cells(rows_of(unit, home), "loss")
            for unit in planned(control, replicates=2)
            if unit.spec.cut.name == "layer1"
        )
        assert one[60, 60] == other[60, 60]
        assert one[20, 60] != other[20, 60]


def test_examples_without_a_partner_are_refused_by_the_controls_name(home: Path) -> None:
    (unit,) = planned(
        "other_example_same_class", cuts=("layer1",), evaluations=(Evaluation(split="test", n=5),)
    )
    pattern = (
        r"other_example_same_class: targets: expected at least two examples of each class, got one "
        r"of class \d; take more examples"
    )
    with pytest.raises(InputError, match=pattern):
        controls.compute(unit.spec, home, silent)


def test_an_unknown_cut_is_refused() -> None:
    with pytest.raises(InputError, match=r"cuts: expected names among layer1, layer2, layer3 .*"):
        planned("mirror", cuts=("stem",))
