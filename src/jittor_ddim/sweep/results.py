"""What a sweep found, as data; the table and the plots only show it."""

from typing import Any

from pydantic import BaseModel

#: eta of the DDIM step (eq. 16), or the name of sigma-hat, which has none.
Eta = float | str
SIGMA_HAT = "ddpm_noisy"


class Cell(BaseModel):
    """One S and eta on one engine."""

    engine: str
    timesteps: int  # S
    eta: Eta
    calls: int  # network calls an image: fewer than S where `quad` drops repeats
    images: int  # how many were sampled
    seconds_per_image: float  # sampling alone, the sum of batch_seconds by the images
    batch_size: int
    batch_seconds: list[float]  # in order; the last batch may be smaller
    distance: float | None  # None where only the time was measured
    device: str
    precision: str
    frameworks: list[str]  # that its process had loaded: the other one has no part in it
    versions: dict[str, str]


class Pair(BaseModel):
    """The distance of the first engine's cell minus the second's, of the same noise."""

    timesteps: int
    eta: Eta
    difference: float
    standard_error: float


class Sweep(BaseModel):
    """All cells of a sweep's folder, and what they have in common."""

    title: str
    created: str  # ISO 8601
    command: str
    dataset: str
    network: str  # a fingerprint of the weights, the schedule and the preprocessing
    images: int  # N of every distance
    seed: int
    skip: str
    batch_size: int
    device: str
    precision: str
    compiled: bool  # PyTorch's network
    reference: str  # for people
    reference_images: int | None  # None: unknown, as of published statistics
    remarks: list[str]  # on the reference
    distance_name: str  # "FID", or "FD-small"
    extractor: dict[str, Any]  # features, mode, the hash of the weights, whether published
    engines: list[str]
    cells: list[Cell]
    pairs: list[Pair]
    failures: dict[str, str]  # by engine

    def cell(self, engine: str, timesteps: int, eta: Eta) -> Cell | None:
        """Return one cell, or None where there is none."""
        for cell in self.cells:
            if (cell.engine, cell.timesteps, cell.eta) == (engine, timesteps, eta):
                return cell
        return None

    def pair(self, timesteps: int, eta: Eta) -> Pair | None:
        """Return what the two cells have between them, or None where one is missing."""
        for pair in self.pairs:
            if (pair.timesteps, pair.eta) == (timesteps, eta):
                return pair
        return None

    def rows(self) -> list[tuple[int, Eta]]:
        """Return the S and eta that some engine has, ascending, sigma-hat last."""
        return sorted({(cell.timesteps, cell.eta) for cell in self.cells}, key=sort_key)


def sort_key(key: tuple[int, Eta]) -> tuple[int, float]:
    """Return what puts S and eta in order, sigma-hat last."""
    timesteps, eta = key
    return timesteps, float("inf") if isinstance(eta, str) else eta
