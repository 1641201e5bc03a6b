"""What a distance is of: two that differ in any of it do not compare."""

from dataclasses import asdict

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from jittor_ddim.errors import differences


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Identity:
    """The features behind a distance; refuses fields of other types with a ``ValueError``.

    :ivar features: ``inception``, or ``small-`` and the classifier's name
    :ivar mode: how images were resized; None where they were not
    :ivar published: whether the weights are the ones that everybody uses
    """

    features: str
    mode: str | None
    weights_sha256: str
    published: bool

    @property
    def suffix(self) -> str:
        """The ending of every metric's name, empty for the usual features."""
        if self.features != "inception":
            return "-small"
        return "" if self.published else "-inception"

    @property
    def distance(self) -> str:
        """The name of the Fréchet distance: FID only where it is the one that papers report."""
        return f"FD{self.suffix}" if self.suffix else "FID"

    @property
    def remark(self) -> str | None:
        """What a reader must know of the distance; None for FID."""
        if not self.suffix:
            return None
        name = self.distance
        origin = "" if self.published else f"not the published weights, {self.weights_sha256}; "
        return f"{origin}{name} is not FID: compare it only with other {name} of these weights"

    def differences(self, other: "Identity") -> list[str]:
        """Return where another one differs, as ``key theirs instead of ours``."""
        ours = asdict(self)
        if not self.suffix and not other.suffix:
            del ours["weights_sha256"]  # published in two forms, with the same numbers
        return differences(asdict(other), ours)
