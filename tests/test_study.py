import re
import tomllib
from pathlib import Path

import pytest

from featdyn_engine import study
from featdyn_engine.domain import InputError, Seeds
from featdyn_engine.study import Study
from tests.cases import HERE, TINY_STUDY

DEMO = Path(study.__file__).with_name("demo.toml")


def parse(text: str) -> Study:
    return study.parse(text, "tiny.toml", HERE)


def changed(old: str, new: str, count: int = 1) -> str:
    assert old in TINY_STUDY
    return TINY_STUDY.replace(old, new, count)


def with_arm_option(option: str) -> str:
    return changed("label_noise = 1.0", f"label_noise = 1.0\n{option}")


def with_analysis_option(option: str) -> str:
    return changed('kind = "splices"', f'kind = "splices"\n{option}')


def without_section(name: str) -> str:
    text = re.sub(rf"\[{name}\]\n(?:[^\[\n][^\n]*\n)+", "", TINY_STUDY)
    assert f"[{name}]" not in text
    return text


def complaint(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("tiny.toml: ")
    assert "\n" not in message
    return message.removeprefix("tiny.toml: ")


@pytest.fixture(scope="module")
def demo() -> Study:
    return study.read(DEMO, HERE)


def test_the_embedded_study_has_a_true_and_a_random_arm(demo: Study) -> None:
    whole = [run for run in demo.runs if run.config.freeze is None]
    assert [(run.arm, run.config.label_noise) for run in whole] == [
        ("true labels", 0.0),
        ("random labels", 1.0),
    ]
    assert len(demo.runs) == 4
    assert demo.must_fit is not None


def test_the_arms_of_the_embedded_study_differ_in_their_labels_alone(demo: Study) -> None:
    true, random = (run.config for run in demo.runs if run.config.freeze is None)
    assert true.data == random.data
    assert true.network == random.network
    assert true.recipe == random.recipe
    assert true.checkpoints == random.checkpoints
    assert true.seeds == random.seeds
    assert true.run_id != random.run_id


def test_the_embedded_study_stores_thirteen_checkpoints_with_both_ends(demo: Study) -> None:
    for run in demo.runs:
        found = run.config.checkpoints
        assert len(found) == len(set(found)) == 13
        assert found == tuple(sorted(found))
        assert (found[0], found[-1]) == (0, run.config.recipe.steps)


def test_the_embedded_study_has_checkpoints_enough_for_a_score(demo: Study) -> None:
    # A score is refused with fewer than eight checkpoints past 5 % of the steps, and a twin's
    # are those behind its branch.
    for run in demo.runs:
        later = [step for step in run.config.checkpoints if step > 0.05 * run.config.recipe.steps]
        assert len(later) >= 9


def test_the_embedded_study_scores_all_ten_cuts_on_both_splits(demo: Study) -> None:
    units = [unit for unit in demo.units(HERE) if unit.kind == "splices"]
    assert len(units) == 2 * 2 * 10
    assert {unit.spec.evaluation.split for unit in units} == {"train", "test"}
    assert len({unit.spec.cut.name for unit in units}) == 10


def test_the_tiny_study_parses() -> None:
    found = parse(TINY_STUDY)
    assert (found.name, found.title) == ("tiny", "Tiny: true against random labels")
    assert [run.name for run in found.runs] == ["true labels, seed 0", "random labels, seed 0"]
    assert found.runs[0].config.checkpoints == (0, 1, 2, 4, 6, 8, 10, 12, 16, 20)
    assert found.runs[0].train_size == 96
    assert found.text == TINY_STUDY
    assert found.must_fit is None


def test_a_study_without_a_title_is_called_by_its_name() -> None:
    assert parse(changed('title = "Tiny: true against random labels"\n', "")).title == "tiny"


def test_the_first_and_last_step_are_always_stored() -> None:
    found = parse(changed("steps = [0, 1, 2, 4, 6, 8, 10, 12, 16, 20]", "steps = [7]"))
    assert found.runs[0].config.checkpoints == (0, 7, 20)


def test_epochs_are_turned_into_steps() -> None:
    # 96 examples in batches of 32: three steps an epoch.
    text = changed("steps = 20\n", "epochs = 5\n")
    text = text.replace("[0, 1, 2, 4, 6, 8, 10, 12, 16, 20]", "[1]\nepochs = [0.5, 2]")
    config = parse(text).runs[0].config
    assert config.recipe.steps == 15
    assert config.checkpoints == (0, 1, 2, 6, 15)


def test_an_arm_overrides_what_it_names_and_no_more() -> None:
    option = 'training = { lr = 0.2 }\ndata = { train_size = 64 }\nnetwork = { name = "resnet20" }'
    first, second = (run.config for run in parse(changed("label_noise = 1.0", option)).runs)
    assert (first.recipe.lr, second.recipe.lr) == (0.05, 0.2)
    assert (first.data.train_size, second.data.train_size) == (96, 64)
    assert second.recipe.batch_size == first.recipe.batch_size == 32
    assert second.recipe.milestones == (0.8,)


def test_every_seed_is_a_run_of_every_arm() -> None:
    runs = parse("seeds = [0, 4]\n" + TINY_STUDY).runs
    assert [run.name for run in runs] == [
        "true labels, seed 0",
        "true labels, seed 4",
        "random labels, seed 0",
        "random labels, seed 4",
    ]
    assert runs[1].config.seeds == Seeds(init=4, order=4, labels=4)
    assert len({run.config.run_id for run in runs}) == 4


def test_an_arm_may_have_seeds_of_its_own_apart_for_each_source() -> None:
    runs = parse(with_arm_option("seeds = [{ init = 0, order = 1 }]")).runs
    assert runs[0].config.seeds == Seeds()
    assert runs[1].config.seeds == Seeds(init=0, order=1, labels=0)


def test_the_device_is_part_of_every_run() -> None:
    found = study.parse(TINY_STUDY, "tiny.toml", HERE, "cuda")
    assert {run.config.device for run in found.runs} == {"cuda"}


def test_whole_numbers_are_the_same_recipe_as_their_decimals() -> None:
    one, other = (parse(changed("lr = 0.05", f"lr = {text}")).runs[0] for text in ("1", "1.0"))
    assert one.config.run_id == other.config.run_id


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "tiny"', "name = tiny", "expected TOML.*line 2"),
        ("[data]", "[data", "expected TOML.*line 5"),
        ('name = "tiny"\n', "", "name: expected a value, got none"),
        ('name = "tiny"', 'name = "Tiny study"', "name: expected .*got 'Tiny study'"),
        ("resnet20", "resnet21", r"network\.name: expected one of .*resnet20.*got 'resnet21'"),
        ('"digits"', '"digitz"', r"data\.name: expected one of .*digits.*got 'digitz'"),
        ("train_size = 96", "train_size = 1438", r"data\.train_size: .*at most 1437.*got 1438"),
        ("train_size = 96", "train_size = 0", r"data\.train_size: expected greater than 0, got 0"),
        ("lr = 0.05", "lr = -0.05", r"training\.lr: expected greater than 0, got -0\.05"),
        ("lr = 0.05", "lr = nan", r"training\.lr: expected .*got nan"),
        ("lr = 0.05", "momentun = 0.9", r"training\.momentun: no such.*did you mean 'momentum'\?"),
        ("lr = 0.05", "colour = 1", r"training\.colour: no such field; expected one of .*lr"),
        ("title =", "titel =", r"titel: no such field; did you mean 'title'\?"),
        ("lr = 0.05", 'lr = "fast"', r"training\.lr: expected a number.*got 'fast'"),
        (
            "batch_size = 32",
            'batch_size = "many"',
            r"training\.batch_size: .*whole number, got 'many'",
        ),
        ("batch_size = 32", "batch_size = 0", r"training\.batch_size: .*greater than 0, got 0"),
        ('"step"', '"stepp"', r"training\.schedule: expected 'constant', 'step'.*got 'stepp'"),
        ("[0.8]", "[8]", r"training\.milestones\[0\]: expected less than.*1, got 8"),
        ("steps = 20", "steps = 20\nepochs = 3", "training: expected steps or epochs, got both"),
        ("steps = 20\n", "", "training: expected steps or epochs, got neither"),
        ("steps = 20", "steps = 20.5", r"training\.steps: .*whole number, got 20\.5"),
        ("steps = 20", "epochs = -1", r"training\.epochs: expected greater than 0, got -1"),
        ("16, 20]", "16, 21]", "checkpoints: expected steps up to the last one, 20, got 21"),
        ("[0, 1,", "[-1,", r"checkpoints\.steps\[0\]: expected greater than.*0, got -1"),
        ('kind = "splices"', 'kind = "splice"', r"analyses\[0\]\.kind: .*splices.*got 'splice'"),
        ('kind = "splices"\n', "", r"analyses\[0\]\.kind: expected one of .*splices"),
        ("n = 40 }]", "n = 361 }]", "analyses.*n of at most 360 .the test split.*got 361"),
        ("n = 40 }", "n = 97 }", "analyses.*n of at most 96 .the train split.*got 97"),
        ('"test"', '"tests"', r"analyses\[0\]\.evaluations\[1\]\.split: .*'test', got 'tests'"),
        ('"random labels"', '"true labels"', "arms: expected different names, got 'true labels'"),
        ('name = "random labels"\n', "", r"arms\[1\]\.name: expected a value, got none"),
        ("label_noise = 1.0", "label_nois = 1.0", r"arms\[1\].*did you mean 'label_noise'\?"),
        ("label_noise = 1.0", "label_noise = 2.0", r"arms\[1\]\.label_noise: .*1, got 2\.0"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(old: str, new: str, expected: str) -> None:
    assert re.match(expected, complaint(changed(old, new)))


@pytest.mark.parametrize("section", ["data", "network", "training"])
def test_a_missing_section_is_named(section: str) -> None:
    assert complaint(without_section(section)) == f"{section}: expected a value, got none; add it"


def test_missing_arms_are_named() -> None:
    text = TINY_STUDY[: TINY_STUDY.index("[[arms]]")]
    assert complaint(text) == "arms: expected a value, got none; add it"


def test_a_section_that_is_not_a_table_is_refused() -> None:
    text = 'network = "resnet20"\n' + without_section("network")
    assert re.match("network: expected .*got 'resnet20'", complaint(text))


@pytest.mark.parametrize("seeds", ["[-1]", "[]", "3", '["a"]'])
def test_wrong_seeds_are_refused(seeds: str) -> None:
    assert re.match("seeds.*: expected ", complaint(f"seeds = {seeds}\n{TINY_STUDY}"))


def test_an_empty_file_is_refused() -> None:
    assert "expected a value, got none" in complaint("")


@pytest.mark.parametrize("name", ["stage4.0", "head"])
def test_a_cut_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    message = complaint(with_analysis_option(f'cuts = ["stem", "{name}"]'))
    assert re.match(
        f"analyses.*cuts: expected names among stem, .*stage3.2 .*got '{name}'", message
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("evaluation = []", r"analyses\[0\]\.evaluation: .*did you mean 'evaluations'\?"),
        ("colour = 3", r"analyses\[0\]\.colour: no such field; expected one of .*cuts"),
        ('norm = ["inherited"]', r"analyses\[0\]\.norm\[0\]: .*'inherit', .*got 'inherited'"),
        ("batch_size = 0", r"analyses\[0\]\.batch_size: expected greater than 0, got 0"),
    ],
)
def test_a_wrong_analysis_option_is_told_in_one_line(option: str, expected: str) -> None:
    text = with_analysis_option(option)
    if option.startswith("evaluation "):
        text = re.sub(r"\nevaluations = .*", "", text)
    assert re.match(expected, complaint(text))


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("training = { lr = -1 }", r"training\.lr: expected greater than 0, got -1"),
        ("training = { momentun = 0 }", r"training\.momentun: .*did you mean 'momentum'\?"),
        ("training = { batch_size = 0 }", r"training\.batch_size: .*greater than 0, got 0"),
        ("training = { epochs = -1 }", "training"),
        ("training = 3", r"training: expected .*got 3"),
        ("data = { train_size = 5000 }", r"data\.train_size: expected at most 1437.*got 5000"),
        ('data = { name = "mnisty" }', r"data\.name: expected one of .*got 'mnisty'"),
        ('network = { name = "vgg" }', r"network\.name: expected one of .*got 'vgg'"),
        ("training = { steps = 10 }", "checkpoints: expected steps up to the last one, 10"),
    ],
)
def test_a_wrong_override_names_its_arm(option: str, expected: str) -> None:
    message = complaint(with_arm_option(option))
    assert re.search(expected, message)
    assert re.search(r"arms\[1\]|random labels", message)


