"""Corrupted images made here: strengths, order of severities, one image for one example."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.data.corruptions import blur
from featdyn_engine.data.corruptions.draws import Draws
from featdyn_engine.data.corruptions.filters import gaussian, zoomed
from featdyn_engine.data.corruptions.registry import KINDS, corrupt, defined
from featdyn_engine.domain import Task
from featdyn_engine.science.execution import cpu_threads

SIZES = ((1, 8, 16), (3, 8, 255), (1, 28, 255), (3, 32, 255), (3, 96, 255))
CASES = [
    (kind, channels, pixels, peak)
    for channels, pixels, peak in SIZES
    for kind in defined(Task(channels, pixels, 10))
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


def pictures(n: int, channels: int, pixels: int, peak: int = 255) -> Tensor:
    """Smooth random pictures, with amplitudes that fall as those of photographs do."""
    stream = torch.Generator().manual_seed(0)
    total = torch.zeros(n, channels, pixels, pixels)
    for cells in (2, 4, 8, pixels):
        grid = torch.randn(n, channels, cells, cells, generator=stream)
        size = (pixels, pixels)
        total += F.interpolate(grid, size=size, mode="bilinear", align_corners=True) / cells
    return ((0.5 + total / 4.5).clamp(0, 1) * peak).round().to(torch.uint8)


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).square().mean().sqrt())


def test_the_fifteen_and_the_four_kinds_are_there() -> None:
    assert len(KINDS) == 15 + 4
    assert set(defined(Task(3, 32, 10))) == set(KINDS)
    assert set(KINDS) - set(defined(Task(1, 28, 10))) == {"saturate"}
    assert len(defined(Task(1, 8, 10))) == 10


@pytest.mark.parametrize(("kind", "channels", "pixels", "peak"), CASES)
def test_severity_orders_the_distance_from_the_clean_image(
    kind: str, channels: int, pixels: int, peak: int
) -> None:
    clean = pictures(6 if pixels == 96 else 48, channels, pixels, peak)
    places = range(len(clean))
    assert torch.equal(corrupt(clean, kind, 0, places, peak), clean)
    levels = [corrupt(clean, kind, severity, places, peak) for severity in range(1, 6)]
    for level in levels:
        assert level.dtype == torch.uint8
        assert level.shape == clean.shape
        assert int(level.max()) <= peak
    distances = [distance(level, clean) for level in levels]
    # Of sixteen levels of grey a slight blur of a smooth picture may change none.
    assert distances[0] > 0 or peak == 16
    assert distances == sorted(distances)
    assert distances[4] > distances[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_the_same_alone_in_any_batch_and_on_every_run(kind: str) -> None:
    clean = pictures(7, 3, 32)
    together = corrupt(clean, kind, 3, range(100, 107), 255)
    assert torch.equal(together, corrupt(clean, kind, 3, range(100, 107), 255))
    alone = corrupt(clean[4:5], kind, 3, [104], 255)
    assert torch.equal(alone[0], together[4])
    order = [6, 2, 4]
    moved = corrupt(clean[order], kind, 3, [100 + i for i in order], 255)
    assert torch.equal(moved, together[order])


RANDOM = set(KINDS) - {
    *("defocus_blur", "gaussian_blur", "zoom_blur", "brightness", "contrast", "pixelate"),
    *("jpeg_compression", "saturate"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_chance_comes_from_seed_and_position_where_there_is_any(kind: str) -> None:
    clean = pictures(1, 3, 32).expand(2, -1, -1, -1)
    found = corrupt(clean, kind, 4, [0, 1], 255)
    other = corrupt(clean, kind, 4, [0, 1], 255, seed=1)
    assert torch.equal(found[0], found[1]) == (kind not in RANDOM)
    assert torch.equal(found, other) == (kind not in RANDOM)


# Closed forms


def grey(level: int, n: int = 40) -> Tensor:
    return torch.full((n, 1, 32, 32), level, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("kind", "severity", "deviation"),
    [
        ("gaussian_noise", 1, 0.04),
        ("gaussian_noise", 5, 0.10),
        ("speckle_noise", 5, 0.2 * 0.5),
        # Poisson: variance = mean.
        ("shot_noise", 1, (0.5 / 500) ** 0.5),
        ("shot_noise", 5, (0.5 / 50) ** 0.5),
    ],
)
def test_noise_has_its_standard_deviation(kind: str, severity: int, deviation: float) -> None:
    found = corrupt(grey(128), kind, severity, range(40), 255).double() / 255
    assert float(found.std()) == pytest.approx(deviation, rel=0.03)
    assert float(found.mean()) == pytest.approx(0.5, abs=0.005)


def test_impulses_are_black_and_white_in_equal_numbers() -> None:
    found = corrupt(grey(128), "impulse_noise", 5, range(40), 255)
    black, white = (float((found == level).double().mean()) for level in (0, 255))
    assert black == pytest.approx(0.035, abs=0.003)
    assert white == pytest.approx(0.035, abs=0.003)
    assert float((found == 128).double().mean()) == pytest.approx(0.93, abs=0.005)


def test_contrast_and_brightness_do_what_their_formulas_say() -> None:
    clean = pictures(5, 3, 32)
    x = clean.double() / 255
    mean = x.mean(dim=(2, 3), keepdim=True)
    expected = ((x - mean) * 0.4 + mean) * 255
    found = corrupt(clean, "contrast", 3, range(5), 255)
    assert (found.double() - expected).abs().max() <= 0.51
    brighter = corrupt(grey(100), "brightness", 2, range(40), 255)
    assert set(brighter.unique().tolist()) == {round(100 + 25.5)}


def test_pixelate_at_half_size_is_means_of_blocks() -> None:
    clean = pictures(4, 3, 32)
    blocks = clean.double().unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    expected = blocks.repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = corrupt(clean, "pixelate", 1, range(4), 255)
    assert (found.double() - expected).abs().max() <= 0.51


def test_gaussian_blur_is_scipys() -> None:
    from scipy.ndimage import gaussian_filter

    clean = pictures(2, 3, 32)
    for severity, sigma in ((1, 0.4), (5, 1.0)):
        found = corrupt(clean, "gaussian_blur", severity, range(2), 255).double().numpy()
        expected = gaussian_filter(
            clean.double().numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4
        )
        # A window of whole pixels: ours may be one wider than scipy's.
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(("pixels", "severity"), [(16, 3), (32, 4), (32, 5), (96, 5)])
def test_glass_moves_one_pixel_after_the_other(pixels: int, severity: int) -> None:
    share, turns = blur.GLASS[severity - 1]
    clean = pictures(3, 3, pixels)
    moving, down, right = Draws("glass_blur", 0, range(3)).uniform(3, 2, pixels, pixels).unbind(1)
    sigma = blur.GLASS_SIGMA * max(1, pixels / 32)
    moved = gaussian(clean.float() / 255, sigma)
    for image in range(3):
        for turn in range(turns):
            for row in reversed(range(pixels)):
                for column in reversed(range(pixels)):
                    if moving[image, turn, row, column] >= share:
                        continue
                    to_row = row + int(3 * down[image, turn, row, column]) - 1
                    to_column = column + int(3 * right[image, turn, row, column]) - 1
                    there = min(max(to_row, 0), pixels - 1), min(max(to_column, 0), pixels - 1)
                    mine = moved[image, :, row, column].clone()
                    moved[image, :, row, column] = moved[image, :, *there]
                    moved[image, :, *there] = mine
    expected = (gaussian(moved, sigma).clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(corrupt(clean, "glass_blur", severity, range(3), 255), expected)


@pytest.mark.parametrize("pixels", [16, 28, 33])
def test_zoom_is_the_mean_of_single_ones(pixels: int) -> None:
    clean = pictures(3, 3, pixels)
    x = clean.double() / 255
    zooms = [zoomed(x, 1 + percent / 100) for percent in range(16)]
    expected = torch.stack(zooms).mean(dim=0) * 255
    found = corrupt(clean, "zoom_blur", 3, range(3), 255)
    assert (found.double() - expected).abs().max() <= 0.501


@pytest.mark.parametrize("kind", ["defocus_blur", "motion_blur", "zoom_blur", "glass_blur"])
def test_blurs_and_moved_pixels_leave_a_flat_image_as_it_is(kind: str) -> None:
    flat = pictures(1, 3, 1).expand(3, 3, 32, 32)
    found = corrupt(flat, kind, 5, range(3), 255)
    assert (found.int() - flat.int()).abs().max() <= 1


def test_saturating_keeps_grey_and_the_brightest_colour() -> None:
    without_colour = grey(90).expand(-1, 3, -1, -1)
    assert torch.equal(corrupt(without_colour, "saturate", 5, range(40), 255), without_colour)
    clean = pictures(3, 3, 32)
    found = corrupt(clean, "saturate", 3, range(3), 255)
    assert torch.equal(found.amax(dim=1), clean.amax(dim=1))


@pytest.mark.parametrize(("kind", "severity"), [("rain", 1), ("fog", 6), ("fog", -1)])
def test_what_does_not_exist_is_refused(kind: str, severity: int) -> None:
    with pytest.raises(ValueError, match="expected a kind and severity 0 to 5, got"):
        corrupt(grey(1), kind, severity, range(40), 255)
