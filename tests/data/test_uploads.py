"""Pictures that anybody may send: taken as documented, or refused in a sentence, never a crash."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from featdyn_engine.data import uploads
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import InputError

LABELS = torch.zeros(2, dtype=torch.int64)


def like(channels: int, pixels: int, peak: int = 255) -> Dataset:
    images = torch.zeros(2, channels, pixels, pixels, dtype=torch.uint8)
    return Dataset(("a",), images, LABELS, images, LABELS, peak)


COLOUR = like(3, 32)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def flat(mode: str, colour: object, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_common_formats_come_out_in_the_form_of_the_data(kind: str) -> None:
    found = uploads.decoded(saved(flat("RGB", (200, 100, 50)), kind), COLOUR)
    assert (found.shape, found.dtype) == ((1, 3, 32, 32), torch.uint8)
    # JPEG and the palette of GIF move colours a little.
    assert (found.float().mean(dim=(0, 2, 3)) - torch.tensor([200, 100, 50])).abs().max() < 6


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat("L", 90), [90, 90, 90]),
        (flat("RGBA", (10, 20, 30, 0)), [255, 255, 255]),
        (flat("RGBA", (10, 20, 30, 255)), [10, 20, 30]),
        (flat("LA", (10, 0)), [255, 255, 255]),
        (flat("I;16", 300 * 100), [30000 >> 8] * 3),
        (flat("1", 1), [255, 255, 255]),
    ],
    ids=["grey", "transparent", "opaque", "transparent grey", "16 bits", "one bit"],
)
def test_unusual_modes_are_read_as_documented(image: Image.Image, expected: list[int]) -> None:
    found = uploads.decoded(saved(image), COLOUR)
    assert found.flatten(2).unique(dim=2).flatten().tolist() == expected


def test_cmyk_is_read_as_rgb() -> None:
    found = uploads.decoded(saved(flat("CMYK", (0, 255, 255, 0)), "JPEG"), COLOUR).float()
    red, green, blue = found.mean(dim=(0, 2, 3)).tolist()
    assert red > 200
    assert max(green, blue) < 60


def test_grey_networks_get_luma_in_their_own_levels() -> None:
    found = uploads.decoded(saved(flat("RGB", (255, 0, 0))), like(1, 8, peak=16))
    assert found.shape == (1, 1, 8, 8)
    assert found.unique().tolist() == [round(0.299 * 16)]


def test_the_square_in_the_middle_is_taken() -> None:
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = 255
    assert uploads.decoded(saved(Image.fromarray(pixels)), COLOUR).min() == 255


def test_photographs_are_turned_as_their_tag_says() -> None:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:20] = 255
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = uploads.decoded(saved(image, exif=exif), like(1, 8))
    assert turned[0, 0, 0].max() == 0
    assert turned[0, 0, -1].min() == 255


def bomb() -> bytes:
    """A PNG whose header promises 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))


def animation() -> bytes:
    frames = [flat("RGB", (90 * k, 0, 0)) for k in range(3)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", r"expected an image \(PNG, .*\), got a file that is none"),
    "text": (lambda: b"hello" * 100, "got a file that is none"),
    "a pickle": (lambda: b"\x80\x04\x95\x0b.", "got a file that is none"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "got a file that is none"),
    "another format": (lambda: saved(flat("RGB", 0), "PPM"), "got a file that is none"),
    "too many bytes": (
        lambda: b"\0" * (uploads.MOST_BYTES + 1),
        r"expected at most 5 MiB, got 5\.0 MiB",
    ),
    "too many pixels": (
        lambda: saved(flat("1", 0, (5000, 4000))),
        "expected at most 16,000,000 pixels, got 5,000 x 4,000",
    ),
    "a bomb": (bomb, "expected at most 16,000,000 pixels, got many more"),
    "an animation": (animation, "expected one still image, got several in one file"),
    "cut short": (
        lambda: saved(Image.effect_noise((64, 64), 90))[:900],
        "expected a whole image, got a damaged or truncated one",
    ),
    "floating point": (
        lambda: saved(flat("F", 0.5), "TIFF"),
        "expected 8 or 16 bits a channel, got floating-point numbers",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_picture_of_the_right_kind_is_refused_in_a_sentence(why: str) -> None:
    make, pattern = REFUSED[why]
    with pytest.raises(InputError, match=pattern) as caught:
        uploads.decoded(make(), COLOUR)
    assert str(caught.value).startswith("uploaded file: ")
    assert "\n" not in str(caught.value)


def test_no_pixel_is_decoded_before_its_size_is_known_to_be_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = saved(flat("RGB", 0))
    monkeypatch.setattr(uploads, "MOST_PIXELS", 1599)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match="at most 1,599 pixels, got 40 x 40"):
        uploads.decoded(content, COLOUR)


def test_normalising_can_be_undone() -> None:
    images = torch.randint(17, (5, 1, 8, 8), dtype=torch.uint8)
    own = replace(like(1, 8, peak=16), train_images=images)
    assert torch.equal(own.raw(own.normalise(images)), images)
