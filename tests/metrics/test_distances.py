"""The four metrics against other programs' values, SciPy and brute force."""

import numpy as np
import pytest
from oracles import golden
from scipy.linalg import sqrtm

import jittor_ddim as jd
from jittor_ddim.errors import UserError
from jittor_ddim.metrics.frechet import frechet_distance, paired_difference
from jittor_ddim.metrics.kid import kid_subset_size
from jittor_ddim.metrics.moments import Moments, MomentsAccumulator, moments

GOLDEN = golden("metrics")
RNG = np.random.default_rng(0)


def test_fid_of_torch_fidelity_and_pytorch_fid():
    found = jd.metrics.fid(GOLDEN["B"], GOLDEN["A"])
    assert found == pytest.approx(float(GOLDEN["fid_torch_fidelity"]), rel=1e-6)
    assert found == pytest.approx(float(GOLDEN["fid_pytorch_fid"]), rel=1e-6)


def test_kid_of_torch_fidelity():
    mean, std = jd.metrics.kid(GOLDEN["B"], GOLDEN["A"])
    assert mean == pytest.approx(float(GOLDEN["kernel_inception_distance_mean"]), rel=1e-5)
    assert std == pytest.approx(float(GOLDEN["kernel_inception_distance_std"]), rel=1e-5)


def test_inception_score_of_torch_fidelity():
    mean, std = jd.metrics.inception_score(GOLDEN["logits"])
    assert mean == pytest.approx(float(GOLDEN["inception_score_mean"]), rel=1e-5)
    assert std == pytest.approx(float(GOLDEN["inception_score_std"]), rel=1e-5)


def test_precision_and_recall_of_torch_fidelity():
    precision, recall = jd.metrics.precision_recall(GOLDEN["B"], GOLDEN["A"])
    assert precision == pytest.approx(float(GOLDEN["precision"]), rel=1e-5)
    assert recall == pytest.approx(float(GOLDEN["recall"]), rel=1e-5)


def test_moments_do_not_depend_on_the_batches():
    features = RNG.normal(1e4, 1, (500, 7))  # a mean that would cancel in float32
    parts = MomentsAccumulator()
    for part in np.split(features, [1, 3, 200]):
        parts.add(part)
    found = parts.moments()
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=1e-14)
    expected = np.cov(features, rowvar=False)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-10)
    assert found.count == 500


def test_two_normal_distributions_of_independent_features():
    mean, other = RNG.normal(size=5), RNG.normal(size=5)
    a, b = RNG.uniform(0.1, 2, 5), RNG.uniform(0.1, 2, 5)
    expected = ((mean - other) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    found = frechet_distance(Moments(mean, np.diag(a), 9), Moments(other, np.diag(b), 9))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [300, 40])
def test_the_trace_of_the_root_is_scipys(count):
    """Also where there are fewer images than features, so that a covariance is singular."""
    a = RNG.normal(size=(count, 60)) @ RNG.normal(size=(60, 60))
    b = RNG.normal(size=(200, 60)) @ RNG.normal(size=(60, 60))
    first, second = moments(a), moments(b)
    shift = first.mean - second.mean
    root = sqrtm(first.covariance @ second.covariance)
    expected = shift @ shift + np.trace(first.covariance + second.covariance - 2 * root.real)
    # SciPy takes the root of a singular matrix's rounding; that is its error, not ours.
    assert frechet_distance(first, second) == pytest.approx(
        expected, rel=1e-10 if count > 60 else 1e-5
    )


def test_a_set_is_at_no_distance_from_itself():
    features = RNG.normal(size=(30, 50))
    assert abs(jd.metrics.fid(features, features)) < 1e-5  # roots of rounding
    assert jd.metrics.precision_recall(features, features) == (1, 1)


