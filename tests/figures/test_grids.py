import numpy as np
import pytest
from PIL import Image

from jittor_ddim.errors import UserError
from jittor_ddim.figures.grids import grid
from jittor_ddim.image_files import save_image

RANDOM = np.random.default_rng(0)


def images(count, height, width, channels=3):
    return RANDOM.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def by_pixel(images, columns, padding, background, scale):
    """The layout written down pixel by pixel."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    tall, wide = height * scale + padding, width * scale + padding
    out = np.full((rows * tall + padding, columns * wide + padding, channels), background)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row, dy = divmod(y - padding, tall)
            column, dx = divmod(x - padding, wide)
            index = row * columns + column
            inside = min(dy, dx, row, column) >= 0 and index < count
            if inside and dy < height * scale and dx < width * scale:
                out[y, x] = images[index, dy // scale, dx // scale]
    return out


@pytest.mark.parametrize(
    ("count", "columns", "padding", "background", "scale"),
    [(6, 3, 2, 255, 1), (5, 2, 1, 0, 3), (1, 8, 2, 128, 2), (4, 4, 0, 255, 1)],
)
def test_layout(count, columns, padding, background, scale):
    batch = images(count, 4, 5)
    out = grid(batch, columns, padding, background, scale)
    expected = by_pixel(batch, min(columns, count), padding, background, scale)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, expected)


def test_without_columns_it_is_square():
    assert grid(images(64, 4, 4), scale=1).shape == (8 * 6 + 2, 8 * 6 + 2, 3)
    assert grid(images(10, 4, 4, 1), scale=1).shape == (3 * 6 + 2, 4 * 6 + 2, 1)


@pytest.mark.parametrize(
    ("size", "tile"), [(8, 64), (16, 64), (28, 56), (32, 64), (48, 48), (64, 64), (256, 256)]
)
def test_small_images_are_enlarged_by_whole_factors(size, tile):
    assert grid(images(1, size, size), padding=0).shape == (tile, tile, 3)


def test_no_images_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        grid(images(0, 4, 4))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_image_has_the_same_pixels(tmp_path, channels):
    (image,) = images(1, 9, 7, channels)
    save_image(tmp_path / "new" / "grid.png", image)
    read = np.asarray(Image.open(tmp_path / "new" / "grid.png"))
    np.testing.assert_array_equal(read.reshape(image.shape), image)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["grid.png"]


def test_a_path_below_a_file_is_the_users_fault(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file"):
        save_image(tmp_path / "file" / "grid.png", np.zeros((2, 2, 3), np.uint8))


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "grid.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="uint8"):
        save_image(path, np.zeros((2, 2, 3), np.float32))  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]
