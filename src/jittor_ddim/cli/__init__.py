"""The command ``ddim``: one file a command."""

from jittor_ddim.cli.main import main

__all__ = ["main"]
