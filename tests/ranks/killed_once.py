"""``ddim`` whose first rank is killed in the eighth step, but not when it is started again."""

import os
import signal
import sys

from jittor_ddim import training
from jittor_ddim.cli import main
from jittor_ddim.ranks import this_rank

take_step = training.take_step


def die(trainer, *rest):
    is_fresh = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if is_fresh and this_rank().is_first and trainer.steps_done == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return take_step(trainer, *rest)


if __name__ == "__main__":
    training.take_step = die
    sys.exit(main())
