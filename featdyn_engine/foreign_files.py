"""Somebody's own checkpoint files: which there are, what they hold, and whether it fits."""

import difflib
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from featdyn_engine.domain import InputError
from featdyn_engine.foreign_weights import name_of

ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
HUGGING_FACE = re.compile(r"checkpoint-(\d+)/(?:model\.safetensors|pytorch_model\.bin)")
LIGHTNING = re.compile(r".*\bstep[=_-](\d+).*")
NUMBERED = re.compile(r"\D*(\d+)\D*")
# What trainers put before every key; beside these, whatever all keys begin with.
PREFIXES = ("", "module.", "_orig_mod.", "model.", "net.")
SHOWN = 3
# How Hugging Face calls the keys that don't fit.
MISFITS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def found_files(folder: Path, pattern: str | None, steps_per_epoch: float) -> dict[int, Path]:
    """Return the checkpoint file of each step, in order.

    Raises InputError for a folder or files that are not there, a pattern without {step} or
    {epoch}, and two files of one step.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of checkpoints, got none")
    files = sorted(path for path in folder.rglob("*") if path.suffix in ENDINGS and path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    if pattern is not None:
        numbers = _by_pattern(named, pattern, steps_per_epoch)
    else:
        numbers = _by_layout(named)
    if not numbers:
        what = f"files like {pattern!r}" if pattern else f"files ({' '.join(ENDINGS)}) with a step"
        some = ", ".join(list(named)[:SHOWN]) or "none of those"
        raise InputError(
            f"{folder}: expected {what}, got {some}; say which with --pattern, with {{step}} or "
            "{epoch} in it"
        )
    result: dict[int, Path] = {}
    for name, step in sorted(numbers.items(), key=lambda item: item[1]):
        if step in result:
            raise InputError(
                f"{folder}: expected one file a step, got {result[step].name} and {name} for step "
                f"{step}; say which with --pattern"
            )
        result[step] = named[name]
    return result


def _by_pattern(names: Iterable[str], pattern: str, steps_per_epoch: float) -> dict[str, int]:
    fields = re.findall(r"\{(\w*)\}", pattern)
    if fields not in (["step"], ["epoch"]):
        raise InputError(f"--pattern: expected {{step}} or {{epoch}} in it, once, got {pattern!r}")
    before, after = (
        re.escape(part).replace(r"\*", ".*") for part in pattern.split(f"{{{fields[0]}}}")
    )
    form = re.compile(rf"{before}(\d+){after}")
    matches = {name: form.fullmatch(name) for name in names}
    scale = steps_per_epoch if fields == ["epoch"] else 1
    return {name: round(int(match[1]) * scale) for name, match in matches.items() if match}


def _by_layout(names: Iterable[str]) -> dict[str, int]:
    """Return the steps of the first layout that any name has."""
    names = list(names)
    for form in (HUGGING_FACE, LIGHTNING, NUMBERED):
        # The last: stems with a number and no other.
        texts = {name: name if form is not NUMBERED else Path(name).stem for name in names}
        matches = {name: form.fullmatch(text) for name, text in texts.items()}
        found = {name: int(match[1]) for name, match in matches.items() if match}
        if found:
            return found
    return {}


def readable(files: Mapping[int, Path], folder: Path) -> dict[int, Path]:
    """Return files of safetensors, those that are none rewritten into ``folder`` as such.

    One process of its own reads them all. Raises InputError for one that it can't read.
    """
    pickled = [(step, path) for step, path in files.items() if path.suffix != ".safetensors"]
    if not pickled:
        return dict(files)
    command = [sys.executable, "-m", "featdyn_engine.foreign_weights", str(folder)]
    paths = [str(path.resolve()) for _, path in pickled]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        written = len(list(folder.iterdir()))
        raise InputError(
            f"{pickled[min(written, len(pickled) - 1)][1]}: expected a state dict that "
            f"weights_only=True reads, got {last}; save model.state_dict() alone"
        )
    rewritten = {step: folder / name_of(place) for place, (step, _) in enumerate(pickled)}
    return {**files, **rewritten}


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a file of safetensors. Raises InputError for a damaged one."""
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as problem:
        text = " ".join(str(problem).split())
        raise InputError(f"{path}: expected a whole file of weights, got {text}") from None


def _near(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{key!r} (did you mean {near[0]!r}?)" if near else repr(key)


def without_prefix(state: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """Return a state dict with the keys of the network, whatever a trainer put before them all."""
    known = set(wanted)
    shared = next(iter(state), "").split(".")[0] + "."
    # What is nearest to the network's own keys: then an error speaks of these.
    best = max(
        (*PREFIXES, shared), key=lambda each: len({key.removeprefix(each) for key in state} & known)
    )
    return {key.removeprefix(best): tensor for key, tensor in state.items()}


def by_its_library(model: nn.Module, path: Path) -> dict[str, Tensor] | None:
    """Read a checkpoint of Hugging Face's by the model's own class, None for any other.

    The library saves under the names of the Hub, which aren't those of its modules. Raises
    InputError where a weight is missing, left over or of another shape.
    """
    kind: Any = type(model)
    of_hub = hasattr(kind, "from_pretrained") and (path.parent / "config.json").is_file()
    if not of_hub or path.suffix != ".safetensors":
        return None
    loaded, report = kind.from_pretrained(
        path.parent, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    odd = {word: sorted(map(str, report[word])) for word in MISFITS if report.get(word)}
    if odd:
        told = "; ".join(f"{word.replace('_', ' ')} {keys[:SHOWN]}" for word, keys in odd.items())
        raise InputError(f"{path}: expected the weights of {kind.__name__}, got {told}")
    state: dict[str, Tensor] = loaded.state_dict()
    return state


def check_keys(path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise InputError unless the keys and shapes are those of the network, all and no other."""
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    if missing or unexpected:
        came = []
        for word, keys, others in (
            ("missing", missing, unexpected),
            ("unexpected", unexpected, missing or list(wanted)),
        ):
            if keys:
                told = ", ".join(_near(key, others) for key in keys[:SHOWN])
                came.append(f"{len(keys)} {word}: {told}")
        raise InputError(f"{path}: expected the keys of the network, got {'; '.join(came)}")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise InputError(
                f"{path}: expected {key} of shape {tuple(tensor.shape)}, got "
                f"{tuple(state[key].shape)}; is it the same network, with the same options?"
            )
        if not state[key].isfinite().all():
            raise InputError(f"{path}: expected finite weights, got others in {key}")
