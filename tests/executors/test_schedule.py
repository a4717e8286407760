"""Which job may start when: the plan's order, never before its needs, never twice."""

import random

import pytest

from featdyn_engine.domain import Job, Unit
from featdyn_engine.executors.schedule import Schedule


def job(name: str, *needs: str) -> Job:
    return Job((Unit(kind="k", unit_id=name, label=name, spec=None, needs=needs),))


def taken(schedule: Schedule) -> list[str]:
    found = []
    while each := schedule.take():
        found.append(each.label)
    return found


def test_jobs_start_in_the_order_given_once_their_needs_are_done() -> None:
    train, other, splice, score = job("t"), job("o"), job("s", "t", "e"), job("c", "s", "t")
    schedule = Schedule([train, other, splice, score], {"e"})
    assert taken(schedule) == ["t", "o"]
    schedule.succeeded(other)
    assert taken(schedule) == []
    schedule.succeeded(train)
    assert taken(schedule) == ["s"]
    assert schedule.waiting == 1
    schedule.succeeded(splice)
    assert taken(schedule) == ["c"]
    assert schedule.waiting == 0


def test_a_job_put_back_comes_before_those_behind_it() -> None:
    first, second = job("1"), job("2")
    schedule = Schedule([first, second], set())
    assert schedule.take() == first
    schedule.put_back(first)
    assert schedule.waiting == 2
    assert taken(schedule) == ["1", "2"]


def test_what_needs_a_failed_job_ends_once_and_the_others_go_on() -> None:
    bad, worse, good = job("bad"), job("worse"), job("good")
    both, after, apart = job("both", "bad", "worse"), job("after", "both"), job("apart", "good")
    schedule = Schedule([bad, worse, good, both, after, apart], set())
    assert taken(schedule) == ["bad", "worse", "good"]
    lost = list(schedule.failed(bad))
    assert [ended.job.label for ended in lost] == ["both", "after"]
    assert all(ended.failure and not ended.started for ended in lost)
    assert list(schedule.failed(worse)) == []
    schedule.succeeded(good)
    assert taken(schedule) == ["apart"]
    assert schedule.waiting == 0


def test_a_need_that_nobody_makes_is_an_error_and_no_endless_wait() -> None:
    with pytest.raises(ValueError, match="s: nobody makes gone, which it needs"):
        Schedule([job("s", "gone")], set())


@pytest.mark.parametrize("seed", range(20))
def test_any_plan_ends_with_every_job_once(seed: int) -> None:
    draw = random.Random(seed)
    names = [str(i) for i in range(60)]
    jobs = [job(name, *draw.sample(names[:i], min(i, draw.randint(0, 3)))) for i, name in
            enumerate(names)]  # fmt: skip
    schedule, running, over = Schedule(jobs, set()), list[Job](), list[str]()
    fine = set[str]()
    while schedule.waiting or running:
        while len(running) < 4 and (each := schedule.take()):
            assert fine.issuperset(each.needs)
            running.append(each)
        ended = running.pop(draw.randrange(len(running)))
        over.append(ended.label)
        if draw.random() < 0.1:
            over += [lost.job.label for lost in schedule.failed(ended)]
        else:
            fine.add(ended.label)
            schedule.succeeded(ended)
    assert sorted(over) == sorted(names)
