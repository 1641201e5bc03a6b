"""``ddim`` whose second rank has other images, or other code, than the first."""

import sys

from jittor_ddim.cli import main
from jittor_ddim.jobs import train
from jittor_ddim.ranks import this_rank

look_at = train._look_at


def look_at_others(images):
    return look_at(train.Images(255 - images.train[:], images.held_out, images.labels))


if __name__ == "__main__":
    what = sys.argv.pop(1)
    if this_rank().index == 1 and what == "images":
        train._look_at = look_at_others
    elif this_rank().index == 1:
        train.code_digest = lambda: "changed"
    sys.exit(main())
