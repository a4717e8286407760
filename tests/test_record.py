"""A plain training loop, recorded: the run folder of a training of featdyn's own, and refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from featdyn_engine import checkpoints, learning_rates
from featdyn_engine.domain import UNTOLD, InputError, RunFailedError
from featdyn_engine.record import Recorder
from tests.networks import Net, images_and_labels


def trained(recorder: Recorder, model: nn.Module, updates: int, lr: float = 0.1) -> list[Tensor]:
    """Train as anybody would; return the weights of the head after every update."""
    optimizer = torch.optim.SGD(model.parameters(), lr)
    images, labels = images_and_labels(16)
    seen = []
    for _ in range(updates):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        recorder.step(optimizer.param_groups[0]["lr"])
        seen.append(model.get_parameter("head.weight").detach().clone())
    return seen


def test_a_plain_loop_leaves_a_run_s_folder(tmp_path: Path) -> None:
    model = Net()
    with Recorder(model, home=tmp_path, name="mine", schedule=4, steps=10) as recorder:
        seen = trained(recorder, model, 10)
    folder = checkpoints.run_folder(tmp_path, recorder.run_id)
    steps = [each.step for each in checkpoints.listing(folder)]
    assert steps == [0, 1, 3, 10]
    assert list(checkpoints.problems(folder, steps)) == []
    config = checkpoints.configuration(folder)
    assert config is not None
    assert config.run_id == folder.name == recorder.run_id
    assert config.checkpoints == (0, 1, 3, 10)
    assert config.network.name == "tests.networks:Net"
    assert config.data == UNTOLD
    assert config.recorded is not None
    assert config.recorded.told == ("lr",)
    for step in (1, 3, 10):
        stored = checkpoints.load(folder, step)
        assert torch.equal(stored["head.weight"], seen[step - 1])
        assert set(stored) == set(recorder.network.state_dict())
        recorder.network.load_state_dict(stored)


def test_recording_changes_nothing_in_the_training(tmp_path: Path) -> None:
    plain, watched = Net(), Net()
    watched.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    with Recorder(watched, home=tmp_path, schedule=[1, 2]) as recorder:
        assert watched.training
        seen = trained(recorder, watched, 3)
    torch.manual_seed(0)
    quiet: Any = type("Quiet", (), {"step": lambda self, lr: None})()
    for one, other in zip(seen, trained(quiet, plain, 3), strict=True):
        assert torch.equal(one, other)


def test_steps_may_be_listed_and_told(tmp_path: Path) -> None:
    model = Net()
    recorder = Recorder(model, home=tmp_path, schedule=[4, 8], steps_per_epoch=4)
    for step in (2, 4, 6, 8, 10):
        recorder.after_step(step, 0.5 if step < 8 else 0.05)
        with torch.no_grad():
            model.head.bias.add_(1)
    recorder.finish()
    folder = recorder.folder
    assert [(each.step, each.epoch) for each in checkpoints.listing(folder)] == [
        (0, 0.0),
        (4, 1.0),
        (8, 2.0),
        (10, 2.5),
    ]
    assert learning_rates.load(folder) == [(0, 0.5), (6, 0.05)]
    assert recorder.config.recipe.steps == 10
    rates = learning_rates.learning_rates(recorder.config, tmp_path, 10)
    assert rates == [0.5] * 6 + [0.05] * 4
    assert learning_rates.rate_told(recorder.config, tmp_path, 6) == 0.5
    assert learning_rates.rate_told(recorder.config, tmp_path, 7) == 0.05


def test_rates_that_nobody_told_are_equal(tmp_path: Path) -> None:
    recorder = Recorder(Net(), home=tmp_path, schedule=[3])
    recorder.after_step(3)
    recorder.finish()
    assert learning_rates.learning_rates(recorder.config, tmp_path, 3) == [1.0] * 3
    assert learning_rates.rate_told(recorder.config, tmp_path, 3) is None


def test_an_optimizer_tells_its_rate_and_its_kind(tmp_path: Path) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9, weight_decay=1e-3)
    recorder = Recorder(model, home=tmp_path, schedule=[2], optimizer=optimizer, batch_size=16)
    recorder.step()
    optimizer.param_groups[0]["lr"] = 0.03
    recorder.step()
    recorder.finish()
    recipe = recorder.config.recipe
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay) == ("sgd", 0.9, 1e-3)
    assert (recipe.batch_size, recipe.lr) == (16, 0.3)
    assert recorder.config.recorded is not None
    assert {"optimizer", "batch_size", "lr"} <= set(recorder.config.recorded.told)
    assert learning_rates.load(recorder.folder) == [(0, 0.3), (1, 0.03)]


def test_adam_tells_what_its_steps_depend_on(tmp_path: Path) -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.01, betas=(0.8, 0.95), eps=1e-6)
    recorder = Recorder(model, home=tmp_path, schedule=[2], optimizer=optimizer)
    recipe = recorder.config.recipe
    assert (recipe.optimizer, recipe.betas, recipe.eps) == ("adam", (0.8, 0.95), 1e-6)
    recorder.finish()


@pytest.mark.parametrize(
    ("kind", "options"),
    [(torch.optim.RMSprop, {}), (torch.optim.Adam, {"amsgrad": True})],
    ids=["RMSprop", "AMSGrad"],
)
def test_an_optimizer_of_another_kind_is_another(
    kind: type[torch.optim.Optimizer], options: dict[str, bool], tmp_path: Path
) -> None:
    model = Net()
    optimizer = kind(model.parameters(), **{"lr": 0.3, **options})
    recorder = Recorder(model, home=tmp_path, schedule=[2], optimizer=optimizer)
    assert recorder.config.recipe.optimizer == "other"
    recorder.finish()


def test_two_recordings_of_one_name_are_two_runs(tmp_path: Path) -> None:
    ids = {Recorder(Net(), home=tmp_path, schedule=[1]).finish() for _ in range(2)}
    assert len(ids) == 2


def test_a_data_set_object_is_kept_with_the_run(tmp_path: Path) -> None:
    split = TensorDataset(*images_and_labels(12))
    recorder = Recorder(Net(), home=tmp_path, schedule=[1], data=(split, split))
    recorder.finish()
    assert recorder.config.data.name == "tensors"
    assert (Path(recorder.config.data.folder or "") / "data.safetensors").is_file()


class Compiled(nn.Module):
    """What torch.compile makes, without its seconds of imports."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model


