"""``ddim`` with the engine of fake_engine.py, in a process that may be told to kill itself.

    ddim_with_fake_engine.py STEP SIGNAL ARGUMENT …

sends itself the signal (a name, such as SIGKILL) as training step STEP begins; step 0 never does.
SIGKILL waits until the snapshot before is whole.
"""

import signal
import sys

from fake_engine import FakeEngine, signals_at
from killing import kill_once_saved

from jittor_ddim.cli.main import main
from jittor_ddim.engines import choice as engine_choice

step, number, *arguments = sys.argv[1:]
send = signals_at(int(step), signal.Signals[number])


def before_step(current: int) -> None:
    """Begin a step, or end here."""
    if current == int(step) and number == "SIGKILL":
        kill_once_saved()
    send(current)


engine = FakeEngine(before_step=before_step)
engine_choice.load_engine = lambda *choice: engine
sys.exit(main(arguments))
