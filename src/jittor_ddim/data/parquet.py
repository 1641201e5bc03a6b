"""Parquet files with a column of encoded images, as Hugging Face `datasets` writes them.

A row group is the least that can be read of such a file. `datasets` puts 100 images in one.
"""

import json
import threading
import weakref
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from jittor_ddim.config import DataConfig
from jittor_ddim.data.shards import Shards, find_shards
from jittor_ddim.data.source import (
    LARGEST_CLASS,
    Labels,
    NoClassesError,
    Opened,
    Source,
    Split,
    is_class,
)
from jittor_ddim.decoding import open_image
from jittor_ddim.errors import DataError, why

_HELD = 256 * 2**20  # bytes of row groups that stay in a process's memory
_USUAL = ("image", "img")
_NAMED = 20  # classes that a remark names


def parquet_source(data: DataConfig, split: Split, exp: Path) -> Source:
    """Return the images of one or many ``.parquet`` files.

    They are in the only column of images, or in ``image`` or ``img``; classes are in ``label``, or
    in the first column that `datasets` calls a ClassLabel.

    :param exp: not used
    :raises DataError: if there are none
    """
    shards = find_shards(data, split, ".parquet")
    return shards.source("Parquet", split, _open, _find_labels)


@contextmanager
def _open(shards: Shards) -> Iterator[Opened]:
    recent = _recent()
    tables = {name: _Table(path, recent) for name, path in shards.paths.items()}

    def read(key: str) -> Image.Image:
        name, _, row = key.rpartition("/")
        return open_image(tables[name].read(int(row)))

    keys = [f"{name}/{row}" for name, table in tables.items() for row in range(table.rows)]
    if not keys:
        raise DataError(f"{shards.root}: no rows in its .parquet files")
    yield keys, read


class _Recent:
    """The row groups read last: with those being read up to so many bytes, but always one."""

    def __init__(self) -> None:
        self._groups: OrderedDict[_Key, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: "_Key") -> Any:
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
            return self._groups.get(key)

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """So many bytes less for what stays, while a row group is read."""
        with self._lock:
            self._bytes += size
            self._drop(0)
        try:
            yield
        finally:
            with self._lock:
                self._bytes -= size

    def put(self, key: "_Key", group: Any) -> None:
        with self._lock:
            if key not in self._groups:  # the other split's table of the file may have been first
                self._groups[key] = group
                self._bytes += group.nbytes
                self._drop(1)

    def _drop(self, least: int) -> None:
        while len(self._groups) > least and self._bytes > _HELD:
            self._bytes -= self._groups.popitem(last=False)[1].nbytes


#: What the tables of this process share, as long as there are any: training opens both splits.
_shared: "weakref.WeakSet[_Recent]" = weakref.WeakSet()


def _recent() -> _Recent:
    """Return what all tables share."""
    for recent in _shared:
        return recent
    recent = _Recent()
    _shared.add(recent)
    return recent


class _Key(NamedTuple):
    """A row group, of a file as it was when it was opened."""

    path: Path
    stamp: tuple[int, int]
    number: int


class _Table:
    """The column of images of one file, which is open only while a row group is read.

    A data set may have more files than a process may open.
    """

    def __init__(self, path: Path, recent: _Recent) -> None:
        self._path, self._recent = path, recent
        with _parquet(path) as file:
            self._metadata = told = file.metadata
            self._column = _image_column(file.schema_arrow, path)
        status = path.stat()
        self._stamp = status.st_size, status.st_mtime_ns
        groups = (told.row_group(i).num_rows for i in range(told.num_row_groups))
        self._starts = list(accumulate(groups, initial=0))
        self._lock = threading.Lock()  # a row group is read once, however many want it
        self.rows = self._starts[-1]

    def read(self, row: int) -> bytes:
        """Return the encoded image of a row.

        :raises ValueError: if there is none
        """
        number = bisect_right(self._starts, row) - 1
        content = self._group(number)[row - self._starts[number]].as_py()
        if content is None:
            raise ValueError("the row has no bytes of an image")
        return content

    def _group(self, number: int) -> Any:
        key = _Key(self._path, self._stamp, number)
        with self._lock:
            if (group := self._recent.get(key)) is None:
                with self._recent.room(self._size(number)):
                    with _parquet(self._path, self._metadata) as file:
                        table = self._read(file, number)
                    group = table.flatten().column(0)  # of a struct its only column that was read
                self._recent.put(key, group)
        return group

    def _size(self, number: int) -> int:
        """How many bytes the images of a row group are said to have."""
        group = self._metadata.row_group(number)
        columns = map(group.column, range(group.num_columns))
        return sum(
            column.total_uncompressed_size
            for column in columns
            if column.path_in_schema == self._column
        )

    def _read(self, file: Any, number: int) -> Any:
        try:
            return file.read_row_group(number, columns=[self._column])
        except Exception as error:  # pyarrow's errors have no common class but this
            raise DataError(
                f"{self._path}: row group {number} cannot be read ({why(error)}); get a new copy"
            ) from None


