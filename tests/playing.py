"""A server of ``ddim play`` on this machine, with the engine of fake_engine.py."""

import io
import json
import struct
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests
from PIL import Image

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.cli import options, play
from jittor_ddim.config import Config
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.network import NetworkChoice
from jittor_ddim.parity.process import Worker
from jittor_ddim.play.app import Stage, make_app
from jittor_ddim.play.layout import engine_folder
from jittor_ddim.play.networks import Networks, Offer
from jittor_ddim.play.recipe import NetworkWords
from jittor_ddim.play.server import Server as WebServer
from jittor_ddim.play.server import listening
from jittor_ddim.play.turns import Turns

#: A network with classes that is nothing but small.
CONFIG = Config.model_validate(
    {
        "data": {"dataset": "DIGITS", "image_size": 8, "channels": 1, "rescaled": True},
        "model": {"in_channels": 1, "out_ch": 1, "ch": 8, "ch_mult": [1, 2], "num_groups": 8,
                  "num_res_blocks": 1, "attn_resolutions": [], "num_classes": 10},
        "training": {"class_dropout": 0.1},
    }
)  # fmt: skip
_SCRIPT = Path(__file__).with_name("play_worker_with_fake_engine.py")


def weights():
    """Weights with which the toy engine leaves something to see, a different one each class."""
    found = fresh_weights(CONFIG, 1)
    found["norm_out.weight"][...] = 0.9
    found["class_embedding.weight"][:10] += [[k / 10] for k in range(10)]
    return found


class Server(NamedTuple):
    address: str
    folder: Path
    turns: dict[tuple[str, str], Turns]

    def post(self, path, **options):
        return requests.post(self.address + path, timeout=60, **options)

    def about(self, network=None):
        query = {"network": network} if network else {}
        return requests.get(f"{self.address}api/about", params=query, timeout=60).json()

    def run(self, ask, client="one", **options):
        """The stream of a run, not yet read."""
        return self.post(
            "api/run", json={"client": client, "ask": {"engine": "jittor", **ask}}, stream=True,
            **options,
        )  # fmt: skip

    def events(self, ask, client="one"):
        return list(read(self.run(ask, client)))

    def calls(self, engine="jittor"):
        path = engine_folder(self.folder, EngineChoice(engine)) / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0


def read(response):
    for line in response.iter_lines():
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def png(size=8, mode="L", colour=90):
    buffer = io.BytesIO()
    Image.new(mode, (size, size), colour).save(buffer, "png")
    return buffer.getvalue()


def bomb(width, height):
    """A PNG that says how large it is, and little more."""

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + data


#: The networks of a server: the first is that of CONFIG.
NAMES = ("digits", "colours", "large")


def save_networks(folder):
    """Networks that differ in what a page must know of them."""
    colours = CONFIG.model_dump() | {"training": CONFIG.training.model_dump()}
    colours["data"] |= {"channels": 3, "class_names": ["red", "not red"]}
    colours["model"] |= {"in_channels": 3, "out_ch": 3, "num_classes": 2}
    large = CONFIG.model_dump()
    large["data"] |= {"image_size": 256}
    large["model"] |= {"num_classes": None}
    for name, changed in zip(NAMES, (None, colours, large), strict=True):
        config = Config.model_validate(changed) if changed else CONFIG
        found = fresh_weights(config, 1) if changed else weights()
        save_weights(folder / f"{name}.safetensors", found, config)


def offers(folder):
    line = play._command(options.NetworkOptions(), options.EngineOptions())
    for name in NAMES:
        choice = NetworkChoice(pretrained=folder / f"{name}.safetensors")
        yield Offer(name, choice, NetworkWords(line))


@contextmanager
def serving(folder, seconds=0.0):
    """A server whose network calls take so long."""
    save_networks(folder)

    def starter(choice):
        line = [sys.executable, str(_SCRIPT), str(seconds), str(folder)]
        line += [choice.name, "cpu", choice.precision]
        return lambda: Worker(choice.name, engine_folder(folder, choice), line)

    turns = {
        (name, precision): Turns(starter(EngineChoice(name, "cpu", precision)))
        for name in ("jittor", "pytorch")
        for precision in ("float32", "bfloat16")
    }
    with listening("127.0.0.1", 0) as (found, address):
        stage = Stage(Networks(folder, lambda: list(offers(folder))), turns)
        server = WebServer(make_app(stage), lambda: [one.stop() for one in turns.values()])
        thread = threading.Thread(target=server.run, args=([found],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Server(address, folder, turns)
        finally:
            server.should_exit = True
            thread.join(10)
            for one in turns.values():
                one.close()
