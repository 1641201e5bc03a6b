"""How many of a model's handwritten digits can be read: the demo's own mark."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jittor_ddim.data.digits import load_digits
from jittor_ddim.data.source import hold_out

#: From this probability on a digit counts as read.
SURE = 0.9


@dataclass(frozen=True)
class Verdict:
    """What a classifier thinks of images of digits."""

    images: int
    read: float  # the share read with a probability of at least SURE
    classes: int  # how many of the ten are among those
    real_read: float  # the same share of real digits that the classifier has not seen


def judge_digits(pixels: NDArray[np.uint8]) -> Verdict:
    """Read digits with a classifier that was fitted to the real ones.

    Radial features (Nystroem) before a logistic regression: far from every real digit all
    features vanish, so that it is unsure of what looks like none. Of uniform noise it reads 0 %.

    :param pixels: uint8 (N, 8, 8, 1)
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    digits, classes = load_digits()
    train, test = (hold_out(len(digits), split, "digits") for split in ("train", "test"))
    classifier = make_pipeline(
        Nystroem(gamma=0.25, n_components=1000, random_state=0),
        LogisticRegression(C=100, max_iter=2000),
    )
    classifier.fit(_features(digits[train]), classes[train])
    probabilities = classifier.predict_proba(_features(pixels))
    sure = probabilities.max(axis=1) >= SURE
    real = classifier.predict_proba(_features(digits[test])).max(axis=1) >= SURE
    return Verdict(
        images=len(pixels),
        read=float(sure.mean()),
        classes=len(set(probabilities.argmax(axis=1)[sure].tolist())),
        real_read=float(real.mean()),
    )


def _features(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return pixels.reshape(len(pixels), -1) / 255
