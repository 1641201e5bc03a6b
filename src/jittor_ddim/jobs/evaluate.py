"""Distances between generated and real images, from files or straight from the sampler."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.atomic import disk_errors, write_atomic
from jittor_ddim.config import Config
from jittor_ddim.data.unscaled import open_unscaled, to_rgb
from jittor_ddim.errors import UserError
from jittor_ddim.jobs.engine_choice import EngineChoice
from jittor_ddim.jobs.extractor import Extractor, ExtractorChoice, Identity
from jittor_ddim.jobs.network import find_network
from jittor_ddim.jobs.reference import (
    Reference,
    check_reference,
    jpeg_remark,
    obtain_reference,
)
from jittor_ddim.metrics import inception_score, kid, precision_recall
from jittor_ddim.metrics.extraction import Extracted, extract
from jittor_ddim.metrics.frechet import frechet_distance
from jittor_ddim.metrics.kid import kid_subset_size
from jittor_ddim.report.logs import setup_logging
from jittor_ddim.report.progress import progress
from jittor_ddim.sampling import SamplerSettings, sample_images
from jittor_ddim.version import versions

METRICS = ("fid", "kid", "is", "pr")
_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class EvaluateRequest:
    """What ``ddim evaluate`` was asked for."""

    images: Path | None  # None: samples of a network, not written anywhere
    reference: str = "both"
    metrics: tuple[str, ...] = METRICS
    extractor: ExtractorChoice = field(default_factory=ExtractorChoice)
    exp: Path = Path("exp")
    doc: str | None = None
    config: Config | None = None  # whose data set a reference may be; None: the network's own
    checkpoint: Path | None = None  # weights to sample from
    use_pretrained: bool = False
    settings: SamplerSettings = field(default_factory=SamplerSettings)
    num_samples: int | None = None  # None: the config's
    out: Path | None = None  # the result's file; None: EXP/evaluations/NAME.json
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)


@dataclass(frozen=True)
class _Images:
    """The generated side: what it is, and how to get it."""

    name: str
    count: int
    size: tuple[int, int]
    batches: Callable[[int], Iterator[Callable[[], Pixels]]]
    facts: Callable[[], dict[str, Any]]  # once all are loaded
    remarks: tuple[str, ...] = ()


def run_evaluation(request: EvaluateRequest) -> dict[str, Any]:
    """Compute what was asked for, write it as JSON and return it.

    :raises UserError: for anything wrong with the request or the images; nothing is then written
    """
    setup_logging(None, request.verbose)
    unknown = [metric for metric in request.metrics if metric not in METRICS]
    if unknown or not request.metrics:
        raise UserError(f"--metrics {' '.join(unknown)}: choose of {', '.join(METRICS)}")
    request.engine.check()
    with _open_images(request) as (images, config):
        check_reference(request.reference, config)
        request.extractor.check()
        out = request.out or _default_out(request, images.name)
        extractor = request.extractor.load(request.engine, images.size)
        reference = obtain_reference(
            request.reference,
            extractor,
            _computed_by(request, extractor),
            config,
            request.exp,
            size=images.size,
            keep_features=bool({"kid", "pr"} & set(request.metrics)),
        )
        start = time.monotonic()
        with progress(images.count, "Evaluating") as bar:
            extracted = extract(
                images.batches(extractor.batch_size),
                extractor.network,
                keep_features=bool({"kid", "pr"} & set(request.metrics)),
                keep_logits="is" in request.metrics,
                done=bar.advance,
            )
        seconds = time.monotonic() - start
        facts = images.facts()
    result = {
        "metrics": _measure(request.metrics, extractor.identity, extracted, reference),
        "images": {"source": images.name, "count": images.count, "size": images.size, **facts},
        "reference": {"source": reference.name, "count": reference.count},
        **extractor.identity.as_dict(),
        "engine": _computed_by(request, extractor),
        "versions": versions(),
        "seconds": round(seconds, 3),
        "images_per_s": round(images.count / seconds, 2),
        "remarks": [
            *images.remarks,
            *reference.remarks,
            *_remarks(extractor, images.count, reference, facts),
        ],
    }
    for remark in result["remarks"]:
        _log.warning("%s", remark)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, json.dumps(result, indent=1).encode())
    return result | {"file": str(out)}


@contextmanager
def _open_images(request: EvaluateRequest) -> Iterator[tuple[_Images, Config | None]]:
    """Yield the images and the config whose data set they are to be like, if it is known."""
    sampled = request.checkpoint or request.doc or request.use_pretrained
    if request.images and (request.checkpoint or request.use_pretrained):
        raise UserError(f"{request.images} and a network to sample from: leave out one of them")
    if request.images is None:
        if not sampled:
            raise UserError("IMAGES is missing: a folder, zip or npz; or --checkpoint to sample")
        yield _from_network(request)
        return
    with open_unscaled(request.images) as found:
        images = _Images(
            name=found.name,
            count=found.count,
            size=found.size,
            batches=found.batches,
            facts=lambda: {"grey": len(found.grey), "other_files": found.ignored},
            remarks=jpeg_remark(found, "generated"),
        )
        yield images, request.config


def _from_network(request: EvaluateRequest) -> tuple[_Images, Config]:
    network = find_network(
        request.exp, request.doc, request.config, request.checkpoint, request.use_pretrained
    )
    config, settings = network.config, request.settings
    settings.sequence(config)
    count = request.num_samples or config.sampling.num_samples

    def batches(batch_size: int) -> Iterator[Callable[[], Pixels]]:
        unet = network.load(request.engine)
        samples = sample_images(unet, config, settings, range(count), config.sampling.batch_size)
        while batch := list(islice(samples, batch_size)):
            yield partial(to_rgb, np.stack(batch))

    size = (config.data.image_size, config.data.image_size)
    name = f"{count} samples of {network.source}"
    recipe = {"network": network.fingerprint(), "sampler": vars(settings)}
    grey = count if config.data.channels == 1 else 0
    facts = {"grey": grey, "other_files": 0, **recipe}
    return _Images(name, count, size, batches, lambda: facts), config


def _measure(
    metrics: Sequence[str], identity: Identity, generated: Extracted, reference: Reference
) -> dict[str, Any]:
    """Return the metrics by their names; what needs images the reference lacks is None."""
    found: dict[str, Any] = {}
    real, fake = reference.features, generated.features
    if "fid" in metrics:
        found[identity.distance] = frechet_distance(reference.moments, generated.moments)
    if "kid" in metrics:
        found[f"KID{identity.suffix}"] = None
        if real is not None and fake is not None:
            mean, std = kid(real, fake)
            size = kid_subset_size(len(real), len(fake))
            found[f"KID{identity.suffix}"] = {"mean": mean, "std": std, "subset_size": size}
    if "is" in metrics and generated.logits is not None:
        mean, std = inception_score(generated.logits)
        found[f"IS{identity.suffix}"] = {"mean": mean, "std": std}
    if "pr" in metrics:
        found[f"precision{identity.suffix}"] = found[f"recall{identity.suffix}"] = None
        if real is not None and fake is not None:
            precision, recall = precision_recall(real, fake)
            found[f"precision{identity.suffix}"] = precision
            found[f"recall{identity.suffix}"] = recall
    return found


def _remarks(
    extractor: Extractor, count: int, reference: Reference, facts: dict[str, Any]
) -> Iterator[str]:
    """What a reader of the result should know."""
    identity = extractor.identity
    yield f"N = {count}: compare with results of the same N only"
    dimensions = len(reference.moments.mean)
    if count < dimensions:
        yield (
            f"N = {count} is less than the {dimensions} features, so the covariance is singular "
            f"and {identity.distance} is biased upwards by much"
        )
    if facts["grey"]:
        yield f"{facts['grey']} grey images were made RGB"
    if facts["other_files"]:
        yield f"{facts['other_files']} files without an image's extension were left out"
    if identity.features != "inception":
        yield "FD-small is no FID: it compares with other FD-small of the same classifier only"
    elif not identity.published:
        yield f"not the published weights: sha256 {identity.weights_sha256}"


def _computed_by(request: EvaluateRequest, extractor: Extractor) -> str:
    """The engine that computes the features; small ones come from NumPy."""
    return request.engine.name if extractor.identity.features == "inception" else "numpy"


def _default_out(request: EvaluateRequest, name: str) -> Path:
    source = request.images or request.checkpoint
    stem = source.name if source else request.doc or name
    mode = request.extractor.mode if request.extractor.features == "inception" else "small"
    return request.exp / "evaluations" / f"{stem}-{mode}.json"
