"""On a GPU: repeatable trainings, and the numbers that a CPU gives. Skipped where there is none.

Needs neither store nor app, so that it runs on a machine that has torch alone:
``pytest --noconftest tests/test_cuda.py``.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from featdyn_engine import checkpoints, live
from featdyn_engine.analyses import splices
from featdyn_engine.analyses.networks import stored_networks
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig
from featdyn_engine.models import registry
from featdyn_engine.science.execution import exact_arithmetic, placed, prepared
from featdyn_engine.science.noise import gradients
from featdyn_engine.science.splice import splice_cube
from featdyn_engine.training import train
from tests.cases import DIGITS, HERE
from tests.oracles import naive_logits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GPU = torch.device("cuda")
RUN = RunConfig(
    data=DataConfig(name="digits", train_size=300),
    network=NetworkConfig(name="resnet20"),
    recipe=Recipe(steps=40, batch_size=50, lr=0.05, augmentation=("crop",)),
    checkpoints=(0, 10, 20, 40),
    device="cuda",
    channels_last=True,
)
DEPTHS = (1, 4, 7, 10)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run trained on the GPU. Nothing may be written to it."""
    home = tmp_path_factory.mktemp("cuda")
    train(RUN, home)
    return home


def hashes(home: Path) -> list[str]:
    return [each.sha256 for each in checkpoints.listing(checkpoints.run_folder(home, RUN.run_id))]


def test_a_training_repeats_to_the_last_bit(home: Path, tmp_path: Path) -> None:
    train(RUN, tmp_path)
    assert hashes(tmp_path) == hashes(home)


def test_a_killed_training_goes_on_to_the_same_bits(home: Path, tmp_path: Path) -> None:
    def kill(share: float) -> None:
        if share >= 25 / 40:
            raise KilledError

    with pytest.raises(KilledError):
        train(RUN, tmp_path, kill)
    train(RUN, tmp_path)
    assert hashes(tmp_path) == hashes(home)


def test_a_cube_is_the_plain_one_of_the_cpu_but_for_ties(home: Path) -> None:
    dataset = data_registry.load(RUN.data, home)
    images, labels = dataset.normalise(dataset.test_images), dataset.test_labels
    _, networks = stored_networks(RUN, home)
    states = [{k: v.cpu() for k, v in each.state_dict().items()} for each in networks]
    x = placed(images, GPU)
    with exact_arithmetic():
        fast = [prepared(network.to(GPU), x[:8]) for network in networks]
        cube = splice_cube(fast, fast, DEPTHS, x, labels.to(GPU), 250)
    for d, depth in enumerate(DEPTHS):
        logits = naive_logits(states, depth, images, lambda: registry.build(RUN.network, DIGITS))
        best = logits.topk(2, dim=-1)
        clear = best.values[..., 0] - best.values[..., 1] > 1e-3
        same = cube.predicted[d].cpu() == best.indices[..., 0]
        assert bool(same[clear].all())
        assert float(clear.double().mean()) > 0.99


def test_live_answers_are_the_stored_cells(home: Path) -> None:
    settings = splices.Settings(cuts=("stage2.2",))
    (unit,) = splices.units(settings, RUN, HERE)
    rows = splices.compute(unit.spec, home, lambda share: None)["splices"].to_pylist()
    stored = {row["shallow_step"]: row for row in rows if row["deep_step"] == 40}
    asked = live.request(home, run=RUN.run_id, shallow="all", deep=40, cut="stage2.2")
    for cell in live.splice(asked, home):
        row = stored[cell.shallow_step]
        for name in ("correct", "agreement"):
            assert getattr(cell, name) == row[name], name
        # Logits are the same; live sums them on the CPU, a cube where they are.
        for name in ("loss", "margin"):
            assert getattr(cell, name) == pytest.approx(row[name], rel=1e-5), name


def test_gradients_of_mini_batches_are_those_of_the_cpu(home: Path) -> None:
    dataset = data_registry.load(RUN.data, home)
    images, labels = dataset.normalise(dataset.train_images), dataset.train_labels
    _, networks = stored_networks(RUN, home)
    batches = [(images[start : start + 50], labels[start : start + 50]) for start in (0, 100)]
    cpu = gradients(networks[-1].cpu(), batches)
    gpu = gradients(networks[-1].to(GPU), [(x.to(GPU), y.to(GPU)) for x, y in batches])
    error = torch.linalg.vector_norm(gpu - cpu) / torch.linalg.vector_norm(cpu)
    assert float(error) < 1e-4


def test_training_on_the_gpu_learns_what_training_on_the_cpu_learns(tmp_path: Path) -> None:
    run = replace(RUN, recipe=replace(RUN.recipe, steps=200, augmentation=()))
    run = replace(run, checkpoints=(0, 200))
    final = {}
    for device in ("cuda", "cpu"):
        rows = train(replace(run, device=device), tmp_path).to_pylist()  # type: ignore[arg-type]
        tested = [row["accuracy"] for row in rows if row["split"] == "test"]
        final[device] = tested[-1]
    assert final["cuda"] == pytest.approx(final["cpu"], abs=0.05)
    assert final["cuda"] > 0.85
