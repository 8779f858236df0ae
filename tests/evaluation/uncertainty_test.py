"""Intervals of the bootstrap against the normal approximation, their coverage, and pairs. Of small samples exact ones,
against SciPy's and against their definition, and a sentence that they are small."""

import numpy as np
import pytest
from scipy import stats

from jaxreid.evaluation import uncertainty


def test_intervals_of_many_queries_are_those_of_the_normal_approximation():
    values = np.random.default_rng(0).uniform(size=(1500, 3)) ** np.array([1, 2, 4])
    found = uncertainty.resampled_intervals([values], seed=1)
    half = 1.96 * values.std(axis=0) / np.sqrt(1500)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 2 * half, rtol=0.08)
    np.testing.assert_allclose(found.mean(axis=1), values.mean(axis=0), atol=0.1 * half.min())


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    held = []
    for trial in range(150):
        low, high = uncertainty.resampled_intervals([rng.uniform(size=(60, 1))], seed=trial, resamples=200)[0]
        held.append(low <= 0.5 <= high)
    assert 0.88 <= np.mean(held) <= 0.99


def test_the_seed_decides_and_splits_narrow():
    values = [np.random.default_rng(i).uniform(size=(80, 1)) for i in range(10)]
    one, again, other = (uncertainty.resampled_intervals(values[:1], seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    ten = uncertainty.resampled_intervals(values, seed=3)
    np.testing.assert_allclose(np.diff(ten) / np.diff(one), 1 / np.sqrt(10), rtol=0.15)


def test_pairs_show_a_gain_that_their_spread_would_hide():
    rng = np.random.default_rng(5)
    base = rng.uniform(size=(300, 1))
    gain = 0.01 + 0.02 * rng.normal(size=(300, 1))
    low, high = uncertainty.resampled_intervals([gain], seed=0)[0]
    assert 0 < low < gain.mean() < high
    assert uncertainty.chance_of_no_gain([gain], seed=0) < 0.01
    assert uncertainty.chance_of_no_gain([-gain], seed=0) < 0.01
    assert uncertainty.chance_of_no_gain([base - base], seed=0) == 1
    assert np.diff(uncertainty.resampled_intervals([base], seed=0)[0]) > 3 * (high - low)


def test_splits_are_redrawn_independently_so_that_their_mean_is_surer_than_one_of_them():
    values = np.random.default_rng(0).normal(size=(40, 1))
    (alone,), (four,) = (
        np.diff(uncertainty.resampled_intervals([values] * n, seed=3, resamples=2000))[:, 0] for n in (1, 4)
    )
    np.testing.assert_allclose(four, alone / 2, rtol=0.1)  # one draw for all would leave it as wide


@pytest.mark.parametrize('trials', [1, 2, 6, 49, 300])
def test_the_exact_interval_is_that_of_scipy(trials):
    for successes in {0, 1, trials // 3, trials - 1, trials}:
        ends = stats.binomtest(successes, trials).proportion_ci(method='exact')
        assert uncertainty.exact(successes, trials) == pytest.approx((ends.low, ends.high), abs=1e-9)


def test_at_the_ends_what_was_seen_has_a_chance_of_a_fortieth():
    low, high = uncertainty.exact(7, 30)
    assert stats.binom.sf(6, 30, low) == pytest.approx(0.025)  # 7 or more
    assert stats.binom.cdf(7, 30, high) == pytest.approx(0.025)  # 7 or fewer


def test_six_perfect_queries_are_not_certain():
    ends = uncertainty.intervals([np.ones((6, 2))], seed=0)
    assert ends == pytest.approx(np.array([[0.025 ** (1 / 6), 1.0]] * 2))
    nothing = uncertainty.intervals([np.zeros((6, 1))], seed=0)
    assert nothing == pytest.approx(np.array([[0.0, 1 - 0.025 ** (1 / 6)]]))


def test_a_mean_of_unlike_values_and_a_share_of_many_have_the_interval_of_the_bootstrap():
    rng = np.random.default_rng(0)
    ap = rng.uniform(size=(20, 1))
    assert np.array_equal(uncertainty.intervals([ap], seed=3), uncertainty.resampled_intervals([ap], seed=3))
    first = (rng.uniform(size=(50, 1)) < 0.7).astype(float)
    assert np.array_equal(uncertainty.intervals([first], seed=3), uncertainty.resampled_intervals([first], seed=3))
    assert not np.array_equal(
        uncertainty.intervals([first[:49]], seed=3), uncertainty.resampled_intervals([first[:49]], seed=3)
    )


def test_values_that_are_all_alike_have_no_interval_of_the_bootstrap():
    assert np.isnan(uncertainty.intervals([np.full((6, 1), 0.5)], seed=0)).all()
    assert np.isnan(uncertainty.intervals([np.ones((6, 1))] * 2, seed=0)).all()  # the same people in every split
    assert uncertainty.percent(np.array([[np.nan, np.nan], [0.25, 0.5]])) == [None, [25.0, 50.0]]
    many = uncertainty.intervals([np.ones((2000, 1))], seed=0)[0]
    assert many.tolist() == pytest.approx([0.025 ** (1 / 2000), 1])


def test_nineteen_of_twenty_exact_intervals_hold_the_truth_where_those_of_the_bootstrap_do_not():
    rng, truth, held = np.random.default_rng(1), 0.9, np.zeros(2)
    for trial in range(200):
        drawn = [(rng.uniform(size=(10, 1)) < truth).astype(float)]
        for i, way in enumerate((uncertainty.intervals, uncertainty.resampled_intervals)):
            low, high = way(drawn, seed=trial, resamples=200)[0]
            held[i] += low <= truth <= high
    assert held[0] / 200 >= 0.95
    assert held[1] / 200 < 0.8


def score(queries, people, missed=0, unanswerable='skip'):
    rule = {'answered_queries': queries, 'unanswered_queries': missed, 'unanswerable': unanswerable}
    return {'protocol': rule} | ({'asked_people': people} if people else {})


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (score(6, 3), '6 queries of 3 people are few: '),
        (score(1, 1), '1 query of 1 person is few: '),
        (score(49, 20), '49 queries are few: '),
        (score(50, 19), '19 people are few: '),
        (score(49, None), '49 queries are few: '),  # an older file
        (score([20, 20], 100), '40 queries are few: '),
        (score(40, 40, 9, 'zero'), '49 queries are few: '),
        (score(40, 40, 10, 'zero'), ''),
        (score(40, 40, 10), '40 queries are few: '),
        (score(50, 20), ''),
    ],
)
def test_few_queries_and_few_people_are_said_to_be_few(given, said):
    sentence = uncertainty.sentence(given)
    assert sentence == (f'{said}other people may well give quite other numbers.' if said else '')
