import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jittor_ddim.runs.tensorboard import EventWriter


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(events, tag):
    return [(e.step, e.value) for e in events.Scalars(tag)]


@pytest.mark.parametrize("channels", [1, 3])
def test_tensorboard_reads_what_was_written(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    writer = EventWriter(tmp_path / "tensorboard")
    for step in (1, 2, 3):
        writer.scalars({"loss": step / 4}, step)
    writer.image("samples", image, 3)
    events = read(tmp_path / "tensorboard")  # not closed: an image is flushed at once
    assert scalars(events, "loss") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    (event,) = events.Images("samples")
    assert (event.step, event.height, event.width) == (3, 5, 7)
    picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    np.testing.assert_array_equal(picture.reshape(image.shape), image)
    writer.close()
    writer.close()


def test_a_resumed_run_replaces_later_steps(tmp_path):
    for resume_step, steps in ((None, range(1, 9)), (5, range(6, 8))):
        writer = EventWriter(tmp_path, resume_step)
        for step in steps:
            writer.scalars({"loss": 100 * bool(resume_step) + step}, step)
        writer.close()
    assert len(list(tmp_path.iterdir())) == 2
    expected = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 106), (7, 107)]
    assert scalars(read(tmp_path), "loss") == expected


def test_a_cut_off_file_is_readable_up_to_the_cut(tmp_path):
    writer = EventWriter(tmp_path)
    for step in (1, 2, 3):
        writer.scalars({"loss": step}, step)
    writer.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert scalars(read(tmp_path), "loss") == [(1, 1.0), (2, 2.0)]


def test_no_framework_is_imported_and_no_warning_given():
    code = (
        "import sys, jittor_ddim.runs.tensorboard;"
        "assert not {'torch', 'tensorflow', 'jittor'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
