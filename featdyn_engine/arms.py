"""One arm of a study: the study's tables with the arm's own over them, as run configurations."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    Branch,
    Cut,
    DataConfig,
    Device,
    Freeze,
    InputError,
    NetworkConfig,
    Recipe,
    Replay,
    RunConfig,
    Seeds,
    Task,
)
from featdyn_engine.factories import allow, is_factory
from featdyn_engine.models import registry as model_registry
from featdyn_engine.recipes.schedules import evenly_spaced, log_spaced, steps_per_epoch
from featdyn_engine.recorded_arms import RecordedArm, recorded_runs
from featdyn_engine.study_file import Compute, Positive, StudyFile
from featdyn_engine.validation import Location, dotted, validated


@dataclass(frozen=True)
class StudyRun:
    """A run as a study knows it: its arm, its name within the study, its configuration.

    ``role = "control"``: a run that the study's file does not name, but one of its controls needs.
    """

    arm: str
    name: str
    config: RunConfig
    train_size: int
    role: Literal["arm", "control"] = "arm"


@dataclass(frozen=True)
class _Clock:
    """Steps of a recipe, told in steps or in epochs."""

    steps: int
    per_epoch: int

    def step(self, place: str, step: int | None, epoch: float | None, default: int) -> int:
        """Return the step that a table names in either unit. Raises InputError for both."""
        if step is not None and epoch is not None:
            raise InputError(f"{place}: expected a step or an epoch, got both; keep one")
        if epoch is not None:
            step = round(epoch * self.per_epoch)
        step = default if step is None else step
        if step >= self.steps:
            raise InputError(f"{place}: expected a step before the last, {self.steps}, got {step}")
        return step


class ArmReader:
    """Reads one arm of a study file; ``home`` is where data sets are kept.

    ``owner`` is the number that errors give: that of the arm in the file, of which a sweep may
    have made several.
    """

    def __init__(self, study: StudyFile, index: int, home: Path, owner: int) -> None:
        self.study = study
        self.index = owner
        self.home = home
        self.arm = study.arms[index]

    def _owner(self, section: str) -> str:
        """Begin an error about a section that this arm overrides."""
        return f"arms[{self.index}]." if getattr(self.arm, section) else ""

    def _merged(self, section: str) -> dict[str, Any]:
        own = getattr(self.arm, section)
        base = getattr(self.study, section)
        if {"steps", "epochs"} & set(own):
            base = {key: value for key, value in base.items() if key not in ("steps", "epochs")}
        return {**base, **own}

    def _read(self, section: str, kind: Any, content: Any) -> Any:
        own = getattr(self.arm, section)

        def place(keys: Location) -> str:
            name = dotted((section, *keys))
            return f"arms[{self.index}].{name}" if keys and keys[0] in own else name

        return validated(kind, content, place)

    def _owned(self, section: str, work: Callable[[], Any]) -> Any:
        """Do work on a section; its errors say whose it is."""
        try:
            return work()
        except InputError as problem:
            raise InputError(f"{self._owner(section)}{problem}") from None

    def _data(self) -> DataConfig:
        data: DataConfig = self._read("data", DataConfig, self._merged("data"))
        if data.folder is not None:
            data = replace(data, folder=str(Path(data.folder).expanduser().resolve()))
        identified: DataConfig = self._owned(
            "data", lambda: data_registry.identified(data, self.home)
        )
        return identified

    def _network(self) -> NetworkConfig:
        content = self._merged("network")
        network: NetworkConfig = self._read("network", NetworkConfig, content)
        architecture = self._owned("network", lambda: model_registry.architecture(network.name))
        if "norm_layer" not in content:
            network = replace(network, norm_layer=architecture.norm_layers[0])
        if is_factory(network.name):
            # Named by the operator, who runs this study.
            allow(network.name)
            return network
        kind = architecture.Options
        where = f"{self._owner('network')}network.options"
        options = validated(kind, network.options, lambda keys: dotted((where, *keys)))
        # An option at its default is no option: it leaves the run's identity alone.
        given = {each.name: getattr(options, each.name) for each in fields(kind)}
        plain = {each.name: each.default for each in fields(kind)}
        chosen = {name: value for name, value in given.items() if value != plain[name]}
        return replace(network, options=chosen)

    def _recipe(self, train_size: int) -> tuple[Recipe, _Clock]:
        """Return the recipe, epochs turned into steps, and its clock."""
        training = self._merged("training")
        prefix = f"{self._owner('training')}training"
        # Looked at first, as epochs can't be turned into steps without them.
        batch_size = training.get("batch_size", Recipe.batch_size)
        checked = {**training, "steps": 1, "batch_size": batch_size}
        epochs = checked.pop("epochs", None)
        self._read("training", Recipe, checked)
        if batch_size > train_size:
            raise InputError(
                f"{prefix}.batch_size: expected at most {train_size} (the training set), "
                f"got {batch_size}"
            )
        per_epoch = steps_per_epoch(train_size, batch_size)
        if ("epochs" in training) == ("steps" in training):
            came = "both; keep one" if epochs is not None else "neither; add one"
            raise InputError(f"{prefix}: expected steps or epochs, got {came}")
        if epochs is not None:
            del training["epochs"]
            passes = validated(Positive, epochs, lambda keys: f"{prefix}.epochs")
            training["steps"] = max(round(passes * per_epoch), 1)
        recipe: Recipe = self._read("training", Recipe, training)
        if recipe.optimizer == "other":
            raise InputError(
                f"{prefix}.optimizer: expected sgd, adam, adamw or muon, got 'other', which is for "
                "trainings that featdyn has not done"
            )
        return recipe, _Clock(recipe.steps, per_epoch)

    def _checkpoint_steps(self, clock: _Clock) -> tuple[int, ...]:
        wanted = self.study.checkpoints
        last, per_epoch = clock.steps, clock.per_epoch
        asked = {*wanted.steps, *(round(epoch * per_epoch) for epoch in wanted.epochs)}
        if wanted.count is not None:
            spaced = {"even": evenly_spaced, "log": log_spaced}[wanted.spacing]
            unit = {"steps": 1, "epochs": per_epoch}[wanted.unit]
            asked |= {each * unit for each in spaced(wanted.count, last // unit)}
        beyond = [step for step in asked if step > last]
        if beyond:
            raise InputError(
                f"{self._owner('training')}checkpoints: expected steps up to the last one, "
                f"{last}, got {min(beyond)}"
            )
        return tuple(sorted({0, *asked, last}))

    def _cut(self, cuts: list[Cut], section: str, name: str) -> int:
        depths = {cut.name: cut.depth for cut in cuts}
        if name not in depths:
            raise InputError(
                f"arms[{self.index}].{section}.cut: expected one of {', '.join(depths)}, "
                f"got {name!r}"
            )
        return depths[name]

    def _freeze(self, cuts: list[Cut], clock: _Clock) -> Freeze | None:
        table = self.arm.freeze
        if table is None:
            return None
        place = f"arms[{self.index}].freeze"
        depth = self._cut(cuts, "freeze", table.cut)
        if table.part == "deep" and depth == len(cuts):
            raise InputError(
                f"{place}.cut: expected a cut with a block between it and the last for part = "
                f"'deep', got {table.cut!r}; cut earlier"
            )
        return Freeze(
            depth=depth,
            from_step=clock.step(place, table.from_step, table.from_epoch, 0),
            part=table.part,
            weights_of=clock.steps if table.weights_of == "last" else table.weights_of,
        )

    def _replay(self, cuts: list[Cut], clock: _Clock) -> Replay | None:
        table = self.arm.replay
        if table is None:
            return None
        steps = {*table.steps, *(round(epoch * clock.per_epoch) for epoch in table.epochs)}
        place = f"arms[{self.index}].replay"
        if table.window and steps:
            raise InputError(
                f"{place}: expected a window of its own checkpoints or steps of its parent, got "
                "both; keep one"
            )
        if table.source == "current" and (steps or table.window):
            raise InputError(
                f"{place}: expected no steps, epochs or window beside source = 'current', which "
                "draws on no checkpoint; leave them out"
            )
        return Replay(
            depth=self._cut(cuts, "replay", table.cut),
            steps=tuple(sorted(steps)),
            share=table.share,
            from_step=clock.step(place, table.from_step, table.from_epoch, 0),
            window=table.window,
            source=table.source,
        )

    def _branch(self, seeds: Seeds, clock: _Clock) -> Branch | None:
        table = self.arm.branch
        if table is None:
            return None
        place = f"arms[{self.index}].branch"
        step = clock.step(place, table.step, table.epoch, 0)
        if not step:
            raise InputError(
                f"{place}: expected a step or epoch after 0, got none; for another order from "
                "the start give the arm seeds of its own"
            )
        order = seeds.order + 1 if table.order is None else table.order
        if order == seeds.order:
            raise InputError(
                f"{place}.order: expected another seed than the parent's, got {order} for both"
            )
        return Branch(step=step, order=order)

    def _seeds(self) -> list[Seeds]:
        place = f"arms[{self.index}].seeds" if self.arm.seeds else "seeds"
        result: list[Seeds] = []
        for seed in self.arm.seeds or self.study.seeds:
            same = seed if isinstance(seed, Seeds) else Seeds(init=seed, order=seed, labels=seed)
            if same in result:
                raise InputError(f"{place}: expected different seeds, got {seed!r} twice")
            result.append(same)
        return result

    def _checked(self, config: RunConfig, data: DataConfig) -> None:
        """Refuse what can't be trained as it stands."""
        place = f"arms[{self.index}]"
        missing = sorted(set(config.parent_steps) - set(config.checkpoints))
        if missing:
            raise InputError(
                f"{place}: expected steps that its parent stores, got {missing[0]}; add it to "
                "[checkpoints]"
            )
        for section, change in (("freeze", config.freeze), ("replay", config.replay)):
            if config.branch and change and change.from_step < config.branch.step:
                raise InputError(
                    f"{place}.{section}: expected it to begin at the branch or later (step "
                    f"{config.branch.step}), got step {change.from_step}"
                )
        if data.permute_pixels and config.recipe.augmentation:
            raise InputError(
                f"{self._owner('training')}training.augmentation: expected none beside "
                "data.permute_pixels, as shifted and mirrored images mean nothing there"
            )

    def _cuts(self, network: NetworkConfig, task: Task) -> list[Cut]:
        cuts: list[Cut] = self._owned("network", lambda: model_registry.cuts(network, task))
        return cuts

    def _recorded(self, device: Device) -> list[StudyRun]:
        """Return the recorded runs that the arm names."""
        place, network = f"arms[{self.index}]", self.arm.network
        if not network and is_factory(str(self.study.network.get("name", ""))):
            network = self.study.network
        if network:
            self._read("network", NetworkConfig, {"name": "module:factory", **network})
            network = network | (
                {"blocks": tuple(network["blocks"])} if "blocks" in network else {}
            )
        arm = RecordedArm(
            arm=self.arm,
            place=place,
            data=self._data() if self._merged("data") else None,
            network=network,
            compute=self._read("compute", Compute, self._merged("compute")),
        )
        return [
            StudyRun(self.arm.name, f"{self.arm.name}, {config.called}", config, train_size)
            for config, train_size in recorded_runs(arm, self.home, device)
        ]

    def runs(self, device: Device) -> list[StudyRun]:
        """Return the runs of the arm, one a seed. Raises InputError for what can't be."""
        if self.arm.run is not None:
            return self._recorded(device)
        data, network = self._data(), self._network()
        dataset = data_registry.load(data, self.home)
        cuts = self._cuts(network, dataset.task)
        train_size = len(dataset.train_labels)
        recipe, clock = self._recipe(train_size)
        compute: Compute = self._read("compute", Compute, self._merged("compute"))
        noise = self.study.label_noise if self.arm.label_noise is None else self.arm.label_noise
        result = []
        for seeds in self._seeds():
            config = RunConfig(
                data=data,
                network=network,
                recipe=recipe,
                checkpoints=self._checkpoint_steps(clock),
                label_noise=noise,
                seeds=seeds,
                branch=self._branch(seeds, clock),
                freeze=self._freeze(cuts, clock),
                replay=self._replay(cuts, clock),
                swa_from=self.study.swa_from,
                threads=compute.threads,
                device=device,
                precision=compute.precision,
                channels_last=compute.channels_last,
                compile=compute.compile,
            )
            self._checked(config, data)
            name = f"{self.arm.name}, {config.called}"
            result.append(StudyRun(self.arm.name, name, config, train_size))
        return result
