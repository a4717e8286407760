"""Somebody's own checkpoints, imported: layouts, strict keys, and every refusal in one line."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from typer.testing import CliRunner

from featdyn_engine import checkpoints, cli, importing
from featdyn_engine.domain import InputError, RunConfig
from featdyn_engine.factories import VARIABLE
from featdyn_engine.foreign_files import found_files, read_state, readable, without_prefix
from featdyn_engine.foreign_weights import state_of
from featdyn_engine.importing import Words
from tests.networks import Net

MODEL = "tests.networks:wide"
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def state(seed: int, width: int = 6) -> State:
    torch.manual_seed(seed)
    return dict(Net(width).state_dict())


def write(path: Path, tensors: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, path)


def imported(folder: Path, home: Path, **words: Any) -> RunConfig:
    asked = importing.asked(folder, Words(**{"model": MODEL, **words}), 1.0, home)
    return importing.run_of(asked, home)[0]


def refused(pattern: str, folder: Path, home: Path, **words: Any) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        imported(folder, home, **words)
    assert "\n" not in str(caught.value)
    assert not (home / "runs").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three steps, as safetensors."""
    for step in (0, 5, 20):
        write(tmp_path / "mine" / f"net_{step:04d}.safetensors", state(step))
    return tmp_path / "mine"


def test_a_folder_becomes_a_run(folder: Path, tmp_path: Path) -> None:
    run = imported(folder, tmp_path)
    place = checkpoints.run_folder(tmp_path, run.run_id)
    assert checkpoints.configuration(place) == run
    assert run.checkpoints == (0, 5, 20)
    assert run.recorded is not None
    assert (run.recorded.name, run.recorded.by) == ("mine", "import")
    assert list(checkpoints.problems(place, run.checkpoints)) == []
    for step in run.checkpoints:
        stored = checkpoints.load(place, step)
        expected = state(step)
        assert torch.equal(stored["head.weight"], expected["head.weight"])
        assert torch.equal(stored["first.norm.weight"], expected["norm.weight"])
        assert len(stored) == len(expected)


def test_the_same_files_are_the_same_run(folder: Path, tmp_path: Path) -> None:
    first = imported(folder, tmp_path / "a").run_id
    assert imported(folder, tmp_path / "b").run_id == first
    write(folder / "net_0005.safetensors", state(6))
    assert imported(folder, tmp_path / "a").run_id != first


def nested(key: str, prefix: str = "") -> Callable[[State], Any]:
    return lambda tensors: {
        "epoch": 3,
        key: {prefix + name: tensor for name, tensor in tensors.items()},
        "optimizer": {"state": {}},
    }


LAYOUTS: list[tuple[str, Callable[[State], Any]]] = [
    ("epoch=0-step={}.ckpt", nested("state_dict", "model.")),
    ("lightning/version_0/last_step={}.ckpt", nested("state_dict", "classifier.")),
    ("{}.pt", lambda tensors: tensors),
    ("checkpoint_{}.pth", nested("model_state_dict", "module.")),
    ("checkpoint-{}/pytorch_model.bin", lambda tensors: tensors),
]


@pytest.mark.parametrize(("layout", "wrap"), LAYOUTS)
def test_layouts_of_trainers_are_known(
    layout: str, wrap: Callable[[State], Any], tmp_path: Path
) -> None:
    for step in (10, 200):
        path = tmp_path / "run" / layout.format(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path.with_name("optimizer.pt").touch()
    assert list(found_files(tmp_path / "run", None, 1)) == [10, 200]
    own = state(1)
    assert set(without_prefix(state_of(wrap(own)), own)) == set(own)


def test_pickled_state_dicts_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for step in (1, 10):
        torch.save(
            nested("state_dict", "model.")(state(step)), tmp_path / "run" / f"step={step}.ckpt"
        )
    write(tmp_path / "run" / "step=20.safetensors", state(20))
    run = imported(tmp_path / "run", tmp_path)
    assert run.checkpoints == (1, 10, 20)
    for step in run.checkpoints:
        stored = checkpoints.load(checkpoints.run_folder(tmp_path, run.run_id), step)
        assert torch.equal(stored["head.bias"], state(step)["head.bias"])


def test_hugging_face_s_safetensors_are_known(tmp_path: Path) -> None:
    for step in (5, 100):
        write(tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors", state(step))
    assert imported(tmp_path / "run", tmp_path).checkpoints == (5, 100)


def test_a_pattern_picks_files_and_counts_epochs(tmp_path: Path) -> None:
    for name in ("a_1.safetensors", "a_2.safetensors", "b_7.safetensors"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    run = tmp_path / "run"
    assert list(found_files(run, "a_{step}.safetensors", 1)) == [1, 2]
    assert list(found_files(run, "a_{epoch}.*", 50)) == [50, 100]
    assert list(found_files(run, "*{step}.safetensors", 1)) == [1, 2, 7]


@pytest.mark.parametrize("wrong", ["a.pt", "{step}{epoch}.pt", "{steps}.pt"])
def test_a_pattern_without_a_step_is_refused(wrong: str, folder: Path) -> None:
    with pytest.raises(InputError, match=r"--pattern: expected \{step\} or \{epoch\} in it, once"):
        found_files(folder, wrong, 1)


def test_options_and_blocks_are_those_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "run" / "1.safetensors", state(1, width=4))
    run = imported(tmp_path / "run", tmp_path, option=["width=4"], blocks="norm,head")
    assert run.network.options == {"width": 4}
    assert run.network.blocks == ("norm", "head")
    assert run.network.name == MODEL


def test_data_that_are_named_are_the_run_s(folder: Path, tmp_path: Path) -> None:
    assert imported(folder, tmp_path, data="digits").data.name == "digits"


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["FEATDYN_TEST_EVIL"],)


def test_a_pickle_that_runs_code_is_refused_and_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_TEST_EVIL", str(tmp_path / "harm"))
    (tmp_path / "run").mkdir()
    torch.save({"state_dict": state(1), "extra": Evil()}, tmp_path / "run" / "1.pt")
    write(tmp_path / "run" / "0.safetensors", state(0))
    refused(r"1.pt: expected a state dict that weights_only=True reads", tmp_path / "run", tmp_path)
    assert not (tmp_path / "harm").exists()


def test_a_pickle_is_read_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state(1), tmp_path / "1.pt")
    (tmp_path / "spare").mkdir()

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("read here")

    monkeypatch.setattr(torch, "load", forbidden)
    found = readable({1: tmp_path / "1.pt"}, tmp_path / "spare")
    assert set(read_state(found[1])) == set(state(1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3, "loss": 0.5}, r"a dict of epoch \(int\), loss \(float\)"),
        ({"state_dict": {}}, "a dict of nothing"),
        ([1, 2], "a list"),
    ],
)
def test_what_is_no_state_dict_is_refused(content: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        state_of(content)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "1.safetensors").write_bytes(b"no weights")
    refused(r"1.safetensors: expected a whole file of weights", tmp_path / "run", tmp_path)


