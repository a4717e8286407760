"""The data sets that a study can name: one line each."""

from collections.abc import Callable

from featdyn_engine.data import digits
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, InputError

DATASETS: dict[str, Callable[[DataConfig], Dataset]] = {
    "digits": digits.load,
}


def load(config: DataConfig) -> Dataset:
    """Load a data set. Raises InputError for a name outside the registry."""
    if config.name not in DATASETS:
        raise InputError(
            f"data.name: expected one of {', '.join(sorted(DATASETS))}, got {config.name!r}"
        )
    return DATASETS[config.name](config)
