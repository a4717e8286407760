"""docs/study.md: its fields and defaults are those that there are; its examples run."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featdyn_engine import planning, study
from featdyn_engine.analyses.asked import TEST_SPLIT, Evaluation
from featdyn_engine.analyses.controls import ALL
from featdyn_engine.analyses.corruptions import EVERYWHERE
from featdyn_engine.analyses.registry import ANALYSES
from featdyn_engine.data import registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe
from featdyn_engine.models.registry import MODELS
from featdyn_engine.study_file import (
    Arm,
    BranchTable,
    Checkpoints,
    Compute,
    FreezeTable,
    ReplayTable,
    StudyFile,
)
from tests.conftest import fill

PAGE = (Path(__file__).parents[1] / "docs" / "study.md").read_text(encoding="utf-8")
SECTIONS = {
    line.split("`")[1] if "`" in line else line: body
    for line, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
# Defaults that no single value of the field stands for.
NONE = (
    "none",
    "required",
    "all",
    "the network's usual one",
    "as above",
    "the study's own",
    "the parent's + 1",
)


def table(section: str, owner: str = "") -> dict[str, str]:
    """Field and default of every row; ``owner`` picks the rows of one of several tables."""
    found: dict[str, str] = {}
    current = ""
    for line in SECTIONS[section].split("| source |")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] in ("field", "table") or set(line) <= set("|-"):
            continue
        if owner:
            current = cells[0].strip("`") or current
            cells = cells[1:]
        if current == owner and len(cells) >= 3:
            names = re.findall(r"`(\w+)`", cells[0])
            found |= dict.fromkeys(names, cells[2])
    return found


def names_of(kind: Any) -> set[str]:
    return {each.name for each in fields(kind)} if is_dataclass(kind) else set(kind.model_fields)


def default_of(kind: Any, name: str) -> Any:
    if not is_dataclass(kind):
        return kind.model_fields[name].default
    field = next(each for each in fields(kind) if each.name == name)
    return field.default if field.default is not MISSING else field.default_factory


TABLES: list[tuple[str, str, Any, set[str]]] = [
    ("Top level", "", StudyFile, {"data", "network", "training", "compute", "checkpoints"}),
    ("[data]", "", DataConfig, set()),
    ("[training]", "", Recipe, {"epochs"}),
    ("[compute]", "", Compute, set()),
    ("[checkpoints]", "", Checkpoints, set()),
    ("[[arms]]", "branch", BranchTable, set()),
    ("[[arms]]", "freeze", FreezeTable, set()),
    ("[[arms]]", "replay", ReplayTable, set()),
]


@pytest.mark.parametrize(("section", "owner", "kind", "others"), TABLES)
def test_the_page_names_every_field_and_no_other(
    section: str, owner: str, kind: Any, others: set[str]
) -> None:
    assert set(table(section, owner)) ^ names_of(kind) == others


def test_the_page_names_every_field_of_an_arm() -> None:
    own = SECTIONS["[[arms]]"].split("A run that branches")[0]
    found = {name for line in own.splitlines() for name in re.findall(r"^\|.*?\|", line)[:1]}
    assert {word for cell in found for word in re.findall(r"`(\w+)`", cell)} == names_of(Arm)


def fields_told(kind: str) -> dict[str, str]:
    """Field and default of every row of an analysis' table."""
    body = SECTIONS["[[analyses]]"].split(f'`kind = "{kind}"`')[1].split("`kind = ")[0]
    rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): cells[2].strip() for cells in rows}


@pytest.mark.parametrize("kind", ANALYSES)
def test_the_page_names_every_field_of_an_analysis_with_its_default(kind: str) -> None:
    settings = ANALYSES[kind].Settings
    told = fields_told(kind)
    assert set(told) == names_of(settings)
    for name, text in told.items():
        default = default_of(settings, name)
        if re.match(r"`?[\[\d\"]", text):
            value = tomllib.loads(f"value = {text.strip('`')}")["value"]
            assert (list(default) if isinstance(default, tuple) else default) == value, name
        else:
            prose = {"none": None, "the last": None, "all": None, "the test split": TEST_SPLIT}
            prose |= {"all nine": ALL, "true": True, "`float32`": "float32"}
            prose |= {"ten that every image has": EVERYWHERE}
            assert default == prose[text], name


@pytest.mark.parametrize("kind", [Evaluation, NetworkConfig])
def test_the_page_names_every_field_of(kind: Any) -> None:
    assert all(f"`{name}`" in PAGE for name in names_of(kind))


@pytest.mark.parametrize(
    ("section", "owner", "kind"), [(each[0], each[1], each[2]) for each in TABLES]
)
def test_the_page_tells_the_true_default(section: str, owner: str, kind: Any) -> None:
    for name, told in table(section, owner).items():
        if name not in names_of(kind) or told in NONE or told == "`name`":
            continue
        value = told.replace("`", "").split(";")[0]
        try:
            expected = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            expected = value
        default = default_of(kind, name)
        plain = list(default) if isinstance(default, tuple) else default
        assert plain == expected or (default is None and expected in (0, "computed")), name


@pytest.mark.parametrize("name", MODELS)
def test_the_page_names_every_network_with_its_norms_and_options(name: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line)
    cells = row.split("|")
    assert tuple(re.findall(r"`(\w+)`", cells[3])) == MODELS[name].norm_layers
    options = {each.name for each in fields(MODELS[name].Options)}
    assert options <= set(re.findall(r"`(\w+)`", cells[4]))


@pytest.mark.parametrize("name", registry.DATASETS)
def test_the_page_names_every_source(name: str) -> None:
    assert any(f"`{name}`" in line for line in SECTIONS["[data]"].splitlines() if line[0:1] == "|")


def _like_cifar10(config: DataConfig, folder: Path) -> Dataset:
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(256, (3000, 3, 32, 32), generator=stream, dtype=torch.uint8)
    labels = torch.arange(3000) % 10
    names = tuple(str(k) for k in range(10))
    return Dataset(names, images[:2000], labels[:2000], images[2000:], labels[2000:])


@pytest.fixture
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the examples need: a network's code, pictures, and a small CIFAR-10."""
    code = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0]
    (tmp_path / "mynet.py").write_text(code)
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for label in ("cats", "dogs"):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.DATASETS, "cifar10", _like_cifar10)
    registry.load.cache_clear()
    yield tmp_path
    registry.load.cache_clear()


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(
    ("index", "runs", "checkpoints"), [(0, 7, {13, 5}), (1, 12, {50}), (2, 2, {6})]
)
def test_an_example_plans(
    index: int, runs: int, checkpoints: set[int], example_folder: Path
) -> None:
    path = example_folder / "study.toml"
    path.write_text(EXAMPLES[index])
    planned = planning.plan(study.read(path, example_folder / "home"), example_folder / "home")
    found = planned.study.runs
    assert len(found) == runs
    assert {len(run.config.stored_steps) for run in found} <= checkpoints
    assert planned.waiting == planned.units


def test_the_example_of_an_own_network_runs(example_folder: Path) -> None:
    home = example_folder / "home"
    fill(home, EXAMPLES[2])
    assert len(list(home.glob("runs/*/checkpoints/*.safetensors"))) == 2 * 6
    assert len(list(home.glob("parts/splices/*.parquet"))) == 2 * 2
