"""Units of work that misbehave: evaluation sets that do something when a worker describes them."""

import os
import resource
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import ray

from featdyn_engine.domain import DataConfig, EvalConfig, Unit
from featdyn_engine.units import evaluation_unit

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Trap(EvalConfig):
    """``does``: "kill" its process, "raise", run out of "memory", or "wait" for a file ``go``.

    That ``times`` times.

    Every try leaves a file in ``folder``, with the node that it ran on.
    """

    folder: str
    driver: int
    does: str = "nothing"
    times: int = 0

    @property
    def source(self) -> DataConfig:
        """What a worker reads, more than once: the trap springs at the first time."""
        if os.getpid() != self.driver and "sprung" not in vars(self):
            object.__setattr__(self, "sprung", True)
            self._spring()
        return self.data

    def _spring(self) -> None:
        before = len(nodes_tried(self))
        node = ray.get_runtime_context().get_node_id()
        (Path(self.folder) / f"{self.eval_id}.{uuid.uuid4().hex}").write_text(node)
        if before >= self.times:
            return
        if self.does == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.does == "raise":
            raise RuntimeError("the trap sprang")
        elif self.does == "memory":
            _run_out_of_memory()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (Path(self.folder) / "go").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _run_out_of_memory() -> None:
    """Ask for more address space than this process may have, as on a machine that has no more."""
    had = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28, had[1]))
    try:
        bytearray(2**31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, had)


def nodes_tried(trap: Trap) -> list[str]:
    """List the node of every try."""
    return [path.read_text() for path in Path(trap.folder).glob(f"{trap.eval_id}.*")]


def trap(folder: Path, seed: int, does: str = "nothing", times: int = 0) -> Trap:
    data = DataConfig(name="digits", train_size=64)
    return Trap(
        data=data, split="test", n=5, subset_seed=seed, folder=str(folder), driver=os.getpid(),
        does=does, times=times,
    )  # fmt: skip


def units(*traps: Trap) -> tuple[Unit, ...]:
    return tuple(evaluation_unit(each) for each in traps)
