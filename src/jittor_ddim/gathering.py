"""The processes of one job meet in a folder that all of them see, and share its work out.

Each rank announces itself by a file that it keeps locked as long as it lives. The first one checks
the request, prepares what all need, and answers every other by a file with that one's token in its
name, so that nothing of an earlier job can be taken for an answer. Results are whole files, too.
"""

import hashlib
import json
import logging
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from jittor_ddim.atomic import disk_errors, write_atomic, writing
from jittor_ddim.errors import MachineError, RankError, UserError, why
from jittor_ddim.locks import try_lock
from jittor_ddim.ranks import Rank, hide_launcher, launch, this_rank

_LOOK_S = 0.2
_LINE_S = 30.0  # between two lines about whom the first rank waits for
_ARRIVAL_S = 600.0  # processes of one launch start together
_FAREWELL_S = 20.0  # the first, which has failed, waits so long for others to tell them
_log = logging.getLogger(__name__)


class Dismissed(UserError):
    """The first rank has ended, and has said why if there was anything to say."""


class Gathering:
    """The ranks of a job, seen from one of them. Of one that is alone, nothing touches a disk."""

    def __init__(self, rank: Rank, folder: Path, digest: str) -> None:
        """:param folder: the same for all ranks

        :param digest: of what this rank was asked for
        """
        self.rank = rank
        self.plan: Any = None  #: what the first rank told the others
        self._folder, self._digest = folder, digest
        self._token = secrets.token_hex(8)
        self._others: dict[int, str] = {}  # what the first rank knows: rank -> token
        # The first rank has answered all others; another one knows that the first was there.
        self._met = rank.is_alone

    def open(self, pieces: int, plan: Any = None) -> None:
        """As the first rank: wait for the others, compare what they were asked for, let them work.

        :param pieces: how many there are to be shared out
        :param plan: what to tell them, anything that JSON can hold
        :raises UserError: if one was asked for something else, or does not come
        """
        if not self._met and self.rank.is_first:
            self._await_arrivals(_ARRIVAL_S)
            if missing := self._missing():
                raise UserError(
                    f"{_names(missing)} did not come to {self._folder}; all processes need the "
                    "same `exp`, on a disk that all of them see"
                )
            told = [self._read(index)["digest"] for index in sorted(self._others)]
            if odd := [n for n, digest in enumerate(told, 1) if digest != self._digest]:
                raise UserError(
                    f"{_names(odd)}: asked for something else than rank 0, or of another "
                    "version; start all processes with the same command"
                )
            if pieces < self.rank.size:
                text = "Fewer batches (%d) than processes (%d): some have nothing to do"
                _log.warning(text, pieces, self.rank.size)
            self._answer({"plan": plan})
        self.plan = plan

    def advanced(self, done: int) -> int:
        """Tell how many pieces this rank has done, and return how many all others have.

        :raises Dismissed: if the first rank has ended
        :raises MachineError: if another rank has ended before its part was done
        """
        if self.rank.is_alone:
            return 0
        if not self.rank.is_first:
            if not _is_held(self._announced(0)):
                raise Dismissed("the first rank has ended")
            write_atomic(self._file("done", self._token), str(done).encode(), sync=False)
            return 0
        for index, token in self._others.items():
            part = self._file("part", token)
            # Looked for twice: it may have come while the lock went.
            if not (part.exists() or _is_held(self._announced(index)) or part.exists()):
                raise MachineError(
                    f"rank {index} ({self._read(index)['host']}) ended before its part was done; "
                    "repeat the command"
                )
        told = (self._file("done", token) for token in self._others.values())
        return sum(int(path.read_text()) for path in told if path.exists())

    def deliver(self, write: Callable[[BinaryIO], None] = lambda file: None) -> None:
        """As another rank: hand in this rank's part, which ends its work.

        :param write: writes it to a file
        """
        with writing(self._file("part", self._token)) as file:
            write(file)

    def collect(self, done: int, advance: Callable[[int], None]) -> list[Path]:
        """As the first rank: wait for the others' parts, and return them in the order of ranks.

        :param done: how many pieces of the others have been shown already
        :param advance: called with the number of new ones
        :raises MachineError: if a rank has ended before its part was done
        """
        parts = [self._file("part", token) for _, token in sorted(self._others.items())]
        while True:
            now = self.advanced(0)
            if now > done:
                advance(now - done)
            done = max(done, now)
            if all(part.exists() for part in parts):
                return parts
            time.sleep(_LOOK_S)

    def arrive(self) -> None:
        """As another rank: wait for the first rank's answer.

        :raises Dismissed: if it has ended
        """
        begin, told = time.monotonic(), None
        while told is None:
            alive = _is_held(self._announced(0))
            # Only a first rank that ends removes this one's file, perhaps before it was ever seen.
            self._met = self._met or alive or not self._announced(self.rank.index).exists()
            told = self._told()  # after the look: it may have come while the lock went
            if told is None and not alive:
                told = {} if self._met or time.monotonic() - begin > _ARRIVAL_S else None
            if told is None:
                time.sleep(_LOOK_S)
        self._met = self._met or bool(told)
        if "plan" not in told:
            raise Dismissed(f"the first rank {'has ended' if self._met else 'did not come'}")
        self.plan = told["plan"]

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Be known to the others as alive; the first rank removes the folder at the end.

        :raises UserError: if another launch of the same name is at work, for not every launcher
            tells its processes which launch they are of
        """
        path = self._announced(self.rank.index)
        if _is_held(path):
            raise UserError(
                f"`exp` {self._folder.parent.parent}: another {self.rank.launcher} is at work "
                "there and cannot be told from this one; wait until it ends, or choose another "
                "`exp`"
            )
        temporary = path.with_name(f".{path.name}.{self._token}.tmp")
        with ExitStack() as stack:
            # Once the lock is gone: who writes until then cleans up after itself.
            stack.callback(self._clean)
            told = {"token": self._token, "digest": self._digest, "host": socket.gethostname()}
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    file = stack.enter_context(temporary.open("w"))
                    try_lock(file)
                    file.write(json.dumps(told))
                    file.flush()
                    temporary.replace(path)  # whole and locked under its name, or a dead rank's
                except FileNotFoundError:  # the first rank has removed the folder
                    raise Dismissed("the first rank has ended") from None
            yield

    def dismiss(self, seconds: float) -> None:
        """As the first rank, which fails: tell the others, who may still be on their way."""
        if not self._met:
            self._await_arrivals(seconds)
            self._answer({"end": True})

    def _clean(self) -> None:
        """Remove the folder, as the first rank or as one that is left without it."""
        if self.rank.is_first or (self._met and not _is_held(self._announced(0))):
            # Where one rank has failed, whoever started them ends the others at this moment.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            shutil.rmtree(self._folder, ignore_errors=True)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        elif not self._met:
            with suppress(OSError):  # others may be waiting there, too
                self._announced(self.rank.index).unlink()
                self._folder.rmdir()

    def _told(self) -> dict[str, Any] | None:
        """Return the first rank's answer to this one, if there is one."""
        try:
            return json.loads(self._file("to", self._token).read_bytes())
        except FileNotFoundError:
            return None

    def _answer(self, content: dict[str, Any]) -> None:
        for token in self._others.values():
            write_atomic(self._file("to", token), json.dumps(content).encode())
        self._met = True

    def _await_arrivals(self, seconds: float) -> None:
        begin = line = time.monotonic()
        while True:
            for index in self._missing():
                if _is_held(self._announced(index)):
                    self._others[index] = self._read(index)["token"]
            missing, now = self._missing(), time.monotonic()
            if not missing or now - begin >= seconds:
                return
            if now - line > _LINE_S:
                _log.info("Waiting for %s", _names(missing))
                line = now
            time.sleep(_LOOK_S)

    def _missing(self) -> list[int]:
        return [index for index in range(1, self.rank.size) if index not in self._others]

    def _read(self, index: int) -> dict[str, str]:
        return json.loads(self._announced(index).read_bytes())

    def _announced(self, index: int) -> Path:
        return self._folder / f"rank-{index}"

    def _file(self, kind: str, token: str) -> Path:
        return self._folder / f"{kind}-{token}"


