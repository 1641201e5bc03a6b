"""Small files in the layouts in which people keep images."""

import io
import json
import tarfile

import numpy as np
from PIL import Image


def encoded(pixels, kind="png", **options):
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path, contents, mode="w"):
    """A tar with these names, byte by byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_lmdb(folder, items):
    """An LMDB with these keys and values."""
    import lmdb

    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as t:
        for key, value in items.items():
            t.put(key.encode(), value)


def write_parquet(path, images, labels=None, column="image", names=None, group=3):
    """Images in a Parquet file, as Hugging Face `datasets` writes them.

    :param names: of the classes
    """
    import pyarrow as pa
    from pyarrow import parquet

    features = {column: {"_type": "Image"}}
    rows = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(images)]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {column: pa.array(rows, struct)}
    if labels is not None:
        columns["label"] = pa.array(labels, pa.int64())
        features["label"] = {"_type": "ClassLabel", "names": names or []}
    table = pa.table(columns)
    told = json.dumps({"info": {"features": features}})
    table = table.replace_schema_metadata({"huggingface": told})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=group)
    return path


def write_npz(path, pixels, labels=None):
    """The unnamed arrays that ADM's scripts save: images, and their classes if there are any."""
    np.savez(path, pixels, *([] if labels is None else [np.array(labels)]))
