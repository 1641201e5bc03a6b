"""The files of a sweep's folder, by name; each appears as a whole when its work is done.

Those that every work of two processes has are in :mod:`jittor_ddim.parity.layout`.
"""

from jittor_ddim.parity import layout
from jittor_ddim.sweep.results import Eta

#: In the folder itself: the weights to sample with, and what their samples are measured against.
NETWORK, REFERENCE = "network.safetensors", "reference.npz"

#: What is there before anything is measured.
BEGINNING = layout.BEGINNING | {NETWORK, REFERENCE}


def cell_file(timesteps: int, eta: Eta) -> str:
    """Return the name of a side's file of one cell with its distance."""
    return f"cell_{_key(timesteps, eta)}.json"


def time_file(timesteps: int, eta: Eta) -> str:
    """Return the name of a side's file of one cell that was only timed."""
    return f"time_{_key(timesteps, eta)}.json"


def features_file(timesteps: int, eta: Eta) -> str:
    """Return the name of a side's file of a cell's features, which waits for the other side's."""
    return f"features_{_key(timesteps, eta)}.npy"


def pair_file(timesteps: int, eta: Eta) -> str:
    """Return the name of the folder's file of what two sides' cells have between them."""
    return f"pair_{_key(timesteps, eta)}.json"


def _key(timesteps: int, eta: Eta) -> str:
    return f"S{timesteps}_{eta if isinstance(eta, str) else f'eta{eta!r}'}"
