import hashlib

import numpy as np
import pytest
import torch

from featdyn_engine.data.dataset import Dataset
from tests.data.tiny import pixels, refused


def made(train: np.ndarray, peak: int = 255) -> Dataset:
    images, labels = torch.from_numpy(train), torch.zeros(len(train), dtype=torch.int64)
    return Dataset(("a",), images, labels, images[:2], labels[:2], peak)


def test_statistics_are_those_of_each_channel_by_itself() -> None:
    train = pixels(50, 3, 4, 4)
    train[:, 1] //= 9
    mean, std = made(train).statistics
    exact = train.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    np.testing.assert_allclose(mean.flatten(), exact.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(std.flatten(), exact.std(axis=1, ddof=1), rtol=1e-6)
    assert mean.shape == std.shape == (3, 1, 1)


def test_two_levels_have_the_statistics_that_arithmetic_says() -> None:
    train = np.array([[[[0, 255], [255, 0]]], [[[255, 255], [0, 0]]]], dtype=np.uint8)
    mean, std = made(train).statistics
    assert float(mean) == 0.5
    assert float(std) == pytest.approx((8 * 0.25 / 7) ** 0.5)


def test_training_images_come_out_with_mean_zero_and_deviation_one() -> None:
    dataset = made(pixels(200, 3, 5, 5))
    scaled = dataset.normalise(dataset.train_images)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(3))


def test_the_peak_does_not_change_what_networks_see() -> None:
    train = pixels(20, 1, 4, 4) % 17
    wide, narrow = made(train, peak=255), made(train, peak=16)
    torch.testing.assert_close(
        wide.normalise(wide.train_images), narrow.normalise(narrow.train_images)
    )


def test_the_order_of_the_images_does_not_change_a_bit_of_the_statistics() -> None:
    train = pixels(3000, 1, 8, 8)
    for one, other in zip(made(train).statistics, made(train[::-1].copy()).statistics, strict=True):
        assert torch.equal(one, other)


def test_a_channel_of_one_level_is_refused() -> None:
    train = pixels(10, 3, 4, 4)
    train[:, 2] = 7
    with refused(
        "data: expected training images that differ in every colour channel, got the level 7 in "
        "all of channel 2; leave it out"
    ):
        made(train).normalise(torch.from_numpy(train))


def test_the_hash_is_that_of_all_bytes_in_order() -> None:
    train = pixels(10, 3, 4, 4)
    zeros = bytes(8)
    content = train.tobytes() + 10 * zeros + train[:2].tobytes() + 2 * zeros
    assert made(train).sha256 == hashlib.sha256(content).hexdigest()


def test_a_chosen_training_set_leaves_the_test_split() -> None:
    dataset = made(pixels(10, 1, 4, 4))
    chosen = dataset.with_training_set(torch.tensor([7, 3]))
    assert torch.equal(chosen.train_images, dataset.train_images[[7, 3]])
    assert torch.equal(chosen.test_images, dataset.test_images)
    assert not torch.equal(chosen.statistics[0], dataset.statistics[0])
