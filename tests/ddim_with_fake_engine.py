"""``ddim`` with the engine of fake_engine.py, one of whose processes may come to harm.

In $HARM a JSON list of a rank and a statement: that rank does it before its first image or part.
"""

import json
import os
import signal  # noqa: F401 (for the statement)
import sys
import time  # noqa: F401

import fake_engine

from jittor_ddim import engines
from jittor_ddim.cli.main import main
from jittor_ddim.evaluation import measuring
from jittor_ddim.jobs import sample_set
from jittor_ddim.ranks import this_rank

rank, statement = json.loads(os.environ.get("HARM", "[-1, null]"))
engines.register(fake_engine.DESCRIPTOR)


def harming(function):
    def harmed(*given, **options):
        exec(statement)
        return function(*given, **options)

    return harmed


if this_rank().index == rank:
    sample_set.write_png = harming(sample_set.write_png)
    measuring.extract = harming(measuring.extract)
if __name__ == "__main__":
    sys.exit(main())
