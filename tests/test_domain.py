import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, asdict, dataclass, fields, is_dataclass, replace
from typing import Any

import pytest

from featdyn_engine.domain import (
    Branch,
    Cut,
    DataConfig,
    EvalConfig,
    Freeze,
    NetworkConfig,
    Recipe,
    Recorded,
    Replay,
    RunConfig,
    Seeds,
    interior_cuts,
)
from featdyn_engine.identity import identity

RUN = RunConfig(
    data=DataConfig(name="digits", train_size=720),
    network=NetworkConfig(name="resnet20"),
    recipe=Recipe(steps=660, batch_size=64, weight_decay=0.0, milestones=(0.8,)),
    checkpoints=(0, 11, 330, 660),
    label_noise=1.0,
    seeds=Seeds(init=1, order=2, labels=3),
)
EVALUATION = EvalConfig(
    data=DataConfig(name="digits", train_size=720),
    split="train",
    n=500,
    labels="trained_on",
    label_noise=1.0,
    seed_labels=3,
)
DEFAULT_SEEDS = Seeds()
# Another value for every field: a new field needs an entry here.
OTHER_RUN = {
    "data.name": "cifar10",
    "data.train_size": 719,
    "data.split_seed": 1,
    "data.balanced": True,
    "data.permute_pixels": True,
    "data.sha256": "0" * 64,
    "data.mean": (0.5,),
    "data.std": (0.2,),
    "network.name": "resnet32",
    "network.norm_layer": "none",
    "network.options": {"shortcut": "projection"},
    "network.blocks": ("layer1",),
    "recipe.steps": 661,
    "recipe.batch_size": 65,
    "recipe.lr": 0.2,
    "recipe.optimizer": "adam",
    "recipe.momentum": 0.0,
    "recipe.weight_decay": 1e-4,
    "recipe.schedule": "constant",
    "recipe.milestones": (0.9,),
    "recipe.gamma": 0.2,
    "recipe.nesterov": True,
    "recipe.betas": (0.8, 0.9),
    "recipe.eps": 1e-6,
    "recipe.warmup": 0.1,
    "recipe.label_smoothing": 0.1,
    "recipe.clip_norm": 1.0,
    "recipe.augmentation": ("crop", "flip"),
    "recipe.stop_at": 0.99,
    "recipe.monitor": 100,
    "checkpoints": (0, 330, 660),
    "label_noise": 0.5,
    "seeds.init": 7,
    "seeds.order": 7,
    "seeds.labels": 7,
    "branch": Branch(step=330, order=9),
    "freeze": Freeze(depth=3, from_step=11, part="deep", weights_of=660),
    "replay": Replay(depth=3, steps=(11, 330), share=0.5, from_step=11),
    "swa_from": 0.75,
    "threads": 2,
    "device": "cuda",
    "precision": "bfloat16",
    "channels_last": True,
    "compile": True,
    "recorded": Recorded(name="mine", token="1", by="import"),
}
# Where a thing lies and how it is called: never what it is.
NO_IDENTITY = {"data.folder": "/elsewhere", "data.title": "Ten digits"}
OTHER_EVALUATION = {
    **{key: value for key, value in OTHER_RUN.items() if key.startswith("data.")},
    "split": "test",
    "n": 499,
    "subset_seed": 1,
    "labels": "true",
    "label_noise": 0.5,
    "seed_labels": 4,
    "corruption": "fog",
    "severity": 3,
    "corruption_sha256": "1" * 64,
    "other": DataConfig(name="mnist"),
    "corruption_version": 2,
}


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    for field in fields(value):
        inner = getattr(value, field.name)
        if is_dataclass(inner):
            yield from paths(inner, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def changed(value: Any, path: str, new: object) -> Any:
    first, _, rest = path.partition(".")
    return replace(value, **{first: changed(getattr(value, first), rest, new) if rest else new})


def test_the_identity_of_a_run_is_pinned() -> None:
    assert RUN.run_id == "ab8f9afc0b3c"


def test_the_identity_of_an_evaluation_set_is_pinned() -> None:
    assert EVALUATION.eval_id == "fb5ea13fdb3b"


def test_every_field_has_a_case_here() -> None:
    assert set(paths(RUN)) == set(OTHER_RUN) | set(NO_IDENTITY)
    folder = {"corruption_folder"}
    assert set(paths(EVALUATION)) == set(OTHER_EVALUATION) | set(NO_IDENTITY) | folder


@pytest.mark.parametrize("path", NO_IDENTITY)
def test_places_and_titles_are_no_part_of_an_identity(path: str) -> None:
    assert changed(RUN, path, NO_IDENTITY[path]).run_id == RUN.run_id
    assert changed(EVALUATION, path, NO_IDENTITY[path]).eval_id == EVALUATION.eval_id
    assert replace(EVALUATION, corruption_folder="/x").eval_id == EVALUATION.eval_id


BRANCHED = replace(RUN, branch=Branch(step=11, order=9))
LAST = Freeze(depth=3, weights_of=660)


@pytest.mark.parametrize(
    ("run", "steps"),
    [
        (BRANCHED, (11,)),
        (replace(RUN, freeze=LAST), (660,)),
        (replace(RUN, replay=Replay(depth=1, steps=(330, 11))), (11, 330)),
        (replace(BRANCHED, freeze=LAST), (11, 660)),
    ],
)
def test_a_run_that_uses_the_weights_of_another_has_a_parent(
    run: RunConfig, steps: tuple[int, ...]
) -> None:
    assert run.parent == RUN
    assert run.parent_steps == steps


@pytest.mark.parametrize(
    "run",
    [RUN, replace(RUN, freeze=Freeze(depth=3)), replace(RUN, replay=Replay(depth=1))],
)
def test_a_run_that_stands_by_itself_has_no_parent(run: RunConfig) -> None:
    assert run.parent is None
    assert run.parent_steps == ()
    assert run.stored_steps == RUN.checkpoints


def test_a_branch_stores_from_its_step_on() -> None:
    assert BRANCHED.stored_steps == (11, 330, 660)


@pytest.mark.parametrize("path", OTHER_RUN)
def test_every_field_of_a_run_is_part_of_its_identity(path: str) -> None:
    assert changed(RUN, path, OTHER_RUN[path]).run_id != RUN.run_id


@pytest.mark.parametrize("path", OTHER_EVALUATION)
def test_every_field_of_an_evaluation_set_is_part_of_its_identity(path: str) -> None:
    assert changed(EVALUATION, path, OTHER_EVALUATION[path]).eval_id != EVALUATION.eval_id


def test_changes_of_different_fields_give_different_runs() -> None:
    ids = {changed(RUN, path, new).run_id for path, new in OTHER_RUN.items()}
    assert len(ids) == len(OTHER_RUN)


def test_naming_a_default_leaves_the_identity() -> None:
    short = RunConfig(
        data=DataConfig(name="digits"),
        network=NetworkConfig(name="resnet20"),
        recipe=Recipe(steps=10),
        checkpoints=(0, 10),
    )
    long = RunConfig(
        data=DataConfig(name="digits", train_size=None, split_seed=0),
        network=NetworkConfig(name="resnet20", norm_layer="batch"),
        recipe=Recipe(steps=10, batch_size=128, lr=0.1, schedule="step", milestones=(0.5, 0.75)),
        checkpoints=(0, 10),
        label_noise=0.0,
        seeds=Seeds(init=0, order=0, labels=0),
        threads=1,
    )
    assert short.run_id == long.run_id


def test_a_new_field_at_its_default_leaves_the_identity() -> None:
    @dataclass(frozen=True)
    class Old:
        a: int
        b: int = 2

    @dataclass(frozen=True)
    class New:
        a: int
        b: int = 2
        c: tuple[int, ...] = ()
        d: Seeds = DEFAULT_SEEDS

    assert identity(Old(1)) == identity(New(1))
    assert identity(Old(1)) != identity(New(1, c=(1,)))
    assert identity(Old(1)) != identity(New(1, d=Seeds(init=1)))


def test_the_order_of_fields_does_not_matter() -> None:
    @dataclass(frozen=True)
    class One:
        a: int
        b: int

    @dataclass(frozen=True)
    class Other:
        b: int
        a: int

    assert identity(One(a=1, b=2)) == identity(Other(a=1, b=2))
    assert identity(One(a=1, b=2)) != identity(One(a=2, b=1))


@pytest.mark.parametrize("path", [None, *OTHER_RUN])
def test_a_run_survives_its_json(path: str | None) -> None:
    run = changed(RUN, path, OTHER_RUN[path]) if path else RUN
    back = RunConfig.from_json(json.loads(json.dumps(asdict(run))))
    assert back == run
    assert back.run_id == run.run_id


def test_an_identity_is_twelve_hexadecimal_digits() -> None:
    assert len(RUN.run_id) == 12
    assert int(RUN.run_id, 16) >= 0


def test_configurations_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        RUN.label_noise = 0.5  # type: ignore[misc]


def test_interior_cuts_leave_a_block_on_either_side() -> None:
    assert interior_cuts(["stem", "body", "head"]) == [Cut("stem", 1), Cut("body", 2)]


def test_a_single_block_has_no_interior_cut() -> None:
    assert interior_cuts(["all"]) == []


def test_a_recorded_run_is_what_was_recorded_whatever_is_told_of_it() -> None:
    recorded = Recorded(name="mine", token="1", by="recorder")
    run = replace(RUN, recorded=recorded)
    told = replace(recorded, told=("lr",))
    assert replace(run, recorded=told, checkpoints=(0, 5), threads=2).run_id == run.run_id
    assert replace(run, recorded=replace(recorded, token="2")).run_id != run.run_id
    assert RunConfig.from_json(json.loads(json.dumps(asdict(run)))) == run
