"""Compare both engines, or two finished runs, and report."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jittor_ddim.atomic import write_atomic
from jittor_ddim.checkpoints import save_weights
from jittor_ddim.compare import report
from jittor_ddim.compare.gather import gather
from jittor_ddim.compare.layout import ALIGN, LOCATED, SIDES, START, TRAINED
from jittor_ddim.compare.plan import PLACE, Plan, without_dropout
from jittor_ddim.compare.report.words import Words
from jittor_ddim.compare.results import Comparison, Located, Samples
from jittor_ddim.compare.run_logs import compare_runs
from jittor_ddim.compare.side_by_side import measure
from jittor_ddim.compare.sides import write_sides
from jittor_ddim.config import Config
from jittor_ddim.console.logs import setup_logging
from jittor_ddim.console.progress import decoding
from jittor_ddim.data import open_images
from jittor_ddim.diffusion.settings import Variant
from jittor_ddim.engines import ENGINES, check_engine
from jittor_ddim.engines.base import Weights
from jittor_ddim.engines.choice import check_device
from jittor_ddim.engines.environment import setting
from jittor_ddim.errors import UserError
from jittor_ddim.initialization import fresh_weights
from jittor_ddim.network import NetworkChoice
from jittor_ddim.pages.words import LANGUAGES
from jittor_ddim.sampling import SamplerSettings

RESULTS = "results.json"
_CPU_BATCH = 16
#: The checks that tell of a network or its training, in which ddim align can find the place; how
#: many steps it takes for that, and the seconds for each of its tasks.
_LOCATED_BY = ("outputs", "gradients", "losses", "grad_norms")
_STEPS, _LIMIT = 3, 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompareRequest:
    """What ``ddim compare`` was asked for, of two engines."""

    title: str  # the config's name
    config: Config
    exp: Path
    steps: int
    batch_size: int | None  # None: 16, or the config's with the device cuda
    batch_sizes: tuple[int, ...]  # at which calls are timed besides
    timesteps: int
    num_samples: int
    samplers: tuple[str, ...]  # whose images are compared too
    pretrained: Path | None  # weights to start from; None: fresh ones
    weights: str | None  # of pretrained: ema or raw; None: ema where there is one
    seed: int
    out: Path | None  # None: exp/comparisons/TITLE
    device: str
    precision: str
    language: str
    verbose: str
    command: str  # what was typed, for the report


def run_comparison(request: CompareRequest) -> dict[str, Any]:
    """Compare the engines, or continue a comparison, and return where the report is.

    :raises UserError: for anything wrong with the request, before an engine starts
    """
    setup_logging(None, request.verbose)
    Words(request.language)  # refuses one in which there is no report
    check_device(request.device, request.precision)
    for name in ENGINES:
        check_engine(name)
    if request.weights and not request.pretrained:
        raise UserError(f"`weights` {request.weights}: belongs to `pretrained`; leave it out")
    config = _config(request)
    for sampler, _, order in map(Variant.of, ("ddim", *request.samplers)):
        SamplerSettings(request.timesteps, sampler=sampler, order=order).sequence(config)
    with decoding("train") as decoded:
        data = open_images(config, "train", request.exp, decoded).name
    weights, given = fresh_weights(config, request.seed), "fresh"
    if request.pretrained:
        network = NetworkChoice(
            config=config, pretrained=request.pretrained, weights=request.weights
        ).find_network()
        weights, given = network.weights, network.fingerprint()
    plan = Plan(
        title=request.title,
        config=config,
        data=data,
        seed=request.seed,
        steps=request.steps,
        timesteps=request.timesteps,
        images=request.num_samples,
        samplers=tuple(name for name in dict.fromkeys(request.samplers) if name != "ddim"),
        batch_sizes=tuple(sorted({*request.batch_sizes, config.training.batch_size})),
        weights=given,
        device=request.device,
        precision=request.precision,
    )
    folder = request.out or request.exp / "comparisons" / Path(request.title).stem
    PLACE.check(folder)
    with PLACE.held(folder):
        return _run(request, plan, weights, folder)


def _run(request: CompareRequest, plan: Plan, weights: Weights, folder: Path) -> dict[str, Any]:
    if PLACE.claim(folder, plan):
        _log.info("Continuing the comparison in %s", folder)
    if not (folder / START).exists():
        save_weights(folder / START, weights, plan.config)
    if request.pretrained and not (folder / TRAINED).exists():
        # Trained for long already: a few more steps, begun without moments, would only harm them.
        write_atomic(folder / TRAINED, (folder / START).read_bytes())
    measure(plan, folder, request.exp)
    comparison, samples = gather(plan, folder, request.command)
    if _locate(request, plan, comparison, folder):
        comparison, samples = gather(plan, folder, request.command)
    return _report(comparison, samples, folder, request.language)


def _locate(request: CompareRequest, plan: Plan, comparison: Comparison, folder: Path) -> bool:
    """Let ``ddim align`` say in which module engines depart and why; return whether it did.

    It takes minutes, so only where a check of the network or its training fails. Both engines
    compute on the CPU by the frameworks' own operations: our kernels lay out images in ways that
    differ, and modules could not be compared one by one. These know float32 alone.
    """
    from jittor_ddim.jobs.align import AlignRequest, run_alignment  # slow, and seldom needed

    checks = comparison.alignment.checks if comparison.alignment else []
    failed = [check for check in checks if check.name in _LOCATED_BY and not check.passed]
    if not failed or (folder / LOCATED).exists() or comparison.device != "cpu":
        return False
    _log.info("The engines depart: looking for the module, which takes minutes")
    names = (plan.engines[0], plan.engines[failed[0].side])
    files = write_sides(names, folder, request.exp, folder / SIDES)
    align = AlignRequest(
        sides=(files[0], files[1]),
        pythons=(None, None),
        steps=_STEPS,
        precision="float32",
        limit=_LIMIT,
        accepted=(),
        exp=request.exp,
        out=folder / ALIGN,
        language=request.language,
        verbose=request.verbose,
        command=request.command,
    )
    try:
        with setting(JITTOR_DDIM_KERNELS="plain"):
            result = run_alignment(align)
    except UserError as error:
        _log.warning("Where the engines depart was not found: %s", error)
        return False
    report = f"{ALIGN}/{Path(result['report']).name}"
    located = _located(failed[0].side, next(iter(result["findings"]), {}), report)
    write_atomic(folder / LOCATED, located.model_dump_json().encode())
    return True


def _located(side: int, found: dict[str, Any], report: str) -> Located:
    """Return what an alignment found first, as texts of both languages."""
    from jittor_ddim.parity.align.report.words import Words as AlignWords  # slow, as above

    where, evidence = (
        {one: AlignWords(one).tell(found[key]) for one in LANGUAGES} if found.get(key) else {}
        for key in ("where", "evidence")
    )
    known = {key: found[key] for key in ("check", "module", "cause") if found.get(key)}
    return Located(side=side, where=where, evidence=evidence, report=report, **known)


def run_log_comparison(
    runs: Sequence[Path], out: Path, language: str, verbose: str, command: str
) -> dict[str, Any]:
    """Compare finished or running runs by their logs.

    :raises UserError: if one of them has nothing to compare, or the folder holds something else
    """
    setup_logging(None, verbose)
    Words(language)
    comparison = compare_runs(*runs, command=command)
    _check_free(out, comparison)
    return _report(comparison, [], out, language)


def _config(request: CompareRequest) -> Config:
    """The config without dropout and with the batch size of the comparison."""
    # `auto` may end on a CPU even where there is a GPU: both engines must be able to use it.
    on_gpu = request.device == "cuda"
    default = request.config.training.batch_size if on_gpu else _CPU_BATCH
    batch_size = request.batch_size or default
    _log.info("Batch size %d, dropout 0", batch_size)
    return without_dropout(request.config, batch_size)


def _check_free(folder: Path, comparison: Comparison) -> None:
    """Refuse a folder with anything in it but an earlier report of the same runs."""
    if not folder.is_dir() or next(folder.iterdir(), None) is None:
        return
    try:
        earlier = Comparison.model_validate_json((folder / RESULTS).read_bytes())
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: is not empty and holds no comparison; choose another `out`"
        ) from None
    same = (earlier.kind, earlier.title) == (comparison.kind, comparison.title)
    if not same or earlier.folders not in ([], comparison.folders):
        raise UserError(f"{folder}: holds a comparison of {earlier.title}; choose another `out`")


def _report(
    comparison: Comparison, samples: list[Samples], folder: Path, language: str
) -> dict[str, Any]:
    write_atomic(folder / RESULTS, comparison.model_dump_json(indent=1).encode())
    page = report.write_report(comparison, samples, folder, language)
    alignment = comparison.alignment
    return {
        "report": str(page),
        "results": str(folder / RESULTS),
        "aligned": alignment.aligned if alignment else None,
        "checks": {c.name: _number(c.measured) for c in alignment.checks} if alignment else {},
        "ratios": [ratio.model_dump() for ratio in comparison.ratios],
        "failures": {side.name: side.failure for side in comparison.sides if side.failure},
    }


def _number(value: float) -> float | None:
    """The number as JSON has it, which lacks infinity and not-a-number."""
    return value if math.isfinite(value) else None
