"""What the server and the engines' processes agree on."""

from jittor_ddim.figures.animation import spread

#: In the folder that the engines share.
NETWORK = "network.safetensors"
_MOST_STATES = 60  # that a page keeps of a walk


def kept(count: int) -> list[int]:
    """Return the positions of the states of a walk that are shown, the first and last included."""
    return spread(count, _MOST_STATES)
