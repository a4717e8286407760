"""Visitors who click: how long a page takes when many look at once.

    python -m benchmarks.load --visitors 50 --live 5 --minutes 10 --home SNAPSHOT

Starts the app read-only on a home (by default FEATDYN_HOME, or else a study of seconds), and speaks
its websocket protocol as browsers do. A visitor opens a page, then again and again waits, and turns
to another page or moves one of its controls; timed is from the click to the end of the page's run.
Drawing in the browser is not in it. Some visitors (``--live``) stay in the Splice lab instead and
ask for one splice after another; timed is until the answer is there, the line included. Memory is
that of the server and its worker.
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
from benchmarks.memory import megabytes

ROOT = Path(__file__).parents[1]
SMALL_STUDY = ROOT / "tests" / "docker" / "small.toml"
NEW_PAGE = 0.4  # share of the clicks that open another page
PATIENCE = 120.0
# As often as the lab's page asks for the answer while it is in line.
POLL_SECONDS = 0.4
SAMPLE_SECONDS = 2.0
LAB = "lab"
# What a visitor of the lab moves: each asks for another splice of the same two checkpoints.
LAB_CONTROLS = ("url_cut", "url_norm", "url_corruption")


@dataclass
class Seen:
    """What all visitors met: a number a click, in order of their ends.

    ``seconds``: of visitors who look. ``lab_seconds``: of those who ask for splices, of each run of
    the lab's page. ``splices``: seconds until a live splice was answered, computed for it or, asked
    by somebody before, kept.
    """

    seconds: list[float] = field(default_factory=list)
    lab_seconds: list[float] = field(default_factory=list)
    splices: list[float] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    lost: int = 0
    received: int = 0


class Visitor:
    """One browser tab: a session of the app, its widgets, and the pages it may turn to."""

    def __init__(self, connection: ClientConnection, draw: random.Random, seen: Seen) -> None:
        self.connection = connection
        self.draw = draw
        self.seen = seen
        self.pages: dict[str, str] = {}
        self.page = ""
        self.in_line = False
        self.widgets: dict[str, tuple[str, list[str]]] = {}
        self.chosen: dict[str, str] = {}

    def run(self, changed: tuple[str, str, str] | None = None) -> float:
        """Ask for the page, with one control (kind, id, option) moved if so asked; wait for it.

        Returns the seconds that it took.
        """
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
        self.widgets, self.in_line = {}, False
        while not self._finished(self.connection.recv(timeout=PATIENCE)):
            pass
        return time.perf_counter() - started

    def _finished(self, content: Any) -> bool:
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        self.seen.received += len(content)
        message = ForwardMsg.FromString(content)
        kind = message.WhichOneof("type")
        if kind == "navigation":
            pages = message.navigation.app_pages
            self.pages = {page.url_pathname: page.page_script_hash for page in pages}
        elif kind == "delta":
            element = message.delta.new_element
            name = element.WhichOneof("type")
            if name == "exception":
                self.seen.exceptions.append(element.exception.message)
            elif name == "progress":
                self.in_line = True
            elif name in ("selectbox", "slider"):
                widget = getattr(element, name)
                self.widgets[widget.id] = (name, list(widget.options))
            elif name == "button_group":
                options = [option.content for option in element.button_group.options]
                self.widgets[element.button_group.id] = (name, options)
        return bool(kind == "script_finished")

    def click(self) -> None:
        """Turn to another page, or move one control of this one."""
        movable = self._movable()
        if not movable or self.draw.random() < NEW_PAGE:
            self.page = self.draw.choice(sorted(self.pages.values()))
            self.seen.seconds.append(self.run())
        else:
            self.seen.seconds.append(self._move(self.draw.choice(movable)))

    def turn_to_lab(self) -> None:
        """Open the Splice lab, and wait until it has opened at its first splice."""
        self.page = self.pages[LAB]
        self.seen.lab_seconds.append(self.run())
        self._wait_in_line()

    def splice(self) -> None:
        """Ask the lab for another splice, and again and again until the answer is there."""
        started = time.perf_counter()
        movable = [each for each in self._movable() if each.endswith(LAB_CONTROLS)]
        if not movable:
            # What stands there is a sentence: come anew, as one would.
            time.sleep(POLL_SECONDS)
            self.turn_to_lab()
            return
        self.seen.lab_seconds.append(self._move(self.draw.choice(movable)))
        self._wait_in_line()
        self.seen.splices.append(time.perf_counter() - started)

    def _wait_in_line(self) -> None:
        while self.in_line:
            time.sleep(POLL_SECONDS)
            self.run()

    def _movable(self) -> list[str]:
        return sorted(key for key, (_, options) in self.widgets.items() if len(options) > 1)

    def _move(self, widget: str) -> float:
        kind, options = self.widgets[widget]
        others = [option for option in options if option != self.chosen.get(widget)]
        self.chosen[widget] = self.draw.choice(others)
        return self.run((kind, widget, self.chosen[widget]))


def visit(
    address: str, number: int, until: float, pause: float, seen: Seen, live: bool = False
) -> None:
    """Come, click until it is time to go; pauses are exponential, ``pause`` seconds on average.

    ``live``: into the Splice lab, to ask for splices there, one after another without a pause.
    """
    draw = random.Random(number)
    url = address.replace("http://", "ws://") + "/_stcore/stream"
    try:
        with connect(
            url, origin=Origin(address), subprotocols=[Subprotocol("streamlit")], max_size=None
        ) as connection:
            visitor = Visitor(connection, draw, seen)
            seen.seconds.append(visitor.run())
            if live:
                visitor.turn_to_lab()
            while time.monotonic() < until:
                if live:
                    visitor.splice()
                    continue
                time.sleep(min(draw.expovariate(1 / pause), max(until - time.monotonic(), 0)))
                visitor.click()
    except (OSError, TimeoutError, WebSocketException):
        seen.lost += 1


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


def quantiles(seconds: list[float]) -> dict[str, float | None]:
    """Median, 95th percentile and longest of some waits; None of none."""
    ordered = sorted(seconds)
    if not ordered:
        return dict.fromkeys(("median", "p95", "longest"))
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "longest": round(ordered[-1], 3),
    }


def measure(
    visitors: int = 20,
    minutes: float = 2.0,
    pause: float = 5.0,
    home: Path | None = None,
    folder: Path = RESULTS,
    live: int = 0,
) -> dict[str, object]:
    """Let visitors click for some minutes; write how long they waited and what they met.

    ``live``: so many of them ask for splices.
    """
    seen = Seen()
    with some_home(home) as place, serving(place) as (address, process):
        first = Seen()
        visit(address, 0, 0.0, pause, first)
        at_start = megabytes(process)
        until = time.monotonic() + 60 * minutes
        threads = [
            threading.Thread(
                target=visit, args=(address, number, until, pause, seen, number <= live)
            )
            for number in range(1, visitors + 1)
        ]
        for thread in threads:
            thread.start()
        held = []
        while any(thread.is_alive() for thread in threads):
            held.append(megabytes(process))
            time.sleep(SAMPLE_SECONDS)
    return write(
        "load",
        {
            "visitors": visitors,
            "minutes": minutes,
            "pause_seconds": pause,
            "visitors_asking_for_splices": live,
            "clicks": len(seen.seconds),
            "clicks_a_second": round(len(seen.seconds) / (60 * minutes), 2),
            "seconds": {
                "first": round(first.seconds[0], 3) if first.seconds else None,
                **quantiles(seen.seconds),
            },
            "seconds_of_the_lab": quantiles(seen.lab_seconds),
            "splices": len(seen.splices),
            "seconds_to_a_splice": quantiles(seen.splices),
            "exceptions": len(seen.exceptions),
            "connections_lost": seen.lost,
            "megabytes_sent": round(seen.received / 1e6, 1),
            "megabytes_of_the_server_and_its_worker": {
                "after_one_visitor": at_start,
                "halfway": held[len(held) // 2],
                "highest": max(held),
                "at_the_end": held[-1],
            },
        },
        folder,
    )


def main() -> None:
    """Read the parameters, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds between clicks, mean")
    parser.add_argument("--live", type=int, default=0, help="visitors who ask for splices")
    parser.add_argument("--home", type=Path, help="by default FEATDYN_HOME, else a small study")
    asked = parser.parse_args()
    about = (asked.visitors, asked.minutes, asked.pause, asked.home)
    print(measure(*about, live=asked.live))


if __name__ == "__main__":
    main()