def test_kid_of_small_sets_takes_what_there_is():
    a, b = RNG.normal(size=(20, 4)), RNG.normal(1, 1, size=(30, 4))
    assert kid_subset_size(20, 30) == 20 and kid_subset_size(5000, 3000) == 1000
    mean, std = jd.metrics.kid(a, b[:20], subsets=3)  # every subset is the whole set

    def kernel(x, y):
        return (x @ y / 4 + 1) ** 3

    same = sum(
        kernel(z[i], z[j]) for z in (a, b[:20]) for i in range(20) for j in range(20) if i != j
    )
    across = sum(kernel(x, y) for x in a for y in b[:20])
    assert mean == pytest.approx(same / (20 * 19) - 2 * across / 400, rel=1e-12)
    assert std == pytest.approx(0, abs=1e-12)


def test_precision_and_recall_by_brute_force():
    real, generated = RNG.normal(size=(60, 3)), RNG.normal(0.8, 1, size=(45, 3))

    def covered(points, centres):
        hits = 0
        radii = [sorted(np.linalg.norm(centres - c, axis=1))[3] for c in centres]
        for point in points:
            distances = np.linalg.norm(centres - point, axis=1)
            hits += any(d <= r for d, r in zip(distances, radii, strict=True))
        return hits / len(points)

    expected = covered(generated, real), covered(real, generated)
    assert jd.metrics.precision_recall(real, generated) == pytest.approx(expected)
    assert 0 < expected[0] < 1


def test_a_certain_classifier_scores_the_number_of_classes():
    logits = np.tile(np.eye(4) * 100, (50, 1))
    mean, _ = jd.metrics.inception_score(logits, splits=1)
    assert mean == pytest.approx(4)
    assert jd.metrics.inception_score(np.zeros((20, 4)))[0] == pytest.approx(1)


def test_paired_difference():
    reference = moments(RNG.normal(size=(400, 3)))
    a = RNG.normal(0.3, 1, size=(100, 3))
    b = a + RNG.normal(0, 0.05, size=a.shape)
    difference, error = paired_difference(a, b, reference, blocks=5)

    def distance(features):
        return frechet_distance(moments(features), reference)

    without = [
        distance(np.delete(a, np.s_[j::5], axis=0)) - distance(np.delete(b, np.s_[j::5], axis=0))
        for j in range(5)
    ]
    assert difference == pytest.approx(distance(a) - distance(b), rel=1e-12)
    expected = np.sqrt(4 / 5 * sum((d - np.mean(without)) ** 2 for d in without))
    assert error == pytest.approx(expected, rel=1e-9)
    _, unpaired = paired_difference(a, RNG.normal(0.3, 1, size=a.shape), reference, blocks=5)
    assert error < unpaired / 2
    assert paired_difference(a, a, reference) == (0, 0)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "real has 3 features, generated 4"),
        (np.zeros(5), np.zeros((5, 4)), r"real: expected an array \(N, D\), got shape \(5,\)"),
        (np.zeros((1, 4)), np.zeros((5, 4)), "real: 1 image"),
        (
            np.zeros((5, 2)),
            np.array([[0, 0], [0, np.nan]]),
            "generated: not finite, first in row 1",
        ),
    ],
)
def test_wrong_features(real, generated, message):
    for metric in (jd.metrics.fid, jd.metrics.kid, jd.metrics.precision_recall):
        with pytest.raises(UserError, match=message):
            metric(real, generated)


def test_too_few_images():
    with pytest.raises(UserError, match="5 images are too few for the inception score's 10 parts"):
        jd.metrics.inception_score(np.zeros((5, 3)))
    with pytest.raises(UserError, match="3 images are too few: each needs 3 neighbours"):
        jd.metrics.precision_recall(np.zeros((5, 3)), np.zeros((3, 3)))
    with pytest.raises(UserError, match="blocks"):
        paired_difference(np.zeros((5, 2)), np.zeros((5, 2)), moments(np.zeros((5, 2))))
    with pytest.raises(UserError, match="statistics of 2 and of 3 features"):
        frechet_distance(moments(np.zeros((5, 2))), moments(np.zeros((5, 3))))
