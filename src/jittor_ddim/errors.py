"""What can go wrong; the command line turns it into one or two lines and an exit code."""


class UserError(Exception):
    """Something the user gave is wrong; the message names it and the remedy."""


class ConfigError(UserError):
    """A configuration key or value is wrong."""


class WeightsError(UserError):
    """Weights do not fit the network: a name is missing or unknown, or a shape differs."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or it belongs to something else."""


class NotFiniteError(UserError):
    """A network computes something else than finite numbers."""


class DataError(UserError):
    """Images cannot be found or read."""


class DownloadError(UserError):
    """A file cannot be had from the network; who wanted it adds the remedy."""


class EngineError(UserError):
    """An engine, a device or a precision is not to be had here."""


class MachineError(Exception):
    """The machine failed, not the user: a full disk, a read-only folder. Exit code 1."""


class DivergedError(Exception):
    """Training left the finite numbers. Exit code 1."""


class Interrupted(Exception):
    """A signal asked to stop, and what was done is saved. Exit code 128 + its number."""

    def __init__(self, signal_number: int, message: str) -> None:
        """:param signal_number: SIGINT or SIGTERM"""
        super().__init__(message)
        self.signal_number = signal_number
