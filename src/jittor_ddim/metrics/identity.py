"""What a distance is of: two that differ in any of it do not compare."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Identity:
    """The features behind a distance.

    :ivar features: ``inception``, or ``small-`` and the classifier's name
    :ivar mode: how images were resized; None where they were not
    :ivar published: whether the weights are the ones that all others use
    """

    features: str
    mode: str | None
    weights_sha256: str
    published: bool

    @property
    def suffix(self) -> str:
        """What the names of all metrics end with, where they are not the usual ones."""
        if self.features != "inception":
            return "-small"
        return "" if self.published else "-inception"

    @property
    def distance(self) -> str:
        """What the Fréchet distance is called: FID only where it is the one that papers report."""
        return f"FD{self.suffix}" if self.suffix else "FID"

    @property
    def remark(self) -> str | None:
        """What a reader must know of the distance; None of FID."""
        if not self.suffix:
            return None
        name = self.distance
        origin = "" if self.published else f"not the published weights, {self.weights_sha256}; "
        return f"{origin}{name} is no FID, it compares with other {name} of these weights only"

    def differences(self, other: "Identity") -> list[str]:
        """Return in what another one differs, ``key theirs instead of ours``."""
        theirs = asdict(other)
        different = {key: ours for key, ours in asdict(self).items() if theirs[key] != ours}
        if not self.suffix and not other.suffix:
            different.pop("weights_sha256", None)  # published in two forms, with the same numbers
        return [f"{key} {theirs[key]} instead of {ours}" for key, ours in different.items()]

    def as_dict(self) -> dict[str, Any]:
        """Return it for a result."""
        return asdict(self)

    @classmethod
    def parse(cls, tree: Any) -> "Identity":
        """Return what :meth:`as_dict` has given.

        :raises ValueError: if it is not that
        """
        kinds = {
            "features": str,
            "mode": (str, type(None)),
            "weights_sha256": str,
            "published": bool,
        }
        if not isinstance(tree, dict) or set(tree) != set(kinds):
            raise ValueError("no identity")
        if not all(isinstance(tree[key], kind) for key, kind in kinds.items()):
            raise ValueError("no identity")
        return cls(**tree)