@contextmanager
def gathered(exp: Path, request: object) -> Iterator[Gathering]:
    """Yield the ranks of a job; others than the first one wait here for :meth:`Gathering.open`.

    :param exp: the experiment's folder, in which all meet
    :param request: what was asked for; its ``repr`` must be the same for all ranks
    :raises Dismissed: in other ranks, if the first one ends without opening
    :raises RankError: in other ranks, for a mistake that comes up only there
    """
    rank = this_rank()
    digest = hashlib.sha256(repr(request).encode()).hexdigest()
    gathering = Gathering(rank, exp / ".ranks" / launch(), digest)
    if rank.is_alone:
        yield gathering
        return
    hide_launcher(rank)
    with gathering.announced():
        if rank.is_first:
            try:
                yield gathering
            except BaseException as error:
                gathering.dismiss(_FAREWELL_S if isinstance(error, Exception) else 0)
                raise
            return
        gathering.arrive()
        try:
            yield gathering
        except Dismissed:
            raise
        except UserError as error:
            raise RankError(f"rank {rank.index} ({socket.gethostname()}): {why(error)}") from error


def _is_held(path: Path) -> bool:
    """Whether the process that announced itself so is alive."""
    try:
        with path.open() as file:
            # Shared, so that two who look at once do not take each other for its owner.
            return not try_lock(file, shared=True)
    except FileNotFoundError:
        return False


def _names(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
