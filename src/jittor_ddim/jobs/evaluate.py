"""Distances between generated and real images, from files or straight from the sampler."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ddim.atomic import write_atomic
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.console.progress import progress
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.evaluation.extractor import Extractor, ExtractorChoice
from jittor_ddim.evaluation.generated import Generated, from_files, from_network
from jittor_ddim.evaluation.reference import Reference, check_reference, obtain_reference
from jittor_ddim.evaluation.result_names import free_name, name_of
from jittor_ddim.metrics import inception_score, kid, precision_recall
from jittor_ddim.metrics.extraction import Extracted, extract
from jittor_ddim.metrics.frechet import frechet_distance
from jittor_ddim.metrics.identity import Identity
from jittor_ddim.metrics.kid import kid_subset_size
from jittor_ddim.network import find_network
from jittor_ddim.sampling import SamplerSettings

METRICS = ("fid", "kid", "is", "pr")
_NEED_FEATURES = {"kid", "pr"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateRequest:
    """What ``ddim evaluate`` was asked for."""

    images: Path | None  # None: samples of a network, not written anywhere
    reference: str = "both"
    metrics: tuple[str, ...] = METRICS
    extractor: ExtractorChoice = field(default_factory=ExtractorChoice)
    exp: Path = Path("exp")
    doc: str | None = None  # the run to sample from
    config: Config | None = None  # whose data set a reference may be; None: the network's own
    pretrained: Path | None = None  # weights to sample from
    use_pretrained: bool = False
    weights: str | None = None  # ema or raw; None: ema where there is one
    settings: SamplerSettings = field(default_factory=SamplerSettings)
    num_samples: int | None = None  # None: the config's
    out: Path | None = None  # the result's file; None: EXP/evaluations/NAME.json
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)


def run_evaluation(request: EvaluateRequest) -> dict[str, Any]:
    """Compute what was asked for, write it as JSON and return it.

    :raises UserError: for anything wrong with the request or the images; nothing is then written
    """
    setup_logging(None, request.verbose)
    unknown = [metric for metric in request.metrics if metric not in METRICS]
    if unknown or not request.metrics:
        raise UserError(f"--metrics {' '.join(unknown)}: choose of {', '.join(METRICS)}")
    if request.extractor.needs_engine or not request.images:
        request.engine.check()
    else:
        request.engine.check_names()
    with _open_generated(request) as (generated, config):
        _check_out(request, config)
        check_reference(request.reference, config)
        request.extractor.check(generated.size)
        if generated.count < 2:
            raise UserError(f"{generated.name}: 1 image; a distance needs at least 2 images")
        extractor = request.extractor.load(request.engine, generated.size)
        keep_features = bool(_NEED_FEATURES & set(request.metrics))
        reference = obtain_reference(
            request.reference,
            extractor,
            config,
            request.exp,
            generated.size,
            keep_features=keep_features,
        )
        start = time.monotonic()
        with progress(generated.count, "Evaluating") as bar:
            extracted = extract(
                generated.batches(extractor.batch_size),
                extractor.network,
                keep_features=keep_features,
                keep_logits="is" in request.metrics,
                done=bar.advance,
            )
        seconds = time.monotonic() - start
    result = _result(request, generated, extractor, reference, extracted, seconds)
    result |= {"question": _question(request, config)}
    for remark in result["remarks"]:
        _log.warning("%s", remark)
    out = request.out or free_name(request.exp / "evaluations", _label(request), result)
    write_atomic(out, json.dumps(result, indent=1).encode())
    return result | {"file": str(out)}


@contextmanager
def _open_generated(request: EvaluateRequest) -> Iterator[tuple[Generated, Config | None]]:
    """Yield the images and the config whose data set they are to be like, if it is known."""
    sampled = request.pretrained or request.doc or request.use_pretrained
    if request.images and (sampled or request.weights):
        raise UserError(f"{request.images} and a network to sample from: leave out one of them")
    if request.images:
        with from_files(request.images, request.config) as generated:
            yield generated, request.config
        return
    if not sampled:
        raise UserError("IMAGES is missing: a folder, zip or npz; or --checkpoint to sample")
    network = find_network(
        request.exp,
        request.doc,
        request.config,
        request.pretrained,
        request.use_pretrained,
        request.weights,
    )
    yield (
        from_network(network, request.settings, request.num_samples, request.engine),
        network.config,
    )


def _result(
    request: EvaluateRequest,
    generated: Generated,
    extractor: Extractor,
    reference: Reference,
    extracted: Extracted,
    seconds: float,
) -> dict[str, Any]:
    identity, facts = extractor.identity, generated.facts()
    metrics, missing = _measure(request.metrics, identity, extracted, reference)
    return {
        "metrics": metrics,
        "images": {
            "source": generated.name,
            "count": generated.count,
            "size": generated.size,
            **facts,
        },
        "reference": {"source": reference.name, "count": reference.moments.count},
        **identity.as_dict(),
        "engine": extractor.computed_by,
        "versions": extractor.versions,
        "seconds": round(seconds, 3),
        "images_per_s": round(generated.count / seconds, 2),
        "remarks": [
            *generated.remarks,
            *reference.remarks,
            *_remarks(identity, generated.count, len(reference.moments.mean), facts),
            *missing,
        ],
    }


def _measure(
    metrics: Sequence[str], identity: Identity, generated: Extracted, reference: Reference
) -> tuple[dict[str, Any], list[str]]:
    """Return the metrics by their names, and why others are missing."""
    found: dict[str, Any] = {}
    missing: list[str] = []
    suffix = identity.suffix

    def add(names: tuple[str, ...], metric: Callable[..., tuple[float, float]], *of: Any) -> None:
        try:
            found.update(zip((f"{name}{suffix}" for name in names), metric(*of), strict=True))
        except UserError as error:  # too few images for this one
            missing.append(str(error))

    if "fid" in metrics:
        found[identity.distance] = frechet_distance(reference.moments, generated.moments)
    if "is" in metrics:
        add(("IS", "IS_std"), inception_score, generated.logits)
    real, fake = reference.features, generated.features
    if real is None or fake is None:
        if _NEED_FEATURES & set(metrics):
            missing.append(f"{reference.name}: statistics alone allow no KID, precision or recall")
        return found, missing
    if "kid" in metrics:
        add(("KID", "KID_std"), kid, real, fake)
        found[f"KID_subset_size{suffix}"] = kid_subset_size(len(real), len(fake))
    if "pr" in metrics:
        add(("precision", "recall"), precision_recall, real, fake)
    return found, missing


def _remarks(
    identity: Identity, count: int, dimensions: int, facts: dict[str, Any]
) -> Iterator[str]:
    """What a reader of the result should know."""
    yield f"N = {count}: compare with results of the same N only"
    if count < dimensions:
        yield (
            f"N = {count} is less than the {dimensions} features, so the covariance is singular "
            f"and {identity.distance} is biased upwards by much"
        )
    if facts["grey"]:
        yield f"{facts['grey']} grey images were made RGB"
    for what, number in facts.get("changed", {}).items():
        yield f"{number} images: {what}"
    if identity.remark:
        yield identity.remark


def _check_out(request: EvaluateRequest, config: Config | None) -> None:
    """Refuse to put a result over anything but an earlier answer to the same question."""
    if request.out is None or not request.out.exists():
        return
    try:
        earlier = json.loads(request.out.read_bytes())["question"]
    except (OSError, ValueError, KeyError, TypeError):
        earlier = None
    if earlier != _question(request, config):
        raise UserError(f"--out {request.out}: exists and holds something else; choose another")


def _question(request: EvaluateRequest, config: Config | None) -> dict[str, Any]:
    """All that was asked: a result's name is made of it, and what may be replaced."""
    data = config.data.model_dump(mode="json") if config else None
    source = request.images or request.pretrained
    reference = Path(request.reference)
    return {
        "source": str(source.resolve()) if source else request.doc or "published",
        "reference": str(reference.resolve()) if reference.exists() else request.reference,
        "data": data if request.reference in ("train", "test", "both") else None,
        "metrics": sorted(request.metrics),
        "features": f"{request.extractor.features} {request.extractor.mode}",
        "inception": str(request.extractor.weights),
        "engine": request.engine.name,
        "precision": request.engine.precision,
        "sampled": None if request.images else _how_sampled(request, config),
    }


def _how_sampled(request: EvaluateRequest, config: Config | None) -> dict[str, Any]:
    return {
        **{name: str(value) for name, value in request.settings.recipe().items()},
        "data": config.data.model_dump(mode="json") if config else None,
        "experiment": str(request.exp.resolve()),
        "num_samples": request.num_samples,
        "weights": request.weights,
    }


def _label(request: EvaluateRequest) -> str:
    """What a person looks for in the name of a result."""
    source = request.images or request.pretrained
    parts = [name_of(source) if source else (request.doc or "published").replace("/", "-")]
    if not request.images:
        settings = request.settings
        eta = f"eta{settings.eta:g}" if settings.sampler == "ddim" else settings.sampler
        parts += ["raw"] * (request.weights == "raw")
        parts += [f"S{settings.timesteps}", eta, f"seed{settings.seed}"]
        parts += [f"N{request.num_samples}"] if request.num_samples else []
    inception = request.extractor.features == "inception"
    parts.append(request.extractor.mode if inception else "small")
    if request.reference != "both":
        parts.append(f"against-{Path(request.reference).name}")
    return "-".join(parts)
