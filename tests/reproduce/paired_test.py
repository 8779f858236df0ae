"""Paired differences against SciPy's t test, and what may be said of few, equal and missing pairs."""

import numpy as np
import pytest
from scipy import stats

from jaxreid.reproduce import paired


@pytest.mark.parametrize('n', [2, 3, 5, 12])
@pytest.mark.parametrize('shift', [-3.0, 0.1, 4.0])
def test_the_interval_is_that_of_the_paired_t_test(n, shift):
    rng = np.random.default_rng((n, round(10 * shift) + 100))
    theirs = rng.normal(60, 5, n)
    ours = theirs + shift + rng.normal(0, 0.7, n)
    made = paired.compare(ours.tolist(), theirs.tolist())
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert made.mean == pytest.approx(np.mean(ours - theirs))
    assert made.interval == pytest.approx((expected.low, expected.high))
    significant = stats.ttest_rel(ours, theirs).pvalue < 0.05
    assert made.verdict == (('gain' if shift > 0 else 'loss') if significant else 'no difference shown')


def test_one_pair_has_no_interval_and_says_so():
    assert paired.compare([63.5], [60.0]) == (3.5, None, 'one seed: no interval')


def test_without_a_pair_nothing_is_said():
    assert paired.compare([], []) == (None, None, 'not run')


def test_equal_rows_show_no_difference():
    assert paired.compare([60.0, 61.0, 62.0], [60.0, 61.0, 62.0]) == (0, (0, 0), 'no difference shown')


def test_differences_that_are_all_the_same_leave_no_width():
    made = paired.compare([61.5, 63.5], [60.0, 62.0])
    assert made == (1.5, (1.5, 1.5), 'gain')
    assert paired.compare([60.0, 62.0], [61.5, 63.5]).verdict == 'loss'


def test_an_interval_that_ends_at_zero_shows_nothing():
    # Differences 0 and d: the half-width of two is 12.7 times their half.
    assert paired.compare([60.0, 64.0], [60.0, 60.0]).verdict == 'no difference shown'


def test_rows_of_different_length_are_refused():
    with pytest.raises(ValueError, match='zip'):
        paired.compare([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ('gain', 'ceiling', 'part'),
    [(2.0, 8.0, 0.25), (-1.0, 8.0, -0.125), (2.0, 0.0, None), (2.0, -1.0, None), (None, 8.0, None), (2.0, None, None)],
)
def test_the_share_is_of_a_ceiling_above_zero(gain, ceiling, part):
    assert paired.share(gain, ceiling) == part
