"""What a worker does with a job."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from featdyn_engine import units
from featdyn_engine.analyses import comparators
from featdyn_engine.domain import EvalConfig, Job, Unit
from tests.recipes.runs import PERCEPTRON

SET = EvalConfig(
    data=PERCEPTRON.data, split="test", n=None, subset_seed=0, labels="true",
    label_noise=0.0, seed_labels=0,
)  # fmt: skip


@pytest.mark.parametrize("of_study", [1, 3])
def test_an_analysis_runs_with_the_threads_of_its_run_whatever_the_study_has(
    of_study: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def compute(*_: object) -> pa.Table:
        seen.append(torch.get_num_threads())
        return pa.table({"n": [1]})

    monkeypatch.setattr(comparators, "compute", compute)
    run = replace(PERCEPTRON, threads=2)
    spec = comparators.Spec(run=run, evaluation=SET, from_share=0.5, batch_size=10)
    job = Job((Unit(kind="comparators", unit_id="threads", label="", spec=spec),))
    before = torch.get_num_threads()
    units.perform(job, tmp_path, of_study, lambda share: None)
    assert seen == [2]
    assert torch.get_num_threads() == before
