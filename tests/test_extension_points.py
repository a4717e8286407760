"""An entry of a registry without its table or its tests is unfinished."""

import re
from dataclasses import is_dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from featdyn_engine.analyses.registry import ANALYSES
from featdyn_engine.data.registry import DATASETS
from featdyn_engine.models.registry import MODELS
from store.results import TABLES
from tests.models.test_registry import NAMES

TESTS = Path(__file__).parent


@pytest.mark.parametrize("kind", ANALYSES)
def test_every_analysis_has_a_table_in_the_store(kind: str) -> None:
    assert kind in TABLES


@pytest.mark.parametrize("kind", ANALYSES)
def test_every_analysis_has_its_tests(kind: str) -> None:
    assert (TESTS / "analyses" / f"test_{kind}.py").is_file()


@pytest.mark.parametrize("kind", ANALYSES)
def test_every_analysis_offers_settings_with_defaults_and_columns(kind: str) -> None:
    analysis = ANALYSES[kind]
    assert is_dataclass(analysis.Settings())
    assert isinstance(analysis.TABLE, pa.Schema)
    assert "unit_id" not in analysis.TABLE.names  # the part adds it


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_its_tests(name: str) -> None:
    assert (TESTS / "data" / f"test_{name}.py").is_file()


def test_every_network_is_in_the_tests_of_the_registry() -> None:
    assert set(NAMES) == set(MODELS)


@pytest.mark.parametrize("registry", [DATASETS, MODELS], ids=["data sets", "networks"])
def test_the_recipes_name_what_is_registered(registry: dict[str, object]) -> None:
    text = (TESTS.parent / "docs" / "recipes.md").read_text()
    listed = [re.findall(r"`(\w+)`", line) for line in re.findall(r"Registered: ([^.]*)\.", text)]
    assert list(registry) in listed
