"""The files that `ddim data prepare` writes, in layouts that sources here and elsewhere read.

Every name is made here, none is taken from the images. The same images give the same bytes.
"""

import io
import json
import math
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from jittor_ddim.data.files import LABELS_FILE
from jittor_ddim.data.parquet import require_parquet

Kind = Literal["folder", "zip", "parquet", "tar"]

_IN_FOLDER = 1000  # images
_ROW_GROUP = 100  # images: the least that is read of a Parquet file; as `datasets` writes them


class Sample(NamedTuple):
    """An image, as a PNG file, and its class, if the data set has any.

    :ivar number: of the image in its part, from 0; those that cannot be decoded have one too
    """

    number: int
    content: bytes
    label: int | None


@dataclass(frozen=True)
class Part:
    """The images of one split, or of both.

    :ivar name: ``train`` or ``test``; "" if they are not told apart
    :ivar count: how many samples there are
    :ivar samples: in order; None for an image that cannot be decoded
    :ivar labelled: whether they have classes
    :ivar class_names: from class 0 on, if they have names
    """

    name: str
    count: int
    samples: Iterator[Sample | None]
    labelled: bool
    class_names: tuple[str, ...] | None


def write_folder(folder: Path, kind: Kind, parts: list[Part], per_shard: int) -> None:
    """Write a folder of images, or of shards such as ``train-00000-of-00005.tar``.

    Images are PNG files in folders of a thousand, below ``train`` and ``test`` if there are
    splits; ``dataset.json`` states their classes as StyleGAN and EDM do, and how the classes are
    called under ``class_names``.

    :param kind: not zip
    :param per_shard: samples
    """
    if kind == "folder":

        def put(name: str, content: bytes) -> None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

        _put_files(put, parts)
        return
    for part in parts:
        total = max(1, math.ceil(part.count / per_shard))
        for number in range(total):
            name = f"{part.name or 'data'}-{number:05d}-of-{total:05d}.{kind}"
            with (folder / name).open("wb") as file:
                _SHARDS[kind](file, part, per_shard)


def write_one_file(file: BinaryIO, kind: Kind, parts: list[Part]) -> None:
    """Write a zip of what would be the folder, uncompressed, or the only part as one shard."""
    if kind != "zip":
        [part] = parts
        _SHARDS[kind](file, part, part.count)
        return
    with zipfile.ZipFile(file, "w") as archive:

        def put(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name)  # dated 1980, whenever it is written
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)

        _put_files(put, parts)


def _put_files(put: Callable[[str, bytes], None], parts: list[Part]) -> None:
    labels: list[tuple[str, int | None]] = []
    for part in parts:
        above = f"{part.name}/" if part.name else ""
        for sample in filter(None, part.samples):
            name = f"{above}{sample.number // _IN_FOLDER:05d}/img{sample.number:08d}.png"
            put(name, sample.content)
            labels.append((name, sample.label))
    # Also where there are no classes: folders without this file would be taken for classes.
    stated: dict[str, Any] = {"labels": labels if all(part.labelled for part in parts) else None}
    if parts[0].class_names and stated["labels"]:
        stated["class_names"] = parts[0].class_names
    put(LABELS_FILE, json.dumps(stated).encode())


def _write_tar(file: BinaryIO, part: Part, count: int) -> None:
    """Write the next samples of a part in WebDataset's layout: ``KEY.png`` and ``KEY.cls``."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:

        def put(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)  # dated 1970
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        for sample in filter(None, islice(part.samples, count)):
            put(f"{sample.number:08d}.png", sample.content)
            if sample.label is not None:
                put(f"{sample.number:08d}.cls", str(sample.label).encode())


def _write_parquet(file: BinaryIO, part: Part, count: int) -> None:
    """Write the next samples of a part as Hugging Face `datasets` does."""
    arrow, parquet = require_parquet()
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    columns: list[tuple[str, Any]] = [("image", image)]
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if part.labelled:
        columns.append(("label", arrow.int64()))
        names = part.class_names
        value = {"dtype": "int64", "_type": "Value"}
        features["label"] = {"names": names, "_type": "ClassLabel"} if names else value
    told = json.dumps({"info": {"features": features}})
    schema = arrow.schema(columns, {"huggingface": told})
    samples = islice(part.samples, count)
    # PNG is compressed already.
    with parquet.ParquetWriter(file, schema, compression={"image.bytes": "none"}) as writer:
        while group := list(islice(samples, _ROW_GROUP)):
            rows = [
                {"image": {"bytes": png, "path": f"{number:08d}.png"}, "label": label}
                for number, png, label in filter(None, group)
            ]
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


#: By kind: writes the next samples of a part, so many.
_SHARDS: dict[Kind, Callable[[BinaryIO, Part, int], None]] = {
    "parquet": _write_parquet,
    "tar": _write_tar,
}
