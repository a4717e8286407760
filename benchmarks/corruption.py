"""What corrupting an image costs: milliseconds of each kind at 32 x 32, mean of the severities."""

import time

import torch
import torch.nn.functional as F

from benchmarks.harness import write
from featdyn_engine.data.corruptions.registry import KINDS, SEVERITIES, corrupt


def measure(images: int = 200, pixels: int = 32) -> dict[str, object]:
    """Time every kind on smooth random colour images, after one warm-up; write the table."""
    stream = torch.Generator().manual_seed(0)
    rough = torch.rand(images, 3, 8, 8, generator=stream)
    smooth = F.interpolate(rough, size=(pixels, pixels), mode="bilinear", align_corners=True)
    clean, places = (smooth * 255).round().to(torch.uint8), range(images)
    milliseconds = {}
    for kind in KINDS:
        corrupt(clean[:10], kind, 1, places[:10], 255)
        started = time.perf_counter()
        for severity in range(1, SEVERITIES + 1):
            corrupt(clean, kind, severity, places, 255)
        spent = time.perf_counter() - started
        milliseconds[kind] = round(1e3 * spent / SEVERITIES / images, 3)
    return write(
        "corruption",
        {
            "images": images,
            "pixels": pixels,
            "milliseconds_an_image": milliseconds,
            "all_kinds": round(sum(milliseconds.values()), 2),
        },
    )
