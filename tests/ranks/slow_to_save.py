"""``ddim`` whose checkpoints take seconds to write, as those of large networks do."""

import sys
import time

from jittor_ddim.cli import main
from jittor_ddim.runs import snapshots

save = snapshots.save_checkpoint


def slowly(*arguments):
    time.sleep(6)
    return save(*arguments)


if __name__ == "__main__":
    snapshots.save_checkpoint = slowly
    sys.exit(main())
