"""Data sets in several files: which of them there are, and which split they belong to."""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jittor_ddim.config import DataConfig
from jittor_ddim.data.files import Entry, list_files
from jittor_ddim.data.folder import PARTS
from jittor_ddim.data.source import Labels, Opened, Source, Split, fingerprint
from jittor_ddim.errors import DataError
from jittor_ddim.user_cache import expand_home


@dataclass(frozen=True)
class Shards:
    """The files of one split, or of both.

    :ivar paths: by name below the root, in order
    :ivar used: those of both splits
    :ivar both_splits: whether no names tell the splits, so that 5 % are to be held out
    """

    root: Path
    paths: dict[str, Path]
    used: dict[str, Path]
    fingerprint: str
    both_splits: bool
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]

    def source(
        self,
        kind: str,
        split: Split,
        open: Callable[["Shards"], AbstractContextManager[Opened]],
        find_labels: Callable[["Shards"], Labels],
    ) -> Source:
        """Return the images of these files.

        :param kind: of the files, for people
        """
        return Source(
            name=f"{kind} of {self.root}" + ("" if self.both_splits else f" ({split})"),
            fingerprint=self.fingerprint,
            open=lambda: open(self),
            find_labels=lambda: find_labels(self),
            both_splits=self.both_splits,
            warnings=self.warnings,
            remarks=self.remarks,
        )


def find_shards(data: DataConfig, split: Split, extension: str) -> Shards:
    """Find the files with an extension at ``data.root``: one, or all in a folder at any depth.

    A word in a file's name, or else in a folder's, tells its part, as in
    ``train-00000-of-00005.parquet``, ``imagenet-val-000000.tar`` or ``test/0.tar``. The words are
    those that name the parts of a FOLDER, and so are the rules: `train` is trained on, `test` or,
    if there is none, `val` is held out.

    :raises DataError: if there are none
    """
    if data.root is None:
        raise DataError(
            f"data.root: {data.dataset} needs it; set it to a {extension} file or a folder of them"
        )
    root = expand_home(data.root).resolve()
    if root.is_file():
        status = root.stat()
        one = Entry(root.name, (status.st_size, status.st_mtime_ns))
        folder, found = root.parent, {root.name: one}
    else:
        folder, found = root, list_files(root).entries
    found = {name: entry for name, entry in found.items() if name.lower().endswith(extension)}
    if not found:
        packed = "; compressed ones must be unpacked first (gunzip)" if extension == ".tar" else ""
        raise DataError(f"{root}: no {extension} file in it{packed}")
    parts = {name: _part(name) for name in found}
    counts = Counter(parts.values())
    held_out = "test" if counts["test"] else "val"
    told = bool(counts["train"] and counts[held_out])
    if told:
        part = "train" if split == "train" else held_out
        used = [name for name in found if parts[name] in ("train", held_out)]
        names = [name for name in used if parts[name] == part]
        remark = (
            f"training on the {counts['train']} files of train, holding out the "
            f"{counts[held_out]} of {held_out}"
        )
    else:
        names = used = list(found)
        remark = "no names tell train and test (or val), so 5 % of the images are held out"
    missing = _missing(used)
    unused = len(found) - len(used)
    warnings = [f"{root}: {unused} files of neither split are not used"] if unused else []
    warnings += [f"{root}: {missing} is missing; its images are not used"] if missing else []
    paths = {name: folder / found[name].stored for name in used}
    return Shards(
        root,
        {name: paths[name] for name in names},
        paths,
        fingerprint([(name, found[name].stamp) for name in names]),
        not told,
        (f"{root}: {remark}",),
        tuple(warnings),
    )


def _part(name: str) -> str | None:
    """The part that the last of a name's folders and file tells, if one does."""
    for piece in reversed(name.lower().split("/")):
        for word in re.split("[^a-z]+", piece):
            if word in PARTS:
                return PARTS[word]
    return None


def _missing(names: list[str]) -> str | None:
    """The first file that names such as train-00000-of-00005.parquet tell to be missing."""
    told = set()
    for name in names:
        if match := re.fullmatch(r"(.*?)(\d+)-of-(\d+)(\.[^/]*)", name):
            start, number, count, end = match.groups()
            told.add((start, len(number), count, end))
    there = set(names)
    for start, digits, count, end in sorted(told):
        for number in range(int(count)):
            wanted = f"{start}{number:0{digits}d}-of-{count}{end}"
            if wanted not in there:
                return wanted
    return None
