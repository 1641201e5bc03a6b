"""The server's answers: the page, what the network is, states as they come, files, pictures."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from jittor_ddim.config import Config
from jittor_ddim.diffusion.samplers import ENCODERS, SAMPLERS
from jittor_ddim.diffusion.schedule import Schedule
from jittor_ddim.diffusion.spacing import SPACINGS
from jittor_ddim.engines import describe_engine
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.play import files, guard, pictures, recipe
from jittor_ddim.play.ask import MOST_IMAGES, Ask
from jittor_ddim.play.turns import Job, Turns
from jittor_ddim.play.walks import length

_PAGE = Path(__file__).parent / "page"
_MOST_BYTES = 2_000_000  # of a request: its picture has the network's size
_MOST_UNREAD = 8  # events that a slow page may leave behind; then the oldest are dropped
_LOOK_SECONDS = 0.5
_CURVE_POINTS = 201


@dataclass(frozen=True)
class Stage:
    """What the page plays with.

    :ivar name: of the network, for people
    :ivar engines: by name; the first one is chosen when the page opens
    :ivar choice: the device and precision of every engine
    """

    config: Config
    name: str
    engines: Mapping[str, Turns]
    choice: EngineChoice = field(default_factory=EngineChoice)
    words: recipe.NetworkWords = field(default_factory=recipe.NetworkWords)


class Events:
    """A job's events on their way from an engine's thread to a response; few are kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[dict[str, Any]] = deque(maxlen=_MOST_UNREAD)
        self._arrived = asyncio.Event()

    def put(self, event: dict[str, Any]) -> None:
        """Take an event, in any thread."""
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what arrives, up to the last event."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._events:
                yield (event := self._events.popleft())
                if event.keys() & {"done", "error", "cancelled"}:
                    return


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
    return guard.Guard(Starlette(routes=routes, exception_handlers={UserError: _explain}), host)


def _explain(request: Request, error: Exception) -> Response:
    if not isinstance(error, guard.TooLarge):
        return guard.refusal(str(error))
    answer = guard.refusal(str(error), 413)
    answer.headers["connection"] = "close"  # or the rest would still be received
    return answer


class _Answers:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._one = CapacityLimiter(1)  # large pictures and animations at once

    async def about(self, request: Request) -> Response:
        """Say what there is to choose from."""
        config = self._stage.config
        schedule = Schedule.from_config(config.diffusion)
        at = np.linspace(0, schedule.num_timesteps - 1, _CURVE_POINTS)
        about = {
            "network": self._stage.name,
            "image_size": config.data.image_size,
            "channels": config.data.channels,
            "classes": config.model.num_classes,
            "no_class": not config.model.num_classes or config.training.class_dropout > 0,
            "engines": [
                {"name": name, "title": describe_engine(name).title}
                for name in self._stage.engines
            ],
            "samplers": [
                {"name": name, "eta": sampler.takes("eta"), "encodes": name in ENCODERS}
                for name, sampler in SAMPLERS.items()
            ],
            "spacings": list(SPACINGS),
            "timesteps": schedule.num_timesteps,
            "curve": [[t, schedule.alpha_bar_at(t)] for t in at.tolist()],
            "most_images": MOST_IMAGES,
            "most_bytes": pictures.MOST_BYTES,
        }
        return JSONResponse(about)

    async def run(self, request: Request) -> Response:
        """Compute, and send every state as it comes, as server-sent events."""
        client, ask = await self._read(request)
        return StreamingResponse(self._stream(client, ask), media_type="text/event-stream")

    async def _stream(self, client: str, ask: Ask) -> AsyncIterator[str]:
        config, turns, events = self._stage.config, self._stage.engines[ask.engine], Events()
        words = self._stage.words
        steps = ask.sequence(config)
        calls = SAMPLERS[ask.sampler].calls(steps) + len(steps) * (ask.kind == "reconstruct")
        start = {
            "timesteps": list(steps),
            "calls": calls,
            "states": length(ask, config),
            "images": ask.count,
            "command": words.command(ask, config),
            "python": recipe.python(ask, config, words, self._stage.choice),
        }
        yield _event({"start": start})
        job = Job(client, ask, events.put)
        try:
            turns.submit(job)
            async for event in events:
                yield _event(event)
        except UserError as error:
            yield _event({"error": str(error)})
        finally:  # also when the page has been closed
            turns.cancel(job)

    async def file(self, request: Request) -> Response:
        """Compute again, and send a file."""
        suffix = request.path_params["suffix"]
        if suffix not in files.TYPES:
            raise UserError(f"{suffix[:20]}: choose one of {', '.join(files.TYPES)}")
        client, ask = await self._read(request)
        kind, whole = files.TYPES[suffix]
        frames: deque[str] = deque(maxlen=None if whole else 1)
        last: dict[str, Any] = {}
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def take(event: dict[str, Any]) -> None:
            frames.extend([event["x_t"]] if "x_t" in event else [])
            if event.keys() & {"done", "error", "cancelled"}:
                last.update(event)
                with suppress(RuntimeError):  # the server has ended
                    loop.call_soon_threadsafe(ended.set)

        turns = self._stage.engines[ask.engine]
        job = Job(f"{client}/{suffix}", ask, take)
        turns.submit(job)
        while not ended.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), _LOOK_SECONDS)
            if await request.is_disconnected():
                turns.cancel(job)
        if "done" not in last:
            raise UserError(last.get("error", "cancelled"))
        content = await run_sync(
            files.encode, suffix, list(frames), ask.count, self._stage.config, limiter=self._one
        )
        return Response(content, media_type=kind)

    async def picture(self, request: Request) -> Response:
        """Bring a picture to the network's size."""
        content = await guard.body(request, pictures.MOST_BYTES)
        found = await run_sync(pictures.fit, content, self._stage.config, limiter=self._one)
        return Response(found, media_type="image/png")

    async def _read(self, request: Request) -> tuple[str, Ask]:
        """Return who asks and for what.

        :raises UserError: naming what is wrong
        """
        try:
            found = json.loads(await guard.body(request, _MOST_BYTES))
            client, wanted = str(found["client"])[:64], found["ask"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError('the request is not JSON with "client" and "ask"') from None
        return client, Ask.read(wanted, self._stage.config, list(self._stage.engines))


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
