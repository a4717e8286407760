"""The paragraph and the BibTeX say what the configuration says, and nothing that it doesn't."""

from dataclasses import replace

import pytest

from app import methods
from app.definitions import DEFINITIONS, OURS, PAPER
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig, Seeds

CONFIG = RunConfig(
    data=DataConfig(name="digits"),
    network=NetworkConfig(name="resnet20"),
    recipe=Recipe(
        steps=1200,
        batch_size=64,
        lr=0.1,
        weight_decay=5e-4,
        schedule="step",
        milestones=(0.5, 0.75),
    ),
    checkpoints=(0, 100, 1200),
    seeds=Seeds(init=3, order=4, labels=5),
)
VERSIONS = [{"featdyn": "0.1.0", "torch": "2.13.0"}]


def said(config: RunConfig = CONFIG) -> str:
    return methods.paragraph(config, 720, ["inherit"], VERSIONS)


def test_the_paragraph_holds_every_number_of_the_recipe() -> None:
    text = said()
    for words in (
        "resnet20 (BatchNorm normalisation)",
        "720 training images of digits",
        "1,200 updates",
        "SGD with momentum 0.9, weight decay 0.0005, batch size 64",
        "learning rate 0.1, multiplied by 0.1 at 50% and 75% of them",
        "augmentation: none",
        "initialisation 3, order 4, labels 5",
        "3 checkpoints were kept, from update 0 to 1,200",
        "float32 on cpu with 1 thread.",
        "`inherit`",
        "featdyn 0.1.0 and PyTorch 2.13.0",
        CONFIG.run_id,
    ):
        assert words in text


def test_random_labels_are_said_and_true_ones_are_not() -> None:
    assert "random" not in said()
    assert "every label drawn uniformly at random" in said(replace(CONFIG, label_noise=1.0))
    assert "20% of the labels drawn" in said(replace(CONFIG, label_noise=0.2))


def test_adam_has_betas_and_no_momentum() -> None:
    adam = said(replace(CONFIG, recipe=replace(CONFIG.recipe, optimizer="adam")))
    assert "Adam (beta 0.9, 0.999)" in adam
    assert "momentum" not in adam


def test_without_splices_nothing_is_said_of_them() -> None:
    assert "shallow part" not in methods.paragraph(CONFIG, 720, [], VERSIONS)


def test_bibtex_names_the_paper_the_version_and_the_run() -> None:
    text = methods.bibtex(CONFIG, "true labels, seed 0", VERSIONS)
    assert text.count("@") == 2
    assert "2509.20334" in text
    assert f"featdyn_{CONFIG.run_id}" in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("each", DEFINITIONS, ids=lambda each: each.name)
def test_a_definition_is_whole(each: object) -> None:
    definition = next(one for one in DEFINITIONS if one is each)
    assert definition.words.endswith(".")
    assert definition.formula.count("{") == definition.formula.count("}")


def test_the_score_is_ours_and_the_splice_the_papers() -> None:
    whose = {each.name: each.whose for each in DEFINITIONS}
    assert whose["Score"] == OURS
    assert whose["Splice"] == PAPER
