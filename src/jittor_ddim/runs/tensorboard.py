"""TensorBoard event files, written with the tensorboard package alone, without any framework."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from jittor_ddim.atomic import disk_errors
from jittor_ddim.image_files import png_bytes

# Protocol buffer classes are made at run time: a type checker cannot see them.
Event: Any = event_pb2.Event  # pyright: ignore
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore
Summary: Any = summary_pb2.Summary  # pyright: ignore
_FLUSH_SECONDS = 10.0


class EventWriter:
    """Writes one event file; what TensorBoard may show is on disk after at most 10 s of writing.

    tensorboard's own ``EventFileWriter`` would import TensorFlow where it is installed and keep a
    thread; its record writer on a plain file does the same work.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        """Open a new event file in ``folder``.

        :param resume_step: TensorBoard then forgets what earlier files say of later steps
        """
        self._folder = folder
        # Readers go through the files by name: nanoseconds keep a resumed run behind its past.
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        stamp = f"{seconds:010d}.{nanoseconds:09d}.{socket.gethostname()}.{os.getpid()}"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"events.out.tfevents.{stamp}").open("xb")
        self._records = RecordWriter(file)
        self._write(Event(file_version="brain.Event:2"))
        if resume_step is not None:
            start = SessionLog(status=SessionLog.SessionStatus.START)
            self._write(Event(step=resume_step + 1, session_log=start))
        self._flush()

    def scalars(self, numbers: Mapping[str, float], step: int) -> None:
        """Add a number to each curve, by its tag."""
        values = [Summary.Value(tag=k, simple_value=float(v)) for k, v in numbers.items()]
        self._write(Event(step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def image(self, tag: str, image: NDArray[np.uint8], step: int) -> None:
        """Add an image, uint8 (H, W, 1) or (H, W, 3)."""
        height, width, channels = image.shape
        size = {"height": height, "width": width, "colorspace": channels}
        picture = Summary.Image(encoded_image_string=png_bytes(image), **size)
        value = Summary.Value(tag=tag, image=picture)
        self._write(Event(step=step, summary=Summary(value=[value])))
        self._flush()

    def close(self) -> None:
        """Flush and close the file."""
        if not self._records.closed:
            with disk_errors(self._folder):
                self._records.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with disk_errors(self._folder):
            self._records.write(event.SerializeToString())

    def _flush(self) -> None:
        with disk_errors(self._folder):
            self._records.flush()
        self._flushed = time.monotonic()
