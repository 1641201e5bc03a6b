"""The official command line: ``python main.py --config cifar10.yml --exp exp --doc c10 --ni``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))  # works in a checkout that is not installed

from jittor_ddim.cli.main import run  # noqa: E402
from jittor_ddim.cli.original import app  # noqa: E402

if __name__ == "__main__":
    sys.exit(run(app, sys.argv[1:]))
