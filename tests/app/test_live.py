"""The desk in front of the worker: places in line, limits, visitors who leave, workers that die."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import desk as desks
from app.desk import RESTARTED, Answered, Desk, Failed, Full, Limits, Waiting
from app.worker import Worker

FAKE = (sys.executable, "-S", "-E", str(Path(__file__).with_name("fake_worker.py")))
SOON = 20.0
Open = Callable[..., Desk]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open a desk with the fake worker; it is closed in the end."""
    here: list[Desk] = []

    def make(start: float = 0.0, **limits: Any) -> Desk:
        here.append(Desk(lambda: Worker((*FAKE, str(start))), Limits(**{"between": 0.0, **limits})))
        return here[-1]

    yield make
    for each in here:
        each.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in 20 s"
        time.sleep(0.01)


def echo(say: object) -> dict[str, Any]:
    return {"do": "echo", "say": say}


def waits(seconds: float = 60.0, **more: object) -> dict[str, Any]:
    return {"do": "wait", "seconds": seconds, **more}


def running(desk: Desk, visitor: str, key: str, words: dict[str, Any]) -> None:
    """Put a job in line and wait until it is being worked on."""

    def begun() -> bool:
        state = desk.ask(visitor, (key,), words)
        return isinstance(state, Waiting) and state.place == 0 and state.share > 0

    until(begun)


def test_an_answer_comes_and_is_kept(opened: Open) -> None:
    desk = opened()
    first = desk.ask("a", ("k",), echo(1), SOON)
    assert isinstance(first, Answered)
    assert (first.result["said"], first.note) == (1, "")
    # Kept: asked again under the same key, in whatever words, it is the same at once.
    assert desk.ask("b", ("k",), echo(2)) is first
    desk.again(("k",))
    second = desk.ask("b", ("k",), echo(2), SOON)
    assert isinstance(second, Answered)
    assert second.result["said"] == 2


def test_who_asks_for_one_after_another_is_held_up_and_nobody_else(opened: Open) -> None:
    desk = opened(between=0.5)

    def seconds(visitor: str, key: str) -> float:
        begun = time.monotonic()
        desk.ask(visitor, (key,), echo(key), SOON)
        return time.monotonic() - begun

    assert seconds("anna", "a") < 0.4
    assert seconds("anna", "a") < 0.4
    assert seconds("ben", "b") < 0.4
    assert seconds("anna", "b") > 0.1
    assert seconds("anna", "c") > 0.4
    time.sleep(0.6)
    assert seconds("anna", "d") < 0.4


def test_only_so_many_answers_are_kept(opened: Open) -> None:
    desk = opened(kept=2)
    for k in range(3):
        desk.ask("a", (k,), echo(k), SOON)
    assert isinstance(desk.ask("a", (2,), echo(2)), Answered)
    assert isinstance(desk.ask("a", (1,), echo(1)), Answered)
    assert isinstance(desk.ask("a", (0,), echo(0)), Waiting)


def test_visitors_see_their_place_in_line_and_move_up(opened: Open) -> None:
    desk = opened()
    running(desk, "a", "long", waits())
    assert desk.ask("b", ("second",), echo(1)) == Waiting(1)
    assert desk.ask("c", ("third",), echo(2)) == Waiting(2)
    desk.leave("b")
    assert desk.ask("c", ("third",), echo(2)) == Waiting(1)
    desk.leave("a")
    assert isinstance(desk.ask("c", ("third",), echo(2), SOON), Answered)


def test_the_line_has_an_end(opened: Open) -> None:
    desk = opened(waiting=2)
    running(desk, "a", "long", waits())
    desk.ask("b", (1,), echo(1))
    desk.ask("c", (2,), echo(2))
    assert desk.ask("d", (3,), echo(3)) == Full(2)
    # One that is in line already may be waited for by more visitors.
    assert desk.ask("d", (2,), echo(2)) == Waiting(2)
    desk.leave("b")
    assert desk.ask("e", (3,), echo(3)) == Waiting(2)


def test_who_asks_for_something_else_leaves_the_line(opened: Open) -> None:
    desk = opened()
    running(desk, "a", "long", waits())
    desk.ask("b", ("old",), echo(1))
    assert desk.ask("b", ("new",), echo(2)) == Waiting(1)
    assert desk.ask("c", ("old",), echo(1)) == Waiting(2)


def test_a_running_job_that_nobody_waits_for_is_cancelled_and_its_worker_stays(
    opened: Open,
) -> None:
    desk = opened()
    running(desk, "a", "long", waits())
    pid = desk.pid
    started = time.monotonic()
    answer = desk.ask("a", ("other",), echo(1), SOON)
    assert isinstance(answer, Answered)
    assert answer.result["pid"] == pid
    assert time.monotonic() - started < 10
    assert isinstance(desk.ask("a", ("long",), waits()), Waiting)


