"""What the server and the engines' processes agree on."""

from pathlib import Path

from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.figures.animation import spread

#: Of all images of a state together: what a page draws, and what waits for a slow one, is bounded.
MOST_PIXELS = 2**19
_MOST_STATES = 60  # that a page keeps of a walk
_MOST_ANIMATED = 2**24  # pixels of all frames of an animation, which is made in memory


def engine_folder(folder: Path, choice: EngineChoice) -> Path:
    """Return the folder of an engine's process in the one that all share."""
    return folder / f"{choice.name}-{choice.precision}"


def kept(count: int) -> list[int]:
    """Return the positions of the states of a walk that are shown, the first and last included."""
    return spread(count, _MOST_STATES)


def animated(count: int, pixels: int) -> list[int]:
    """Return those of which an animation is made: fewer where they are large.

    :param pixels: of a state
    """
    shown = kept(count)
    return [shown[i] for i in spread(len(shown), max(2, _MOST_ANIMATED // pixels))]
