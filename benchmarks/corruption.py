"""What corrupting an image costs: milliseconds of each kind at 32 x 32, mean of the severities.

Beside imagecorruptions-imaug where that is installed: it is no requirement of ours.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import torch
import torch.nn.functional as F

from benchmarks.harness import write
from featdyn_engine.data.corruptions.registry import KINDS, SEVERITIES, corrupt
from featdyn_engine.science.execution import cpu_threads

GOAL = 10.0


def _milliseconds(corrupting: Callable[[int], object], images: int) -> float:
    """Processor time an image, of the second round over the severities.

    What depends on size and severity alone is made in the first.
    """
    seconds = 0.0
    for _ in range(2):
        started = time.process_time()
        for severity in range(1, SEVERITIES + 1):
            corrupting(severity)
        seconds = time.process_time() - started
    return round(1e3 * seconds / SEVERITIES / images, 3)


def measure(images: int = 200, pixels: int = 32) -> dict[str, object]:
    """Time every kind on smooth random colour images, one thread; write the table.

    ratio: milliseconds of all kinds of imagecorruptions over ours; none where it isn't installed.
    """
    stream = torch.Generator().manual_seed(0)
    rough = torch.rand(images, 3, 8, 8, generator=stream)
    smooth = F.interpolate(rough, size=(pixels, pixels), mode="bilinear", align_corners=True)
    clean, places = (smooth * 255).round().to(torch.uint8), range(images)
    result: dict[str, object] = {"images": images, "pixels": pixels}

    def batch(kind: str, severity: int) -> None:
        corrupt(clean, kind, severity, places, 255)

    with cpu_threads(1):
        ours = {kind: _milliseconds(partial(batch, kind), images) for kind in KINDS}
    result |= {"milliseconds_an_image": ours, "all_kinds": round(sum(ours.values()), 2)}
    if find_spec("imagecorruptions"):
        theirs = _theirs(clean)
        every = sum(theirs.values())
        result |= {"imagecorruptions": theirs, "all_kinds_imagecorruptions": round(every, 2)}
        result |= {"ratio": round(every / sum(ours.values()), 2), "goal": GOAL}
    return write("corruption", result)


def _theirs(clean: torch.Tensor) -> dict[str, float]:
    import_module("cv2").setNumThreads(1)
    corrupt_one = import_module("imagecorruptions").corrupt
    pictures = clean.permute(0, 2, 3, 1).numpy()

    def every(kind: str, severity: int) -> None:
        for picture in pictures:
            corrupt_one(picture, corruption_name=kind, severity=severity)

    return {kind: _milliseconds(partial(every, kind), len(pictures)) for kind in KINDS}
