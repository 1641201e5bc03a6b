"""Serve a page on which a network's images form."""

import importlib.util
import logging
import os
import sys
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jittor_ddim.checkpoints import save_weights
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.engines import ENGINES, check_engine
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import EngineError, UserError
from jittor_ddim.network import Network, NetworkChoice
from jittor_ddim.parity.process import Worker
from jittor_ddim.play.ask import Ask
from jittor_ddim.play.layout import NETWORK
from jittor_ddim.play.recipe import NetworkWords
from jittor_ddim.play.turns import Job, Turns

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PlayRequest(NetworkChoice):
    """What ``ddim play`` was asked for."""

    host: str = "127.0.0.1"
    port: int = 8642
    browser: bool = True  # open the page in one
    announce: Callable[[str], None]  # called with the address once it is there
    words: NetworkWords = field(default_factory=NetworkWords)
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)  # the first one; others are offered


def run_play(request: PlayRequest) -> None:
    """Serve until Ctrl-C.

    :raises UserError: for anything wrong with the request, before an engine starts
    """
    setup_logging(None, request.verbose)
    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise UserError("the page needs a server: pip install 'jittor-ddim[play]'")
    # Not at the top: they are an extra.
    from jittor_ddim.play.app import Stage, make_app
    from jittor_ddim.play.guard import is_loopback
    from jittor_ddim.play.server import Server, listening

    request.engine.check()
    network = request.find_network()
    with ExitStack() as stack:
        found, address = stack.enter_context(listening(request.host, request.port))
        if not is_loopback(request.host):
            text = "`host` %s: whoever reaches this machine can use the page, without a password"
            _log.warning(text, request.host)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ddim-play-")))
        save_weights(folder / NETWORK, network.weights, network.config)
        engines = {}
        for name in _installed(request.engine.name):
            engines[name] = Turns(_starter(folder, replace(request.engine, name=name)))
            stack.callback(engines[name].close)
        warm_up = Ask(engine=request.engine.name, timesteps=2)
        engines[request.engine.name].submit(Job("warm-up", warm_up, lambda event: None))
        stage = Stage(
            network.config, _name(network), engines, choice=request.engine, words=request.words
        )
        request.announce(address)
        if request.browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(address)

        def end_streams() -> None:
            for turns in engines.values():
                turns.stop()

        Server(make_app(stage, request.host), end_streams).run([found])


def _installed(first: str) -> list[str]:
    """Return the engines that can be chosen, the first one first."""
    found = [first]
    for name in ENGINES:
        try:
            check_engine(name)
        except EngineError:
            continue
        found += [name] if name != first else []
    return found


def _starter(folder: Path, choice: EngineChoice) -> Callable[[], Worker]:
    line = [sys.executable, "-m", "jittor_ddim.play.session", str(folder)]
    line += [choice.name, choice.device, choice.precision]
    return lambda: Worker(choice.name, folder / choice.name, line)


def _name(network: Network) -> str:
    """Return the last parts of a path, which tell networks apart."""
    return "/".join(network.source.resolve().parts[-2:])
