"""Every kind of picture that real data sets hold comes out as the same upright RGB; what can't says why."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from data_files import encoded, picture, smooth
from PIL import Image

from clipdistill.data.decode import ORIGINAL_SIZE
from clipdistill.data.sample import BadImage, ImageRef


def opened(data: bytes) -> np.ndarray:
    image = ImageRef.from_bytes(data).open()
    assert image.mode == "RGB"
    return np.asarray(image)


def test_rgb_png_is_kept_exactly() -> None:
    image = picture(1)
    assert np.array_equal(opened(encoded(image)), np.asarray(image))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_greyscale_one_bit_and_palette(mode: str) -> None:
    image = picture(2).convert(mode)
    assert np.array_equal(opened(encoded(image)), np.asarray(image.convert("RGB")))


def test_cmyk_jpeg_keeps_its_colours() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 40)).convert("CMYK")
    assert np.abs(opened(encoded(red, "JPEG")).astype(int) - (200, 30, 40)).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_pixels_become_white(kind: str) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (255, 0, 0, 255)
    pixels[2:] = (0, 255, 0, 0)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    result = opened(encoded(Image.fromarray(pixels), kind, **options))
    assert np.all(result[:2] == (255, 0, 0)) and np.all(result[2:] == 255)


def test_half_transparent_pixels_blend_and_grey_with_alpha_works() -> None:
    image = Image.new("LA", (2, 2), (0, 128))
    assert np.abs(opened(encoded(image)).astype(int) - 127).max() <= 1


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    result = opened(encoded(image, transparency=0))
    assert result[0, 0].tolist() == [255, 255, 255] and result[0, 1].tolist() == [200, 100, 50]


def test_sixteen_bit_png_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257 * 10, 257 * 128, 65535]], np.uint16)
    assert opened(encoded(Image.fromarray(values)))[0, :, 0].tolist() == [0, 10, 128, 255]


def test_float_and_wide_integer_tiff() -> None:
    shares = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert opened(encoded(shares, "TIFF"))[0, :, 1].tolist() == [0, 128, 255]
    wide = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert opened(encoded(wide, "TIFF"))[0, :, 1].tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_applied_once(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    stored = smooth(32, 16)
    image = ImageRef.from_bytes(encoded(stored, kind, exif=exif)).open()
    assert image.size == (16, 32)
    # Turned clockwise, the stored bottom-left corner (red low, green high) is at the top left.
    red, green, _ = np.asarray(image)[1, 1]
    assert red < 60 and green > 190


def test_png_named_jpg_opens_and_html_does_not(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(picture()))
    assert ImageRef.from_path(tmp_path / "a.jpg").open().size == (12, 10)
    (tmp_path / "b.jpg").write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(BadImage, match=r"b\.jpg: not an image \(it starts with b'<!DOCTYPE"):
        ImageRef.from_path(tmp_path / "b.jpg").open()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_truncated_files_are_bad(kind: str) -> None:
    data = encoded(picture(3, (64, 64)), kind)
    with pytest.raises(BadImage):
        opened(data[: len(data) // 2])


def test_empty_missing_and_folder(tmp_path) -> None:
    (tmp_path / "zero.png").write_bytes(b"")
    for name, reason in (("zero.png", "empty"), ("none.png", "no such file"), (".", "a folder, not a file")):
        with pytest.raises(BadImage, match=reason):
            ImageRef.from_path(tmp_path / name).open()


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_001, 60_000])
def test_decompression_bombs_are_refused_before_decoding(side: int) -> None:
    with pytest.raises(BadImage, match="limit|bomb"):
        opened(bomb(side, side))


def test_range_of_a_larger_file_and_a_cut_one(tmp_path) -> None:
    data = encoded(picture(5))
    (tmp_path / "all.bin").write_bytes(b"x" * 7 + data + b"y" * 9)
    ref = ImageRef.from_range(tmp_path / "all.bin", 7, len(data))
    assert np.array_equal(np.asarray(ref.open()), np.asarray(picture(5)))
    with pytest.raises(BadImage, match="cut short"):
        ImageRef.from_range(tmp_path / "all.bin", 7, len(data) + 100).open()


def test_jpeg_is_decoded_smaller_only_as_far_as_allowed() -> None:
    ref = ImageRef.from_bytes(encoded(smooth(801, 403), "JPEG", quality=95))
    assert ref.open().size == (801, 403)
    assert ref.open(101).size == (401, 202)  # a quarter of 403 would be under 101
    assert ref.open(50).size == (101, 51)
    assert ref.open(50).info[ORIGINAL_SIZE] == (801, 403)
    assert ref.open(1000).size == (801, 403)


def test_several_sizes_at_once_are_what_each_is_alone() -> None:
    ref = ImageRef.from_bytes(encoded(smooth(400, 300), "JPEG"))
    together = ref.open_each([None, 37, 100, 37])
    assert [image.size for image in together] == [(400, 300), (50, 38), (200, 150), (50, 38)]
    for image, size in zip(together, [None, 37, 100, 37], strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(ref.open(size)))


def test_a_turned_jpeg_decoded_smaller_remembers_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    image = ImageRef.from_bytes(encoded(smooth(400, 200), "JPEG", exif=exif)).open(40)
    assert image.size == (50, 100) and image.info[ORIGINAL_SIZE] == (200, 400)


def test_arrays_are_checked_and_shown() -> None:
    pixels = np.asarray(picture(6))
    assert np.array_equal(np.asarray(ImageRef.from_array(pixels).open()), pixels)
    with pytest.raises(ValueError, match="uint8"):
        ImageRef.from_array(pixels.astype(np.float32))


def test_a_picture_of_an_iphone_is_called_what_it_is() -> None:
    with pytest.raises(BadImage, match="a HEIC picture, which isn't read; convert it"):
        ImageRef.from_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(64)).open()
