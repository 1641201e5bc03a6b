"""CelebA: the aligned faces, cropped as the DDPM and DDIM papers crop them; CelebA-HQ as it is."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from jittor_ddim.config import DataConfig
from jittor_ddim.data.files import list_files
from jittor_ddim.data.folder import open_files
from jittor_ddim.data.source import Source, Split, fingerprint
from jittor_ddim.errors import DataError
from jittor_ddim.user_cache import expand_home

#: Left, upper, right, lower: 128 x 128 around (89, 121). FID references need the same crop.
CROP = (25, 57, 153, 185)

_HQ = "CelebA-HQ-img"
_IMAGES = ("img_align_celeba", "img_align_celeba_png", _HQ)
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"  # of each line the last is the image of CelebA
_LISTS = ("list_eval_partition.txt", "list_eval_partition.csv")  # the second is Kaggle's
_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_PARTITION_NUMBER = {"train": "0", "test": "2"}  # 1 is the validation split


def celeba_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return CelebA's training or test images, by ``list_eval_partition.txt`` or Kaggle's .csv.

    ``img_align_celeba`` (a folder or a .zip) and the list are side by side, or in the folders
    ``Img`` and ``Eval``, in data.root or, without it, in exp/datasets/celeba. CelebA-HQ has
    ``CelebA-HQ-img`` and its mapping to CelebA in place of the images, and is not cropped.

    :raises DataError: if they are not there, or an image is missing
    """
    given = expand_home(data.root) if data.root else exp / "datasets" / "celeba"
    found, partition = _locate(given)
    root = found.resolve()
    files = list_files(root)
    keys = {PurePosixPath(key).stem: key for key in files.images()[0]}
    hq = found.stem == _HQ  # where a link leads may be called anything
    if hq:
        keys = _by_original(keys, found.parent / _MAPPING)
    wanted = [name for name, number in _rows(partition) if number == _PARTITION_NUMBER[split]]
    stems = [PurePosixPath(name).stem for name in wanted]
    missing = [name for name, stem in zip(wanted, stems, strict=True) if stem not in keys]
    if missing and not hq:  # HQ has 30,000 of CelebA's 202,599
        raise DataError(
            f"{root}: {missing[0]}, which {partition.name} lists, is missing; get a new copy of it"
        )
    used = [keys[stem] for stem in stems if stem in keys]
    if not used:
        raise DataError(f"{partition}: lists no images of the {split} split")
    return Source(
        name=f"CelebA{'-HQ' * hq} of {root} ({split})",
        fingerprint=fingerprint([(key, files.entries[key].stamp) for key in used]),
        open=lambda: open_files(files, used),
        crop=None if hq else CROP,
    )


def _by_original(keys: dict[str, str], mapping: Path) -> dict[str, str]:
    """The images of CelebA-HQ by the names of CelebA's that they were made of."""
    if not mapping.is_file():
        raise DataError(f"{mapping}: missing; it comes with the images of CelebAMask-HQ")
    lines = (line.split() for line in mapping.read_text(errors="replace").splitlines())
    originals = {line[0]: PurePosixPath(line[-1]).stem for line in lines if line}
    return {originals[stem]: key for stem, key in keys.items() if stem in originals}


def _rows(partition: Path) -> Iterator[tuple[str, str]]:
    """The images' names and the numbers of their splits; a header's line is one of no split."""
    for line in partition.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        name, _, number = line.strip().replace(",", " ").partition(" ")
        yield name, number.strip()


def _locate(given: Path) -> tuple[Path, Path]:
    """Where the images are, and the list of splits."""
    named = [name for name in _IMAGES if given.name in (name, f"{name}.zip")]
    alone = None
    # torchvision puts a folder `celeba` into the one it is given; data.root may name the images,
    # which Kaggle puts into two folders of one name
    for place in (given, given / "celeba", given / "CelebA", given.parent, given.parent.parent):
        images = [
            folder / file
            for folder in (place, place / "Img")
            for name in named or _IMAGES
            for file in (name, f"{name}.zip")
        ]
        lists = [folder / name for folder in (place, place / "Eval") for name in _LISTS]
        found = next((path for path in images if path.exists()), None)
        partition = next((path for path in lists if path.is_file()), None)
        if found and partition:
            return found, partition
        alone = alone or found
    if alone:
        raise DataError(
            f"{alone}: {_LISTS[0]} (or .csv) is missing beside it; get it from {_PAGE}"
        )
    raise DataError(
        f"{given}: CelebA needs {_IMAGES[0]}.zip (or the folder {_IMAGES[0]}) and {_LISTS[0]} "
        f"side by side there; get both from {_PAGE}"
    )
