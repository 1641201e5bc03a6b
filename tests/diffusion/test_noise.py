import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jittor_ddim.diffusion.noise import Stream, generator, normal, uniform

SHAPE = (3, 4, 4)
STREAMS = st.sampled_from(list(Stream))
ADDRESSES = st.tuples(
    st.integers(0, 2**64 - 1), STREAMS, st.integers(0, 2**63), st.integers(0, 2**63)
)


@pytest.mark.parametrize("draw", [normal, uniform])
def test_a_draw_depends_on_its_address_alone(draw):
    whole = draw(7, Stream.SAMPLING, 3, range(10), SHAPE)
    assert whole.shape == (10, *SHAPE) and whole.dtype == np.float32
    parts = [draw(7, Stream.SAMPLING, 3, rows, SHAPE) for rows in ([0, 1, 2], [3], range(4, 10))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = [9, 0, 5, 5]
    np.testing.assert_array_equal(draw(7, Stream.SAMPLING, 3, order, SHAPE), whole[order])
    assert draw(7, Stream.SAMPLING, 3, [], SHAPE).shape == (0, *SHAPE)


@given(ADDRESSES, ADDRESSES)
def test_different_addresses_have_different_numbers(one, other):
    draws = [generator(*address).bytes(32) for address in (one, other)]
    assert (draws[0] == draws[1]) == (one == other)
    assert generator(*one).bytes(32) == draws[0]


@given(ADDRESSES)
def test_neighbouring_addresses_have_different_numbers(address):
    seed, stream, step, index = address
    neighbours = {
        generator(seed, stream, step, index).bytes(32),
        generator(seed, stream, step, index + 1).bytes(32),
        generator(seed, stream, step + 1, index).bytes(32),
        generator((seed + 1) % 2**64, stream, step, index).bytes(32),
        *(generator(seed, other, step, index).bytes(32) for other in Stream if other != stream),
    }
    assert len(neighbours) == 3 + len(Stream)


@given(ADDRESSES)
def test_the_address_is_the_key_and_the_counter_of_philox(address):
    seed, stream, step, index = address
    philox = np.random.Philox(key=seed | int(stream) << 64, counter=index << 64 | step << 128)
    assert generator(*address).bytes(64) == np.random.Generator(philox).bytes(64)


def test_streams_keep_their_numbers():
    """A renumbered stream would change every image of a seed."""
    assert {stream.name: int(stream) for stream in Stream} == {
        "INITIAL": 0,
        "SAMPLING": 1,
        "SHUFFLE": 2,
        "FLIP": 3,
        "UNIFORM_DEQUANTIZATION": 4,
        "GAUSSIAN_DEQUANTIZATION": 5,
        "TIMESTEPS": 6,
        "TRAINING": 7,
        "SPLIT": 8,
        "WEIGHTS": 9,
        "DROPOUT": 10,
        "CLASS_DROPOUT": 11,
    }


def test_values_are_what_they_were():
    """Fails when a release of numpy draws otherwise: then no seed reproduces its images."""
    assert normal(1234, Stream.INITIAL, 0, [0, 1], (3,)).tolist() == [
        [0.6130579113960266, -0.5139153599739075, 0.21177983283996582],
        [-0.7650602459907532, 0.49474918842315674, -1.3689731359481812],
    ]
    assert normal(2**64 - 1, Stream.TRAINING, 2**40, [2**63], (2,)).tolist() == [
        [1.0902471542358398, 0.7308744192123413]
    ]
    assert uniform(1, Stream.UNIFORM_DEQUANTIZATION, 2, [3], (3,)).tolist() == [
        [0.15244901180267334, 0.8038098216056824, 0.5180361866950989]
    ]
    assert generator(1, Stream.SHUFFLE, 2).permutation(8).tolist() == [1, 5, 4, 3, 2, 6, 7, 0]
    assert generator(9, Stream.TIMESTEPS, 3).integers(0, 1000, 4).tolist() == [899, 584, 38, 801]
    assert generator(5, Stream.FLIP, 1).random(2).tolist() == [
        0.895754237405215,
        0.9994525495827224,
    ]


THOUSAND = range(1000)
ALONG = {
    "index": [(3, Stream.SAMPLING, 5, i) for i in THOUSAND],
    "step": [(3, Stream.SAMPLING, k, 5) for k in THOUSAND],
    "seed": [(s, Stream.INITIAL, 0, 5) for s in THOUSAND],
    "stream": [(s, Stream(i), 1, 5) for s in THOUSAND[:200] for i in (0, 1, 4, 5, 7)],
}


@pytest.mark.parametrize("axis", ALONG)
def test_draws_are_standard_normal_and_independent_of_their_neighbours(axis):
    draws = np.concatenate(
        [normal(seed, stream, k, [i], (64,)) for seed, stream, k, i in ALONG[axis]]
    ).astype(np.float64)
    n = draws.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert np.mean(draws**power) == pytest.approx(moment, abs=5 * np.sqrt(variance / n))
    for lag in (1, 2, 5):
        assert np.mean(draws[:-lag] * draws[lag:]) == pytest.approx(0, abs=5 / np.sqrt(n))
    assert np.mean(draws[:, :-1] * draws[:, 1:]) == pytest.approx(0, abs=5 / np.sqrt(n))


def test_uniform_noise_fills_the_unit_interval():
    draws = uniform(0, Stream.UNIFORM_DEQUANTIZATION, 0, range(1000), (64,)).astype(np.float64)
    assert 0 <= draws.min() < 1e-3 and 1 - 1e-3 < draws.max() < 1
    assert draws.mean() == pytest.approx(1 / 2, abs=5 * np.sqrt(1 / 12 / draws.size))
    assert draws.var() == pytest.approx(1 / 12, abs=5 * np.sqrt(1 / 180 / draws.size))


@settings(deadline=None)
@given(st.integers(1, 6), st.permutations(range(6)))
def test_no_split_into_batches_matters(size, order):
    whole = normal(0, Stream.INITIAL, 0, range(6), (5,))
    batches = [order[i : i + size] for i in range(0, 6, size)]
    made = np.concatenate([normal(0, Stream.INITIAL, 0, batch, (5,)) for batch in batches])
    np.testing.assert_array_equal(made, whole[list(order)])


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be in"):
        generator(seed, Stream.INITIAL)


@pytest.mark.parametrize(("step", "index"), [(-1, 0), (0, -1)])
def test_negative_addresses_are_refused(step, index):
    with pytest.raises(ValueError, match="must not be negative"):
        generator(0, Stream.INITIAL, step, index)
    with pytest.raises(ValueError, match="must not be negative"):
        normal(0, Stream.INITIAL, step, [index], SHAPE)
