"""Data sets that a snapshot brings along, whole: nothing else of theirs has to be there.

Whole, since networks take images normalised by the training images, and some splices pass these
through the network. What a set is says its SHA-256; one that ships inside a package has none.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from featdyn_engine import files
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, InputError

TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def path_of(config: DataConfig, home: Path) -> Path:
    """Where a home keeps the data set of a configuration, without its options."""
    content = "embedded" if config.sha256 is None else config.sha256[:12]
    name = f"{config.name}-{config.split_seed}-{content}.safetensors"
    return home / "data" / "bundled" / name


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set, as its source gives it, to a safetensors file."""
    about = {
        "class_names": json.dumps(dataset.class_names),
        "peak": str(dataset.peak),
        "sha256": dataset.sha256,
    }
    files.write_tensors(path, {name: getattr(dataset, name) for name in TENSORS}, about)


def read(config: DataConfig, home: Path) -> Dataset | None:
    """Return the data set that the home brings along, None where it brings none.

    Raises InputError for a file that is damaged or holds other images than its header says.
    """
    path = path_of(config, home)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            names = tuple(json.loads(about["class_names"]))
            tensors = {name: file.get_tensor(name) for name in TENSORS}
            dataset = Dataset(names, **tensors, peak=int(about["peak"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise InputError(
            f"{path}: expected the images of {config.name}, got: {problem}; copy the snapshot anew"
        ) from problem
    if dataset.sha256 != about.get("sha256"):
        raise InputError(
            f"{path}: expected the images of {config.name} that were put there, got others; "
            "copy the snapshot anew"
        )
    return dataset
