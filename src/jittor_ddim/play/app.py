"""The server's answers: the page, what there is to choose from, states, files, pictures."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from jittor_ddim import arguments
from jittor_ddim.diffusion.samplers import ENCODERS, SAMPLERS
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import SPACINGS
from jittor_ddim.engines import describe_engine
from jittor_ddim.errors import UserError
from jittor_ddim.guidance import Classes
from jittor_ddim.play import files, guard, pictures, recipe
from jittor_ddim.play.ask import LIMITS, Ask, most_images, no_parameter
from jittor_ddim.play.bodies import Refused, Room
from jittor_ddim.play.events import LAST, Events
from jittor_ddim.play.layout import animated, kept
from jittor_ddim.play.networks import Networks, Opened
from jittor_ddim.play.said import Said, answer
from jittor_ddim.play.turns import Job, Turns
from jittor_ddim.play.walks import length

_PAGE = Path(__file__).parent / "page"
_MOST_BYTES = 2_000_000  # of a request: its picture has the network's size
#: Of all requests that are being received; of all pictures, until they have the network's size.
_REQUESTS_BYTES, _PICTURES_BYTES = 16_000_000, 60_000_000
_MOST_UNDER_WAY = 64  # requests; one more is refused
_MOST_FILES = 4  # downloads computed at once: each keeps its states until the last is there
_LOOK_SECONDS = 0.5
_CURVE_POINTS = 201


@dataclass(frozen=True)
class Stage:
    """What the page plays with.

    :ivar turns: by engine and precision, every engine with every precision; the first ones are
        chosen when the page opens
    :ivar device: of every engine
    """

    networks: Networks
    turns: Mapping[tuple[str, str], Turns]
    device: str = "auto"

    @property
    def engines(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(engine for engine, _ in self.turns))

    @property
    def precisions(self) -> list[str]:
        """Of every engine."""
        return list(dict.fromkeys(precision for _, precision in self.turns))


def make_app(stage: Stage, host: str = "127.0.0.1") -> guard.Guard:
    """Return the application.

    :param host: the address that the server listens at
    """
    answers = _Answers(stage)
    routes = [
        Route("/api/about", answers.about),
        Route("/api/run", answers.run, methods=["POST"]),
        Route("/api/file/{suffix}", answers.file, methods=["POST"]),
        Route("/api/picture", answers.picture, methods=["POST"]),
        Mount("/", StaticFiles(directory=_PAGE, html=True)),
    ]
    handlers = {UserError: _explain, ClientDisconnect: _gone}
    return guard.Guard(Starlette(routes=routes, exception_handlers=handlers), host)


def _explain(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        return JSONResponse(answer(error), 400)
    # Or the rest would still be received.
    return JSONResponse(answer(error), error.status, {"connection": "close"})


def _gone(request: Request, error: Exception) -> Response:
    """Answer nobody: a page that is closed while it sends is no fault of the server's."""
    return Response(status_code=400)


