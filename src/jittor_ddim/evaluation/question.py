"""The question that a result answers: it names the file, and decides what may be replaced."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jittor_ddim.checkpoints.native import read_json
from jittor_ddim.config import Config
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import CheckpointError, UserError
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.evaluation.reference import SPLITS
from jittor_ddim.sampling import SamplerSettings

#: Keys that differ between two equal answers to one question; remarks are only worded anew.
_PASSING = ("seconds", "images_per_s", "versions", "remarks")
_LONGEST = 120  # bytes of a label; file systems allow 255 for the whole name


@dataclass(frozen=True)
class Question:
    """Everything that was asked of an evaluation.

    :ivar source: images or weights; else the name of a run, or ``published``
    :ivar config: whose data set a reference may be, and which a network was trained on
    :ivar settings: how a network is sampled; None: the images are files
    :ivar exp, num_samples, weights: of the samples, as they were asked for
    """

    source: Path | str
    reference: str
    metrics: tuple[str, ...]
    extractor: ExtractorChoice
    engine: EngineChoice
    config: Config | None
    settings: SamplerSettings | None = None
    exp: Path = Path("exp")
    num_samples: int | None = None
    weights: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as a result holds it."""
        reference = Path(self.reference)
        data = self.config.data.model_dump(mode="json") if self.config else None
        sampled = None
        if self.settings:
            settings = (
                self.settings.settled(self.config.diffusion) if self.config else self.settings
            )
            sampled = {name: str(value) for name, value in settings.recipe().items()} | {
                "data": data,
                "experiment": str(self.exp.resolve()),
                "num_samples": self.num_samples,
                "weights": self.weights,
            }
        source = self.source
        return {
            "source": source if isinstance(source, str) else str(source.resolve()),
            "reference": str(reference.resolve()) if reference.exists() else self.reference,
            "data": data if self.reference in SPLITS else None,
            "metrics": sorted(self.metrics),
            "features": f"{self.extractor.features} {self.extractor.mode}",
            "inception": str(self.extractor.weights),
            "engine": self.engine.name,
            "precision": self.engine.precision,
            "sampled": sampled,
        }

    def label(self) -> str:
        """Return what a person looks for in the name of a result."""
        name = self.source
        parts = [name.replace("/", "-") if isinstance(name, str) else _name_of(name)]
        if settings := self.settings:
            eta = f"eta{settings.eta:g}" if settings.sampler == "ddim" else settings.sampler
            parts += ["raw"] * (self.weights == "raw")
            parts += [f"S{settings.count}", eta, f"seed{settings.seed}"]
            parts += [f"N{self.num_samples}"] if self.num_samples else []
        parts.append(self.extractor.mode if self.extractor.needs_engine else "small")
        if self.reference != "both":
            parts.append(f"against-{Path(self.reference).name}")
        return "-".join(parts)

    def check_replaces(self, path: Path) -> None:
        """Refuse to put the answer over anything but an earlier answer.

        :raises UserError: if the file holds something else
        """
        if path.exists() and _stored(path).get("question") != self.as_dict():
            raise UserError(f"`out` {path}: exists and holds something else; choose another")

    def free_name(self, folder: Path, result: dict[str, Any]) -> Path:
        """Return where an answer goes: LABEL-HASH.json, numbered if another answer is there.

        :param result: as it will be stored
        """
        digest = hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()
        name = f"{self.label().encode()[:_LONGEST].decode(errors='ignore')}-{digest[:8]}"
        path, answer, number = folder / f"{name}.json", json.loads(json.dumps(result)), 1
        while path.exists() and _lasting(_stored(path)) != _lasting(answer):
            number += 1
            path = folder / f"{name}-{number}.json"
        return path


def _name_of(source: Path) -> str:
    """Return ``m1-ckpt_20`` for m1/ckpt_20, and likewise for a file without its suffix."""
    path = source.resolve()
    name = path.name if path.is_dir() else path.stem
    return f"{path.parent.name}-{name}".lstrip("-")


def _stored(path: Path) -> dict[str, Any]:
    """Return what a file holds; nothing if it is damaged or not a result."""
    try:
        return read_json(path)
    except CheckpointError:
        return {}


def _lasting(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in _PASSING}
