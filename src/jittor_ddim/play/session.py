"""An engine's side of the page, in its own process: walks that are begun, stepped and dropped.

``python -m jittor_ddim.play.session FOLDER ENGINE DEVICE PRECISION`` starts it. The server asks
for one state at a time, so a walk that nobody wants any more ends within a step.
"""

import base64
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jittor_ddim.checkpoints import read_weights
from jittor_ddim.config import Config
from jittor_ddim.data.transforms import from_network, to_uint8
from jittor_ddim.engines.base import UNet
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.figures.grids import grid
from jittor_ddim.parity.serve import serve
from jittor_ddim.play.ask import Ask
from jittor_ddim.play.layout import engine_folder, kept
from jittor_ddim.play.walks import State, length, walk
from jittor_ddim.version import versions

_MOST_NETWORKS = 3  # that an engine holds besides those of walks under way
_WARM_UP = 3  # network calls after which a multistep sampler has no step left that is new


class Session:
    """An engine with its networks, and the walks that are under way."""

    def __init__(self, folder: Path, choice: EngineChoice) -> None:
        """Start the engine.

        :param folder: where the networks lie
        """
        self._folder, self._choice, self._engine = folder, choice, choice.start()
        self._networks: dict[str, tuple[UNet, Config]] = {}
        self._walks: dict[str, Iterator[dict[str, Any]]] = {}

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on."""
        return {"device": self._engine.device, **versions(), **self._engine.versions()}

    def begin(self, walk: str, file: str, ask: dict[str, Any]) -> None:
        """Begin a walk; nothing is computed yet.

        :param file: of the network, in the folder
        """
        self._walks[walk] = self._events(file, Ask.model_validate(ask))

    def advance(self, walk: str) -> dict[str, Any] | None:
        """Return the next state of a walk as JSON, None after the last, or what went wrong."""
        try:
            return next(self._walks[walk], None)
        except UserError as error:  # about this walk: the engine lives on
            return {"error": str(error)}

    def drop(self, walk: str) -> None:
        """Forget a walk."""
        self._walks.pop(walk, None)

    def _load(self, file: str) -> tuple[UNet, Config]:
        found = read_weights(self._folder / file, ema=True)
        assert found.config
        unet = self._engine.unet(found.config, found.weights, compile=False)
        warm_up = Ask.opening(found.config, self._choice.name)
        with suppress(UserError):  # which the first page will be told
            for _ in walk(unet, found.config, warm_up.model_copy(update={"timesteps": _WARM_UP})):
                pass  # what is compiled at first use is no part of anybody's time
        return unet, found.config

    def _events(self, file: str, ask: Ask) -> Iterator[dict[str, Any]]:
        """Yield a walk's states; those between the ones kept without pictures."""
        if file not in self._networks:
            yield {"opening": True}
            self._networks[file] = self._load(file)
            while len(self._networks) > _MOST_NETWORKS:
                del self._networks[next(iter(self._networks))]
        unet, config = self._networks[file]
        seconds, start = 0.0, time.perf_counter()
        count = length(ask, config)
        shown = {*kept(count), *([count // 2] if ask.kind == "reconstruct" else [])}  # its x_T
        for position, state in enumerate(walk(unet, config, ask)):
            seconds += time.perf_counter() - start
            event = {"position": position, "phase": state.phase, "t": state.t, "seconds": seconds}
            pictures = _pictures(state, config, ask.raw) if position in shown else {}
            yield {**event, **pictures, **({"remark": state.remark} if state.remark else {})}
            start = time.perf_counter()


def _pictures(state: State, config: Config, raw: bool) -> dict[str, str]:
    found = {"x_t": _png(state.x_t, config)}
    if state.x0 is not None:
        found["x0"] = _png(state.x0, config)
    if raw:
        exact = from_network(state.x_t, config.data).astype("<f4")
        found["raw"] = base64.b64encode(exact.tobytes()).decode()
    return found


def _png(x: NDArray[np.float32], config: Config) -> str:
    """Return a batch as one picture, tile by tile without a gap: lossless, so also data."""
    tiles = grid(to_uint8(from_network(x, config.data)), padding=0, scale=1)
    buffer = BytesIO()
    picture = Image.fromarray(tiles[:, :, 0] if tiles.shape[2] == 1 else tiles)
    picture.save(buffer, "png", compress_level=1)  # noise does not compress
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    """Serve on the standard streams."""
    folder, (engine, device, precision) = Path(sys.argv[1]), sys.argv[2:]
    choice = EngineChoice(engine, device, precision)
    serve(engine_folder(folder, choice), lambda: Session(folder, choice))


if __name__ == "__main__":
    main()
