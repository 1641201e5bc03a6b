"""``ddim`` with the engine of fake_engine.py, in a process that may be told to kill itself.

    ddim_with_fake_engine.py STEP SIGNAL ARGUMENT …

sends itself the signal (a name, such as SIGKILL) as training step STEP begins; step 0 never does.
"""

import signal
import sys

from fake_engine import FakeEngine, signals_at

from jittor_ddim.cli.main import main
from jittor_ddim.engines import choice as engine_choice

step, number, *arguments = sys.argv[1:]
engine = FakeEngine(before_step=signals_at(int(step), signal.Signals[number]))
engine_choice.load_engine = lambda *choice: engine
sys.exit(main(arguments))
