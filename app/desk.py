"""A queue of bounded length in front of one worker, and answers kept by what was asked.

A visitor asks, again and again, for what the page shows: the answer, or the place in line. Who
asks for something else, or doesn't ask for a while, has left the line.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from app.worker import Message, Worker

Key = tuple[object, ...]
# How often a running job is looked after, and how long a cancelled one may take to give up.
TICK_SECONDS = 0.05
GRACE_SECONDS = 2.0
RESTARTED = "The worker had stopped and was started again."


@dataclass(frozen=True)
class Limits:
    """Jobs in line, seconds a job may take, seconds without a word before a visitor has left.

    ``kept``: how many answers are kept. ``start_seconds``: a worker gets that long to be ready.
    ``between``: seconds from one question of a visitor to another, about what a splice takes, so
    that who asks without a pause leaves the server to others meanwhile.
    """

    waiting: int = 8
    seconds: float = 120.0
    patience: float = 10.0
    kept: int = 100
    start_seconds: float = 120.0
    between: float = 0.7


@dataclass(frozen=True)
class Answered:
    """The worker's answer; ``note``: what happened on the way, or nothing."""

    result: Message
    note: str = ""


@dataclass(frozen=True)
class Failed:
    """No answer, and why in a sentence."""

    sentence: str


# What came of a job that nobody waited for: it is not kept.
DESERTED = Failed("Nobody waited for this any more.")


@dataclass(frozen=True)
class Waiting:
    """In line: ``place`` 0 is being worked on, ``share`` of it done. ``started``: worker ready."""

    place: int
    share: float = 0.0
    started: bool = True
    note: str = ""


@dataclass(frozen=True)
class Full:
    """There is no place in line: ``waiting`` are in it."""

    waiting: int


State = Answered | Failed | Waiting | Full


@dataclass
class _Job:
    """What is to be done, and for whom: the last time that each visitor asked."""

    key: Key
    words: Message
    visitors: dict[str, float] = field(default_factory=dict)
    share: float = 0.0
    note: str = ""


