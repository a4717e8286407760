"""A Ray cluster of several small nodes on this machine, and a study that it runs in seconds."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featdyn_engine import pipeline, planning, study
from featdyn_engine.domain import Job
from featdyn_engine.executors.ray import Cluster
from tests.cases import ONE_ARM
from tests.conftest import Silent

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "memory": 8 * 2**30}

STUDY = f"""{ONE_ARM}
[[arms]]
name = "twin"
branch = {{ step = 2 }}

[[analyses]]
kind = "displacement"
cuts = ["layer1"]

[[analyses]]
kind = "consistency"
resamples = 10
"""


@contextmanager
def cluster(nodes: int = 2) -> Iterator[Any]:
    """Start ``nodes`` nodes of one core; the first, on which the driver is, stays to the end."""
    from ray.cluster_utils import Cluster as Nodes

    # Other processes of this machine may use its memory up; no task of ours is ended for that.
    os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112  (Ray spells it so)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = Nodes(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            found.add_node(**NODE)
        yield found
    finally:
        found.shutdown()


class Watcher(Silent):
    """A watcher that remembers which jobs ended, and calls back."""

    def __init__(self, on_end: Callable[[Job], None] = lambda job: None) -> None:
        self.ended: list[tuple[Job, str | None]] = []
        self._on_end = on_end

    def end(self, job: Job, error: str | None) -> None:  # type: ignore[override]
        self.ended.append((job, error))
        self._on_end(job)


def run(
    home: Path,
    cluster: Cluster,
    text: str = STUDY,
    watcher: Silent | None = None,
) -> pipeline.Outcome:
    with pipeline.engine_lock(home, "tests"):
        cluster.prepare(home)
        plan = planning.plan(study.parse(text, "small.toml", home), home)
        return pipeline.run(plan, home, 100, watcher or Silent(), print, cluster.run_jobs)
