"""Where the classes of images come from, and how training loses some of them."""

import json
import logging
import zipfile

import numpy as np
import pytest
from PIL import Image

from jittor_ddim.config import parse_config
from jittor_ddim.data import open_images
from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.loader import batches, make_batch, validation_batches
from jittor_ddim.data.source import hold_out
from jittor_ddim.errors import DataError


def settings(classes=3, dataset="FOLDER", training=None, **data):
    channels = 1 if dataset == "DIGITS" else 3
    return parse_config(
        {
            "data": {"dataset": dataset, "image_size": 8, "channels": channels, **data},
            "model": {
                "in_channels": channels, "out_ch": channels, "ch_mult": [1],
                "attn_resolutions": [], "num_classes": classes,
            },
            "training": {"batch_size": 8, **(training or {})},
        },
        "test",
    )  # fmt: skip


def write(root, names):
    """Images whose colour is their number in the list."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, number, number)).save(path)


def labels_by_image(image_set):
    numbers = image_set.images[:, 0, 0, 0].tolist()
    return dict(zip(numbers, image_set.labels.tolist(), strict=True))


def both(config, exp):
    train, test = (open_images(config, split, exp) for split in ("train", "test"))
    return labels_by_image(train) | labels_by_image(test)


NAMES = ["dog/0.png", "cat/deep/1.png", "eel/2.png", "cat/3.png"]


@pytest.mark.parametrize("below", ["", "wrapped/"])
def test_a_folder_for_each_class(tmp_path, caplog, below):
    write(tmp_path / "root", [below + name for name in NAMES])
    with caplog.at_level(logging.INFO):
        assert both(settings(root=str(tmp_path / "root")), tmp_path) == {0: 1, 1: 0, 2: 2, 3: 0}
    assert "3 classes, by their folders: 0 cat, 1 dog, 2 eel" in caplog.text
    plain = open_images(settings(None, root=str(tmp_path / "root")), "train", tmp_path)
    assert plain.labels is None


def test_classes_are_numbered_alike_in_both_splits(tmp_path):
    names = ["train/dog/0.png", "train/cat/1.png", "test/dog/2.png", "test/bee/3.png"]
    write(tmp_path / "root", [*names, "val/ant/4.png", "other.png"])
    assert both(settings(root=str(tmp_path / "root")), tmp_path) == {0: 2, 1: 1, 2: 2, 3: 0}


def edm(path, names, labels):
    write(path.parent / "unpacked", names)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.write(path.parent / "unpacked" / name, name)
        archive.writestr("dataset.json", json.dumps(labels))


SHARDS = [f"0000{i}/img{i}.png" for i in range(4)]


def test_the_labels_of_an_edm_data_set(tmp_path):
    stated = [[name, 2 - number % 3] for number, name in enumerate(SHARDS)]
    edm(tmp_path / "a.zip", SHARDS, {"labels": stated})
    expected = {0: 2, 1: 1, 2: 0, 3: 2}
    assert both(settings(root=str(tmp_path / "a.zip")), tmp_path) == expected
    other = [[name, 1] for name in SHARDS]
    edm(tmp_path / "a.zip", SHARDS, {"labels": other})
    assert both(settings(root=str(tmp_path / "a.zip")), tmp_path) == dict.fromkeys(range(4), 1)
    write(tmp_path / "folder", NAMES)
    (tmp_path / "folder" / "dataset.json").write_text('{"something": "else"}')
    assert both(settings(root=str(tmp_path / "folder")), tmp_path)[1] == 0  # by folders


def test_an_edm_data_set_in_a_folder_of_its_zip(tmp_path):
    write(tmp_path / "unpacked" / "cifar10", SHARDS)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in SHARDS:
            archive.write(tmp_path / "unpacked" / "cifar10" / name, f"cifar10/{name}")
        stated = [[name, number] for number, name in enumerate(SHARDS)]
        archive.writestr("cifar10/dataset.json", json.dumps({"labels": stated}))
    assert both(settings(4, root=str(tmp_path / "a.zip")), tmp_path) == {i: i for i in range(4)}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "dataset.json has no labels"),
        ([[SHARDS[0], 1]], "no class for 00001/img1.png"),
        ([[name, 0.5] for name in SHARDS], "the class 0.5, not a number from 0"),
        ([[name, -1] for name in SHARDS], "the class -1"),
        ([[name, 10**30] for name in SHARDS], "dataset.json gives .* not a number from 0 to 2147"),
        (7, "dataset.json has no labels"),
    ],
)
def test_labels_that_are_none(tmp_path, labels, message):
    edm(tmp_path / "a.zip", SHARDS, {"labels": labels})
    with pytest.raises(DataError, match=message):
        open_images(settings(root=str(tmp_path / "a.zip")), "train", tmp_path)
    open_images(settings(None, root=str(tmp_path / "a.zip")), "train", tmp_path)


def test_an_image_beside_the_folders_of_classes(tmp_path):
    write(tmp_path / "root", [*NAMES, "stray.png"])
    with pytest.raises(DataError, match=r"stray.png lies in no folder of a class"):
        open_images(settings(root=str(tmp_path / "root")), "train", tmp_path)
    assert len(open_images(settings(None, root=str(tmp_path / "root")), "train", tmp_path).images)


def test_classes_out_of_range_and_without_images(tmp_path, caplog):
    write(tmp_path / "root", NAMES)
    root = str(tmp_path / "root")
    with pytest.raises(
        DataError, match="has the class 2, but model.num_classes 2 allows 0 … 1; set"
    ):
        both(settings(2, root=root), tmp_path)
    both(settings(5, root=root), tmp_path)
    assert "3, 4 (model.num_classes)" in caplog.text


def test_the_digits_have_theirs(tmp_path):
    classes = load_digits()[1]
    for split in ("train", "test"):
        found = open_images(settings(10, "DIGITS"), split, tmp_path)
        assert np.array_equal(found.labels, classes[hold_out(len(classes), split, "digits")])


def test_a_source_without_classes(tmp_path):
    celeba = tmp_path / "celeba"
    write(celeba / "img_align_celeba", [f"{i:06d}.jpg" for i in range(3)])
    lines = (f"{i:06d}.jpg {0 if i else 2}\n" for i in range(3))
    (celeba / "list_eval_partition.txt").write_text("".join(lines))
    with pytest.raises(DataError, match="have no classes, and model.num_classes is 3"):
        open_images(settings(dataset="CELEBA", root=str(celeba)), "train", tmp_path)


IMAGES = np.zeros((100, 8, 8, 3), np.uint8)
LABELS = np.arange(100) % 3


def drawn(config, step, **options):
    return make_batch(IMAGES, config, 5, step, labels=LABELS, **options).labels


def test_labels_are_dropped_by_address():
    always, never, half = (settings(training={"class_dropout": p}) for p in (1, 0, 0.5))
    assert (drawn(always, 1) == 3).all()
    kept = np.concatenate([drawn(never, step) for step in range(1, 41)])
    found = np.concatenate([drawn(half, step) for step in range(1, 41)])
    dropped = found == 3
    assert kept.max() == 2
    assert np.array_equal(found[~dropped], kept[~dropped])
    assert 0.4 < dropped.mean() < 0.6
    again = [drawn(half, 7, rows=rows) for rows in (slice(2), slice(2, None))]
    assert np.array_equal(np.concatenate(again), drawn(half, 7))
    assert not np.array_equal(drawn(half, 8) == 3, drawn(half, 7) == 3)
    stream = batches(IMAGES, half, 5, first_step=7, labels=LABELS)
    assert np.array_equal(next(stream).labels, drawn(half, 7))
    stream.close()


def test_classes_change_no_other_draw():
    plain, classes = settings(None), settings()
    for step in (1, 9):
        one = make_batch(IMAGES, plain, 5, step, labels=LABELS)
        other = make_batch(IMAGES, classes, 5, step, labels=LABELS)
        for name in ("x_t", "t", "target"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        assert one.labels.max() == 2  # as they are


def test_validation_has_the_labels_of_its_images():
    images = np.arange(100, dtype=np.uint8)[:, None, None, None] + IMAGES
    config = settings(rescaled=False)
    found = list(validation_batches(images, config, 16, 32, LABELS))
    assert len(found) == 2
    for x0, _, _, labels in found:
        numbers = np.round(x0[:, 0, 0, 0] * 255).astype(int)
        assert np.array_equal(labels, LABELS[numbers])