@pytest.mark.parametrize("wrap", [nn.DataParallel, Compiled])
def test_a_wrapped_network_is_recorded_as_itself(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    recorder = Recorder(wrap(Net()), home=tmp_path, schedule=[1])
    assert recorder.network.block_names == ["first", "second", "head"]
    recorder.finish()


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    model = Net()
    recorder = Recorder(model, home=tmp_path, schedule=[2, 4, 6])

    def interrupted() -> None:
        with recorder:
            trained(recorder, model, 4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert recorder.config.checkpoints == (0, 2, 4)
    again = Recorder(model, home=tmp_path, schedule=[2, 4, 6], start=3, resume=recorder.run_id)
    assert again.run_id == recorder.run_id
    # That of step 4 was of the training that was killed.
    assert [each.step for each in checkpoints.listing(again.folder)] == [0, 2, 3]
    trained(again, model, 3, lr=0.2)
    again.finish()
    assert again.config.checkpoints == (0, 2, 3, 4, 6)
    assert learning_rates.load(again.folder) == [(0, 0.1), (3, 0.2)]


def test_a_kill_leaves_a_run_that_can_be_used(tmp_path: Path) -> None:
    model = Net()
    recorder = Recorder(model, home=tmp_path, schedule=[2, 4, 6])
    trained(recorder, model, 5)
    config = checkpoints.configuration(recorder.folder)
    assert config is not None
    assert config.run_id == recorder.run_id
    assert [each.step for each in checkpoints.listing(recorder.folder)] == [0, 2, 4]
    assert learning_rates.load(recorder.folder) == [(0, 0.1)]
    recorder.finish()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"schedule": 1}, r"schedule: expected 2 checkpoints or more, got 1"),
    ({"schedule": []}, r"schedule: expected steps, numbers of updates, got \[\]"),
    ({"schedule": [1, -2]}, r"schedule: expected steps, numbers of updates, got \[1, -2\]"),
    ({"schedule": 4}, r"steps: expected the number of updates .*, got None; give steps"),
    ({"blocks": ["nowhere"]}, r"blocks: expected names of modules of Net, got 'nowhere'"),
    ({"shape": (3, 8, 8)}, r"blocks: expected a network that takes images \(3, 8, 8\)"),
    ({"data": 5}, r"data: expected the name of a data set, .*, got int"),
    ({"data": "nothing"}, r"data.name: expected one of .*, got 'nothing'"),
    ({"factory": "make"}, r"factory: expected module:factory, got 'make'"),
    ({"steps_per_epoch": 0}, r"steps_per_epoch: expected more than 0, got 0"),
    ({"resume": "0123"}, r"resume: expected a recorded run of .*, got '0123'"),
]


