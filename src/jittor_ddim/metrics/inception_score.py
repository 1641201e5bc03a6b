"""The inception score (Salimans et al. 2016)."""

import numpy as np
from numpy.typing import ArrayLike

from jittor_ddim import arguments
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.moments import check_features


def inception_score(logits: ArrayLike, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Return mean and standard deviation over splits of exp(E_x KL(p(y|x) || p(y))).

    :param logits: (N, classes), of the Inception network without its last bias
    :param splits: how many parts the shuffled images are cut into
    :raises UserError: if they are not finite, or fewer than the splits
    """
    splits = arguments.integer("splits", splits, 1)
    seed = arguments.integer("seed", seed, 0, arguments.MAX_RANDOMSTATE_SEED)
    rows = check_features(logits, "logits")
    if len(rows) < splits:
        raise UserError(f"{len(rows)} images are too few for the inception score's {splits} parts")
    rows = rows[np.random.RandomState(seed).permutation(len(rows))]
    scores = []
    for part in range(splits):
        chosen = rows[part * len(rows) // splits : (part + 1) * len(rows) // splits]
        log_p = chosen - np.logaddexp.reduce(chosen, axis=1, keepdims=True)
        p = np.exp(log_p)
        marginal = p.mean(axis=0, keepdims=True)
        divergence = (p * (log_p - np.log(marginal))).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores)), float(np.std(scores))
