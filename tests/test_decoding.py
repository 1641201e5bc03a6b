"""The one decoder: depth, alpha, orientation, colour and frames, by values known beforehand."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from jittor_ddim.decoding import eight_bits, open_image

BLUE = (0, 0, 255)


def encode(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def decode(content, background="white"):
    decoded = eight_bits(open_image(content), background)
    return np.asarray(decoded.image), decoded.changes


def row(values, dtype):
    return Image.fromarray(np.array([values], dtype))


@pytest.mark.parametrize(
    ("values", "dtype", "name", "expected"),
    [
        ([0, 0.5, 1], np.float32, "TIFF", [0, 128, 255]),
        ([0, 0.1, 0.2], np.float32, "TIFF", [0, 26, 51]),  # no image is stretched
        ([0, 17, 255], np.int32, "TIFF", [0, 17, 255]),
        ([0, 17, 255], np.int32, "IM", [0, 17, 255]),
        ([0, 511, 65535], np.uint16, "PNG", [0, 1, 255]),
        ([0, 255, 511], np.uint16, "PNG", [0, 0, 1]),  # the depth is the file's, not the values'
        ([0, 511, 65535], np.uint16, "TIFF", [0, 1, 255]),
        ([0, 255, 511], np.uint16, "PPM", [0, 0, 1]),
        ([0, 511, 65535], ">u2", "TIFF", [0, 1, 255]),
    ],
)
def test_deep_samples_become_8_bits_by_the_stated_rule(values, dtype, name, expected):
    pixels, changes = decode(encode(row(values, dtype), name))
    assert pixels.tolist() == [expected] and len(changes) == 1


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ([0, 70000], np.int32, "integers from 0 to 70000"),
        ([0, 256], np.int32, "integers from 0 to 256"),  # dark with 16 bits, or too bright with 8?
        ([-1, 5], np.int32, "integers from -1 to 5"),
        ([0, 220], np.float32, "floats from 0 to 220"),
        ([-0.5, 0.5], np.float32, "floats from -0.5 to 0.5"),
        ([0, np.nan], np.float32, "floats from nan"),
        ([0, np.inf], np.float32, "floats from 0 to inf"),
    ],
)
def test_unclear_ranges_are_refused(values, dtype, message):
    with pytest.raises(ValueError, match=message):
        decode(encode(row(values, dtype), "TIFF"))


@pytest.mark.parametrize(("bits", "transparent"), [(2, 3), (4, 15), (4, 7)])
def test_grey_of_few_bits_has_its_transparent_value(bits, transparent):
    """A PNG of two pixels, the first transparent: Pillow scales its grey, not this value."""
    header = struct.pack(">2I5B", 2, 1, bits, 0, 0, 0, 0)
    samples = bytes([(transparent << bits) << 8 - 2 * bits])
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(">H", transparent)),
              (b"IDAT", zlib.compress(b"\0" + samples)), (b"IEND", b"")]  # fmt: skip
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    pixels, changes = decode(content, "blue")
    assert pixels.tolist() == [[list(BLUE), [0, 0, 0]]]
    assert changes == ("transparent pixels composited onto blue",)


def tiff(values, bits, photometric, *more):
    """A grey TIFF of 2 pixels that Pillow cannot write; photometric 0: white is 0."""
    tags = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1),
            (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1),
            (279, 4, 1, bits // 4), *more]  # fmt: skip
    data = struct.pack(f"<2{'H' if bits == 16 else 'B'}", *values).ljust(4, b"\0")
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


@pytest.mark.parametrize(("values", "bits"), [((0, 250), 8), ((0, 250 << 8), 16)])
def test_a_tiff_where_white_is_0_is_no_negative(values, bits):
    assert decode(tiff(values, bits, 0))[0].tolist() == [[255, 5]]


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_samples_are_refused(bits):
    with pytest.raises(ValueError, match=f"signed {bits}-bit samples"):
        decode(tiff((0, 100), bits, 1, (339, 3, 1, 2)))


def png16(colour_type, samples):
    """A PNG of one pixel with 16 bits a channel, which Pillow cannot write in colour."""
    header = struct.pack(">2I5B", 1, 1, 16, colour_type, 0, 0, 0)
    data = zlib.compress(b"\0" + struct.pack(f">{len(samples)}H", *samples))
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_16_bits_of_colour_are_told_too():
    high_byte = "the high 8 of 16 bits used"
    pixels, changes = decode(png16(2, (0x12FF, 0x3400, 0x5678)))
    assert pixels.tolist() == [[[0x12, 0x34, 0x56]]] and changes == (high_byte,)
    pixels, changes = decode(png16(6, (0xFF00, 0, 0, 0)), "blue")
    assert pixels.tolist() == [[list(BLUE)]]
    assert changes == (high_byte, "transparent pixels composited onto blue")


def palette():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    return image


RED, GREEN = [255, 0, 0], [0, 255, 0]


@pytest.mark.parametrize(
    ("image", "name", "options", "expected"),
    [
        (Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG", {}, [BLUE]),
        (Image.new("RGBA", (1, 1), (255, 0, 0, 51)), "PNG", {}, [(51, 0, 204)]),
        (Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "TGA", {}, [BLUE]),
        (Image.new("LA", (1, 1), (40, 0)), "PNG", {}, [BLUE]),
        (palette(), "PNG", {"transparency": 0}, [BLUE, GREEN]),
        (palette(), "PNG", {"transparency": bytes([0, 51])}, [BLUE, (0, 51, 204)]),
        (palette(), "GIF", {"transparency": 1}, [RED, BLUE]),
        (Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", {"transparency": (1, 2, 3)}, [BLUE]),
        (row([7, 9], np.uint8), "PNG", {"transparency": 7}, [BLUE, (9, 9, 9)]),
        (row([700, 25700], np.uint16), "PNG", {"transparency": 700}, [BLUE, (100, 100, 100)]),
    ],
)
def test_transparent_pixels_show_the_background(image, name, options, expected):
    pixels, changes = decode(encode(image, name, **options), "#0000ff")
    assert pixels[0].tolist() == [list(pixel) for pixel in expected]
    assert changes[-1] == "transparent pixels composited onto #0000ff"


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_modes_that_no_file_here_has_are_laid_over_too(mode):
    image = Image.new("LA" if mode == "La" else "RGBA", (1, 1))
    pixels = np.asarray(eight_bits(image.convert(mode), "blue").image)
    assert pixels.tolist() == [[list(BLUE)]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_hides_nothing_changes_nothing(mode):
    image = Image.new(mode, (1, 1), (40,) * (len(mode) - 1) + (255,))
    pixels, changes = decode(encode(image, "PNG"))
    assert (pixels == 40).all() and changes == ()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 mean nothing
def test_images_stand_upright(orientation, name):
    stored = np.zeros((8, 16), np.uint8)
    stored[:4, :8] = 255  # the top left quarter
    exif = Image.Exif()
    exif[274] = orientation
    content = encode(Image.fromarray(stored).convert("RGB"), name, exif=exif)
    pixels, changes = decode(content)
    quarters = [pixels[y, x, 0] > 127 for y in (0, -1) for x in (0, -1)]
    where = {2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}  # of EXIF's table
    assert quarters == [i == where.get(orientation, 0) for i in range(4)]
    assert pixels.shape[:2] == ((16, 8) if 5 <= orientation <= 8 else (8, 16))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(pixels, np.asarray(upright))
    assert changes == (("turned upright (EXIF)",) if orientation in where else ())


def test_damaged_metadata_does_not_spoil_the_picture():
    content = encode(Image.new("RGB", (8, 8), (9, 9, 9)), "PNG", exif=b"Exif\0\0junk")
    assert decode(content)[0].shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("LAB", (138, 209, 198), (251, 5, 4)),  # littlecms's sRGB red is (138, 209, 198)
    ],
)
def test_other_colour_spaces_become_rgb(mode, colour, expected):
    pixels, changes = decode(encode(Image.new(mode, (2, 2), colour), "TIFF"))
    assert pixels[0, 0].tolist() == list(expected) and changes == (f"{mode} converted to RGB",)


def test_black_and_white_is_grey():
    pixels, changes = decode(encode(Image.new("1", (2, 1), 1), "PNG"))
    assert pixels.tolist() == [[255, 255]] and changes == ()


@pytest.mark.parametrize("name", ["GIF", "TIFF", "PNG"])
def test_of_several_frames_the_first_is_taken(name):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pixels, changes = decode(encode(frames[0], name, save_all=True, append_images=frames[1:]))
    assert (pixels == RED).all() and "first" in changes[0]


def test_the_other_pictures_of_a_photo_are_not_mentioned():
    photo = Image.new("RGB", (8, 8))
    assert decode(encode(photo, "MPO", save_all=True, append_images=[photo]))[1] == ()


def test_what_is_no_image_says_so_without_an_address():
    for content in (b"junk", b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        with pytest.raises(
            Image.UnidentifiedImageError, match="^not an image that Pillow can read$"
        ):
            open_image(content)


def test_a_picture_that_is_suspiciously_large_is_an_error_not_a_warning():
    code = (
        "import sys\n"
        "from PIL import Image\n"
        "from jittor_ddim.decoding import open_image\n"
        "Image.MAX_IMAGE_PIXELS = 100\n"
        "open_image(sys.stdin.buffer.read())\n"
    )
    content = encode(Image.new("L", (12, 12)), "PNG")
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], input=content, capture_output=True
    )
    assert done.returncode == 1 and b"(144 pixels) exceeds limit of 100" in done.stderr
