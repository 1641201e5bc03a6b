"""What a sweep's samples are measured against: found once, and stored for both engines."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jittor_ddim.atomic import replacing
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.moments import Moments
from jittor_ddim.sweep.layout import REFERENCE


class Identity(Protocol):
    """What must be the same of all features that are compared."""

    @property
    def distance(self) -> str:
        """What the Fréchet distance of such features is called."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return it for a result."""
        ...


class Reference(Protocol):
    """Moments of the features of real images."""

    @property
    def moments(self) -> Moments:
        """Mean and covariance."""
        ...

    @property
    def count(self) -> int | None:
        """How many images; None where published statistics do not tell."""
        ...

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What a reader of the distance should know."""
        ...


@dataclass(frozen=True)
class StoredReference:
    """A :class:`Reference` from a sweep's folder, and what its features are."""

    moments: Moments
    count: int | None
    name: str
    remarks: list[str]
    identity: dict[str, Any]  # of the extractor
    distance_name: str


def write_reference(folder: Path, reference: Reference, identity: Identity) -> None:
    """Store a reference in a sweep's folder."""
    about = {
        "count": reference.count,
        "name": reference.name,
        "remarks": list(reference.remarks),
        "identity": identity.as_dict(),
        "distance_name": identity.distance,
    }
    mu, sigma = reference.moments.mean, reference.moments.covariance
    with replacing(folder / REFERENCE) as temporary, temporary.open("wb") as file:
        np.savez(file, mu=mu, sigma=sigma, about=np.array(json.dumps(about)))


def load_reference(folder: Path) -> StoredReference | None:
    """Return the reference of a sweep's folder, or None where there is none yet."""
    path = folder / REFERENCE
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        return StoredReference(Moments(file["mu"], file["sigma"], about["count"]), **about)


def matching_reference(folder: Path, identity: Identity) -> StoredReference | None:
    """Return the reference of a sweep's folder, made of the same features as the samples are.

    :raises UserError: if its features are others
    """
    stored = load_reference(folder)
    ours = identity.as_dict()
    if stored and stored.identity != ours:
        different = ", ".join(
            f"{key} {stored.identity.get(key)} instead of {value}"
            for key, value in ours.items()
            if stored.identity.get(key) != value
        )
        raise UserError(
            f"{folder / REFERENCE}: made with other features ({different}); give the same "
            "--inception, or choose another --out"
        )
    return stored
