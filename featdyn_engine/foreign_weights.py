"""Weights from files of PyTorch's pickle format, as safetensors; run as a process of its own.

    python -m featdyn_engine.foreign_weights OUT_FOLDER IN.pt ...

``torch.load`` with ``weights_only=True`` builds tensors and plain containers alone, and refuses
anything else. It runs where nothing else does, so that a file that defeats it finds no store, no
lock and no run under way; there is no other way to read one.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

# Where trainers keep the state dict within what they save.
NESTED = ("state_dict", "model_state_dict", "model", "module")


def state_of(content: Any) -> dict[str, Tensor]:
    """Return the state dict that a file holds. Raises ValueError for one that holds none."""
    if isinstance(content, Mapping):
        for key in NESTED:
            if isinstance(content.get(key), Mapping):
                return state_of(content[key])
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(key): value for key, value in content.items()}
        found = ", ".join(f"{key} ({type(value).__name__})" for key, value in content.items())
        raise ValueError(f"a dict of {found[:200] or 'nothing'}")
    raise ValueError(f"a {type(content).__name__}")


def name_of(place: int) -> str:
    """Name the file that the input of a place becomes."""
    return f"{place:06d}.safetensors"


def main() -> None:
    """Rewrite each file in turn; at the first that can't be read, one line and exit code 1."""
    folder, *sources = map(Path, sys.argv[1:])
    for place, source in enumerate(sources):
        try:
            content = torch.load(source, map_location="cpu", weights_only=True)
            state = state_of(content)
        except Exception as problem:
            reason = " ".join(str(problem).split())
            # PyTorch proposes to load it all the same: advice that no one should get here.
            sys.exit(f"{type(problem).__name__}: {reason.split('(1)')[0][:300].strip()}")
        tensors = {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}
        (folder / name_of(place)).write_bytes(safetensors.torch.save(tensors))


if __name__ == "__main__":
    main()
