"""The process behind the app's Splice lab: ``python -m featdyn_engine.live_start``.

JSON, an object a line, in and out. In: ``{"id": 1, "job": {"kind": "splice", "home": ..., ...}}``
and ``{"cancel": 1}``. Out: first ``{"ready": {"device": "cpu"}}``, then of each job, in turn,
``{"id": 1, "share": 0.5}`` while it goes on, and at its end one of ``result``, ``refused`` (wrong
input, in words), ``failed`` and ``cancelled``. Nothing is ever unpickled. It ends with its input.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TextIO

import torch

from featdyn_engine.domain import InputError
from featdyn_engine.live import ROOM, Evaluator
from featdyn_engine.live_answers import JOBS, outline

# A set may take half of what is kept: networks and logits need room beside it.
LARGEST_SET = ROOM // 2
Message = dict[str, Any]


class Cancelled(Exception):  # noqa: N818 (no error)
    """Nobody waits for this job any more."""


class Inbox:
    """Jobs as they come in, read by a thread of its own: a cancellation is heard at once."""

    def __init__(self, lines: TextIO) -> None:
        self.jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            message = json.loads(line)
            if "cancel" in message:
                self.cancelled.add(message["cancel"])
            else:
                self.jobs.put(message)
        # The app is gone: nobody will read the answer of what is being computed.
        os._exit(0)


def best_device() -> torch.device:
    """Return CUDA, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Name a device in words."""
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type.upper()


class Worker:
    """Answers jobs, one after another; one evaluator a home, of which the last is kept."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.evaluator: Evaluator | None = None

    def answer(self, job: Message, progress: Callable[[float], None]) -> Message:
        """Return the message that ends a job, without its id."""
        started = time.perf_counter()
        try:
            result = self._result(job, progress)
        except Cancelled:
            return {"cancelled": True}
        except InputError as problem:
            return {"refused": str(problem).removeprefix("--")}
        except Exception as problem:
            traceback.print_exc()
            return {"failed": f"{type(problem).__name__}: {problem}"}
        about = {"device": device_name(self.device), "seconds": time.perf_counter() - started}
        return {"result": result | about}

    def _result(self, job: Message, progress: Callable[[float], None]) -> Message:
        home = Path(job["home"])
        if self.evaluator is None or self.evaluator.home != home:
            self.evaluator = Evaluator(home, self.device, largest=LARGEST_SET)
        if job["kind"] == "outline":
            return outline(self.evaluator, job)
        return JOBS[job["kind"]](self.evaluator, job, progress)


def serve(lines: TextIO, out: TextIO, worker: Worker) -> NoReturn:
    """Answer jobs until the input ends (then the process ends with it)."""

    def say(message: Message) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    inbox = Inbox(lines)
    say({"ready": {"device": device_name(worker.device)}})
    while True:
        message = inbox.jobs.get()
        job_id = message["id"]

        def progress(share: float, job_id: int = job_id) -> None:
            if job_id in inbox.cancelled:
                raise Cancelled
            say({"id": job_id, "share": share})

        say({"id": job_id, **worker.answer(message["job"], progress)})


def main() -> None:
    """Serve standard input and output."""
    # Ctrl-C in a terminal reaches every process of the app; this one ends with its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print must not get among the answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, out, Worker(best_device()))