def test_two_who_want_the_same_share_a_job(opened: Open) -> None:
    desk = opened()
    running(desk, "a", "long", waits(1.0))
    assert isinstance(desk.ask("b", ("long",), waits(1.0)), Waiting)
    desk.leave("a")
    assert isinstance(desk.ask("b", ("long",), waits(1.0), SOON), Answered)


def test_who_is_silent_for_long_has_left(opened: Open) -> None:
    desk = opened(patience=0.3)
    running(desk, "a", "long", waits())
    desk.ask("b", ("second",), echo(1))
    time.sleep(0.5)
    assert isinstance(desk.ask("c", ("third",), echo(2), SOON), Answered)


def test_a_job_past_its_time_is_stopped_and_says_so(opened: Open) -> None:
    desk = opened(seconds=0.2)
    state = desk.ask("a", ("long",), waits(), SOON)
    assert isinstance(state, Failed)
    assert "took longer than 0 s and was stopped" in state.sentence
    assert isinstance(desk.ask("a", ("next",), echo(1), SOON), Answered)


def test_a_worker_that_does_not_stop_when_told_is_ended(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "GRACE_SECONDS", 0.1)
    desk = opened(seconds=0.2)
    state = desk.ask("a", ("long",), waits(deaf=True), SOON)
    assert isinstance(state, Failed)
    assert "was stopped" in state.sentence
    after = desk.ask("a", ("next",), echo(1), SOON)
    assert isinstance(after, Answered)


def test_a_worker_killed_at_work_is_replaced_and_the_job_done_again(opened: Open) -> None:
    desk = opened()
    running(desk, "a", "long", waits(0.5))
    pid = desk.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    state = desk.ask("a", ("long",), waits(0.5), SOON)
    assert isinstance(state, Answered)
    assert state.note == RESTARTED
    assert state.result["pid"] != pid


def test_a_worker_killed_while_idle_is_replaced_by_the_next_job(opened: Open) -> None:
    desk = opened()
    first = desk.ask("a", ("k",), echo(1), SOON)
    assert isinstance(first, Answered)
    os.kill(first.result["pid"], signal.SIGKILL)
    second = desk.ask("a", ("l",), echo(1), SOON)
    assert isinstance(second, Answered)
    assert second.note == RESTARTED


def test_a_job_that_ends_its_worker_once_is_done_by_the_next(opened: Open, tmp_path: Path) -> None:
    words = {"do": "die_once", "mark": str(tmp_path / "mark")}
    state = opened().ask("a", ("k",), words, SOON)
    assert isinstance(state, Answered)
    assert state.note == RESTARTED


@pytest.mark.parametrize("do", ["die", "garbage"])
def test_a_job_that_ends_every_worker_fails_in_a_sentence(do: str, opened: Open) -> None:
    desk = opened()
    assert desk.ask("a", ("k",), {"do": do}, SOON) == Failed(
        "The worker stopped twice at this request; it is not tried again by itself."
    )
    assert isinstance(desk.ask("a", ("next",), echo(1), SOON), Answered)


def test_a_refusal_is_the_workers_sentence(opened: Open) -> None:
    state = opened().ask("a", ("k",), {"do": "refuse"}, SOON)
    assert state == Failed("expected something else")


def test_a_page_knows_that_the_worker_is_not_ready_yet(opened: Open) -> None:
    desk = opened(start=0.5)
    state = desk.ask("a", ("k",), echo(1))
    assert isinstance(state, Waiting)
    assert not state.started
    assert isinstance(desk.ask("a", ("k",), echo(1), SOON), Answered)


def test_a_job_waits_for_the_worker_that_is_starting_already() -> None:
    made: list[Worker] = []

    def make() -> Worker:
        made.append(Worker((*FAKE, "0.5")))
        return made[-1]

    desk = Desk(make)
    until(lambda: len(made) == 1)
    assert isinstance(desk.ask("a", ("k",), echo(1), SOON), Answered)
    assert len(made) == 1
    desk.close()


def test_a_worker_that_is_never_ready_is_given_up(opened: Open) -> None:
    state = opened(start=60, start_seconds=0.2).ask("a", ("k",), echo(1), SOON)
    assert state == Failed("The worker was not ready after 0 s.")


def test_closing_ends_the_worker(opened: Open) -> None:
    desk = opened()
    running(desk, "a", "long", waits())
    pid = desk.pid
    assert pid is not None
    desk.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_ends_with_its_input() -> None:
    worker = Worker(FAKE)
    assert worker.hear(SOON) == {"ready": {"device": "fake"}}
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    with pytest.raises(EOFError):
        worker.hear(SOON)
    # Once it has ended it stays so.
    with pytest.raises(EOFError):
        worker.hear(0.01)
    worker.say({"id": 1})
    worker.end()