@pytest.mark.parametrize(("asked", "pattern"), REFUSED)
def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    asked: dict[str, Any], pattern: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        Recorder(Net(), home=tmp_path, **{"schedule": [1], **asked})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_network_of_no_usual_images_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"to take images of a usual size.*give shape \(C, H, W\)"):
        Recorder(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU()), home=tmp_path, schedule=[1])


def test_steps_that_go_back_are_refused(tmp_path: Path) -> None:
    recorder = Recorder(Net(), home=tmp_path, schedule=[3])
    recorder.after_step(2)
    with pytest.raises(InputError, match=r"after_step: expected more than 2 updates done, got 2"):
        recorder.after_step(2)
    recorder.finish()


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path: Path) -> None:
    model = Net()
    recorder = Recorder(model, home=tmp_path, schedule=[1])
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    with pytest.raises(RunFailedError, match=r"finite weights after step 1, got others in head.b"):
        recorder.step()
    assert [each.step for each in checkpoints.listing(recorder.folder)] == [0]


def test_a_run_that_is_being_recorded_is_held(tmp_path: Path) -> None:
    recorder = Recorder(Net(), home=tmp_path, schedule=[1])
    recorder.finish()
    with (
        FileLock(recorder.folder / "recording.lock"),
        pytest.raises(InputError, match=r"expected a run that nobody records, got"),
    ):
        Recorder(Net(), home=tmp_path, schedule=[1], resume=recorder.run_id)


def test_an_engine_leaves_the_files_of_a_recording_alone(tmp_path: Path) -> None:
    from featdyn_engine import pipeline

    recorder = Recorder(Net(), home=tmp_path, schedule=[1])
    halves = [recorder.folder / "a.partial", tmp_path / "runs" / "x" / "b.partial"]
    halves[1].parent.mkdir()
    for half in halves:
        half.touch()
    pipeline._clear_leftovers(tmp_path)
    assert [half.exists() for half in halves] == [True, False]
    recorder.finish()
    pipeline._clear_leftovers(tmp_path)
    assert not halves[0].exists()


def test_other_processes_of_a_parallel_training_record_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featdyn_engine.record._is_first_process", lambda: False)
    model = Net()
    with Recorder(model, home=tmp_path, schedule=[1]) as recorder:
        trained(recorder, model, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_is_plain_json(tmp_path: Path) -> None:
    recorder = Recorder(Net(width=4), home=tmp_path, schedule=[1], options={"width": 4})
    recorder.finish()
    content = json.loads((recorder.folder / "config.json").read_text())
    assert content["network"]["options"] == {"width": 4}