class Desk:
    """Takes jobs for one worker, which ``make`` starts, first come first served."""

    def __init__(
        self,
        make: Callable[[], Worker],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._clock = make, clock
        self.limits = limits or Limits()
        self.about: Message = {}
        self._changed = threading.Condition()
        self._line: OrderedDict[Key, _Job] = OrderedDict()
        self._running: _Job | None = None
        self._kept: OrderedDict[Key, Answered | Failed] = OrderedDict()
        # What visitors asked for last, and when, as far as another question would come too early.
        self._last: dict[str, tuple[Key, float]] = {}
        self._worker: Worker | None = None
        self._closed = False
        self._count = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Number of the worker's process, None where there is none."""
        worker = self._worker
        return None if worker is None else worker.pid

    def ask(self, visitor: str, key: Key, words: Message, seconds: float = 0.0) -> State:
        """Return how it stands with a job, after at most ``seconds`` of waiting for its answer.

        The first to ask puts it in line. A visitor has one job there: asking for another leaves
        the one before, and is held up where it comes at once (``Limits.between``).
        """
        time.sleep(self._early(visitor, key))
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                state = self._state(visitor, key, words)
                left = deadline - time.monotonic()
                if isinstance(state, Answered | Failed) or left <= 0:
                    return state
                self._changed.wait(left)

    def leave(self, visitor: str) -> None:
        """Take a visitor out of the line."""
        with self._changed:
            self._forget(visitor)

    def again(self, key: Key) -> None:
        """Forget what came of a job: the next to ask has it done once more."""
        with self._changed:
            self._kept.pop(key, None)

    def close(self) -> None:
        """End the worker; nothing is answered any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _early(self, visitor: str, key: Key) -> float:
        """Return the seconds by which a question comes too early after another of the visitor."""
        now, between = time.monotonic(), self.limits.between
        with self._changed:
            for other, (_, asked) in list(self._last.items()):
                if now - asked >= between:
                    del self._last[other]
            before, asked = self._last.get(visitor, (key, now))
            due = now if before == key else asked + between
            self._last[visitor] = (key, asked if before == key else due)
        return due - now

    def _state(self, visitor: str, key: Key, words: Message) -> State:
        now = self._clock()
        self._forget(visitor, but=key)
        self._forget_absent(now)
        if key in self._kept:
            self._forget(visitor)
            self._kept.move_to_end(key)
            return self._kept[key]
        running = self._running
        if running is not None and running.key == key:
            running.visitors[visitor] = now
            return Waiting(0, running.share, bool(self.about), running.note)
        if key not in self._line:
            if len(self._line) >= self.limits.waiting:
                return Full(len(self._line))
            self._line[key] = _Job(key, words)
            self._changed.notify_all()
        self._line[key].visitors[visitor] = now
        ahead = list(self._line).index(key) + (running is not None)
        return Waiting(ahead, 0.0, bool(self.about))

    def _forget(self, visitor: str, but: Key | None = None) -> None:
        for job in [*self._line.values(), *([self._running] if self._running else [])]:
            if job.key != but:
                job.visitors.pop(visitor, None)
        self._drop_deserted()

    def _forget_absent(self, now: float) -> None:
        for job in [*self._line.values(), *([self._running] if self._running else [])]:
            for visitor, seen in list(job.visitors.items()):
                if now - seen > self.limits.patience:
                    del job.visitors[visitor]
        self._drop_deserted()

    def _drop_deserted(self) -> None:
        for key in [key for key, job in self._line.items() if not job.visitors]:
            del self._line[key]

    def _work(self) -> None:
        """Keep a worker ready and give it one job after another, until the desk is closed."""
        with suppress(EOFError, TimeoutError):
            self._ready()
        while True:
            with self._changed:
                while not self._line and not self._closed:
                    self._changed.wait()
                if self._closed:
                    break
                _, job = self._line.popitem(last=False)
                self._running = job
            outcome = self._outcome(job)
            with self._changed:
                self._running = None
                if outcome is not DESERTED:
                    self._kept[job.key] = outcome
                    while len(self._kept) > self.limits.kept:
                        self._kept.popitem(last=False)
                self._changed.notify_all()
        self._end()

    def _outcome(self, job: _Job) -> Answered | Failed:
        """Have a job done, once more where the worker stopped."""
        for _ in range(2):
            try:
                return self._done(job)
            except EOFError:
                self._end()
                job.note = RESTARTED
            except TimeoutError:
                seconds = self.limits.start_seconds
                return Failed(f"The worker was not ready after {seconds:.0f} s.")
        return Failed("The worker stopped twice at this request; it is not tried again by itself.")

    def _done(self, job: _Job) -> Answered | Failed:
        """Have a job done. Raises EOFError where the worker stops, TimeoutError as ``_ready``."""
        worker = self._ready()
        self._count += 1
        number, stop = self._count, None
        worker.say({"id": number, "job": job.words})
        deadline = time.monotonic() + self.limits.seconds
        while True:
            message = worker.hear(TICK_SECONDS)
            if message is not None and message.get("id") == number:
                outcome = self._told(message, job)
                if outcome is not None:
                    return stop if stop and "cancelled" in message else outcome
            late = time.monotonic() > deadline
            if stop is not None and late:
                # It doesn't listen: the next job gets a new one.
                self._end()
                return stop
            if stop is None:
                stop = self._why_stop(job, late)
                if stop is not None:
                    worker.say({"cancel": number})
                    deadline = time.monotonic() + GRACE_SECONDS

    def _told(self, message: Message, job: _Job) -> Answered | Failed | None:
        """Return what a message of the worker ends a job with; None while it goes on."""
        if "share" in message:
            with self._changed:
                job.share = message["share"]
                self._changed.notify_all()
            return None
        if "result" in message:
            return Answered(message["result"], job.note)
        return Failed(message.get("refused") or message.get("failed") or DESERTED.sentence)

    def _why_stop(self, job: _Job, late: bool) -> Failed | None:
        with self._changed:
            self._forget_absent(self._clock())
            if self._closed or not job.visitors:
                return DESERTED
        if not late:
            return None
        return Failed(
            f"This took longer than {self.limits.seconds:.0f} s and was stopped. Choose fewer "
            "examples, or use `featdyn splice` on the command line."
        )

    def _ready(self) -> Worker:
        """Return a worker that has said it is ready. Raises EOFError, TimeoutError: there is none.

        One that is starting already is waited for.
        """
        if self._worker is None:
            self._worker = self._make()
        worker, deadline = self._worker, time.monotonic() + self.limits.start_seconds
        try:
            while not self.about:
                message = worker.hear(TICK_SECONDS)
                if message is not None and "ready" in message:
                    self.about = message["ready"]
                elif self._closed:
                    raise EOFError
                elif time.monotonic() > deadline:
                    raise TimeoutError
        except (EOFError, TimeoutError):
            self._end()
            raise
        return worker

    def _end(self) -> None:
        worker, self._worker, self.about = self._worker, None, {}
        if worker is not None:
            worker.end()