class _Answers:
    def __init__(self, stage: Stage) -> None:
        self._stage, self._under_way = stage, 0
        self._one = CapacityLimiter(1)  # large pictures and animations at once
        self._files = CapacityLimiter(_MOST_FILES)
        self._requests = Room(_MOST_BYTES, _REQUESTS_BYTES)
        self._pictures = Room(pictures.MOST_BYTES, _PICTURES_BYTES)

    async def about(self, request: Request) -> Response:
        """Say what there is to choose from, and what the chosen network is."""
        stage = self._stage
        network = await self._open(_network(request), newest=True)
        about = {
            "networks": await run_sync(stage.networks.names),
            "engines": [
                {"name": name, "title": describe_engine(name).title} for name in stage.engines
            ],
            "precisions": stage.precisions,
            "samplers": [
                {"name": name, "eta": sampler.takes("eta"), "encodes": name in ENCODERS}
                for name, sampler in SAMPLERS.items()
            ],
            "spacings": list(SPACINGS),
            "most_bytes": pictures.MOST_BYTES,
            **_describe(network, stage.engines[0], stage.precisions[0]),
        }
        return JSONResponse(about)

    async def run(self, request: Request) -> Response:
        """Compute, and send every state as it comes, as server-sent events."""
        client, ask, network = await self._read(request)
        stream = self._stream(client, ask, network)
        return StreamingResponse(stream, media_type="text/event-stream")

    async def _stream(self, client: str, ask: Ask, network: Opened) -> AsyncIterator[str]:
        config, events = network.config, Events()
        steps = ask.sequence(config)
        calls = SAMPLERS[ask.sampler].calls(steps) + len(steps) * (ask.kind == "reconstruct")
        words = network.offer.words
        start = {
            "timesteps": list(steps),
            "calls": calls,
            "states": length(ask, config),
            "shown": len(kept(length(ask, config))),
            "images": ask.count,
            "command": words.command(ask, config),
            "python": recipe.python(ask, config, words, self._stage.device),
        }
        yield _event({"start": start})
        turns, job = self._turns(ask), Job(client, network, ask, events.put)
        try:
            with self._place():
                turns.submit(job)
                async for event in events:
                    yield _event(event)
        except UserError as error:
            yield _event(answer(error))
        finally:  # also when the page has been closed
            turns.cancel(job)

    async def file(self, request: Request) -> Response:
        """Compute again, and send a file."""
        suffix = request.path_params["suffix"]
        if suffix not in files.TYPES:
            raise UserError(f"{suffix[:20]}: choose one of {', '.join(files.TYPES)}")
        client, ask, network = await self._read(request)
        kind, whole = files.TYPES[suffix]
        with self._place():
            async with self._files:
                frames = await self._frames(request, f"{client}/{suffix}", ask, network, whole)
                encoding = (files.encode, suffix, frames, ask.count, network.config)
                content = await run_sync(*encoding, limiter=self._one)
        return Response(content, media_type=kind)

    async def _frames(
        self, request: Request, client: str, ask: Ask, network: Opened, whole: bool
    ) -> list[str]:
        """Return pictures of the states that make an animation, or of the last one alone."""
        count = length(ask, network.config)
        pixels = ask.count * network.config.data.image_size**2
        wanted = {count - 1, *(animated(count, pixels) if whole else [])}
        frames: dict[int, str] = {}
        last: dict[str, Any] = {}
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def take(event: dict[str, Any]) -> None:
            if event.get("position") in wanted:
                frames[event["position"]] = event["x_t"]
            if event.keys() & LAST:
                last.update(event)
                with suppress(RuntimeError):  # the server has ended
                    loop.call_soon_threadsafe(ended.set)

        turns, job = self._turns(ask), Job(client, network, ask, take)
        turns.submit(job)
        while not ended.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), _LOOK_SECONDS)
            if await request.is_disconnected():
                turns.cancel(job)
        if "done" not in last:
            raise UserError(last.get("error", "cancelled"))
        return list(frames.values())

    async def picture(self, request: Request) -> Response:
        """Bring a picture to the network's size."""
        network = await self._open(_network(request))
        async with self._pictures.body(request) as content:
            found = await run_sync(pictures.fit, content, network.config, limiter=self._one)
        return Response(found, media_type="image/png")

    async def _read(self, request: Request) -> tuple[str, Ask, Opened]:
        """Return who asks, for what, of which network.

        :raises UserError: naming what is wrong
        """
        try:
            async with self._requests.body(request) as content:
                found = json.loads(content)
            client, wanted = str(found["client"])[:64], found["ask"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError('the request is not JSON with "client" and "ask"') from None
        ask = Ask.read(wanted)
        self._turns(ask)
        network = await self._open(ask.network)
        ask.check(network.config)
        return client, ask, network

    def _turns(self, ask: Ask) -> Turns:
        arguments.one_of("engine", ask.engine, self._stage.engines)
        arguments.one_of("precision", ask.precision, self._stage.precisions)
        return self._stage.turns[ask.engine, ask.precision]

    async def _open(self, name: str | None, newest: bool = False) -> Opened:
        networks = self._stage.networks
        return await run_sync(lambda: networks.open(name, newest=newest))

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Be one of the requests under way.

        :raises UserError: if there are too many
        """
        if self._under_way >= _MOST_UNDER_WAY:
            count = self._under_way
            raise Said("busy", f"{count} pages are waiting already; try again in a minute")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def _network(request: Request) -> str | None:
    """Return which network an address names."""
    for name in request.query_params:
        if name != "network":
            raise UserError(no_parameter(name, ["network"]))
    return request.query_params.get("network")


def _describe(network: Opened, engine: str, precision: str) -> dict[str, Any]:
    """Return what a page must know of a network."""
    config = network.config
    schedule = Schedule.from_config(config.diffusion)
    timesteps = schedule.num_timesteps
    at = np.linspace(0, timesteps - 1, _CURVE_POINTS)
    count = len(Classes.every(config).chosen or ())
    return {
        "network": network.offer.name,
        "title": network.title,
        "image_size": config.data.image_size,
        "channels": config.data.channels,
        "classes": (config.data.class_names or [str(number) for number in range(count)])[:count],
        "no_class": not count or config.training.class_dropout > 0,
        "timesteps": timesteps,
        "curve": [[t, schedule.alpha_bar_at(t)] for t in at.tolist()],
        "most_images": most_images(config),
        "most_raw": most_images(config, raw=True),
        "limits": {**LIMITS, "timesteps": [1, min(LIMITS["timesteps"][1], timesteps)]},
        "usual": Ask.opening(config, engine, precision).model_dump(by_alias=True),
    }


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
