import hashlib
import json
from pathlib import Path

import pytest
import torch

from featdyn_engine import checkpoints, files
from featdyn_engine.domain import Checkpoint, NetworkConfig
from featdyn_engine.models.registry import build
from tests.cases import DIGITS


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    return build(NetworkConfig(name="resnet20"), DIGITS, seed).state_dict()


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_loaded_equals_what_was_saved(tmp_path: Path) -> None:
    saved = state()
    checkpoints.save(tmp_path, 12, 1.5, saved)
    loaded = checkpoints.load(tmp_path, 12)
    assert set(loaded) == set(saved)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())
    assert all(loaded[name].dtype == tensor.dtype for name, tensor in saved.items())


def test_saving_tells_step_epoch_hash_and_size_of_the_file(tmp_path: Path) -> None:
    found = checkpoints.save(tmp_path, 12, 1.5, state())
    content = (tmp_path / "checkpoints" / "step-00000012.safetensors").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert found == Checkpoint(12, 1.5, digest, len(content))
    assert checkpoints.listing(tmp_path) == [found]


def test_equal_tensors_give_equal_bytes(tmp_path: Path) -> None:
    strided = {name: tensor.clone() for name, tensor in state().items()}
    name = "stage1_0.conv1.weight"
    strided[name] = strided[name].transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided[name].is_contiguous()
    one = checkpoints.save(tmp_path / "one", 3, 0.0, state())
    assert checkpoints.save(tmp_path / "other", 3, 0.0, strided).sha256 == one.sha256


def test_one_other_number_gives_another_hash(tmp_path: Path) -> None:
    other = state()
    other["head.linear.bias"][3] += 1e-6
    one = checkpoints.save(tmp_path / "one", 3, 0.0, state())
    assert checkpoints.save(tmp_path / "other", 3, 0.0, other).sha256 != one.sha256


def test_the_listing_is_in_the_order_of_steps(tmp_path: Path) -> None:
    for step in (100, 0, 20):
        checkpoints.save(tmp_path, step, step / 10, {"w": torch.zeros(1)})
    assert [checkpoint.step for checkpoint in checkpoints.listing(tmp_path)] == [0, 20, 100]


def test_a_folder_without_checkpoints_lists_none(tmp_path: Path) -> None:
    assert checkpoints.listing(tmp_path) == []


def test_a_checkpoint_without_its_record_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(tmp_path, 0, 0.0, {"w": torch.zeros(1)})

    def killed(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, 5, 0.5, {"w": torch.ones(1)})
    assert "checkpoints/step-00000005.safetensors" in names(tmp_path)
    assert [checkpoint.step for checkpoint in checkpoints.listing(tmp_path)] == [0]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 5, 0.5, {"w": torch.zeros(1)})
    checkpoints.save(tmp_path, 5, 0.5, {"w": torch.ones(1)})
    assert len(checkpoints.listing(tmp_path)) == 1
    assert checkpoints.load(tmp_path, 5)["w"].item() == 1


def test_a_missing_step_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path, 5)


def test_replacing_shows_the_new_file_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.endswith(files.TEMPORARY_SUFFIX)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["folder/file.txt"]


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        with files.replacing(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_a_failure_while_replacing_keeps_the_old_file_and_leaves_nothing_else(
    problem: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise problem

    with pytest.raises(problem):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_failure_before_anything_is_written_is_the_one_that_is_raised(tmp_path: Path) -> None:
    def fail() -> None:
        with files.replacing(tmp_path / "file.txt"):
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        fail()
    assert names(tmp_path) == []


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with files.replacing(path) as one, files.replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"


def test_metadata_goes_into_the_header(tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "file.safetensors"
    files.write_tensors(path, {"w": torch.zeros(2)}, {"log": "text"})
    with safe_open(path, "pt") as file:
        assert file.metadata()["log"] == "text"
        assert torch.equal(file.get_tensor("w"), torch.zeros(2))


def test_json_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"z": 1, "a": [0.1]})
    text = (tmp_path / "a.json").read_text()
    assert list(json.loads(text)) == ["z", "a"]
    assert text.endswith("\n")


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
