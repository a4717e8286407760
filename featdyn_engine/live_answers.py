"""What the Splice lab shows of a splice, as plain data: a job's words in, JSON out."""

import base64
import io
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from featdyn_engine.api import load_run
from featdyn_engine.data import registry as data_registry
from featdyn_engine.data import uploads
from featdyn_engine.data.corruptions import registry as corruptions
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import InputError
from featdyn_engine.live import Evaluator, Scored
from featdyn_engine.models import registry as model_registry
from featdyn_engine.science.intervals import wilson
from featdyn_engine.science.splice import Progress
from featdyn_engine.splice_request import Request, request

Words = dict[str, Any]
Answer = dict[str, Any]
# Images of each kind of flip.
MOST_FLIPS = 12
# A matrix of more classes is no picture.
MOST_CLASSES = 100
MOST_BARS = 10
# Small images are enlarged to about so many pixels, each to a square of equal ones.
SHOWN = 96


def outline(evaluator: Evaluator, words: Words) -> Answer:
    """Say what can be asked of a run: cuts, normalisation modes, corruptions, class names.

    Raises InputError for a run that isn't there, or whose network is code that the operator doesn't
    allow (``factories.find``).
    """
    run = load_run(evaluator.home, words["run"])
    dataset = data_registry.load(run.data, evaluator.home)
    task = dataset.task
    has_batch_norm = model_registry.has_batch_norm(run.network, task)
    return {
        "cuts": [cut.name for cut in model_registry.cuts(run.network, task)],
        "norms": ["inherit", "recalibrate", "recalibrate_deep"] if has_batch_norm else ["none"],
        "corruptions": corruptions.defined(task),
        "classes": list(dataset.class_names),
        "pixels": task.pixels,
    }


def splice(evaluator: Evaluator, words: Words, progress: Progress) -> Answer:
    """Evaluate one splice: the cell, classes, confusion with the deep network, flipped images."""
    asked, step = asked_splice(evaluator, words)
    scored = evaluator.scored(asked, step, progress)
    labels, own = scored.examples.labels, scored.own.argmax(dim=1)
    predicted = scored.logits.argmax(dim=1)
    right, was_right = predicted == labels, own == labels
    kinds = {
        "right to wrong": was_right & ~right,
        "wrong to right": ~was_right & right,
        "wrong to another wrong": ~was_right & ~right & (own != predicted),
    }
    dataset = data_registry.load(asked.run.data, evaluator.home)
    classes = len(dataset.class_names)
    confusion = None
    if classes <= MOST_CLASSES:
        counts = torch.bincount(own * classes + predicted, minlength=classes**2)
        confusion = counts.view(classes, classes).tolist()
    return {
        "cell": asdict(scored.cell),
        "classes": list(dataset.class_names),
        "per_class": _per_class(dataset.class_names, labels, right, was_right),
        "confusion": confusion,
        "changes": {kind: int(found.sum()) for kind, found in kinds.items()},
        "flips": [
            {"kind": kind, **_example(scored, dataset, example)}
            for kind in ("right to wrong", "wrong to right")
            for example in kinds[kind].nonzero().flatten()[:MOST_FLIPS].tolist()
        ],
    }


def image(evaluator: Evaluator, words: Words, progress: Progress) -> Answer:
    """Evaluate a splice on one image: an ``example`` of the set, or an ``upload`` in base64.

    Raises InputError for an example that the set doesn't have, an upload that is no image, and as
    ``Evaluator.scored`` does.
    """
    asked, step = asked_splice(evaluator, words)
    dataset = data_registry.load(asked.run.data, evaluator.home)
    if words.get("upload") is None:
        scored = evaluator.scored(asked, step, progress)
        example = words["example"]
        if not 0 <= example < len(scored.logits):
            raise InputError(
                f"image: expected a number from 0 to {len(scored.logits) - 1:,} in this set, got "
                f"{example:,}"
            )
        about = _example(scored, dataset, example)
        return about | _bars(dataset, scored.logits[example], scored.own[example])
    pixels = uploads.decoded(base64.b64decode(words["upload"]), dataset)
    if asked.run.data.permute_pixels:
        pixels = data_registry.permuted(pixels)
    logits, own = evaluator.one(asked, step, dataset.normalise(pixels))
    about = _described(pixels[0], dataset, logits, own)
    return about | _bars(dataset, logits, own)


JOBS: dict[str, Callable[..., Answer]] = {"splice": splice, "image": image}


def asked_splice(evaluator: Evaluator, words: Words) -> tuple[Request, int]:
    """Return the request and its shallow step; code that a run names needs the operator's word."""
    named = ("run", "shallow_run", "cut", "evaluation", "corruption", "severity", "norm")
    asked = request(
        evaluator.home,
        shallow=str(words["shallow"]),
        deep=int(words["deep"]),
        **{name: words[name] for name in named},
    )
    return asked, asked.shallow_steps[0]


def _per_class(
    names: tuple[str, ...], labels: Tensor, right: Tensor, was_right: Tensor
) -> list[Answer]:
    """One row a class that has examples, as ``per_class`` of the store, and the deep network's."""
    rows = []
    for k, name in enumerate(names):
        of_class = labels == k
        n = int(of_class.sum())
        if n:
            correct = int((right & of_class).sum())
            low, high = wilson(correct, n)
            rows.append(
                {
                    "class": k,
                    "class_name": name,
                    "n": n,
                    "correct": correct,
                    "accuracy": correct / n,
                    "accuracy_low": float(low),
                    "accuracy_high": float(high),
                    "own_accuracy": int((was_right & of_class).sum()) / n,
                }
            )
    return rows


def _example(scored: Scored, dataset: Dataset, example: int) -> Answer:
    """Describe one example of a set: its picture, its label, both predictions."""
    pixels = dataset.raw(scored.examples.images[example : example + 1].cpu())[0]
    about = _described(pixels, dataset, scored.logits[example], scored.own[example])
    label = dataset.class_names[int(scored.examples.labels[example])]
    return {"example": example, "target": label, **about}


def _described(pixels: Tensor, dataset: Dataset, logits: Tensor, own: Tensor) -> Answer:
    shares, own_shares = logits.softmax(dim=0), own.softmax(dim=0)
    return {
        "png": _png(pixels, dataset.peak),
        "predicted": dataset.class_names[int(logits.argmax())],
        "predicted_share": float(shares.max()),
        "own": dataset.class_names[int(own.argmax())],
        "own_share": float(own_shares.max()),
    }


def _bars(dataset: Dataset, logits: Tensor, own: Tensor) -> Answer:
    """Return the probabilities of the classes that either network holds most likely."""
    shares = torch.stack([logits.softmax(dim=0), own.softmax(dim=0)])
    likely = shares.amax(dim=0).argsort(descending=True)[:MOST_BARS].sort().values
    return {
        "shares": [
            {
                "class": k,
                "class_name": dataset.class_names[k],
                "splice": float(shares[0, k]),
                "deep network": float(shares[1, k]),
            }
            for k in likely.tolist()
        ]
    }


def _png(pixels: Tensor, peak: int) -> str:
    """Return raw pixels, uint8 (C, H, H), as a link that holds the picture itself."""
    levels = (pixels.float() * 255 / peak).round().to(torch.uint8)
    enlarge = max(SHOWN // pixels.shape[-1], 1)
    levels = levels.repeat_interleave(enlarge, 1).repeat_interleave(enlarge, 2)
    array = (levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)).numpy()
    content = io.BytesIO()
    Image.fromarray(array).save(content, "png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
