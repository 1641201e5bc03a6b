"""The files of a sweep's folder, by name; each appears as a whole when its work is done.

Those of every work of several processes are in :mod:`jittor_ddim.parity.layout`.
"""

from pathlib import Path
from typing import Literal

from jittor_ddim.evaluation.statistics_files import Statistics, read_statistics
from jittor_ddim.parity import layout
from jittor_ddim.sweep.results import Row

#: In the folder itself: the weights to sample with, and what their samples are measured against.
NETWORK, REFERENCE = "network.safetensors", "reference.npz"

#: What is there before anything is measured.
BEGINNING = layout.BEGINNING | {NETWORK, REFERENCE}


def file_name(kind: Literal["cell", "time", "features", "pair"], row: Row) -> str:
    """Return the name of a file of one row in an engine's folder.

    ``cell`` is the cell with its distance, ``time`` one that was only timed, ``features`` the
    cell's, until they were paired with the other engines', ``pair`` the paired difference from the
    first engine.
    """
    eta = row.variant.stored
    variant = row.variant.tag if isinstance(eta, str) else f"eta{eta!r}"
    return f"{kind}_S{row.timesteps}_{variant}.{'npy' if kind == 'features' else 'json'}"


def load_reference(folder: Path) -> Statistics | None:
    """Return the reference of a sweep's folder, or None where there is none yet."""
    path = folder / REFERENCE
    return read_statistics(path) if path.exists() else None
