import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featdyn_engine.data.pictures import Decoder, Picture, alike
from tests.data.tiny import pixels, png, refused


def decode(*contents: bytes | Path) -> torch.Tensor:
    named: list[Picture] = [(f"picture {k}", content) for k, content in enumerate(contents)]
    return Decoder("images").decode(named, len(named))


def saved(image: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


GREY, COLOUR = pixels(5, 5), pixels(5, 5, 3)


def test_colour_and_grey_come_out_as_their_files_have_them() -> None:
    assert torch.equal(decode(png(COLOUR)), torch.from_numpy(COLOUR).permute(2, 0, 1)[None])
    assert torch.equal(decode(png(GREY)), torch.from_numpy(GREY)[None, None])
    assert decode(png(COLOUR)).is_contiguous()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
def test_one_picture_in_colour_makes_all_of_them_rgb(order: tuple[int, ...]) -> None:
    contents = [png(COLOUR), png(GREY), png(GREY[::-1].copy())]
    expected = [COLOUR, np.stack([GREY] * 3, axis=2), np.stack([GREY[::-1]] * 3, axis=2)]
    found = decode(*(contents[k] for k in order))
    for image, k in zip(found, order, strict=True):
        assert (image.permute(1, 2, 0).numpy() == expected[k]).all()


def test_a_file_is_read_as_well_as_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(COLOUR))
    assert torch.equal(decode(tmp_path / "a.png"), decode(png(COLOUR)))


def test_black_and_white_and_palettes_are_grey_and_colour() -> None:
    bits = Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE)
    assert torch.equal(
        decode(saved(bits, "png"))[0, 0], torch.from_numpy((GREY >= 128).astype(np.uint8) * 255)
    )
    palette = Image.fromarray(COLOUR).quantize(25)
    expected = np.asarray(palette.convert("RGB"))
    assert (decode(saved(palette, "png"))[0].permute(1, 2, 0).numpy() == expected).all()


def test_of_sixteen_bits_the_upper_eight_are_kept() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (5, 5), dtype=np.uint16)
    assert (decode(png(deep))[0, 0].numpy() == deep // 256).all()


def test_transparent_parts_lie_over_white() -> None:
    image = np.zeros((2, 2, 4), dtype=np.uint8)
    image[..., :3] = (10, 200, 30)
    image[0, :, 3] = 255  # the upper row is solid, the lower one can't be seen
    found = decode(png(image))[0]
    assert found[:, 0, 0].tolist() == [10, 200, 30]
    assert found[:, 1, 1].tolist() == [255, 255, 255]


def test_transparent_grey_stays_one_channel() -> None:
    image = np.zeros((2, 2, 2), dtype=np.uint8)
    image[0, :, 1] = 255
    found = decode(saved(Image.fromarray(image, "LA"), "png"))
    assert found[0].tolist() == [[[0, 0], [255, 255]]]


@pytest.mark.parametrize("kind", ["bmp", "gif", "ppm", "tiff", "png"])
def test_other_formats_without_loss_are_read_too(kind: str) -> None:
    image = Image.fromarray(GREY)
    found = decode(saved(image, kind))
    assert (found[0, 0].numpy() == GREY).all()


def test_jpegs_are_read_as_pillow_reads_them() -> None:
    content = saved(Image.fromarray(pixels(32, 32, 3)), "jpeg")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    assert (decode(content)[0].permute(1, 2, 0).numpy() == expected).all()


# Refusals


def test_a_picture_of_another_size_than_the_first_is_named() -> None:
    with refused(
        "data images: expected 5 x 5 as the first image in picture 1, got 4 x 4; crop or scale "
        "all of them to one size"
    ):
        decode(png(GREY), png(pixels(4, 4)))


def test_sizes_hold_over_all_splits_of_a_data_set() -> None:
    decoder = Decoder("images")
    decoder.decode([("one", png(GREY))], 1)
    with refused("expected 5 x 5 as the first image in other, got 4 x 4"):
        decoder.decode([("other", png(pixels(4, 4)))], 1)


@pytest.mark.parametrize("shape", [(5, 4), (97, 97)])
def test_pictures_that_no_network_takes_are_refused(shape: tuple[int, int]) -> None:
    height, width = shape
    with refused(
        "data images: expected square images of at most 96 pixels in picture 0, got "
        f"{width} x {height}; crop or scale all of them"
    ):
        decode(png(pixels(*shape)))


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with refused("data images: expected (an|a whole) image file in picture 0, got "):
        decode(content)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff"])
def test_a_picture_that_was_cut_short_is_refused(kind: str) -> None:
    content = saved(Image.fromarray(pixels(32, 32, 3)), kind)
    with refused("data images: expected (an|a whole) image file in picture 0, got "):
        decode(content[: len(content) // 2])


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with refused(f"expected a whole image file in picture 0, got no file {tmp_path / 'a.png'}"):
        decode(tmp_path / "a.png")


def test_numbers_with_a_point_are_refused() -> None:
    content = saved(Image.fromarray(np.ones((3, 3), dtype=np.float32)), "tiff")
    with refused("expected 8 or 16 bits a channel in picture 0, got floating-point numbers"):
        decode(content)


def test_levels_beyond_sixteen_bits_are_refused() -> None:
    content = saved(Image.fromarray(np.full((3, 3), 70_000, dtype=np.int32)), "tiff")
    with refused("expected levels from 0 to 65535 in picture 0, got others"):
        decode(content)


def test_no_pictures_at_all_are_refused() -> None:
    with refused("data images: expected images, got none"):
        decode()


def test_a_grey_split_beside_one_in_colour_gets_three_equal_channels() -> None:
    grey, colour = torch.from_numpy(pixels(2, 1, 4, 4)), torch.from_numpy(pixels(3, 3, 4, 4))
    one, other = alike(grey, colour)
    assert other is colour
    assert torch.equal(one, torch.cat([grey] * 3, dim=1))
    assert all(a is b for a, b in zip(alike(grey, grey), (grey, grey), strict=True))
