"""``python -m jittor_ddim`` is ``ddim``."""

import sys

from jittor_ddim.cli import main

if __name__ == "__main__":
    sys.exit(main())
