"""Sweeps: what they expand to, and that errors name the arm of the file."""

from typing import Any

import pytest

from featdyn_engine import study
from featdyn_engine.domain import Freeze, InputError
from featdyn_engine.sweeps import expanded
from tests.cases import HERE, QUICK_STUDY

GRID = """
[[arms]]
name = "frozen"
freeze = { part = "deep" }
[arms.sweep.freeze]
cut = ["layer1"]
from_step = [0, 4]
[arms.sweep.training]
lr = [0.05, 0.1, 0.2]

[[analyses]]
kind = "displacement"
arms = ["frozen"]
"""


def parse(more: str) -> study.Study:
    return study.parse(QUICK_STUDY + more, "quick.toml", HERE)


def complaint(more: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(more)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("quick.toml: ")


def test_a_sweep_is_the_product_of_its_lists_in_their_order() -> None:
    runs = [run for run in parse(GRID).runs if run.arm.startswith("frozen")]
    assert [(run.config.freeze, run.config.recipe.lr) for run in runs] == [
        (Freeze(depth=1, from_step=step, part="deep"), lr)
        for step in (0, 4)
        for lr in (0.05, 0.1, 0.2)
    ]
    assert runs[1].arm == "frozen, cut layer1, from_step 0, lr 0.1"


def test_a_swept_arm_is_the_same_run_as_one_written_out() -> None:
    written = """
[[arms]]
name = "by hand"
training = { lr = 0.2 }
freeze = { cut = "layer1", from_step = 4, part = "deep" }
"""
    assert parse(written).runs[-1].config == parse(GRID).runs[-1].config


def test_an_analysis_of_a_swept_arm_is_of_all_that_come_of_it() -> None:
    found = parse(GRID)
    assert {run.arm for _, _, run in found.measurements} == {
        run.arm for run in found.runs if run.arm.startswith("frozen")
    }


def test_other_arms_and_what_is_no_arm_stay_as_they_are() -> None:
    arms: list[Any] = [{"name": "a", "sweep": {"label_noise": [0, 1]}}, {"name": "b"}, 3]
    before = repr(arms)
    found, owners = expanded(arms)
    assert found == [
        {"name": "a, label_noise 0", "label_noise": 0},
        {"name": "a, label_noise 1", "label_noise": 1},
        {"name": "b"},
        3,
    ]
    assert owners == [0, 0, 1, 2]
    assert repr(arms) == before
    assert expanded("text") == ("text", [])


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ('freeze.cut = ["layer1", "layer9"]', "arms[2].freeze.cut: expected one of layer1, layer2"),
        ('freeze.cut = "layer1"', "arms[2].sweep.freeze.cut: expected a list of values to try"),
        ("training.lr = []", "arms[2].sweep.training.lr: expected a list of values to try"),
        ("freeze = {}", "arms[2].sweep.freeze: expected a list of values to try"),
        ("seeds = [0, 1]", "arms[2].sweep.seeds: expected fields of the arm but name and seeds"),
        ("nosuch = [0, 1]", "arms[2].nosuch: no such field"),
        ("training.lr = [0.1, 0.1]", "arms: expected different names"),
        ("training.lr = [0.1, -1]", "arms[2].training.lr: expected"),
        ('label_noise.x = [1]\n[[arms]]\nname = "c"', "arms[2].label_noise: expected"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_its_place(sweep: str, message: str) -> None:
    head, *rest = sweep.split("\n", 1)
    arm = f'\n[[arms]]\nname = "wrong"\nsweep.{head}\n' + "".join(rest)
    assert complaint(arm).startswith(message)


def test_a_deep_control_that_has_no_block_left_is_refused() -> None:
    arm = """
[[arms]]
name = "frozen"
sweep.freeze = { cut = ["layer1", "layer2"], part = ["shallow", "deep"] }
"""
    assert complaint(arm).startswith("arms[2].freeze.cut: expected a cut with a block between")


def test_a_sweep_without_a_name_says_so() -> None:
    assert complaint("\n[[arms]]\nsweep.label_noise = [0.1]\n").startswith("arms[2].name:")
