"""Serve a page on which a network's images form."""

import importlib.util
import logging
import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jittor_ddim.console.logs import setup_logging
from jittor_ddim.engines import ENGINES, check_engine, describe_engine
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.engines.precision import PRECISIONS, cpu_has_bfloat16
from jittor_ddim.errors import EngineError, UserError
from jittor_ddim.hardware import count_gpus
from jittor_ddim.parity.process import Worker
from jittor_ddim.play.ask import Ask
from jittor_ddim.play.events import LAST
from jittor_ddim.play.layout import engine_folder
from jittor_ddim.play.networks import Networks, Offer, Opened
from jittor_ddim.play.turns import Job, Turns

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PlayRequest:
    """What ``ddim play`` was asked for."""

    list_offers: Callable[[], Sequence[Offer]]  # the networks that there are, the chosen one first
    host: str = "127.0.0.1"
    port: int = 8642
    browser: bool = True  # open the page in one
    announce: Callable[[str], None]  # called with the address once it is there
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
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ddim-play-")))
        networks = Networks(folder, request.list_offers)
        network = networks.open()
        found, address = stack.enter_context(listening(request.host, request.port))
        if not is_loopback(request.host):
            text = "`host` %s: whoever reaches this machine can use the page, without a password"
            _log.warning(text, request.host)
        turns = {}
        for choice in _choices(request.engine):
            one = turns[choice.name, choice.precision] = Turns(_starter(folder, choice))
            stack.callback(one.close)
        _warm_up(next(iter(turns.values())), network, request.engine)
        request.announce(address)
        if request.browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(address)

        def end_streams() -> None:
            for one in turns.values():
                one.stop()

        stage = Stage(networks, turns, request.engine.device)
        Server(make_app(stage, request.host), end_streams).run([found])


def _choices(first: EngineChoice) -> list[EngineChoice]:
    """Return the engines and precisions that the page offers, what was asked for first."""
    gpu = first.device != "cpu" and count_gpus() > 0
    here = {"float32": True, "tf32": gpu, "bfloat16": gpu or cpu_has_bfloat16()}
    precisions = [p for p in PRECISIONS if here[p] and p != first.precision]
    return [
        replace(first, name=name, precision=precision)
        for name in _installed(first.name)
        for precision in (first.precision, *precisions)
    ]


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
    return lambda: Worker(choice.name, engine_folder(folder, choice), line)


def _warm_up(turns: Turns, network: Opened, engine: EngineChoice) -> None:
    """Wait until the engine has compiled and loaded what a page begins with, or has failed."""
    title = describe_engine(engine.name).title
    _log.info("Starting %s; the first time on a machine this takes minutes", title)
    ended = threading.Event()

    def watch(event: dict[str, Any]) -> None:
        if event.keys() & LAST:
            ended.set()

    ask = Ask.opening(network.config, engine.name, engine.precision)
    ask = ask.model_copy(update={"timesteps": 1})
    turns.submit(Job("warm-up", network, ask, watch))
    ended.wait()
