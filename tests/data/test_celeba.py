import shutil
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
    with pytest.raises(DataError, match=r"img_align_celeba: list_eval_partition.txt .* is miss"):
        (celeba / "list_eval_partition.txt").unlink()
        open_images(config, "train", tmp_path / "exp")


def kaggle(celeba, root):
    """Two folders of one name, and the list as .csv."""
    (root / "img_align_celeba").mkdir(parents=True)
    (celeba / "img_align_celeba").rename(root / "img_align_celeba" / "img_align_celeba")
    lines = (celeba / "list_eval_partition.txt").read_text().replace(" ", ",")
    (root / "list_eval_partition.csv").write_text(f"image_id,partition\n{lines}")
    (root / "list_attr_celeba.csv").write_text("image_id,Smiling\n")
    return [root, root / "img_align_celeba", root / "img_align_celeba" / "img_align_celeba"]


def official(celeba, root):
    """The folders of the download page."""
    (root / "Eval").mkdir(parents=True)
    (celeba / "list_eval_partition.txt").rename(root / "Eval" / "list_eval_partition.txt")
    shutil.make_archive(root / "Img" / "img_align_celeba", "zip", celeba, "img_align_celeba")
    return [root, root / "Img", root / "Img" / "img_align_celeba.zip"]


def torchvision(celeba, root):
    """What `torchvision.datasets.CelebA(root)` keeps: all in a folder `celeba`."""
    root.mkdir()
    celeba.rename(root / "celeba")
    return [root, root / "celeba"]


def lossless(celeba, root):
    """The aligned images as PNG, which the list names .jpg."""
    (celeba / "img_align_celeba").rename(celeba / "img_align_celeba_png")
    partition = celeba / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace(".png", ".jpg"))
    return [celeba, celeba / "img_align_celeba_png"]


@pytest.mark.parametrize("layout", [kaggle, official, torchvision, lossless])
def test_the_layouts_people_have(tmp_path, faces, make_config, layout):
    images, celeba = faces
    for root in layout(celeba, tmp_path / "root"):
        config = make_config(dataset="CELEBA", image_size=64, root=str(root))
        train = open_images(config, "train", tmp_path / "out").images
        assert np.array_equal(train, expected(images[[0, 1, 2, 4, 5]]))
        test = open_images(config, "test", tmp_path / "out").images
        assert np.array_equal(test, expected(images[6:]))


def test_aligned_hq_is_split_as_celeba_and_not_cropped(tmp_path, faces, make_config):
    _, celeba = faces
    root = tmp_path / "CelebAMask-HQ"
    images = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), np.uint8)
    (root / "CelebA-HQ-img").mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(root / "CelebA-HQ-img" / f"{i}.png")
    (celeba / "list_eval_partition.txt").rename(root / "list_eval_partition.txt")
    config = make_config(dataset="CELEBA", image_size=64, root=str(root))
    with pytest.raises(DataError, match=r"CelebA-HQ-to-CelebA-mapping\.txt: missing"):
        open_images(config, "train", tmp_path / "exp")
    originals = [7, 0, 3, 5, 6]  # 3 is of the validation split
    lines = (f"{i}\t\t{o}\t\t{o:04d}.jpg\n" for i, o in enumerate(originals))
    mapping = root / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text("idx\t\torig_idx\torig_file\n" + "".join(lines))
    for split, rows in (("train", [1, 3]), ("test", [4, 0])):  # in the order of CelebA's list
        found = open_images(config, split, tmp_path / "exp")
        assert np.array_equal(found.images, images[rows]) and "CelebA-HQ of" in found.name
    (root / "CelebA-HQ-img").rename(tmp_path / "elsewhere")
    (root / "CelebA-HQ-img").symlink_to(tmp_path / "elsewhere")
    found = open_images(config, "train", tmp_path / "exp")
    assert np.array_equal(found.images, images[[1, 3]])
