"""A process that answers JSON with JSON, a line each: started, asked, heard, ended."""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

Message = dict[str, Any]
# A thread each, whatever the machine has: the worker spreads its work over the cores itself.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Worker:
    """One process; ``folder`` is where its modules lie. Messages are objects, never pickles."""

    def __init__(self, command: Sequence[str], folder: Path | None = None) -> None:
        # PYTHONPATH rather than the working folder: relative paths stay those of the app.
        path = os.pathsep.join(filter(None, (str(folder or ""), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
            text=True,
            encoding="utf-8",
            # Ctrl-C in the app's terminal is the app's; this process ends with its input.
            start_new_session=True,
        )
        self._heard: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    def say(self, message: Message) -> None:
        """Send a message; to a process that has ended it is lost, and ``hear`` tells."""
        assert self._process.stdin is not None
        # ValueError: closed.
        with suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def hear(self, seconds: float) -> Message | None:
        """Return the next message, or None after ``seconds``. Raises EOFError once it has ended."""
        try:
            message = self._heard.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            self._heard.put(None)
            raise EOFError
        return message

    def end(self) -> None:
        """End the process at once, and wait until it is gone."""
        self._process.kill()
        self._listener.join()

    def _listen(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._heard.put(json.loads(line))
        except (OSError, ValueError):
            # Cut short, or no JSON: it is not to be trusted any more.
            self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(OSError):
            self._process.stdin.close()
        self._heard.put(None)
