"""From generated images to a result: features, statistics, distances, and remarks on them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from math import lcm
from pathlib import Path
from typing import Any

from jittor_ddim.config import Config
from jittor_ddim.console.progress import progress
from jittor_ddim.errors import UserError
from jittor_ddim.evaluation.extractor import Extracted, Extractor, extract
from jittor_ddim.evaluation.generated import Generated
from jittor_ddim.evaluation.identity import Identity
from jittor_ddim.evaluation.parts import join_parts, write_part
from jittor_ddim.evaluation.reference import Reference, obtain_reference
from jittor_ddim.gathering import Gathering
from jittor_ddim.metrics import inception_score, kid, precision_recall
from jittor_ddim.metrics.frechet import frechet_distance
from jittor_ddim.metrics.kid import kid_subset_size
from jittor_ddim.ranks import Rank

METRICS = ("fid", "kid", "is", "pr")
_NEED_FEATURES = {"kid", "pr"}


def measure(
    generated: Generated,
    reference: str,
    metrics: Sequence[str],
    extractor: Extractor,
    config: Config | None,
    exp: Path,
    ranks: Gathering,
) -> dict[str, Any]:
    """Return the metrics of generated images, and everything that they depend on, as first rank.

    :param reference: as for :func:`jittor_ddim.evaluation.reference.check_reference`
    :param metrics: of :data:`METRICS`
    :param config: whose data set the reference may be a part of
    :param ranks: each takes a share of the images; the others call :func:`measure_share`
    :raises UserError: if images or statistics cannot be used
    """
    keep_features = bool(_NEED_FEATURES & set(metrics))
    real = obtain_reference(
        reference, extractor, config, exp, generated.size, keep_features=keep_features
    )
    pieces = -(-generated.count // _unit(generated, extractor))
    ranks.open(pieces, [generated.name, generated.count])
    start = time.monotonic()
    with progress(generated.count, "Evaluating") as bar:
        shown = 0

        def show(own: int, all_own: int) -> None:
            nonlocal shown
            others = ranks.advanced(all_own)
            bar.advance(own + others - shown)
            shown = others

        extracted = _extract(generated, metrics, extractor, ranks.rank, show)
        parts = ranks.collect(shown, bar.advance)
        extracted, tally = join_parts(extracted, generated.tally(), parts)
    seconds = time.monotonic() - start
    identity, facts, count = extractor.identity, generated.facts(tally), generated.count
    values, missing = _metrics(metrics, identity, extracted, real)
    remarks = _remarks(identity, count, extractor.dimensions, facts)
    return {
        "metrics": values,
        "images": {"source": generated.name, "count": count, "size": generated.size, **facts},
        "reference": {"source": real.name, "count": real.moments.count},
        **asdict(identity),
        "engine": extractor.computed_by,
        "versions": extractor.versions,
        "seconds": round(seconds, 3),
        "images_per_s": round(count / seconds, 2),
        "remarks": [*generated.remarks, *real.remarks, *remarks, *missing],
    }


def measure_share(
    generated: Generated, metrics: Sequence[str], extractor: Extractor, ranks: Gathering
) -> None:
    """Measure another rank's share of the images, and hand it to the first.

    :raises UserError: if the first rank measures something else
    """
    if ranks.plan != [generated.name, generated.count]:
        raise UserError(f"measures {generated.name}, rank 0 {ranks.plan[0]}; start again")
    extracted = _extract(
        generated, metrics, extractor, ranks.rank, lambda own, all_own: ranks.advanced(all_own)
    )
    ranks.deliver(lambda file: write_part(file, extracted, generated.tally()))


def _unit(generated: Generated, extractor: Extractor) -> int:
    """Return in how many images whole batches of both samples and features end."""
    return lcm(generated.whole, extractor.batch_size)


def _extract(
    generated: Generated,
    metrics: Sequence[str],
    extractor: Extractor,
    rank: Rank,
    done: Callable[[int, int], object],
) -> Extracted:
    """Extract a rank's share: whole batches, such as one process has, of samples and of features.

    :param done: called after every batch with its number of images, and of those so far
    """
    unit = _unit(generated, extractor)
    share = rank.share(-(-generated.count // unit))
    rows = range(share.start * unit, min(share.stop * unit, generated.count))
    so_far = 0

    def count(images: int) -> None:
        nonlocal so_far
        so_far += images
        done(images, so_far)

    return extract(
        generated.batches(extractor.batch_size, rows) if rows else (),
        extractor,
        keep_features=bool(_NEED_FEATURES & set(metrics)),
        keep_logits="is" in metrics,
        done=count,
        first=rows.start,
    )


def _metrics(
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
    yield f"N = {count}: compare only with results of the same N"
    if count < dimensions:
        yield (
            f"N = {count} is less than the {dimensions} features, so the covariance is singular "
            f"and {identity.distance} is far too high"
        )
    if facts["grey"]:
        yield f"{facts['grey']} grey images were made RGB"
    for what, number in facts.get("changed", {}).items():
        yield f"{number} images: {what}"
    if identity.remark:
        yield identity.remark
