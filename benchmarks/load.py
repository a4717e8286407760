"""Visitors who click: how long a page takes when many look at once.

    python -m benchmarks.load --visitors 50 --minutes 10 --home SNAPSHOT

Starts the app read-only on a home (by default FEATDYN_HOME, or else a study of seconds), and speaks
its websocket protocol as browsers do. A visitor opens a page, then again and again waits, and turns
to another page or moves one of its controls; timed is from the click to the end of the page's run.
Drawing in the browser is not in it.
"""

import argparse
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from benchmarks.harness import RESULTS, write

ROOT = Path(__file__).parents[1]
SMALL_STUDY = ROOT / "tests" / "docker" / "small.toml"
NEW_PAGE = 0.4  # share of the clicks that open another page
PATIENCE = 120.0


@dataclass
class Seen:
    """What all visitors met. ``seconds``: a number a click, in order of their ends."""

    seconds: list[float] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    lost: int = 0
    received: int = 0


class Visitor:
    """One browser tab: a session of the app, its widgets, and the pages it may turn to."""

    def __init__(self, connection: ClientConnection, draw: random.Random, seen: Seen) -> None:
        self.connection = connection
        self.draw = draw
        self.seen = seen
        self.pages: list[str] = []
        self.page = ""
        self.widgets: dict[str, tuple[str, list[str]]] = {}

    def run(self, changed: tuple[str, str, str] | None = None) -> None:
        """Ask for the page, with one control (kind, id, option) moved if so asked; wait for it."""
        from streamlit.proto.BackMsg_pb2 import BackMsg

        message = BackMsg()
        message.rerun_script.page_script_hash = self.page
        if changed is not None:
            kind, widget, option = changed
            state = message.rerun_script.widget_states.widgets.add(id=widget)
            if kind == "selectbox":
                state.string_value = option
            else:
                state.string_array_value.data.append(option)
        started = time.perf_counter()
        self.connection.send(message.SerializeToString())
        self.widgets = {}
        while not self._finished(self.connection.recv(timeout=PATIENCE)):
            pass
        self.seen.seconds.append(time.perf_counter() - started)

    def _finished(self, content: Any) -> bool:
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        self.seen.received += len(content)
        message = ForwardMsg.FromString(content)
        kind = message.WhichOneof("type")
        if kind == "navigation":
            self.pages = [page.page_script_hash for page in message.navigation.app_pages]
        elif kind == "delta":
            element = message.delta.new_element
            name = element.WhichOneof("type")
            if name == "exception":
                self.seen.exceptions.append(element.exception.message)
            elif name in ("selectbox", "slider"):
                widget = getattr(element, name)
                self.widgets[widget.id] = (name, list(widget.options))
            elif name == "button_group":
                options = [option.content for option in element.button_group.options]
                self.widgets[element.button_group.id] = (name, options)
        return bool(kind == "script_finished")

    def click(self) -> None:
        """Turn to another page, or move one control of this one."""
        movable = {key: each for key, each in self.widgets.items() if len(each[1]) > 1}
        if not movable or self.draw.random() < NEW_PAGE:
            self.page = self.draw.choice(self.pages)
            self.run()
            return
        widget = self.draw.choice(sorted(movable))
        kind, options = movable[widget]
        self.run((kind, widget, self.draw.choice(options)))


def visit(address: str, number: int, until: float, pause: float, seen: Seen) -> None:
    """Come, click until it is time to go; pauses are exponential, ``pause`` seconds on average."""
    draw = random.Random(number)
    url = address.replace("http://", "ws://") + "/_stcore/stream"
    try:
        with connect(
            url, origin=Origin(address), subprotocols=[Subprotocol("streamlit")], max_size=None
        ) as connection:
            visitor = Visitor(connection, draw, seen)
            visitor.run()
            while time.monotonic() < until:
                time.sleep(min(draw.expovariate(1 / pause), max(until - time.monotonic(), 0)))
                visitor.click()
    except (OSError, TimeoutError, WebSocketException):
        seen.lost += 1


def megabytes(process: int) -> int:
    """Resident memory of a process, in MB; 0 where /proc doesn't say."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return int(text.split("VmRSS:")[1].split()[0]) * 1024 // 10**6


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, int]]:
    """Run the app read-only on a home; yield its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py"]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
    command += ["--server.fileWatcherType", "none"]
    environment = {**os.environ, "FEATDYN_HOME": str(home), "FEATDYN_READONLY": "1"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield address, server.pid
        finally:
            server.terminate()


@contextmanager
def some_home(home: Path | None) -> Iterator[Path]:
    """Yield the home asked for, that of the environment, or a new one with a study of seconds."""
    found = home or Path(os.environ.get("FEATDYN_HOME") or "var").absolute()
    if home is not None or (found / "featdyn.duckdb").is_file():
        yield found
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "featdyn_engine", "run", str(SMALL_STUDY)]
        subprocess.run(command, check=True, env={**os.environ, "FEATDYN_HOME": folder}, cwd=ROOT)
        yield Path(folder)


def measure(
    visitors: int = 20,
    minutes: float = 2.0,
    pause: float = 5.0,
    home: Path | None = None,
    folder: Path = RESULTS,
) -> dict[str, object]:
    """Let visitors click for some minutes; write how long they waited and what they met."""
    seen = Seen()
    with some_home(home) as place, serving(place) as (address, process):
        first = Seen()
        visit(address, 0, 0.0, pause, first)
        at_start = megabytes(process)
        until = time.monotonic() + 60 * minutes
        threads = [
            threading.Thread(target=visit, args=(address, number, until, pause, seen))
            for number in range(1, visitors + 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        at_end = megabytes(process)
    ordered = sorted(seen.seconds)
    return write(
        "load",
        {
            "visitors": visitors,
            "minutes": minutes,
            "pause_seconds": pause,
            "clicks": len(ordered),
            "clicks_a_second": round(len(ordered) / (60 * minutes), 2),
            "seconds": {
                "first": round(first.seconds[0], 3) if first.seconds else None,
                "median": round(statistics.median(ordered), 3) if ordered else None,
                "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3) if ordered else None,
                "longest": round(ordered[-1], 3) if ordered else None,
            },
            "exceptions": len(seen.exceptions),
            "connections_lost": seen.lost,
            "megabytes_sent": round(seen.received / 1e6, 1),
            "megabytes_of_the_server": {"after_one_visitor": at_start, "at_the_end": at_end},
        },
        folder,
    )


def main() -> None:
    """Read the parameters, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds between clicks, mean")
    parser.add_argument("--home", type=Path, help="by default FEATDYN_HOME, else a small study")
    asked = parser.parse_args()
    print(measure(asked.visitors, asked.minutes, asked.pause, asked.home))


if __name__ == "__main__":
    main()
