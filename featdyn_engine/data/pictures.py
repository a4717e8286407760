"""Image files, in any format that Pillow reads, as raw pixels of one shape."""

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from featdyn_engine.data.dataset import MOST_PIXELS
from featdyn_engine.data.problems import reason
from featdyn_engine.domain import InputError

# What decoded pixels depend on besides the files: these rules (count up when they change), Pillow.
VERSION = f"1, pillow {PIL.__version__}"
GREY = ("1", "L", "LA", "La")
DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")

Pixels = NDArray[np.uint8]
# How messages call a picture, and its file: the content or the path.
Picture = tuple[str, bytes | Path]


def levels(image: Image.Image, fault: Callable[[str, str], InputError]) -> Pixels:
    """Decode an image: (H, W) where it is grey, (H, W, 3) for any other.

    ``fault`` makes an error of what was expected and what came.
    """
    if image.mode in DEEP_GREY:
        found = np.asarray(image).astype(np.int64)
        if found.min() < 0 or found.max() > 65535:
            raise fault("levels from 0 to 65535", "others")
        return (found >> 8).astype(np.uint8)
    if image.mode == "F":
        raise fault("8 or 16 bits a channel", "floating-point numbers")
    mode = "L" if image.mode in GREY else "RGB"
    if image.has_transparency_data:
        seen = Image.new("RGBA", image.size, "white")
        seen.alpha_composite(image.convert("RGBA"))
        image = seen
    return np.asarray(image.convert(mode))


class Decoder:
    """Decodes the pictures of one data set, and holds them all to the size of the first.

    Every image must be square, at most 96 pixels wide. Grey stays one channel, unless any image
    of the same call is in colour (by its file's mode, not by its pixels); then all are RGB. Of
    16 bits a channel the upper 8 are kept. Transparent parts are laid over white, as viewers
    show them. Orientation tags are ignored, as torchvision does.
    """

    def __init__(self, data_set: str) -> None:
        self.data_set = data_set
        self.pixels: int | None = None

    def decode(self, pictures: Iterable[Picture], count: int) -> Tensor:
        """Decode ``count`` pictures in their order: uint8 (N, C, H, H), C either 1 or 3.

        Raises InputError, with the picture's name, for one that can't be read or has another size.
        """
        stack: Pixels | None = None
        with warnings.catch_warnings():
            # Sizes are checked before pixels are decoded; odd tags don't matter here.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            for index, (name, content) in enumerate(pictures):
                found = self._decoded(name, content)
                if stack is None:
                    stack = np.empty((count, *found.shape), dtype=np.uint8)
                elif found.ndim == 3 and stack.ndim == 3:
                    stack = np.repeat(stack[..., None], 3, axis=3)
                stack[index] = found if found.ndim == stack.ndim - 1 else found[..., None]
        if stack is None:
            raise InputError(f"data {self.data_set}: expected images, got none")
        if stack.ndim == 3:
            return torch.from_numpy(stack).unsqueeze(1)
        return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()

    def _decoded(self, name: str, content: bytes | Path) -> Pixels:
        try:
            with Image.open(content if isinstance(content, Path) else BytesIO(content)) as image:
                self._check_size(name, *image.size)
                return levels(image, partial(self._fault, name))
        except InputError:
            raise
        except UnidentifiedImageError:
            raise self._fault(name, "an image file", "something that is none") from None
        # Whatever a damaged file makes Pillow's many readers raise: OSError, SyntaxError, ...
        except Exception as problem:
            raise self._fault(name, "a whole image file", reason(problem)) from problem

    def _check_size(self, name: str, width: int, height: int) -> None:
        if self.pixels is None:
            if width != height or width > MOST_PIXELS:
                raise self._fault(
                    name,
                    f"square images of at most {MOST_PIXELS} pixels",
                    f"{width} x {height}; crop or scale all of them",
                )
            self.pixels = width
        elif (width, height) != (self.pixels, self.pixels):
            raise self._fault(
                name,
                f"{self.pixels} x {self.pixels} as the first image",
                f"{width} x {height}; crop or scale all of them to one size",
            )

    def _fault(self, name: str, expected: str, got: str) -> InputError:
        return InputError(f"data {self.data_set}: expected {expected} in {name}, got {got}")


def alike(*splits: Tensor) -> list[Tensor]:
    """Give grey splits three equal channels where another one is in colour."""
    channels = max(split.shape[1] for split in splits)
    return [
        split.expand(-1, channels, -1, -1).contiguous() if split.shape[1] < channels else split
        for split in splits
    ]
