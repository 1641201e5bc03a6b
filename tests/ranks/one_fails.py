"""``ddim`` whose second rank fails in the third step, while the first waits for it."""

import sys

from jittor_ddim import training
from jittor_ddim.cli import main
from jittor_ddim.errors import MachineError
from jittor_ddim.ranks import this_rank

take_step = training.take_step


def fail(trainer, *rest):
    if this_rank().index == 1 and trainer.steps_done == 2:
        raise MachineError("no memory left")
    return take_step(trainer, *rest)


if __name__ == "__main__":
    training.take_step = fail
    sys.exit(main())
