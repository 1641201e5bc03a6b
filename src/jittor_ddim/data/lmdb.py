"""LSUN, and any encoded images in an LMDB folder; needs the extra `lsun`."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.source import Opened, Source, Split, fingerprint
from jittor_ddim.decoding import open_image
from jittor_ddim.errors import DataError
from jittor_ddim.user_cache import expand_home

_DATA_FILE = "data.mdb"
_lock = threading.RLock()  # a stream may be collected, and closed, while another is being opened
#: What is open in this process, and how many use it.
_environments: dict[Path, tuple[Any, int]] = {}


def lsun_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return one category of LSUN.

    A scene is two folders, ``{category}_{train,val}_lmdb``, and its validation images are the test
    split. An object such as `cat` is one, ``{category}`` or ``{category}_lmdb``, of which 5 % of
    the images are held out.

    :raises DataError: if they are neither data.root nor in it; without data.root, if they are not
        in exp/datasets/lsun
    """
    given = expand_home(data.root) if data.root else exp / "datasets" / "lsun"
    sibling = given.parent if given.name.endswith("_lmdb") else given
    category = data.category
    parts = {part: f"{category}_{part}_lmdb" for part in ("train", "val")}
    scene = {part: first_lmdb([given / name, sibling / name]) for part, name in parts.items()}
    place = scene["train" if split == "train" else "val"]
    if place:
        return lmdb_source("LSUN", place, split, _all_keys)
    of_scene = given.name.endswith(("_train_lmdb", "_val_lmdb"))  # perhaps of another one
    objects = [given / f"{category}", given / f"{category}_lmdb", *([] if of_scene else [given])]
    if not any(scene.values()) and (place := first_lmdb(objects)):
        return lmdb_source("LSUN", place, None, _all_keys)
    folder = parts["train" if split == "train" else "val"]
    raise DataError(
        f"{given}: LSUN needs the folder {folder} there (or, of an object such as cat, "
        f"{category}), unpacked from https://www.yf.io/p/lsun"
    )


def first_lmdb(places: Sequence[Path]) -> Path | None:
    """Return the first place that is an LMDB."""
    return next((place.resolve() for place in places if (place / _DATA_FILE).is_file()), None)


def lmdb_source(
    title: str, folder: Path, split: Split | None, list_keys: Callable[[Any], list[str]]
) -> Source:
    """Return the images of an LMDB.

    :param split: None: of both splits, not told apart
    :param list_keys: the keys of the images, of a transaction
    """
    status = (folder / _DATA_FILE).stat()
    remark = f"{folder}: one LMDB for both splits, so 5 % of the images are held out"
    return Source(
        name=f"{title} of {folder}" + (f" ({split})" if split else ""),
        fingerprint=fingerprint(status.st_size, status.st_mtime_ns),
        open=lambda: _open(folder, list_keys),
        both_splits=split is None,
        remarks=() if split else (remark,),
    )


@contextmanager
def _open(folder: Path, list_keys: Callable[[Any], list[str]]) -> Iterator[Opened]:
    with _environment(folder) as environment:

        def read(key: str) -> Image.Image:
            with environment.begin() as transaction:
                value = transaction.get(key.encode())
            if value is None:
                raise DataError(f"{folder}: {key} is missing; create the LMDB again")
            return open_image(value)

        with environment.begin() as transaction:
            keys = list_keys(transaction)
        if not keys:
            raise DataError(f"{folder}: holds no images of the configured size")
        yield keys, read


@contextmanager
def _environment(folder: Path) -> Iterator[Any]:
    """An opened LMDB: the same one for all who open it at a time, as LMDB demands of a process."""
    with _lock:
        environment, users = _environments.get(folder) or (_open_whole(folder), 0)
        _environments[folder] = environment, users + 1
    try:
        yield environment
    finally:
        with _lock:
            environment, users = _environments.pop(folder)
            if users > 1:
                _environments[folder] = environment, users - 1
            else:
                environment.close()


def _open_whole(folder: Path) -> Any:
    """Open an LMDB whose file is whole: reading behind a file's end would kill the process."""
    try:
        import lmdb  # an extra: only those who use LSUN or FFHQ need it
    except ImportError:
        raise DataError("LSUN and FFHQ need lmdb: pip install jittor-ddim[lsun]") from None
    try:
        environment = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f"{folder}: not a readable LMDB ({error}); get a new copy") from None
    size = (folder / _DATA_FILE).stat().st_size
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < needed:
        environment.close()
        raise DataError(
            f"{folder / _DATA_FILE}: cut short, {size} of at least {needed} bytes; get a new copy"
        )
    return environment


def _all_keys(transaction: Any) -> list[str]:
    with transaction.cursor() as cursor:
        return [key.decode() for key in cursor.iternext(values=False)]
