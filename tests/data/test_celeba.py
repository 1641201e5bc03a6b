import zipfile

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.data import open_images
from jittor_ddim.errors import DataError


@pytest.fixture
def faces(tmp_path, write_images):
    """Eight random images of CelebA's size, the fourth of them of the validation split."""
    celeba = tmp_path / "exp" / "datasets" / "celeba"
    images = write_images(celeba / "img_align_celeba", 8, size=(218, 178))
    lines = [f"{i:04d}.png {number}" for i, number in enumerate("00010022")]
    (celeba / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return images, celeba


def expected(images):
    """The official crop, by its own formula, then Pillow's resize."""
    cx, cy = 89, 121
    cropped = [Image.fromarray(image[cy - 64 : cy + 64, cx - 64 : cx + 64]) for image in images]
    return np.stack([np.asarray(c.resize((64, 64), Image.Resampling.BILINEAR)) for c in cropped])


def test_partition_and_crop(tmp_path, faces, make_config):
    images, celeba = faces
    config = make_config(dataset="CELEBA", image_size=64)
    train = open_images(config, "train", tmp_path / "exp").images
    test = open_images(config, "test", tmp_path / "exp").images
    assert np.array_equal(train, expected(images[[0, 1, 2, 4, 5]]))
    assert np.array_equal(test, expected(images[6:]))


def test_zip_beside_the_list(tmp_path, faces, make_config):
    images, celeba = faces
    place = tmp_path / "elsewhere"
    place.mkdir()
    with zipfile.ZipFile(place / "img_align_celeba.zip", "w") as archive:
        for path in (celeba / "img_align_celeba").iterdir():
            archive.write(path, f"img_align_celeba/{path.name}")
    (celeba / "list_eval_partition.txt").rename(place / "list_eval_partition.txt")
    for root in (place, place / "img_align_celeba.zip"):
        config = make_config(dataset="CELEBA", image_size=64, root=str(root))
        assert np.array_equal(open_images(config, "test", tmp_path).images, expected(images[6:]))


def test_what_is_missing_is_named(tmp_path, faces, make_config):
    _, celeba = faces
    config = make_config(dataset="CELEBA", image_size=64)
    (celeba / "img_align_celeba" / "0001.png").unlink()
    with pytest.raises(DataError, match=r"0001\.png, .* is missing; get a new copy"):
        open_images(config, "train", tmp_path / "exp")
    with pytest.raises(DataError, match="img_align_celeba.zip.*list_eval_partition.txt"):
        open_images(config, "train", tmp_path / "other")
