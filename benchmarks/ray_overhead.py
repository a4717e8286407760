"""What a unit costs beside its work on a Ray cluster: units that only write their part."""

import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.harness import write
from featdyn_engine.domain import DataConfig, EvalConfig, Job
from featdyn_engine.units import evaluation_unit

GOAL_UNITS, GOAL_SECONDS = 10_000, 60.0


def measure(units: int = GOAL_UNITS, workers: int = 2) -> dict[str, object]:
    """Time ``units`` evaluation sets of one example, from first to last, on ``workers`` cores.

    The cluster is started, and each worker has done its first unit, before the clock is. ratio:
    the goal's time for so many units over the measured one.
    """
    import ray

    from featdyn_engine.executors import ray as on_ray

    home = Path(tempfile.mkdtemp(prefix="featdyn-bench-"))
    digits = DataConfig(name="digits", train_size=64)
    jobs = [
        Job((evaluation_unit(EvalConfig(data=digits, split="test", n=1, subset_seed=seed)),))
        for seed in range(units + 10 * workers)
    ]
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        spent = 0.0
        cluster = on_ray.Cluster()
        for some in (jobs[units:], jobs[:units]):
            started = time.perf_counter()
            ends = list(cluster.run_jobs(some, set(), home, 1000, 1, lambda job, share: None))
            spent = time.perf_counter() - started
            assert len(ends) == len(some)
            assert all(end.failure is None for end in ends)
    finally:
        ray.shutdown()
        shutil.rmtree(home)
    goal = GOAL_SECONDS * units / GOAL_UNITS
    return write(
        "ray_overhead",
        {
            "ratio": round(goal / spent, 3),
            "goal": 1.0,
            "reference": f"{GOAL_UNITS:,} units in {GOAL_SECONDS:.0f} s",
            "workload": {"units": units, "workers": workers},
            "seconds": {"ours": round(spent, 3), "reference": round(goal, 3)},
            "units_a_second": round(units / spent, 1),
            "n": 1,
        },
    )
