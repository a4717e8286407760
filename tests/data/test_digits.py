import pytest
import torch

from featdyn_engine.data import digits as source
from featdyn_engine.data import registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, InputError
from tests.cases import DIGITS, HERE


def load(**options: int) -> Dataset:
    return registry.load(DataConfig(name="digits", **options), HERE)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load()


def pixels(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_the_split_has_1437_and_360_images(digits: Dataset) -> None:
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert len(digits.train_labels) == 1437
    assert len(digits.test_labels) == 360


def test_images_have_17_levels_and_labels_zero_to_nine(digits: Dataset) -> None:
    assert digits.train_images.dtype == torch.uint8
    assert digits.train_labels.dtype == torch.int64
    assert digits.train_images.min() == 0
    assert digits.train_images.max() == digits.peak == 16
    assert digits.train_labels.unique().tolist() == list(range(10))
    assert digits.class_names == tuple("0123456789")
    assert digits.task == DIGITS


def test_no_image_is_in_both_splits(digits: Dataset) -> None:
    train, test = pixels(digits.train_images), pixels(digits.test_images)
    assert not train & test
    assert len(train) + len(test) == 1797


def test_images_keep_their_labels_under_another_split(digits: Dataset) -> None:
    def labelled(dataset: Dataset) -> set[tuple[bytes, int]]:
        images = [*dataset.train_images, *dataset.test_images]
        labels = [*dataset.train_labels.tolist(), *dataset.test_labels.tolist()]
        pairs = zip(images, labels, strict=True)
        return {(image.numpy().tobytes(), label) for image, label in pairs}

    assert labelled(digits) == labelled(load(split_seed=1))


def test_every_class_is_in_both_splits(digits: Dataset) -> None:
    assert torch.bincount(digits.test_labels, minlength=10).min() >= 20
    assert torch.bincount(digits.train_labels, minlength=10).min() >= 100


def test_the_same_split_seed_gives_the_same_split(digits: Dataset) -> None:
    again = load(split_seed=0)
    assert torch.equal(again.train_images, digits.train_images)
    assert torch.equal(again.test_labels, digits.test_labels)


def test_the_split_does_not_depend_on_the_global_generator(digits: Dataset) -> None:
    torch.manual_seed(123)
    assert torch.equal(load().train_images, digits.train_images)


def test_another_split_seed_gives_another_split(digits: Dataset) -> None:
    other = pixels(load(split_seed=1).test_images)
    assert len(other & pixels(digits.test_images)) < 150


def test_smaller_training_sets_begin_larger_ones(digits: Dataset) -> None:
    small, large = load(train_size=96), load(train_size=720)
    assert len(small.train_labels) == 96
    assert torch.equal(large.train_images[:96], small.train_images)
    assert torch.equal(large.train_labels[:96], small.train_labels)


def test_a_smaller_training_set_is_drawn_from_the_whole_one(digits: Dataset) -> None:
    drawn = load(train_size=720)
    assert pixels(drawn.train_images) < pixels(digits.train_images)
    assert not torch.equal(drawn.train_images, digits.train_images[:720])


def test_the_test_split_stays_whole(digits: Dataset) -> None:
    assert torch.equal(load(train_size=96).test_images, digits.test_images)


@pytest.mark.parametrize("size", [40, 1437])
def test_normalised_training_images_have_mean_zero_and_deviation_one(size: int) -> None:
    dataset = load(train_size=size)
    images = dataset.normalise(dataset.train_images)
    assert float(images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(images.std()) == pytest.approx(1, abs=1e-5)


def test_test_images_are_scaled_as_the_training_images(digits: Dataset) -> None:
    train = digits.train_images.double()
    expected = (digits.test_images - train.mean()) / train.std()
    torch.testing.assert_close(digits.normalise(digits.test_images), expected.float())


def test_more_training_images_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.train_size: expected at most 1437.*got 1438"):
        load(train_size=1438)


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"data\.name: expected one of .*digits.*, got 'mnisty'"):
        registry.load(DataConfig(name="mnisty"), HERE)


def test_the_rows_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits  # seconds, which no other test should wait for

    bunch = load_digits()
    rows = source._rows()
    assert (rows[:, :-1].reshape(-1, 8, 8) == bunch.images).all()
    assert (rows[:, -1] == bunch.target).all()
