"""What can go wrong; the command line turns it into one or two lines and an exit code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """Something the user gave is wrong; the message names it and the remedy."""


class ConfigError(UserError):
    """A configuration key or value is wrong."""


class WeightsError(UserError):
    """Weights do not fit the network: a name is missing or unknown, or a shape differs."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or it belongs to something else."""


class NotFiniteError(UserError):
    """A network computes values that are not finite."""


class DataError(UserError):
    """Images cannot be found or read."""


class DownloadError(UserError):
    """A file cannot be downloaded; the caller adds the remedy."""


class EngineError(UserError):
    """An engine, a device or a precision is not available here."""


class MachineError(Exception):
    """The machine failed, not the user: a full disk, a read-only folder. Exit code 1."""


class DivergedError(Exception):
    """The training loss is no longer finite. Exit code 1."""


class Interrupted(Exception):
    """A signal asked to stop, and the work so far is saved. Exit code 128 + its number."""

    def __init__(self, signal_number: int, message: str) -> None:
        """:param signal_number: SIGINT, SIGTERM or SIGUSR1"""
        super().__init__(message)
        self.signal_number = signal_number


class RankError(UserError):
    """Something is wrong on one of several processes, or differs between them."""


@contextmanager
def naming_rank(index: int) -> Iterator[None]:
    """Let a user's error say on which of several processes it came up."""
    try:
        yield
    except RankError:
        raise
    except UserError as error:
        raise RankError(f"rank {index}: {error}") from error


class OtherRankError(Exception):
    """Another of several processes that work together says why they end; this one is silent."""

    def __init__(self, code: int) -> None:
        """:param code: the exit code"""
        super().__init__("another rank says why")
        self.code = code


def why(error: Exception, most: int = 500) -> str:
    """Return what an error says, in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most]


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Begin the message of a user's error with its subject, ``WHAT: message``."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{what}: {error}") from None


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return ``KEY FOUND instead of WANTED`` for every wanted value that is found to differ."""
    return [
        f"{key} {str(found.get(key))[:80]} instead of {value}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
