"""CelebA: the aligned faces, cropped as the DDPM and DDIM papers crop them."""

from pathlib import Path, PurePosixPath

from jittor_ddim.config import DataConfig
from jittor_ddim.data.files import list_files
from jittor_ddim.data.folder import open_files
from jittor_ddim.data.source import Source, Split, fingerprint
from jittor_ddim.errors import DataError
from jittor_ddim.user_cache import expand_home

#: Left, upper, right, lower: 128 x 128 around (89, 121). FID references need the same crop.
CROP = (25, 57, 153, 185)

_IMAGES = "img_align_celeba"
_PARTITION = "list_eval_partition.txt"
_PARTITION_NUMBER = {"train": "0", "test": "2"}  # 1 is the validation split


def celeba_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return CelebA's training or test images.

    ``img_align_celeba`` (the folder or the .zip) and ``list_eval_partition.txt`` are side by side
    in data.root or, without it, in exp/datasets/celeba.

    :raises DataError: if they are not there, or an image is missing
    """
    images, partition = _locate(data.root, exp)
    files = list_files(images)
    keys_by_name = {PurePosixPath(key).name: key for key in files.images()[0]}
    keys = []
    for line in partition.read_text(encoding="utf-8").splitlines():
        name, _, number = line.strip().partition(" ")
        if number.strip() == _PARTITION_NUMBER[split]:
            if name not in keys_by_name:
                raise DataError(
                    f"{images}: {name}, which {_PARTITION} lists, is missing; get a new copy of it"
                )
            keys.append(keys_by_name[name])
    if not keys:
        raise DataError(f"{partition}: lists no images of the {split} split")
    return Source(
        name=f"CelebA of {images} ({split})",
        fingerprint=fingerprint([(key, files.entries[key].stamp) for key in keys]),
        open=lambda: open_files(files, keys),
        crop=CROP,
    )


def _locate(root: str | None, exp: Path) -> tuple[Path, Path]:
    celeba = exp / "datasets" / "celeba"
    given = expand_home(root) if root else celeba
    # torchvision puts a folder `celeba` into the one it is given; data.root may name the images
    for place in (given, given / "celeba", given.parent):
        for images in (place / _IMAGES, place / f"{_IMAGES}.zip"):
            if images.exists() and (place / _PARTITION).is_file():
                return images.resolve(), place / _PARTITION
    raise DataError(
        f"{given}: CelebA needs {_IMAGES}.zip (or the folder {_IMAGES}) and {_PARTITION} side by "
        "side there; get both from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    )
