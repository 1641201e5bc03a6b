"""``ddim`` with PyTorch's ranks, who wait seconds for each other instead of half an hour."""

import sys
from datetime import timedelta

from jittor_ddim.cli import main
from jittor_ddim.engines.pytorch import ranks

if __name__ == "__main__":
    ranks._PATIENCE = timedelta(seconds=25)
    sys.exit(main())
