"""Which files are images, by the endings of their names, and what to say of the others."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from PIL import Image

from jittor_ddim.decoding import formats

#: MPO is what some cameras write; Pillow opens it as JPEG, and so lists no reader of that name.
_OTHER_NAMES = {".mpo": "JPEG"}
_REASONS = {
    "a file within a file; unpack it": ".zip .tar .gz .tgz .bz2 .xz .zst .7z .rar",
    "arrays; `ddim images unpack` makes images of an .npz": ".npy .npz",
    "a drawing, not pixels; convert it to PNG": ".svg .eps .ps .pdf .ai .wmf .emf",
    "a film; save its frames as PNG": ".mp4 .mov .avi .mkv .webm .mpg .mpeg .wmv .m4v",
    "Pillow cannot read it here; convert it to PNG": ".heic .heif .hif .avif .jxl .jxr .exr .hdr "
    ".dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .raw .xcf .jp2 .webp .dcm .djvu",
    "no ending to know it by": "",
}


def image_endings() -> dict[str, str]:
    """Map the ending of every image file that is read here, in lower case, to its format."""
    readable = set(formats())
    known = Image.registered_extensions() | _OTHER_NAMES
    return {ending: name for ending, name in known.items() if name in readable}


def is_image(name: str) -> bool:
    """Tell by its ending whether a file claims to be an image."""
    return _ending(name) in image_endings()


def sort_out(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names of images, and the others."""
    endings, images, others = image_endings(), [], []
    for name in names:
        (images if _ending(name) in endings else others).append(name)
    return images, others


def count_jpeg(names: Iterable[str]) -> int:
    """Return how many are JPEG files."""
    endings = image_endings()
    return sum(endings.get(_ending(name)) == "JPEG" for name in names)


def explain(others: Iterable[str]) -> str:
    """Tell of files that are no images how many have which ending, and why that is none."""
    reasons = {ending: why for why, endings in _REASONS.items() for ending in endings.split(" ")}
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name in others:
        ending = _ending(name)
        first.setdefault(ending, name)
        counts[ending] += 1
    return ", ".join(
        f"{count} {ending} such as {first[ending]} "
        f"({reasons.get(ending, 'not the ending of an image')})"
        for ending, count in counts.most_common()
    ).replace("  ", " ")


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
