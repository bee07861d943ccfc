"""A picture file as bytes of pixels: decoded, and brought to a square.

resize_crop: the shorter side becomes `size` (bilinear with the support widened to the scale, so without aliasing), the
longer one in proportion and cut to whole pixels, then the middle is kept: pixel for pixel what torchvision's Resize and
CenterCrop make of a picture. Greyscale in a colour data set is repeated in three channels, colour
in a grey one is its luma (ITU-R 601), transparency is dropped. What is not from a paper: pictures with more than eight
bits a channel are refused, as cutting them to eight would turn them white.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from sparse_ortho.errors import UserError

MODES = {1: "L", 3: "RGB"}
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa")
# What Pillow raises for files that are no picture, end too early, or promise more pixels than a bomb would.
DAMAGE = (OSError, EOFError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)


def decode(content: bytes, channels: int, where: str) -> np.ndarray:
    """The pixels (channels, height, width) as uint8; `where` names the picture if it is broken."""
    return _pixels(_opened(content, channels, where))


def decode_square(content: bytes, channels: int, size: int, where: str) -> np.ndarray:
    """The pixels (channels, size, size) of a picture of any size."""
    return resize_crop(decode(content, channels, where), size)


def resize_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """(C, H, W) with the shorter side scaled to `size`, and of the longer one the middle: (C, size, size)."""
    channels, height, width = picture.shape
    if (height, width) == (size, size):
        return picture
    wide, high = (int(size * side / min(height, width)) for side in (width, height))
    image = Image.fromarray(picture[0] if channels == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))
    left, top = round((wide - size) / 2), round((high - size) / 2)
    resized = image.resize((wide, high), Image.Resampling.BILINEAR)
    return _pixels(resized.crop((left, top, left + size, top + size)))


def _opened(content: bytes, channels: int, where: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in EIGHT_BITS:
                raise UserError(where, "has more than eight bits a channel", found=image.mode)
            if image.mode == "P":  # straight to RGB would warn of palettes with transparency
                return image.convert("RGBA").convert(MODES[channels])
            return image.convert(MODES[channels])
    except DAMAGE as error:
        reason = "no known format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise UserError(where, f"is not a complete picture ({reason})") from None


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