def test_a_wrong_value_of_the_study_is_not_blamed_on_an_arm_that_overrides_another() -> None:
    text = with_arm_option("training = { momentum = 0.5 }").replace(
        'name = "true labels"\n', 'name = "true labels"\ntraining = { momentum = 0.5 }\n'
    )
    assert complaint(text.replace("lr = 0.05", "lr = -1")).startswith("training.lr: ")


def test_an_arm_that_names_its_steps_replaces_the_epochs_of_the_study() -> None:
    text = changed("label_noise = 1.0", "training = { steps = 20 }")
    text = text.replace("steps = 20\n", "epochs = 7\n", 1)
    runs = parse(text).runs
    assert [run.config.recipe.steps for run in runs] == [21, 20]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("batch_size = 32", 'batch_size = "32"', "training.batch_size"),
        ("steps = 20", 'epochs = "7"', "training.epochs"),
        ("steps = 20", "epochs = inf", "training.epochs"),
        ("lr = 0.05", "lr = inf", "training.lr"),
        ("lr = 0.05", "lr = true", "training.lr"),
        ("[0, 1,", "[0]\nepochs = [inf]\n#", "checkpoints"),
        ('kind = "splices"', 'kind = ["splices"]', "analyses[0].kind"),
        ('kind = "splices"', 'kind = "splices"\ncuts = []', "analyses"),
        ('kind = "splices"', 'kind = "splices"\ncuts = "some"', "analyses[0].cuts"),
        ("label_noise = 1.0", "seeds = [0, 0]", "arms[1].seeds"),
        ("label_noise = 1.0", "seeds = []", "arms[1].seeds"),
    ],
)
def test_an_odd_value_is_refused_by_its_field_rather_than_failing_later(
    old: str, new: str, field: str
) -> None:
    assert complaint(changed(old, new)).startswith(field)


