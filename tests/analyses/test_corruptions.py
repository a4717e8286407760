from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from featdyn_engine.analyses import splices
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.corruptions import Settings, compute, units
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.domain import InputError
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.intervals import wilson
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON

RUN = replace(PERCEPTRON, checkpoints=(0, 4, 10))
ASKED = Settings(kinds=("gaussian_noise", "contrast"), severities=(1, 5), n=60)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corruptions")
    train(RUN, folder)
    return folder


def test_there_is_one_unit_a_kind_and_one_for_the_clean_images() -> None:
    found = units(ASKED, RUN, HERE)
    assert [unit.label for unit in found] == [
        "corruptions: clean",
        "corruptions: gaussian_noise",
        "corruptions: contrast",
    ]
    sets = [each for unit in found for each in unit.spec.evaluations]
    assert [(each.corruption, each.severity) for each in sets] == [
        ("none", 0),
        ("gaussian_noise", 1),
        ("gaussian_noise", 5),
        ("contrast", 1),
        ("contrast", 5),
    ]
    assert [unit.needs for unit in found] == [
        (RUN.run_id, *(each.eval_id for each in unit.spec.evaluations)) for unit in found
    ]
    # What is made here says by which version; clean sets are what they always were.
    assert [each.corruption_version for each in sets] == [0, 1, 1, 1, 1]
    assert len({each.eval_id for each in sets}) == 5
    # A severity asked for twice is one.
    again = units(replace(ASKED, severities=(1, 5, 5)), RUN, HERE)
    assert [unit.unit_id for unit in again] == [unit.unit_id for unit in found]


def test_rows_are_what_the_networks_predict_of_the_corrupted_images(home: Path) -> None:
    for unit in units(ASKED, RUN, HERE):
        heard: list[float] = []
        rows = compute(unit.spec, home, heard.append).to_pylist()
        assert heard[-1] == 1
        assert len(rows) == len(RUN.checkpoints) * len(unit.spec.evaluations)
        for row in rows:
            (asked,) = (e for e in unit.spec.evaluations if e.eval_id == row["eval_id"])
            assert (row["corruption"], row["severity"]) == (asked.corruption, asked.severity)
            examples = evaluation.load(asked, home)
            with torch.inference_mode():
                logits = load_network(home, RUN.run_id, row["step"])(examples.images)
            correct = int((logits.argmax(dim=1) == examples.labels).sum())
            assert (row["n"], row["correct"]) == (60, correct)
            assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(wilson(correct, 60))


def test_corrupted_images_are_those_of_the_subset_in_its_order() -> None:
    asked = units(ASKED, RUN, HERE)[1].spec.evaluations[1]
    of_all = units(replace(ASKED, n=None), RUN, HERE)[1].spec.evaluations[1]
    found, whole = evaluation.load(asked, HERE), evaluation.load(of_all, HERE)
    clean = evaluation.load(units(ASKED, RUN, HERE)[0].spec.evaluations[0], HERE)
    assert torch.equal(found.labels, clean.labels)
    assert not torch.equal(found.images, clean.images)
    # Its position in the split decides an image's numbers, not its place in the subset.
    everything = {image.numpy().tobytes() for image in whole.images}
    assert all(image.numpy().tobytes() in everything for image in found.images)
    # The hash covers what was made.
    assert found.sha256 != clean.sha256


def test_permuted_pixels_are_corrupted_as_pictures_first() -> None:
    permuted = replace(RUN, data=replace(RUN.data, permute_pixels=True))
    sets = [units(ASKED, run, HERE)[1].spec.evaluations[1] for run in (RUN, permuted)]
    plain, moved = (evaluation.load(each, HERE).images for each in sets)
    assert not torch.equal(plain, moved)
    assert np.allclose(plain.flatten(1).sort().values, moved.flatten(1).sort().values, atol=1e-5)


def test_cubes_on_images_made_here_have_the_plain_networks_as_diagonal(home: Path) -> None:
    wanted = Evaluation(split="test", n=60, corruption="contrast", severity=5)
    (unit,) = splices.units(
        splices.Settings(cuts=("layer2",), evaluations=(wanted,), norm=("inherit",)), RUN, HERE
    )
    cells = splices.compute(unit.spec, home, lambda share: None)["splices"].to_pylist()
    (asked,) = (u for u in units(ASKED, RUN, HERE) if u.label.endswith("contrast"))
    rows = compute(asked.spec, home, lambda share: None).to_pylist()
    own = {row["step"]: row["correct"] for row in rows if row["severity"] == 5}
    diagonal = {c["deep_step"]: c["correct"] for c in cells if c["shallow_step"] == c["deep_step"]}
    assert diagonal == own
    assert {(c["corruption"], c["severity"]) for c in cells} == {("contrast", 5)}


@pytest.mark.parametrize(
    ("kinds", "pattern"),
    [
        (("rain",), "corruption: expected none or one of gaussian_noise, .*, got 'rain'"),
        (("snow",), "corruption: expected one of .* for grey images of 8 pixels, got snow"),
    ],
)
def test_kinds_that_the_images_cannot_have_are_refused(
    kinds: tuple[str, ...], pattern: str
) -> None:
    with pytest.raises(InputError, match=pattern):
        units(Settings(kinds=kinds), RUN, HERE)