def without(tensors: State, key: str) -> State:
    return {name: tensor for name, tensor in tensors.items() if name != key}


MISFITS: list[tuple[Callable[[State], State], str]] = [
    (
        lambda own: without(own, "head.bias"),
        r"expected the keys of the network, got 1 missing: 'head.bias'",
    ),
    (
        lambda own: {**own, "fc.bias": torch.zeros(3)},
        r"1 unexpected: 'fc.bias' \(did you mean '\w+.bias'\?\)",
    ),
    (
        lambda own: {**without(own, "head.bias"), "haed.bias": torch.zeros(10)},
        r"1 missing: 'head.bias' \(did you mean 'haed.bias'\?\); 1 unexpected: 'haed.bias' \(did",
    ),
    (
        lambda own: {**own, "head.bias": torch.zeros(3)},
        r"expected head.bias of shape \(10,\), got \(3,\); is it the same network",
    ),
    (
        lambda own: {**own, "head.bias": torch.full((10,), float("nan"))},
        r"expected finite weights, got others in head.bias",
    ),
]


@pytest.mark.parametrize(("change", "pattern"), MISFITS)
def test_keys_are_held_to_those_of_the_network(
    change: Callable[[State], State], pattern: str, folder: Path, tmp_path: Path
) -> None:
    write(folder / "net_0020.safetensors", change(state(20)))
    refused(rf"net_0020.safetensors: .*{pattern}", folder, tmp_path)


WRONG_WORDS: list[tuple[dict[str, Any], str]] = [
    ({"model": "net"}, r"--model: expected module:factory, got 'net'"),
    ({"model": "no_such_module:net"}, r"a module no_such_module, got none of that name"),
    ({"model": "tests.networks:nothing"}, r"expected nothing in tests.networks, got no function"),
    (
        {"model": "tests.networks:images_and_labels", "option": ["n=1"]},
        r"--model: expected .*tuple",
    ),
    ({"option": ["width"]}, r"--option: expected KEY=VALUE, got 'width'"),
    ({"option": ["depth=2"]}, r"network.options: expected keyword arguments of .* got an unexpec"),
    ({"shape": "8x8"}, r"--shape: expected channels x height x width as 3x32x32, got '8x8'"),
    ({"blocks": "frist,head"}, r"names of modules of Net, got 'frist'; did you mean 'first'"),
    ({"data": "nothing"}, r"data.name: expected one of"),
]


@pytest.mark.parametrize(("words", "pattern"), WRONG_WORDS)
def test_other_words_are_refused(
    words: dict[str, Any], pattern: str, folder: Path, tmp_path: Path
) -> None:
    refused(pattern, folder, tmp_path, **words)


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    refused(r"nowhere: expected a folder of checkpoints, got none", tmp_path / "nowhere", tmp_path)
    (tmp_path / "run").mkdir()
    refused(r"run: expected files .* got none of those; say which", tmp_path / "run", tmp_path)


def test_two_files_of_one_step_are_refused(folder: Path, tmp_path: Path) -> None:
    write(folder / "other_5.safetensors", state(1))
    refused(r"expected one file a step, got net_0005.* and other_5.* for step 5", folder, tmp_path)


def test_the_command_says_what_it_did(folder: Path, tmp_path: Path) -> None:
    words = ["import", str(folder), "--model", MODEL, "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    (run_id,) = [path.name for path in (tmp_path / "home" / "runs").iterdir()]
    assert re.search(
        rf"run {run_id} \(mine\): 3 checkpoints, blocks first, second, head", done.output
    )
    assert f'run = "{run_id}"' in done.output
