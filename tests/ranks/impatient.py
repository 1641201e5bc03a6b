"""``ddim`` with PyTorch's ranks, who take a machine for lost that is silent for 12 s."""

import sys
from datetime import timedelta

from jittor_ddim.cli import main
from jittor_ddim.engines.pytorch import ranks

if __name__ == "__main__":
    ranks._SILENCE = timedelta(seconds=12)
    sys.exit(main())
