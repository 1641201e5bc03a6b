"""What a sweep's samples are measured against: found once, and stored for both engines."""

from pathlib import Path

from jittor_ddim.errors import UserError
from jittor_ddim.metrics.identity import Identity
from jittor_ddim.metrics.statistics_files import Statistics, read_statistics
from jittor_ddim.sweep.layout import REFERENCE


def load_reference(folder: Path) -> Statistics | None:
    """Return the reference of a sweep's folder, or None where there is none yet."""
    path = folder / REFERENCE
    return read_statistics(path) if path.exists() else None


def matching_reference(folder: Path, identity: Identity) -> Statistics | None:
    """Return the reference of a sweep's folder, made of the same features as the samples are.

    :raises UserError: if its features are others
    """
    stored = load_reference(folder)
    if stored and stored.identity and (different := identity.differences(stored.identity)):
        raise UserError(
            f"{folder / REFERENCE}: made with other features ({', '.join(different)}); give the "
            "same --inception, or choose another --out"
        )
    return stored
