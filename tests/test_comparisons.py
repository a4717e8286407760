"""What is refused before anything runs: unequal comparisons, and values that nothing can have."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from featdyn_engine import study
from featdyn_engine.cli import app
from featdyn_engine.domain import InputError
from tests.cases import HERE, QUICK_STUDY

# Arms besides "true labels" and "random labels", which differ in their labels alone.
PERMUTED = '\n[[arms]]\nname = "permuted"\ndata = { permute_pixels = true }\n'
LONGER = '\n[[arms]]\nname = "longer"\ntraining = { steps = 20 }\n'
LONGER_RANDOM = LONGER.replace("longer", "longer, random") + "label_noise = 0.4\n"


def with_arm(options: str) -> str:
    return QUICK_STUDY + f'\n[[arms]]\nname = "wrong"\n{options}\n'


def complaint(text: str) -> str:
    with pytest.raises(InputError) as caught:
        study.parse(text, "quick.toml", HERE)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix("quick.toml: ")


@pytest.mark.parametrize(
    ("options", "what", "told"),
    [
        ("label_noise = 0.4\ndata = { train_size = 40 }", "random labels", "40 images, 10 steps"),
        ("label_noise = 0.4\ntraining = { steps = 20 }", "random labels", "44 images, 20 steps"),
        ("label_noise = 0.4\ndata = { split_seed = 1 }", "random labels", "44 images, 10 steps"),
        (
            "data = { permute_pixels = true, train_size = 40 }",
            "permuted pixels",
            "40 images, 10 steps",
        ),
    ],
)
def test_arms_of_other_labels_need_the_same_images_and_steps(
    options: str, what: str, told: str
) -> None:
    message = complaint(with_arm(options))
    assert message.startswith(f"arms: expected 'wrong', of {what}, to be trained on the same")
    assert f"got {told} against 44 images, 10 steps of 'true labels'; give both" in message


@pytest.mark.parametrize(
    "more",
    [
        PERMUTED,
        LONGER,
        LONGER + LONGER_RANDOM,
        '\n[[arms]]\nname = "small steps"\nlabel_noise = 0.4\ntraining = { lr = 0.01 }\n',
    ],
)
def test_what_has_its_counterpart_is_compared(more: str) -> None:
    assert study.parse(QUICK_STUDY + more, "quick.toml", HERE)


def test_without_true_labels_there_is_no_such_comparison() -> None:
    text = "label_noise = 0.2\n" + QUICK_STUDY + LONGER
    assert study.parse(text, "quick.toml", HERE)


CORRUPTED = '[[analyses]]\nkind = "corruptions"\n'
SPLICED = (
    '[[analyses]]\nkind = "splices"\n'
    'evaluations = [{ split = "test", corruption = "fog", severity = 2 }]\n'
)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (CORRUPTED + 'kinds = ["rain"]', r"analyses: corruption: .* fog, .*got 'rain'"),
        (CORRUPTED + 'kinds = ["snow"]', r"analyses: corruption: .*8 pixels, got snow"),
        (CORRUPTED + "severities = [7]", r"analyses\[0\]\.severities\[0\]: .*equal to 5, got 7"),
        (CORRUPTED + "severities = [0]", r"analyses\[0\]\.severities\[0\]: .*equal to 1, got 0"),
        (SPLICED.replace("= 2", "= 7"), r"analyses\[0\].*severity: .*equal to 5, got 7"),
        (SPLICED.replace("fog", "rain"), r"analyses: corruption: .*got 'rain'"),
        ('[[analyses]]\nkind = "sensitivity"', r"analyses\[0\]\.kind: expected one of .*splices"),
    ],
)
def test_kinds_and_severities_that_do_not_exist_are_refused(more: str, expected: str) -> None:
    assert re.match(expected, complaint(f"{QUICK_STUDY}\n{more}\n"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('freeze = { cut = "head" }', r"arms\[2\]\.freeze\.cut: expected one of layer1, layer2, "),
        ('freeze = { cut = "layer9" }', r"arms\[2\]\.freeze\.cut: .*got 'layer9'"),
        ('freeze = { cut = "layer1", from_step = 10 }', r"arms\[2\]\.freeze: .*before the last"),
        ('replay = { cut = "head" }', r"arms\[2\]\.replay\.cut: expected one of layer1, layer2, "),
        ('replay = { cut = "layer1", share = 0 }', r"arms\[2\]\.replay\.share: .*greater than 0"),
        ('replay = { cut = "layer1", share = 1.5 }', r"arms\[2\]\.replay\.share: .*equal to 1"),
        ('replay = { cut = "layer1", window = 0 }', r"arms\[2\]\.replay\.window: .*than 0, got 0"),
        ('replay = { cut = "layer1", source = "old" }', r"arms\[2\]\.replay\.source: .*'stored'"),
        (
            'replay = { cut = "layer1", window = 2, steps = [2] }',
            r"arms\[2\]\.replay: expected a window .* got both; keep one",
        ),
        (
            'replay = { cut = "layer1", source = "current", window = 2 }',
            r"arms\[2\]\.replay: expected no steps, epochs or window beside source = 'current'",
        ),
    ],
)
def test_a_depth_beyond_the_net_or_a_replay_of_nothing_is_refused(
    options: str, expected: str
) -> None:
    assert re.match(expected, complaint(with_arm(options)))


def test_what_is_refused_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "unequal.toml"
    file.write_text(with_arm("label_noise = 0.4\ndata = { train_size = 40 }"))
    monkeypatch.setenv("FEATDYN_HOME", str(tmp_path / "home"))
    # What an InputError makes of the exit code is tested in test_cli.
    found = CliRunner().invoke(app, ["run", str(file)])
    assert isinstance(found.exception, InputError)
    assert list(tmp_path.rglob("*")) == [file]
