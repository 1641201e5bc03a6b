"""``ddim`` whose checkpoints take seconds to write, as those of large networks do.

With ``diverging`` as its first argument its loss is NaN in the step after the first snapshot.
"""

import math
import sys
import time

from jittor_ddim.cli import main
from jittor_ddim.engines.trainer import Trainer
from jittor_ddim.runs import snapshots

save, learn = snapshots.save_checkpoint, Trainer.learn


def slowly(*arguments):
    time.sleep(6)
    return save(*arguments)


def diverge(self, *batch):
    loss = learn(self, *batch)
    return loss if self.steps_done < 2 else math.nan


if __name__ == "__main__":
    snapshots.save_checkpoint = slowly
    if sys.argv[1] == "diverging":
        Trainer.learn = diverge
        del sys.argv[1]
    sys.exit(main())
