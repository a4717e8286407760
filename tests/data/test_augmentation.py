from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from featdyn_engine.data.augmentation import augment, padding
from featdyn_engine.domain import Augmentation

BOTH: tuple[Augmentation, ...] = ("crop", "flip")


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, channels: int = 3, size: int = 8, seed: int = 1) -> Tensor:
    # From 1: then no black pixel of an image is mistaken for its padding.
    return torch.randint(
        1, 256, (n, channels, size, size), dtype=torch.uint8, generator=stream(seed)
    )


def windows(image: Any, pad: int) -> dict[bytes, tuple[int, int, bool]]:
    """Every result that is possible for one image, found the slow way."""
    size = image.shape[-1]
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    return {
        np.ascontiguousarray(window[:, :, ::-1] if flipped else window).tobytes(): (y, x, flipped)
        for y in range(2 * pad + 1)
        for x in range(2 * pad + 1)
        for window in [padded[:, y : y + size, x : x + size]]
        for flipped in (False, True)
    }


def places(before: Tensor, after: Tensor, pad: int) -> list[tuple[int, int, bool]]:
    """Which window each result is; fails where one is none of its own image's."""
    pairs = zip(before.numpy(), after.numpy(), strict=True)
    return [windows(image, pad)[result.tobytes()] for image, result in pairs]


@pytest.mark.parametrize(("size", "pad"), [(4, 1), (8, 1), (28, 3), (32, 4), (96, 12)])
def test_the_padding_is_an_eighth_and_at_least_one(size: int, pad: int) -> None:
    assert padding(size) == pad


@pytest.mark.parametrize(("channels", "size"), [(1, 5), (1, 28), (3, 8), (3, 32), (3, 33)])
def test_every_result_is_a_window_of_its_own_image(channels: int, size: int) -> None:
    before = images(40, channels, size)
    after = augment(before, BOTH, stream())
    assert after.shape == before.shape
    assert after.dtype == torch.uint8
    assert after.is_contiguous()
    assert len(set(places(before, after, padding(size)))) > 5


def test_all_windows_are_equally_likely() -> None:
    before = images(3600, channels=1)
    found = places(before, augment(before, BOTH, stream()), 1)
    counts = [found.count((y, x, f)) for y in range(3) for x in range(3) for f in (False, True)]
    assert sum(counts) == 3600
    assert chisquare(counts).pvalue > 1e-4


def test_rows_and_columns_are_drawn_independently_of_each_other() -> None:
    before = images(2000, channels=1, size=32)
    found = places(before, augment(before, ("crop",), stream(5)), 4)
    assert not any(flipped for _, _, flipped in found)
    rows, columns = torch.tensor([(y, x) for y, x, _ in found], dtype=torch.float64).T
    assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == list(range(9))
    assert abs(float(torch.corrcoef(torch.stack([rows, columns]))[0, 1])) < 0.08


def test_a_flip_alone_mirrors_half_of_the_images_left_to_right() -> None:
    before = images(1000)
    after = augment(before, ("flip",), stream())
    same = (after == before).flatten(1).all(dim=1)
    mirrored = (after == before.flip(3)).flatten(1).all(dim=1)
    assert bool((same ^ mirrored).all())
    assert 430 < int(mirrored.sum()) < 570


def test_a_flip_does_not_change_the_crops() -> None:
    before = images(50)
    crops = places(before, augment(before, ("crop",), stream()), 1)
    both = places(before, augment(before, BOTH, stream()), 1)
    # Mirrored after the crop: the window is the same.
    assert [place[:2] for place in both] == [place[:2] for place in crops]


def test_the_order_of_the_kinds_has_no_meaning() -> None:
    before = images(50)
    one, other = augment(before, BOTH, stream()), augment(before, ("flip", "crop"), stream())
    assert torch.equal(one, other)


def test_the_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    before = images(50)
    torch.manual_seed(1)
    one = augment(before, BOTH, stream(3))
    torch.manual_seed(2)
    assert torch.equal(augment(before, BOTH, stream(3)), one)
    assert not torch.equal(augment(before, BOTH, stream(4)), one)


def test_without_kinds_images_stay_as_they_are() -> None:
    before = images(5)
    assert augment(before, (), stream()) is before


def test_the_images_given_are_not_changed() -> None:
    before = images(20)
    copy = before.clone()
    augment(before, BOTH, stream())
    assert torch.equal(before, copy)


def test_memory_of_another_format_gives_the_same_result() -> None:
    before = images(20)
    other = before.contiguous(memory_format=torch.channels_last)
    after = augment(other, BOTH, stream())
    assert after.is_contiguous()
    assert torch.equal(after, augment(before, BOTH, stream()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_accelerator_gives_the_same_images_as_the_cpu() -> None:
    before = images(64, size=32)
    after = augment(before.cuda(), BOTH, stream())
    assert after.device.type == "cuda"
    assert torch.equal(after.cpu(), augment(before, BOTH, stream()))