def require_parquet() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``.

    :raises DataError: if they are not installed: they are an extra
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError("PARQUET needs pyarrow: pip install jittor-ddim[parquet]") from None
    return pyarrow, parquet


@contextmanager
def _parquet(path: Path, metadata: Any = None) -> Iterator[Any]:
    """An open file.

    :param metadata: what an earlier opening has read of it
    """
    _, parquet = require_parquet()
    try:
        file = parquet.ParquetFile(path, metadata=metadata)
    except Exception as error:
        raise DataError(
            f"{path}: cut short, or not a Parquet file ({why(error)}); get a new copy"
        ) from None
    with file:
        yield file


def _image_column(schema: Any, path: Path) -> str:
    """The path of the column of encoded images: a binary one, or the bytes in a struct."""
    found = {}
    for field in schema:
        inner = [field.type.field(i) for i in range(field.type.num_fields)]
        leaves = {f"{field.name}.{leaf.name}": leaf.type for leaf in inner if leaf.name == "bytes"}
        for leaf, kind in (leaves or {field.name: field.type}).items():
            if str(kind) in ("binary", "large_binary"):
                found[field.name] = leaf
    told = [name for name, feature in _features(schema).items() if feature == "Image"]
    names = [name for name in told if name in found] or list(found)
    names = names if len(names) == 1 else [name for name in _USUAL if name in names]
    if not names:
        columns = ", ".join(found or schema.names)
        raise DataError(
            f"{path}: {'several columns' if found else 'no column'} of encoded images among "
            f"{columns}; call the one with them 'image'"
        )
    return found[names[0]]


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` writes about the columns: the kind of each, of classes their names."""
    try:
        text = (schema.metadata or {}).get(b"huggingface", b"{}")
        features = json.loads(text)["info"]["features"]
        kinds = {name: feature["_type"] for name, feature in features.items()}
        return kinds | {
            name: features[name]["names"] for name, kind in kinds.items() if kind == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}  # another program's file


def _find_labels(shards: Shards) -> Labels:
    by_name: dict[str, int] = {}
    titles: list[str] = []
    column = ""
    for name, path in shards.used.items():
        with _parquet(path) as file:
            schema = file.schema_arrow
            classes = {n: f for n, f in _features(schema).items() if isinstance(f, list)}
            columns = [c for c in ("label", "labels", *classes) if c in schema.names]
            if not columns:
                raise NoClassesError(
                    f"{path}: no column 'label' among {', '.join(schema.names)}; add it, or leave "
                    "model.num_classes out"
                )
            column, titles = columns[0], classes.get(columns[0], titles)
            try:
                labels = file.read(columns=[column]).column(0).to_pylist()
            except Exception as error:  # pyarrow's errors have no common class but this
                raise DataError(
                    f"{path}: the column {column} cannot be read ({why(error)}); get a new copy"
                ) from None
            for row, label in enumerate(labels):
                if not is_class(label):
                    raise DataError(
                        f"{path}: row {row} has the class {str(label)[:40]!r} in {column}, not a "
                        f"number from 0 to {LARGEST_CLASS}; correct it, or leave the file out"
                    )
                by_name[f"{name}/{row}"] = label
    shown = ", ".join(f"{number} {title}" for number, title in enumerate(titles[:_NAMED]))
    more = ", …" if len(titles) > _NAMED else ""
    count = len(titles) or len(set(by_name.values()))
    names = f": {shown}{more}" if shown else ""
    remark = f"{shards.root}: {count} classes, by the column {column}{names}"
    return Labels(by_name, tuple(titles) or None, remark)
