"""What the arms of a study must have in common for a comparison to mean something."""

from collections.abc import Sequence
from dataclasses import replace

from featdyn_engine.arms import StudyRun
from featdyn_engine.domain import DataConfig, InputError


def _images(run: StudyRun) -> DataConfig:
    """Which images a run is trained on, wherever their pixels and the files lie."""
    return replace(run.config.data, permute_pixels=False, folder=None, title=None)


def _told(run: StudyRun) -> str:
    return f"{run.train_size} images, {run.config.recipe.steps} steps"


def refuse_unequal_labels(runs: Sequence[StudyRun]) -> None:
    """Raise InputError where random labels, or permuted pixels, aren't all that tells arms apart.

    With an arm of true labels in the study, each arm of others is held against one: on the same
    images, in the same number of steps (Zhang et al., arXiv 1611.03530). Otherwise the difference
    may be that of the training sets, or of the time to fit them.
    """
    plain = [
        run for run in runs if not run.config.label_noise and not run.config.data.permute_pixels
    ]
    for run in runs:
        disturbed = run.config.label_noise or run.config.data.permute_pixels
        if not (plain and disturbed):
            continue
        if any(
            _images(other) == _images(run) and other.config.recipe.steps == run.config.recipe.steps
            for other in plain
        ):
            continue
        what = "random labels" if run.config.label_noise else "permuted pixels"
        raise InputError(
            f"arms: expected {run.arm!r}, of {what}, to be trained on the same images and for as "
            f"many steps as an arm of true labels, got {_told(run)} against {_told(plain[0])} of "
            f"{plain[0].arm!r}; give both the same [data] and steps"
        )
