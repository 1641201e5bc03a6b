"""What a sweep found, as data; the table and the plots only show it."""

from typing import Any, NamedTuple

from pydantic import BaseModel

from jittor_ddim.diffusion.settings import Variant

__all__ = ["Cell", "Pair", "Row", "Sweep", "Variant"]


class Row(NamedTuple):
    """A row of the table, in which each engine has a cell."""

    timesteps: int  # S
    variant: Variant

    @property
    def order(self) -> tuple[int, bool, float, str, int]:
        """What sorts rows: ascending S, then eta, then samplers without one, and their order."""
        sampler, eta, order = self.variant
        return self.timesteps, eta is None, eta or 0.0, sampler, order or 0

    def __str__(self) -> str:
        """Return what log lines call it."""
        return f"S={self.timesteps} eta={self.variant.stored}"


class Cell(BaseModel):
    """One row on one engine."""

    engine: str
    timesteps: int  # S
    eta: float | str  # see Variant.of
    calls: int  # network calls per image: fewer than S where `quad` drops repeats
    images: int  # how many were sampled
    seconds_per_image: float  # sampling alone, the sum of batch_seconds by the images
    batch_size: int
    batch_seconds: list[float]  # in order; the last batch may be smaller
    distance: float | None  # None where only the time was measured
    device: str
    precision: str
    frameworks: list[str]  # that its process had loaded: only its engine's
    versions: dict[str, str]

    @property
    def row(self) -> Row:
        """Where it stands."""
        return Row(self.timesteps, Variant.of(self.eta))


class Pair(BaseModel):
    """The first engine's distance minus another engine's, both from the same noise."""

    timesteps: int
    eta: float | str  # see Variant.of
    difference: float
    standard_error: float
    engine: str | None = None  # the other; None in older files, which know only two

    @property
    def row(self) -> Row:
        """Where it stands."""
        return Row(self.timesteps, Variant.of(self.eta))


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
    compiled: bool  # the network, where an engine has the choice
    reference: str  # for people
    reference_images: int | None  # None: unknown, as for published statistics
    remarks: list[str]  # on the reference
    distance_name: str  # "FID", or "FD-small"
    extractor: dict[str, Any]  # features, mode, the hash of the weights, whether published
    engines: list[str]  # the first is what the others are compared with
    cells: list[Cell]
    pairs: list[Pair]
    failures: dict[str, str]  # by engine

    @property
    def is_fid(self) -> bool:
        """Whether the distance is the one that papers report: of the published Inception."""
        return self.distance_name == "FID"

    def cell(self, engine: str, row: Row) -> Cell | None:
        """Return one cell, or None where there is none."""
        found = (cell for cell in self.cells if (cell.engine, cell.row) == (engine, row))
        return next(found, None)

    def pair(self, engine: str, row: Row) -> Pair | None:
        """Return the first engine's difference from another one, or None if one is missing."""
        found = (pair for pair in self.pairs if (pair.engine, pair.row) == (engine, row))
        return next(found, None)

    def rows(self) -> list[Row]:
        """Return the rows in which some engine has a cell, in order."""
        return sorted({cell.row for cell in self.cells}, key=lambda row: row.order)
