"""Bytes of any image file -> an upright RGB picture, or `BadImage` with the reason."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a 40 kB file can claim 10 gigapixels."""

MOST_BYTES = 2**28
"""Larger files are refused before they are read."""

MOST_NARROW = 500
"""How many times as long as the other a side may be: with the shorter resized to 224, the longer would be 112,000."""

ORIGINAL_SIZE = "clipdistill_original_size"
"""Key in `Image.info` under which a JPEG decoded at a fraction of its size keeps its (width, height) at full size."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF", "JPEG2000")
"""What is opened, judged by content and never by file name. Formats that run code or read other files are left out."""

# Our own limit stands in for Pillow's, which only warns at first. Pillow still refuses at twice its own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
Image.init()
_KNOWN = [name for name in FORMATS if name in Image.OPEN]


HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
"""What ISO files of iPhones' pictures call themselves; AVIF's are others."""


class BadImage(Exception):
    """One picture can't be used; `str(error)` is the reason. Not a `UserError`: one bad sample doesn't end a run."""


def decode(data: bytes, min_sizes: Sequence[int | None] = (None,)) -> list[Image.Image]:
    """Decode `data` once for each element of `min_sizes`, sharing work where they come to the same.

    With a number, a JPEG is decoded by DCT scaling at 1/2, 1/4 or 1/8 of its size as long as both sides stay at least
    that long; `None` gives every pixel. The result for one element doesn't depend on the others.

    Returns:
        RGB pictures, EXIF orientation applied, transparency laid on white, 16 bits scaled to 8.

    Raises:
        BadImage: empty, truncated, not an image, or more than `MAX_PIXELS`.
    """
    if not data:
        raise BadImage("the file is empty")
    try:
        done: dict[int, Image.Image] = {}
        pictures = []
        for min_size in min_sizes:
            image = Image.open(io.BytesIO(data), formats=_KNOWN)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImage(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS:,}")
            if max(width, height) > MOST_NARROW * min(width, height):
                raise BadImage(f"{width} x {height} pixels: one side is more than {MOST_NARROW} times the other")
            scale = _reduction(image, min_size)
            if scale not in done:
                if scale > 1:
                    image.draft(None, (width // scale, height // scale))
                done[scale] = upright_rgb(image)
                if scale > 1:
                    turned = (width > height) != (done[scale].width > done[scale].height) and width != height
                    done[scale].info[ORIGINAL_SIZE] = (height, width) if turned else (width, height)
            pictures.append(done[scale])
        return pictures
    except BadImage:
        raise
    except UnidentifiedImageError:
        if data[4:8] == b"ftyp" and data[8:12] in HEIC:
            raise BadImage(
                "a HEIC picture, which isn't read; convert it, such as with `heif-convert a.heic a.jpg`"
            ) from None
        raise BadImage(f"not an image (it starts with {data[:12]!r})") from None
    except Exception as error:  # a hostile or broken file can raise nearly anything from inside a decoder
        raise BadImage(f"can't be decoded ({str(error) or type(error).__name__})") from error


def _reduction(image: Image.Image, min_size: int | None) -> int:
    """The DCT reduction (1, 2, 4 or 8) that leaves both sides at least `min_size` long."""
    if min_size is None or image.format not in ("JPEG", "MPO"):
        return 1
    return next((scale for scale in (8, 4, 2) if min(image.size) >= min_size * scale), 1)


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: EXIF orientation applied, transparency laid on white, 16 bits scaled to 8."""
    image.load()
    # exif_transpose parses and copies; only pictures that carry metadata need it (TIFF keeps it in its tags).
    if image.format == "TIFF" or "exif" in image.info or "xmp" in image.info:
        image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I") or mode == "F":
        return _eight_bits(image).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale wide greyscale to 8 bits. Pillow's own conversion clips at 255 and turns most of such pictures white."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        top = 1.0 if values.size == 0 or np.max(values) <= 1.0 else 255.0
    else:
        top = 65535.0 if values.size == 0 or np.max(values) <= 65535 else float(np.max(values))
    return Image.fromarray(np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8), mode=None)
