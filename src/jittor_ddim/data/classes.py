"""The classes of the images of a folder or zip."""

import json
import os
from collections.abc import Iterator, Sequence

from jittor_ddim.data.files import LABELS_FILE, Files
from jittor_ddim.data.source import LARGEST_CLASS, Labels, NoClassesError, is_class
from jittor_ddim.errors import DataError

_NAMED = 20  # classes that a remark names


def find_labels(files: Files, images: Sequence[str], in_splits: bool) -> Labels:
    """Return the class of each image.

    It is stated by a file ``dataset.json`` at the top, or in a folder with all images, or, without
    one, by the folder at the top in which the image lies, however deep; folders are numbered in
    the order of their names.

    :param images: the names of all images that are used, of both splits
    :param in_splits: whether these folders are within folders of splits, such as ``train``
    :raises NoClassesError: naming an image without a class
    :raises DataError: if the classes stated are wrong
    """
    top = os.path.commonpath([os.path.dirname(name) for name in images])
    for folder in _from_the_top(top):
        file = f"{folder}{LABELS_FILE}"
        if file in files.entries and (found := _read(files, file)) is not None:
            stated = {f"{folder}{name}": label for name, label in found[0].items()}
            missing = [name for name in images if name not in stated]
            if missing:
                raise DataError(f"{files.root}: {file} has no class for {missing[0]}; add it")
            count = len(set(stated.values()))
            return Labels(stated, found[1], f"{files.root}: {count} classes, by {file}")
    prefix = f"{top}/" if top else ""
    folders = {}
    for name in images:
        inner = name.removeprefix(prefix)
        folder, slash, _ = (inner.partition("/")[2] if in_splits else inner).partition("/")
        if not slash:
            raise NoClassesError(
                f"{files.root}: {name} lies in no folder of a class; with model.num_classes every "
                "image must: move it, or leave the key out"
            )
        folders[name] = folder
    numbers = {folder: number for number, folder in enumerate(sorted(set(folders.values())))}
    shown = ", ".join(f"{number} {folder}" for folder, number in list(numbers.items())[:_NAMED])
    more = ", …" if len(numbers) > _NAMED else ""
    remark = f"{files.root}: {len(numbers)} classes, by their folders: {shown}{more}"
    by_image = {name: numbers[folder] for name, folder in folders.items()}
    return Labels(by_image, tuple(numbers), remark)


def _from_the_top(folder: str) -> Iterator[str]:
    """The top, "", and every folder on the way to this one, each as what begins a name in it."""
    yield ""
    parts = folder.split("/") if folder else []
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count]) + "/"


def _read(files: Files, file: str) -> tuple[dict[str, int], tuple[str, ...] | None] | None:
    """The classes in the file by name, and their names; None if it is a file of another kind.

    It is ``{"labels": [[NAME, CLASS], …]}``; `ddim data prepare` adds ``"class_names": […]``.

    :raises NoClassesError: if it has none
    :raises DataError: if they are wrong
    """
    with files.open() as read:
        try:
            tree = json.loads(read(file))
        except (ValueError, RecursionError):
            return None
    if not isinstance(tree, dict) or "labels" not in tree:
        return None
    labels, names = tree["labels"], tree.get("class_names")
    try:
        stated = {name.replace("\\", "/"): label for name, label in labels}
    except (TypeError, ValueError, AttributeError):
        raise (DataError if labels else NoClassesError)(
            f"{files.root}: {file} has no labels for its images"
        ) from None
    for name, label in stated.items():
        if not is_class(label):
            raise DataError(
                f"{files.root}: {file} gives {name} the class {str(label)[:40]}, not a "
                f"number from 0 to {LARGEST_CLASS}"
            )
    if isinstance(names, list) and len(names) > max(stated.values(), default=0):
        return stated, tuple(map(str, names))
    return stated, None
