"""From a study to jobs: runs of controls, bundles, and what comes in which order."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from featdyn_engine import planning, study
from featdyn_engine.analyses import controls
from featdyn_engine.domain import Seeds, Unit
from featdyn_engine.parts import part_path
from featdyn_engine.planning import Plan
from featdyn_engine.study import Study
from tests.cases import HERE, QUICK_STUDY

ANALYSES = """
[[analyses]]
kind = "consistency"

[[analyses]]
kind = "controls"
controls = ["other_seed", "other_seed_matched", "twin", "mirror"]
evaluations = [{ split = "test", n = 40 }]
branch_at = 0.5

[[analyses]]
kind = "splices"
norm = ["recalibrate", "inherit"]
evaluations = [{ split = "test", n = 40 }]
"""


def studied(analyses: str = ANALYSES, more: str = "") -> Study:
    text = QUICK_STUDY.replace("count = 6", "count = 10").replace("steps = 10", "steps = 40")
    return study.parse(text + more + analyses, "quick.toml", HERE)


@pytest.fixture(scope="module")
def quick() -> Study:
    return studied()


def unit(name: str, bundle: str = "", cost: float = 1.0, kind: str = "splices") -> Unit:
    return Unit(kind=kind, unit_id=name, label=name, spec=None, bundle=bundle, cost=cost)


def jobs(units: Sequence[Unit], quick: Study, finished: Sequence[str] = ()) -> list[list[str]]:
    plan = Plan(quick, tuple(units), frozenset(finished))
    return [[unit.unit_id for unit in job.units] for job in plan.jobs]


def test_units_of_a_bundle_are_one_job_and_others_are_their_own(quick: Study) -> None:
    units = [unit("a", "x"), unit("b"), unit("c", "y"), unit("d", "x"), unit("e"), unit("f", "y")]
    # Where its first unit stands.
    assert jobs(units, quick) == [["a", "d"], ["b"], ["c", "f"], ["e"]]


def test_what_is_finished_is_in_no_job(quick: Study) -> None:
    units = [unit("a", "x"), unit("b", "x"), unit("c", "x"), unit("d")]
    assert jobs(units, quick, finished=["b", "d"]) == [["a", "c"]]
    assert jobs(units, quick, finished=["a", "b", "c", "d"]) == []


def test_a_bundle_is_divided_where_a_kill_would_cost_too_much(
    quick: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MOST_AT_ONCE", 10.0)
    costs = {"a": 4.0, "b": 6.0, "c": 1.0, "d": 9.5, "e": 25.0, "f": 1.0}
    units = [unit(name, "x", cost) for name, cost in costs.items()]
    # Exactly as much is allowed; a single unit may be longer.
    assert jobs(units, quick) == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_a_job_sums_up_its_units() -> None:
    first = replace(unit("a", cost=2.0), needs=("run", "set"), label="splices stem")
    second = replace(unit("b", cost=3.0), needs=("run", "other"))
    (alone,) = Plan(studied(), (first,), frozenset()).jobs
    assert (alone.job_id, alone.label, alone.cost) == ("a", "splices stem", 2.0)
    bundle = [replace(each, bundle="x") for each in (first, second)]
    (job,) = Plan(studied(), tuple(bundle), frozenset()).jobs
    assert (job.job_id, job.kind, job.cost) == ("a", "splices", 5.0)
    assert job.label == "splices stem and 1 more"
    assert job.needs == {"run", "set", "other"}


def test_the_jobs_of_a_study_hold_each_unit_once_and_one_kind_each(quick: Study) -> None:
    plan = planning.plan(quick, HERE)
    found = [unit for job in plan.jobs for unit in job.units]
    assert sorted(unit.unit_id for unit in found) == sorted(unit.unit_id for unit in plan.units)
    for job in plan.jobs:
        assert len({unit.kind for unit in job.units}) == 1
        assert len({unit.bundle for unit in job.units}) == 1
    # Both hidden layers of the perceptron: two cuts together.
    assert {len(job.units) for job in plan.jobs if job.kind in ("splices", "controls")} == {2}


def test_runs_of_controls_are_named_after_what_they_are_for(quick: Study) -> None:
    true, random = (run.config for run in quick.runs)
    found = {run.name: run for run in quick.control_runs()}
    assert list(found) == [
        "true labels, seed 0: other seed",
        "true labels, seed 0: twin",
        "random labels, seed 0: other seed",
        "random labels, seed 0: twin",
    ]
    settings = controls.Settings(branch_at=0.5)
    assert found["true labels, seed 0: other seed"].config.seeds == Seeds(init=1, order=1, labels=1)
    # Random labels are the task: another seed learns the same ones.
    assert found["random labels, seed 0: other seed"].config.seeds == Seeds(
        init=1, order=1, labels=0
    )
    assert found["true labels, seed 0: twin"].config == controls.other_run(
        settings, "twin", true, 0
    )
    assert found["random labels, seed 0: twin"].config.parent == random
    for run in found.values():
        assert run.arm in ("true labels", "random labels")


def test_a_run_that_the_study_has_serves_as_its_own_control() -> None:
    found = studied(
        ANALYSES, '\n[[arms]]\nname = "others"\ntraining = { lr = 0.1 }\nseeds = [0, 1]\n'
    )
    names = [run.name for run in found.control_runs()]
    assert "others, seed 0: other seed" not in names
    assert "others, seed 1: other seed" in names
    ids = [run.config.run_id for run in (*found.runs, *found.control_runs())]
    assert len(set(ids)) == len(ids)


def test_a_study_without_controls_has_no_runs_besides() -> None:
    assert studied('[[analyses]]\nkind = "splices"\n').control_runs() == []


def test_summaries_come_behind_the_cubes_that_they_read(quick: Study) -> None:
    units = quick.units(HERE)
    assert len({unit.unit_id for unit in units}) == len(units)
    kinds = [unit.kind for unit in units]
    # Though the study asks for them first.
    assert set(kinds[: kinds.index("consistency")]) == {"controls", "splices"}
    assert set(kinds[kinds.index("consistency") :]) == {"consistency"}


def test_cubes_that_two_analyses_ask_for_are_planned_once(quick: Study) -> None:
    units = [unit for unit in quick.units(HERE) if unit.kind == "splices"]
    # Two arms, two modes, two cuts.
    assert len(units) == 2 * 2 * 2
    alone = studied(
        '[[analyses]]\nkind = "controls"\ncontrols = ["other_seed_matched"]\n'
        'evaluations = [{ split = "test", n = 40 }]\n'
    )
    own = {unit.unit_id for unit in alone.units(HERE) if unit.kind == "splices"}
    assert len(own) == 2 * 2
    assert own < {unit.unit_id for unit in units}


def test_every_need_comes_before_and_the_longest_work_first(quick: Study) -> None:
    plan = planning.plan(quick, HERE)
    seen: set[str] = set()
    for each in plan.units:
        if each.kind != "consistency":
            assert seen.issuperset(each.needs), each.label
        seen.add(each.unit_id)
    assert {need for each in plan.units for need in each.needs} <= seen
    analyses = [each for each in plan.units if each.kind not in ("metrics", "evaluations")]
    costs = [each.cost for each in analyses]
    assert costs == sorted(costs, reverse=True)
    trained = [each.run_id for each in plan.units if each.kind == "metrics"]
    assert len(trained) == 2 + 4


def test_a_part_that_is_there_is_finished(quick: Study, tmp_path: Path) -> None:
    whole = planning.plan(quick, tmp_path)
    assert whole.waiting == whole.units
    done = next(each for each in whole.units if each.kind == "controls")
    for kind in (done.kind, *done.companions):
        path = part_path(tmp_path, kind, done.unit_id)
        path.parent.mkdir(parents=True)
        path.touch()
    plan = planning.plan(quick, tmp_path)
    assert plan.finished == {done.unit_id}
    assert done.unit_id not in {each.unit_id for job in plan.jobs for each in job.units}


def test_asking_for_predictions_later_does_the_unit_again_under_the_same_identity(
    tmp_path: Path,
) -> None:
    def planned(word: str) -> Plan:
        asked = f'[[analyses]]\nkind = "splices"\npredictions = {word}\n'
        return planning.plan(study.parse(QUICK_STUDY + asked, "s.toml", tmp_path), tmp_path)

    without, kept = planned("false"), planned("true")
    assert [unit.unit_id for unit in without.units] == [unit.unit_id for unit in kept.units]
    done = {unit.unit_id for unit in kept.units if unit.kind == "splices"}
    for unit_id in done:
        path = part_path(tmp_path, "splices", unit_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert planned("false").finished == done
    assert not planned("true").finished


def test_predictions_are_counted_among_the_bytes_that_a_plan_needs(tmp_path: Path) -> None:
    def needed(word: str) -> int:
        asked = f'[[analyses]]\nkind = "splices"\npredictions = {word}\n'
        asked += 'evaluations = [{ split = "test", n = 40 }]\n'
        wanted = study.parse(QUICK_STUDY + asked, "s.toml", HERE)
        return planning.check_room(planning.plan(wanted, tmp_path), tmp_path)

    # Two runs of 6 checkpoints, two cuts, 40 examples.
    assert needed("true") - needed("false") == 2 * 2 * 6**2 * 40


def test_a_forecast_counts_the_checkpoints_of_control_runs(
    quick: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_time_forward", lambda *_: 1.0)
    plan = planning.plan(quick, tmp_path)
    trainings = [unit.spec for unit in plan.units if unit.kind == "metrics"]
    assert len(trainings) > len(quick.runs)
    expected = sum(len(run.stored_steps) for run in trainings)
    assert planning.forecast(plan, tmp_path, 1).checkpoints == expected


def test_arms_whose_scores_will_be_refused_are_named(quick: Study, tmp_path: Path) -> None:
    assert planning.remarks(planning.plan(quick, tmp_path)) == ()
    text = QUICK_STUDY.replace("steps = 10", "steps = 40") + ANALYSES
    few = study.parse(text, "quick.toml", HERE)
    (remark,) = planning.remarks(planning.plan(few, tmp_path))
    stored = few.runs[0].config.stored_steps
    assert f"got {sum(step > 2 for step in stored)}: " in remark
    assert remark.startswith(", ".join(dict.fromkeys(run.arm for run in few.runs)) + ": expected 8")
