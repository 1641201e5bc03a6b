"""``ddim`` itself: the list of commands, and the one way in which every command ends.

Exit codes: 0 done, 2 the user's input is wrong, 3 two models are not aligned or a
run has something wrong with it, 1 anything else, 130 interrupted, 143 terminated.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from jittor_ddim.cli.align import align
from jittor_ddim.cli.compare import compare
from jittor_ddim.cli.convert import convert
from jittor_ddim.cli.data import data_app
from jittor_ddim.cli.demo import demo
from jittor_ddim.cli.describe import describe
from jittor_ddim.cli.diagnose import diagnose
from jittor_ddim.cli.doctor import doctor
from jittor_ddim.cli.evaluate import evaluate
from jittor_ddim.cli.images import images_app
from jittor_ddim.cli.models import models
from jittor_ddim.cli.play import play
from jittor_ddim.cli.plot import plot
from jittor_ddim.cli.reconstruct import reconstruct
from jittor_ddim.cli.sample import gif, sample
from jittor_ddim.cli.spacing import spacing
from jittor_ddim.cli.spreading import SpreadingCommand
from jittor_ddim.cli.sweep import sweep
from jittor_ddim.cli.train import train
from jittor_ddim.console.flags import with_flags
from jittor_ddim.console.logs import start_logging
from jittor_ddim.console.terminal import accept_any_text
from jittor_ddim.errors import (
    DivergedError,
    Interrupted,
    MachineError,
    OtherRankError,
    RankError,
    UserError,
    why,
)
from jittor_ddim.gathering import Dismissed
from jittor_ddim.ranks import WORKERS, Rank, this_rank
from jittor_ddim.signals import Terminated, raise_on_sigterm
from jittor_ddim.user_cache import settle_matplotlib
from jittor_ddim.version import __version__

#: How long the first rank of a machine may take to tell of a mistake that others made too.
_HEAD_START_S = 4.0

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Denoising Diffusion Implicit Models: train, sample, look.",
)
for command in (
    train,
    sample,
    gif,
    reconstruct,
    spacing,
    evaluate,
    compare,
    align,
    sweep,
    convert,
    play,
    plot,
    models,
    describe,
    diagnose,
    doctor,
    demo,
):
    app.command(cls=SpreadingCommand)(command)
app.add_typer(images_app, name="images")
app.add_typer(data_app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ddim {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Denoising Diffusion Implicit Models: train, sample, look."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ddim`` and return its exit code.

    :param argv: the arguments; None takes the process's
    """
    return run(app, sys.argv[1:] if argv is None else argv)


def run(application: typer.Typer, argv: Sequence[str]) -> int:
    """Run a command line; whatever happens, end with one or two lines and the right code."""
    accept_any_text()
    raise_on_sigterm()
    start_logging()  # so that a warning about the config is one line of the log too
    settle_matplotlib()
    try:
        code = application(args=list(argv), standalone_mode=False) or 0
        # Some releases of Typer turn Ctrl-C into this code and say nothing.
        return _end(130, "interrupted") if code == 130 else code
    except OtherRankError as silent:
        return silent.code
    except RankError as error:
        return _end(2, f"error: {error}", of_rank=True)
    except Dismissed as error:  # the first of this machine tells of that
        return _leave(2) if _rank().local > 0 else _end(2, f"error: {error}")
    except UserError as error:
        return _end(2, f"error: {error}")
    except (MachineError, DivergedError) as error:
        return _end(1, f"error: {error}")
    except Interrupted as stop:
        return _end(128 + stop.signal_number, str(stop))
    except (KeyboardInterrupt, typer.Abort):
        return _end(130, "interrupted")
    except Terminated:
        return _end(143, "terminated")
    except OSError as error:  # a disk, a pipe; what concerns a file of ours is said nearer to it
        return _end(1, f"error: {error.filename or 'input/output'}: {error.strerror or error}")
    except Exception as error:
        if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding():
            name = ascii(error.object)[:80]
            return _end(2, f"error: {name}: no file name in this locale; set PYTHONUTF8=1")
        # Typer brings its own copy of click in some releases, so its errors have no one class.
        if describe_usage := getattr(error, "format_message", None):
            message = describe_usage() or "a command is missing"
            return _end(2, f"error: {message} (--help lists what there is)")
        traceback.print_exc()
        return _leave(1) if _rank().is_first else _end(1, f"error: {why(error)}")


def _end(code: int, line: str, *, of_rank: bool = False) -> int:
    """:param of_rank: the line names its rank, if there are several"""
    rank = _rank()
    # The first of all tells of signals, unless it is a worker, whose starter does.
    if code > 128 and (rank.launcher == WORKERS or not rank.is_first):
        return _leave(code)
    if code == 2 and rank.local > 0 and not of_rank:
        _let_the_first_tell()
    if not (rank.is_first or of_rank):
        line = f"rank {rank.index}: {line}"
    print(with_flags(line), file=sys.stderr)
    return _leave(code)


def _let_the_first_tell() -> None:
    """Wait where the first rank of this machine has probably made the same mistake.

    It tells of it and ends, and the launcher ends this one in silence. Only if nobody does was the
    mistake this rank's alone, or the launcher lets ranks be.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    time.sleep(_HEAD_START_S)


def _leave(code: int) -> int:
    """Return an exit code; a rank that ends on its own account ends here.

    The interpreter's order takes seconds on a busy machine, in which a launcher's SIGTERM raises
    an exception somewhere. Under mpirun it would end MPI, which waits for the other ranks, and
    they wait for this one in a sum. An end on which all agreed (``OtherRankError``) does not come
    here.
    """
    rank = _rank()
    if not rank.is_alone and rank.launcher != WORKERS:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _rank() -> Rank:
    """Return this process's rank; where the variables are wrong, that is the message."""
    try:
        return this_rank()
    except UserError:
        return Rank()
