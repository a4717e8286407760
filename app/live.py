"""The Splice lab's door to the engine: what can be computed here, and asking for it.

The engine runs in a process of its own (``featdyn_engine.live_start``); nothing of it, and no
torch, is ever imported into the app.
"""

import atexit
import base64
import hashlib
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import streamlit as st

from app.desk import Desk, Key, State
from app.worker import Worker
from store.home import home_from_environment, revision

COMMAND = (sys.executable, "-m", "featdyn_engine.live_start")
# A page that asks for a warm result mostly has it before it must show a place in line.
WAIT_SECONDS = 0.6
Words = dict[str, Any]


def _worker() -> Worker:
    # The packages lie beside this one, wherever the app was started.
    return Worker(COMMAND, folder=Path(__file__).parents[1])


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    """Return the desk of this server; its worker starts with it."""
    opened = Desk(_worker)
    atexit.register(opened.close)
    return opened


def warm() -> None:
    """Start the worker, if there is anything that it could do."""
    if torch_is_here() and any(home_from_environment().glob("runs/*/checkpoints")):
        desk()


@cache
def torch_is_here() -> bool:
    """Whether torch is installed; it is not imported to find out."""
    return find_spec("torch") is not None


def runs_here() -> frozenset[str]:
    """Return the runs that have weights here; none where torch is not installed."""
    if not torch_is_here():
        return frozenset()
    folders = home_from_environment().glob("runs/*/checkpoints")
    return frozenset(each.parent.name for each in folders if any(each.glob("*.safetensors")))


def has_checkpoint(run_id: str, step: int) -> bool:
    """Whether the weights of a run's step lie in the home: a bundle may come without."""
    name = f"step-{step:08d}.safetensors"
    return (home_from_environment() / "runs" / run_id / "checkpoints" / name).is_file()


def why_not(sides: list[tuple[str, int]]) -> str | None:
    """Say why nothing can be computed with these (run, step), or None where it can."""
    if not torch_is_here():
        return "PyTorch is not installed here, so nothing is computed: this is the stored cell."
    missing = [step for run, step in sides if not has_checkpoint(run, step)]
    if missing:
        return (
            f"The weights of step {missing[0]:,} are not in this home, so nothing is computed: "
            "this is the stored cell."
        )
    return None


def ask(
    visitor: str, kind: str, words: Words, upload: bytes | None = None, seconds: float = 0.0
) -> State:
    """Ask for a job of ``featdyn_engine.live_answers``, for at most ``seconds``: ``Desk.ask``."""
    key = job_key(kind, words, upload)
    content = None if upload is None else base64.b64encode(upload).decode()
    home = str(home_from_environment())
    job = {"kind": kind, "home": home, **words, "upload": content}
    return desk().ask(f"{visitor} {kind}", key, job, seconds)


def leave(visitor: str, kind: str) -> None:
    """Stop waiting for a job of this kind."""
    desk().leave(f"{visitor} {kind}")


def again(kind: str, words: Words, upload: bytes | None = None) -> None:
    """Let a job that failed be tried once more."""
    desk().again(job_key(kind, words, upload))


def job_key(kind: str, words: Words, upload: bytes | None) -> Key:
    """Tell jobs apart: by what is asked of which state of which store."""
    home = home_from_environment()
    content = "" if upload is None else hashlib.sha256(upload).hexdigest()
    return str(home), revision(home), kind, *sorted(words.items()), content
