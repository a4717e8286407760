"""A picture that somebody sends: checked before it is decoded, then made like the data set's own.

Nothing in it is trusted: only common formats are opened, the size is read from the header and
bounded before any pixel is decoded, and every fault is one sentence.
"""

import warnings
from io import BytesIO
from typing import NoReturn

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.other import converted
from featdyn_engine.data.pictures import levels
from featdyn_engine.domain import InputError

MOST_BYTES = 5 * 2**20
MOST_PIXELS = 16_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
PEAK = 255


def decoded(content: bytes, own: Dataset) -> Tensor:
    """Decode a picture and bring it to the size, colours and levels of ``own``: uint8 (1, C, H, H).

    Turned as its orientation tag says, transparent parts over white, the upper 8 of 16 bits, CMYK
    as RGB; then the square in its middle, resized with antialiasing. Raises InputError for more
    than 5 MiB or 16 million pixels, another format, an animation, and a file that can't be read.
    """
    if len(content) > MOST_BYTES:
        _refuse(f"at most {MOST_BYTES // 2**20} MiB", f"{len(content) / 2**20:.1f} MiB")
    with warnings.catch_warnings():
        # Sizes are checked here; odd tags don't matter.
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                pixels = _square(_levels(image))
        except InputError:
            raise
        except UnidentifiedImageError:
            _refuse(f"an image ({', '.join(FORMATS)})", "a file that is none")
        except Image.DecompressionBombError:
            _refuse(f"at most {MOST_PIXELS:,} pixels", "many more")
        # Whatever a damaged file makes Pillow's many readers raise: OSError, SyntaxError, ...
        except Exception:
            _refuse("a whole image", "a damaged or truncated one")
    stack = torch.from_numpy(pixels.copy())
    images = stack[None, None] if stack.ndim == 2 else stack.permute(2, 0, 1)[None]
    return converted(images, PEAK, own)


def _levels(image: Image.Image) -> np.ndarray:
    """Decode an image whose header is acceptable: uint8 (H, W), or (H, W, 3) in colour."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        _refuse(f"at most {MOST_PIXELS:,} pixels", f"{width:,} x {height:,}")
    if getattr(image, "is_animated", False):
        _refuse("one still image", "several in one file")
    return levels(ImageOps.exif_transpose(image), _fault)


def _square(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _fault(expected: str, got: str) -> InputError:
    return InputError(f"uploaded file: expected {expected}, got {got}")


def _refuse(expected: str, got: str) -> NoReturn:
    raise _fault(expected, got) from None
