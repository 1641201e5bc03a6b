"""What a zip's entry says of itself: whether Python can read it."""

import zipfile

_READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_ENCRYPTED = 1  # a bit of the entry's flags


def unreadable(entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry cannot be read and what to do, or None."""
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the file with its password, and name the folder instead"
    if entry.compress_type not in _READABLE:
        method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        return (
            f"is compressed by {method}, which Python cannot read; unpack the file and name the "
            "folder instead, or pack it again with Deflate"
        )
    return None
