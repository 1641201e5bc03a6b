"""The damage people have: one line that names it and the remedy, exit code 2, before anything."""

import json
import os
import re
import tarfile
import zipfile

import numpy as np
import pytest
from layouts import encoded, write_lmdb, write_npz, write_parquet, write_tar

from jittor_ddim.cli.main import main

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
FILES = [encoded(one) for one in PIXELS]
SAMPLES = [(f"{i}.png", content) for i, content in enumerate(FILES)]


def cut(path, share=0.6):
    os.truncate(path, int(path.stat().st_size * share))


def parquet_cut_short(root):
    cut(write_parquet(root / "a.parquet", FILES))
    return "PARQUET", r"a\.parquet: cut short, or not a Parquet file \(.*\); get a new copy"


def parquet_with_damaged_pages(root):
    path = write_parquet(root / "a.parquet", FILES)
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    path.write_bytes(content)
    return "PARQUET", r"a\.parquet: row group 0 cannot be read \(.*\); get a new copy"


def tar_cut_within_a_file(root):
    cut(write_tar(root / "a.tar", SAMPLES))
    return "SHARDS", r"a\.tar: .*cut short.*; get a new copy"


def tar_cut_between_files(root):
    path = write_tar(root / "a.tar", SAMPLES[:4])
    os.truncate(path, 3 * 1024)
    return "SHARDS", r"a\.tar: cut short or damaged after 2\.png; get a new copy"


def tar_damaged_in_the_middle(root):
    path = write_tar(root / "a.tar", SAMPLES)
    content = bytearray(path.read_bytes())
    content[3 * 1024 : 3 * 1024 + 512] = b"x" * 512
    path.write_bytes(content)
    return "SHARDS", r"a\.tar: cut short or damaged after 2\.png; get a new copy"


def tar_that_is_none(root):
    (root / "a.tar").write_bytes(b"<html>Access denied</html>" * 100)
    return "SHARDS", r"a\.tar: not a plain \.tar file, or cut short \(.*\); get a new copy"


def tar_with_two_files_of_one_name(root):
    write_tar(root / "a.tar", [*SAMPLES, SAMPLES[3]])
    return "SHARDS", r"a\.tar: 3\.png and 3\.png have one key, 3; give every sample a key of its"


def tar_with_two_images_of_one_key(root):
    write_tar(root / "a.tar", [*SAMPLES, ("3.jpg", FILES[0])])
    return "SHARDS", r"a\.tar: 3\.png and 3\.jpg have one key, 3; give every sample a key of its"


def tar_with_a_header(path, kind, size):
    """A tar whose last header states a size in GNU's form, which may be below 0."""
    write_tar(path, SAMPLES)
    member = tarfile.TarInfo("20.txt")
    member.type = kind
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size % 2**96).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(path.read_bytes()[: len(SAMPLES) * 1024] + header + bytes(1024))


def tar_with_a_negative_size(root):
    """Its own header again would be the next, and so on for ever."""
    tar_with_a_header(root / "a.tar", tarfile.REGTYPE, -512)
    return "SHARDS", r"a\.tar: damaged at 20\.txt, which has -512 bytes; get a new copy"


def tar_with_a_name_of_negative_size(root):
    tar_with_a_header(root / "a.tar", tarfile.GNUTYPE_LONGNAME, -512)
    return "SHARDS", r"a\.tar: not a plain \.tar file, or cut short \(.*\); get a new copy"


def tar_with_a_name_of_absurd_size(root):
    tar_with_a_header(root / "a.tar", tarfile.GNUTYPE_LONGNAME, 2**95 + 2**80)
    return "SHARDS", r"a\.tar: not a plain \.tar file, or cut short \(.*\); get a new copy"


def tars_behind_each_other(root):
    parts = [write_tar(root / name, part) for name, part in (("b", SAMPLES[:9]), ("c", SAMPLES))]
    (root / "a.tar").write_bytes(b"".join(part.read_bytes() for part in parts))
    return "SHARDS", r"a\.tar: more follows after its end, which is after 8\.png; .* of its own"


def tar_that_leads_out(root):
    write_tar(root / "a.tar", [*SAMPLES, ("../../evil.png", FILES[0])])
    return (
        "SHARDS",
        r"a\.tar: the name '\.\./\.\./evil\.png' leads out of it; pack the images again",
    )


def lmdb_cut_short(root):
    write_lmdb(root / "FFHQ", {f"8-{i:05d}": bytes(5000) for i in range(20)} | {"length": b"20"})
    cut(root / "FFHQ" / "data.mdb")
    return "FFHQ", r"data\.mdb: cut short, \d+ of at least \d+ bytes; get a new copy"


def lmdb_without_an_image(root):
    write_lmdb(root / "FFHQ", {"8-00000": FILES[0], "length": b"20"})
    return "FFHQ", r"FFHQ: 8-00001 is missing; create the LMDB again"