@pytest.mark.parametrize("field", ["lr2", "batch-size"])
def test_an_unknown_field_is_named_whatever_its_letters(field: str) -> None:
    message = complaint(changed("lr = 0.05", f'"{field}" = 1'))
    assert message.startswith(f"training.{field}: no such field")


def test_the_fields_proposed_are_those_of_the_table_at_hand() -> None:
    message = complaint(changed("n = 40 }]", "N = 40 }]"))
    assert re.match(r"analyses\[0\]\.evaluations\[1\]\.N: no such field; ", message)
    assert "batch_size" not in message


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_STUDY)
    assert study.read(path, HERE).name == tomllib.loads(TINY_STUDY)["name"]


def test_a_missing_file_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.toml: expected a readable.*No such file"
    ) as caught:
        study.read(tmp_path / "none.toml", HERE)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a readable study file.*directory"):
        study.read(tmp_path, HERE)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"study\.toml: .*not UTF-8 text"):
        study.read(path, HERE)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("steps = [0, 1,", 'steps = "all"\nepochs = [0, 1,', "a list in [ ], got 'all'"),
        ('name = "tiny"', 'name = "Tiny Study!"', "small letters, digits, - and _, got 'Tiny"),
        ('kind = "splices"', 'kind = "splices"\ncuts = 3', "'all' or a list in [ ], got 3"),
        ("[training]", "[trainig]", "no such field; did you mean 'training'?"),
        (
            'kind = "splices"',
            "",
            "trajectories, got none; add it",
        ),
        ("label_noise = 1.0", "seeds = [{ init = 1, ordre = 2 }]", "did you mean 'order'?"),
        ('name = "random labels"', 'name = "random\\nlabels"', "expected text on one line"),
        ("label_noise = 1.0", "label_noise = 0.0", "expected different runs, got the same for"),
        (
            "label_noise = 1.0",
            "seeds = [99999999999999999999999]",
            "arms[1].seeds[0]: expected less",
        ),
    ],
)
def test_messages_speak_plainly(old: str, new: str, expected: str) -> None:
    message = complaint(changed(old, new))
    assert expected in message
    assert "\n" not in message
