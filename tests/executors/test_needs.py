"""What a job asks of its machine follows from its run and its analysis."""

from dataclasses import replace

import pytest

from featdyn_engine.analyses import consistency, splices
from featdyn_engine.domain import Cut, EvalConfig, Job, Unit
from featdyn_engine.executors.needs import BASE_MEMORY, Needs, needs_of
from featdyn_engine.units import evaluation_unit, training_unit
from tests.recipes.runs import PERCEPTRON

SET = EvalConfig(data=PERCEPTRON.data, split="test")
ON_CUDA = replace(PERCEPTRON, device="cuda", threads=3)


def splice_job(*memory: int) -> Job:
    spec = splices.Spec(
        run=ON_CUDA, evaluation=SET, cut=Cut("layer1", 1), norm="inherit", batch_size=10
    )
    units = (
        Unit(kind="splices", unit_id=str(mib), label="", spec=replace(spec, memory=mib))
        for mib in memory
    )
    return Job(tuple(units))


def test_a_training_asks_for_its_threads_and_its_gpu() -> None:
    job = Job((training_unit(ON_CUDA, "train", 44),))
    assert needs_of(job, 1) == Needs(3, 1.0, BASE_MEMORY)
    assert needs_of(job, 1, gpu_share=0.25).gpus == 0.25
    assert needs_of(Job((training_unit(PERCEPTRON, "train", 44),)), 1) == Needs(1, 0.0, BASE_MEMORY)


def test_an_analysis_asks_for_the_most_memory_of_its_units() -> None:
    assert needs_of(splice_job(100, 300), 1) == Needs(3, 1.0, BASE_MEMORY + 300 * 2**20)


@pytest.mark.parametrize("threads", [1, 4])
def test_what_runs_no_network_asks_for_no_gpu(threads: int) -> None:
    spec = consistency.Spec(
        run=ON_CUDA, evaluation=SET, norm="inherit", dtype="float32", main=("a",)
    )
    score = Job((Unit(kind="consistency", unit_id="c", label="", spec=spec),))
    assert needs_of(score, threads) == Needs(3, 0.0, BASE_MEMORY)
    assert needs_of(Job((evaluation_unit(SET),)), threads) == Needs(threads, 0.0, BASE_MEMORY)