def zip_that_leads_out(root):
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        archive.writestr("0.png", FILES[0])
        archive.writestr("../evil.png", FILES[1])
    return "FOLDER", r"a\.zip: the name '\.\./evil\.png' leads out of it; pack the images again"


def zip_with_an_absolute_name(root):
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        archive.writestr("/tmp/evil.png", FILES[1])
    return "FOLDER", r"a\.zip: the name '/tmp/evil\.png' leads out of it; pack the images again"


def list_with_a_missing_image(root):
    (root / "img_align_celeba").mkdir()
    (root / "img_align_celeba" / "000001.jpg").write_bytes(FILES[0])
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 0\n")
    return "CELEBA", r"img_align_celeba: 000002\.jpg, which list_.*\.txt lists, is missing; get a"


def images_without_their_list(root):
    (root / "img_align_celeba").mkdir()
    (root / "img_align_celeba" / "000001.jpg").write_bytes(FILES[0])
    return (
        "CELEBA",
        r"img_align_celeba: list_eval_partition\.txt \(or \.csv\) is missing beside it; ",
    )


def list_that_is_none(root):
    list_with_a_missing_image(root)
    (root / "list_eval_partition.txt").write_bytes(encoded(PIXELS[0]))
    return "CELEBA", r"list_eval_partition\.txt: lists no images of the train split"


def scene_without_its_validation(root):
    write_lmdb(root / "bedroom_train_lmdb", {f"{i:040x}": FILES[i] for i in range(3)})
    return "LSUN", r"root: LSUN needs the folder bedroom_val_lmdb there"


def zip_cut_short(root):
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        for name, content in SAMPLES:
            archive.writestr(name, content)
    cut(root / "a.zip")
    return "FOLDER", r"a\.zip: a damaged or incomplete zip; get a new copy"


def npz_cut_short(root):
    write_npz(root / "a.npz", PIXELS)
    cut(root / "a.npz")
    return "NPZ", r"a\.npz: is not a readable \.npz \(.*\)"


def npz_without_pixels(root):
    np.savez(root / "a.npz", PIXELS / 255)
    return "NPZ", r"a\.npz: 'images' must be uint8 of shape .*, got float64 \(20, 8, 8, 3\)"


DAMAGE = [
    parquet_cut_short,
    parquet_with_damaged_pages,
    tar_cut_within_a_file,
    tar_cut_between_files,
    tar_damaged_in_the_middle,
    tar_that_is_none,
    tar_with_two_files_of_one_name,
    tar_with_two_images_of_one_key,
    tar_with_a_negative_size,
    tar_with_a_name_of_negative_size,
    tar_with_a_name_of_absurd_size,
    tars_behind_each_other,
    tar_that_leads_out,
    lmdb_cut_short,
    lmdb_without_an_image,
    zip_that_leads_out,
    zip_with_an_absolute_name,
    list_with_a_missing_image,
    images_without_their_list,
    list_that_is_none,
    scene_without_its_validation,
    zip_cut_short,
    npz_cut_short,
    npz_without_pixels,
]


def check(config, exp, capsys):
    code = main(["data", "check", "--config", str(config), "--exp", str(exp)])
    return code, capsys.readouterr()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line(tmp_path, make_config, capsys, restored_logging, damage, stream):
    root = tmp_path / "root"
    root.mkdir()
    dataset, message = damage(root)
    if dataset == "FFHQ":
        root = root / "FFHQ"
    elif dataset == "FOLDER":
        root = root / "a.zip"
    config = tmp_path / "c.yml"
    config.write_text(
        make_config(dataset=dataset, category="bedroom", root=str(root), stream=stream).to_yaml()
    )
    code, said = check(config, tmp_path / "exp", capsys)
    assert code == 2 and said.out == ""
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and re.search(message, errors[0]), said.err
    assert not list(tmp_path.rglob("evil.png"))
    if not stream:
        target = tmp_path / "converted"
        assert main(["data", "prepare", str(root), str(target), "--config", str(config)]) == 2
        assert re.search(message, capsys.readouterr().err) and not target.exists()


def test_a_cache_with_a_wrong_hash_is_named(tmp_path, make_config, capsys, restored_logging):
    write_tar(tmp_path / "root" / "a.tar", SAMPLES)
    config = tmp_path / "c.yml"
    config.write_text(make_config(dataset="SHARDS", root=str(tmp_path / "root")).to_yaml())
    code, said = check(config, tmp_path / "exp", capsys)
    assert code == 0
    [cache] = {one["cache"] for one in json.loads(said.out).values()}
    with open(cache, "r+b") as file:
        file.seek(500)
        file.write(bytes(10))
    code, said = check(config, tmp_path / "exp", capsys)
    assert code == 2
    assert re.search(rf"error: {cache}: its sha256 is \w+, not \w+: .*; delete it, and", said.err)
    os.remove(cache)
    assert check(config, tmp_path / "exp", capsys)[0] == 0
