"""What a job asks of the machine that runs it: cores, a share of a GPU, memory."""

from dataclasses import dataclass

from featdyn_engine.analyses.registry import MEASUREMENTS
from featdyn_engine.domain import Job, RunConfig
from featdyn_engine.units import threads_of

# Python with torch, a data set and the networks of a run; features come on top.
BASE_MEMORY = 2**30


@dataclass(frozen=True)
class Needs:
    """CPU cores, GPUs (0.25: four jobs share one) and bytes of memory."""

    cpus: int
    gpus: float
    memory: int


def needs_of(job: Job, threads: int, gpu_share: float = 1.0) -> Needs:
    """Return what a job needs; ``threads`` are those of its study, for what has no run.

    The memory is that which its analysis may hold (``memory`` of a study file), and a GiB.
    """
    held = max(getattr(unit.spec, "memory", 0) for unit in job.units) * 2**20
    gpus = gpu_share if needs_gpu(job) else 0.0
    return Needs(threads_of(job, threads), gpus, BASE_MEMORY + held)


def needs_gpu(job: Job) -> bool:
    """Tell whether a job passes images through networks on CUDA."""
    spec = job.units[0].spec
    run = spec if job.kind == "metrics" else getattr(spec, "run", None)
    runs_networks = job.kind == "metrics" or job.kind in MEASUREMENTS
    return runs_networks and isinstance(run, RunConfig) and run.device == "cuda"
