"""Distances between generated and real images, from files or straight from the sampler."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ddim.atomic import write_atomic
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.engines.choice import EngineChoice
from jittor_ddim.errors import UserError
from jittor_ddim.evaluation.extractor import ExtractorChoice
from jittor_ddim.evaluation.generated import Generated, from_files, from_network
from jittor_ddim.evaluation.measuring import METRICS, measure, measure_share
from jittor_ddim.evaluation.question import Question
from jittor_ddim.evaluation.reference import check_reference
from jittor_ddim.gathering import Gathering, gathered
from jittor_ddim.network import NetworkChoice
from jittor_ddim.ranks import this_rank
from jittor_ddim.sampling import SamplerSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(NetworkChoice):
    """What ``ddim evaluate`` was asked for."""

    images: Path | None  # None: samples of a network, not written anywhere
    reference: str = "both"
    metrics: tuple[str, ...] = METRICS
    extractor: ExtractorChoice = field(default_factory=ExtractorChoice)
    settings: SamplerSettings = field(default_factory=SamplerSettings)
    num_samples: int | None = None  # None: the config's
    out: Path | None = None  # the result's file; None: EXP/evaluations/NAME.json
    verbose: str = "info"
    engine: EngineChoice = field(default_factory=EngineChoice)


def run_evaluation(request: EvaluateRequest) -> dict[str, Any]:
    """Compute what was asked for, write it as JSON and return it.

    Several ranks share the images out; all but the first return nothing.

    :raises UserError: for anything wrong with the request or the images; nothing is then written
    """
    setup_logging(None, request.verbose if this_rank().is_first else "warning")
    with gathered(request.exp, request) as ranks:
        return _run(request, ranks)


def _run(request: EvaluateRequest, ranks: Gathering) -> dict[str, Any]:
    unknown = [metric for metric in request.metrics if metric not in METRICS]
    if unknown or not request.metrics:
        raise UserError(f"`metrics` {' '.join(unknown)}: choose from {', '.join(METRICS)}")
    if request.extractor.needs_engine or not request.images:
        request.engine.check()
    else:
        request.engine.check_names()
    with _open_generated(request) as (generated, config):
        question = _question(request, config)
        if request.out and ranks.rank.is_first:
            question.check_replaces(request.out)
        check_reference(request.reference, config)
        request.extractor.check(generated.size)
        if generated.count < 2:
            raise UserError(f"{generated.name}: 1 image; a distance needs at least 2 images")
        extractor = request.extractor.load(request.engine, generated.size)
        if not ranks.rank.is_first:
            measure_share(generated, request.metrics, extractor, ranks)
            return {}
        result = measure(
            generated, request.reference, request.metrics, extractor, config, request.exp, ranks
        )
    result |= {"question": question.as_dict()}
    for remark in result["remarks"]:
        _log.warning("%s", remark)
    out = request.out or question.free_name(request.exp / "evaluations", result)
    write_atomic(out, json.dumps(result, indent=1).encode())
    return result | {"file": str(out)}


@contextmanager
def _open_generated(request: EvaluateRequest) -> Iterator[tuple[Generated, Config | None]]:
    """Yield the images and the config whose data set they are to be like, if it is known."""
    sampled = request.pretrained or request.model or request.doc or request.use_pretrained
    if request.images and (sampled or request.weights):
        raise UserError(f"{request.images} and a network to sample from: leave out one of them")
    if request.images:
        with from_files(request.images, request.config) as generated:
            yield generated, request.config
        return
    if not sampled:
        raise UserError("IMAGES is missing: give a folder, zip or npz, or `checkpoint` to sample")
    network = request.find_network()
    yield (
        from_network(network, request.settings, request.num_samples, request.engine),
        network.config,
    )


def _question(request: EvaluateRequest, config: Config | None) -> Question:
    return Question(
        source=request.images or request.pretrained or request.model or request.doc or "published",
        reference=request.reference,
        metrics=request.metrics,
        extractor=request.extractor,
        engine=request.engine,
        config=config,
        settings=None if request.images else request.settings,
        exp=request.exp,
        num_samples=request.num_samples,
        weights=request.weights,
    )
