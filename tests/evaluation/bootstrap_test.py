"""Intervals against the normal approximation, their coverage, and pairs."""

import numpy as np

from jaxreid.evaluation import bootstrap


def test_intervals_of_many_queries_are_those_of_the_normal_approximation():
    values = np.random.default_rng(0).uniform(size=(1500, 3)) ** np.array([1, 2, 4])
    found = bootstrap.intervals([values], seed=1)
    half = 1.96 * values.std(axis=0) / np.sqrt(1500)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 2 * half, rtol=0.08)
    np.testing.assert_allclose(found.mean(axis=1), values.mean(axis=0), atol=0.1 * half.min())


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    held = []
    for trial in range(150):
        low, high = bootstrap.intervals([rng.uniform(size=(60, 1))], seed=trial, resamples=200)[0]
        held.append(low <= 0.5 <= high)
    assert 0.88 <= np.mean(held) <= 0.99


def test_the_seed_decides_and_splits_narrow():
    values = [np.random.default_rng(i).uniform(size=(80, 1)) for i in range(10)]
    one, again, other = (bootstrap.intervals(values[:1], seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    ten = bootstrap.intervals(values, seed=3)
    np.testing.assert_allclose(np.diff(ten) / np.diff(one), 1 / np.sqrt(10), rtol=0.15)


def test_pairs_show_a_gain_that_their_spread_would_hide():
    rng = np.random.default_rng(5)
    base = rng.uniform(size=(300, 1))
    gain = 0.01 + 0.02 * rng.normal(size=(300, 1))
    low, high = bootstrap.intervals([gain], seed=0)[0]
    assert 0 < low < gain.mean() < high
    assert bootstrap.chance_of_no_gain([gain], seed=0) < 0.01
    assert bootstrap.chance_of_no_gain([-gain], seed=0) < 0.01
    assert bootstrap.chance_of_no_gain([base - base], seed=0) == 1
    assert np.diff(bootstrap.intervals([base], seed=0)[0]) > 3 * (high - low)


def test_splits_are_redrawn_independently_so_that_their_mean_is_surer_than_one_of_them():
    values = np.random.default_rng(0).normal(size=(40, 1))
    (alone,), (four,) = (np.diff(bootstrap.intervals([values] * n, seed=3, resamples=2000))[:, 0] for n in (1, 4))
    np.testing.assert_allclose(four, alone / 2, rtol=0.1)  # one draw for all would leave it as wide
