"""Thresholds and rates against counts of single pairs."""

import numpy as np
import pytest

from jaxreid.evaluation import calibration
from tests.oracles import rankings as oracle


def problem(seed, *, queries=12, gallery=40):
    rng = np.random.default_rng(seed)
    distances = rng.normal(0, 0.3, (queries, gallery)).clip(-1, 1)
    ids, cameras = rng.choice([-1, 0, 2, 3, 4], gallery), rng.choice([1, 2, 3], gallery)
    query_ids = rng.choice([2, 3, 4, 9], queries)  # 9 has no match
    distances[query_ids[:, None] == ids[None]] -= 0.3
    return distances.clip(-1, 1), query_ids, rng.choice([1, 2, 3], queries), ids, cameras


@pytest.fixture(scope='module')
def counted():
    of = problem(0)
    distances, query_ids, query_cameras, ids, cameras = of
    ignored = ids == -1
    parts = [
        calibration.collect(
            distances[s], query_ids[s], query_cameras[s], ids, cameras, low=-1.001, high=1.001, ignored=ignored
        )
        for s in (slice(0, 5), slice(5, 12))
    ]
    return calibration.join(parts), *oracle.pairs(*of, junk=set(np.flatnonzero(ignored)))


def test_every_pair_is_counted_once(counted):
    found, genuine, impostor = counted
    assert found.genuine.sum() == sum(map(len, genuine))
    assert found.impostor.sum() == sum(map(len, impostor))
    np.testing.assert_allclose(found.best_genuine, [max(row, default=-np.inf) for row in genuine])
    np.testing.assert_allclose(found.best_impostor, [max(row, default=-np.inf) for row in impostor])


def test_rates_at_a_threshold_are_shares_of_pairs_that_reach_it(counted):
    found, genuine, impostor = counted
    false, true = calibration.rates(found)
    for k in range(0, calibration.BINS + 1, 1111):
        threshold = calibration.thresholds(found)[k]
        assert false[k] == pytest.approx(oracle.share_accepted(impostor, threshold), abs=1e-12)
        assert true[k] == pytest.approx(oracle.share_accepted(genuine, threshold), abs=1e-12)


def test_the_threshold_of_a_rate_is_the_lowest_that_keeps_it(counted):
    found, genuine, impostor = counted
    step = 2.002 / calibration.BINS
    for row in calibration.calibrate(found, wanted=(0.3, 0.1, 0.01))['verification']['thresholds']:
        at = row['threshold']
        assert oracle.share_accepted(impostor, at) == pytest.approx(row['false_accept_rate'])
        assert row['false_accept_rate'] <= row['wanted_false_accept_rate']
        assert oracle.share_accepted(impostor, at - 1.01 * step) > row['wanted_false_accept_rate']
        assert oracle.share_accepted(genuine, at) == pytest.approx(row['true_accept_rate'])


def test_errors_of_both_kinds_are_equal_at_the_equal_error_threshold(counted):
    found, genuine, impostor = counted
    row = calibration.calibrate(found)['verification']
    false = oracle.share_accepted(impostor, row['equal_error_threshold'])
    missed = 1 - oracle.share_accepted(genuine, row['equal_error_threshold'])
    smallest = 1 / min(found.genuine.sum(), found.impostor.sum())
    assert abs(false - missed) <= 2 * smallest
    assert row['equal_error_rate'] == pytest.approx((false + missed) / 2, abs=2 * smallest)


def pairs(genuine, impostor):
    """Similarities whose histograms are these {place: count}, and whose queries are strangers 0.00, 0.01, ..."""
    counts = np.zeros((2, calibration.BINS), np.int64)
    for row, places in zip(counts, (genuine, impostor), strict=True):
        row[list(places)] = list(places.values())
    strangers = np.arange(100) / 100
    return calibration.Similarities(0.0, 1.0, *counts, np.full(100, 2.0), strangers)


def test_a_rate_that_is_met_exactly_has_the_threshold_of_that_place_and_can_be_measured():
    of_ten = pairs({9: 4}, {2: 9, 7: 1})
    (row,) = calibration.calibrate(of_ten, wanted=(0.1,))['verification']['thresholds']
    grid = calibration.thresholds(of_ten)
    assert (row['threshold'], row['false_accept_rate'], row['true_accept_rate']) == (grid[3], 0.1, 1.0)
    assert row['measurable']
    (row,) = calibration.calibrate(of_ten, wanted=(0.09,))['verification']['thresholds']
    assert (row['threshold'], row['measurable']) == (grid[8], False)


def test_errors_may_be_equal_at_the_first_place_of_the_grid():
    row = calibration.calibrate(pairs({0: 1, 5: 1}, {0: 1, 3: 1}))['verification']
    assert (row['equal_error_rate'], row['equal_error_threshold']) == (0.5, calibration.thresholds(pairs({}, {}))[1])


def test_a_share_of_strangers_that_floats_round_below_a_whole_number_is_that_number():
    assert 0.29 * 100 < 29
    (row,) = calibration.calibrate(pairs({9: 4}, {2: 9}), wanted=(0.29,))['search']['thresholds']
    assert row['false_alarm_rate'] == 0.29
    (row,) = calibration.calibrate(pairs({9: 4}, {2: 9}), wanted=(0.01,))['search']['thresholds']
    assert (row['false_alarm_rate'], row['measurable']) == (0.01, True)


def test_a_search_alarms_no_more_often_than_wanted(counted):
    found, genuine, impostor = counted
    for row in calibration.calibrate(found, wanted=(0.5, 0.25, 0.01))['search']['thresholds']:
        alarms, detected = oracle.search(genuine, impostor, row['threshold'])
        assert alarms == pytest.approx(row['false_alarm_rate'])
        assert alarms <= row['wanted_false_alarm_rate']
        assert detected == pytest.approx(row['detected_rate'])
    assert not row['measurable']


def test_perfect_and_collapsed_networks_have_the_rates_that_they_must():
    ids, cameras = np.array([1, 2]), np.array([2, 2])
    of = np.array([1, 2]), np.array([1, 1]), ids, cameras
    bounds = {'low': -1.001, 'high': 1.001}
    perfect = calibration.calibrate(calibration.collect(np.array([[-1.0, 1.0], [1.0, -1.0]]), *of, **bounds))
    assert perfect['verification']['equal_error_rate'] == 0
    assert perfect['verification']['thresholds'][0]['true_accept_rate'] == 1
    assert perfect['search']['thresholds'][0]['detected_rate'] == 1
    collapsed = calibration.calibrate(calibration.collect(np.zeros((2, 2)), *of, **bounds))
    assert collapsed['verification']['equal_error_rate'] == pytest.approx(0.5)
    assert collapsed['verification']['thresholds'][0]['true_accept_rate'] == 0
    assert collapsed['search']['thresholds'][0]['detected_rate'] == 0
    everyone = calibration.calibrate(calibration.collect(np.zeros((2, 2)), *of, **bounds), wanted=(1.0,))
    assert everyone['search']['thresholds'][0]['false_alarm_rate'] == 1
    assert everyone['search']['thresholds'][0]['detected_rate'] == 0  # no first place is won by a tie


def test_without_matches_there_are_no_thresholds():
    found = calibration.collect(
        np.zeros((1, 1)), np.array([1]), np.array([1]), np.array([2]), np.array([2]), low=-1.001, high=1.001
    )
    result = calibration.calibrate(found)
    assert result['verification']['equal_error_rate'] is None
    assert result['search']['thresholds'] == []


@pytest.mark.parametrize('distance', ['cosine', 'euclidean'])
def test_the_bounds_hold_every_similarity(distance):
    embedding = np.random.default_rng(0).normal(5, 3, (20, 4))
    low, high = calibration.bounds(embedding, distance)
    if distance == 'cosine':
        unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
        similarity = unit @ unit.T
    else:
        similarity = -np.linalg.norm(embedding[:, None] - embedding[None], axis=-1)
    assert low < similarity.min()
    assert similarity.max() < high


def test_the_histogram_has_every_pair_and_covers_the_range(counted):
    found, genuine, impostor = counted
    shares = calibration.histogram(found, bins=20)
    assert shares['genuine'].sum() == pytest.approx(1)
    assert shares['impostor'].sum() == pytest.approx(1)
    flat = [s for row in genuine for s in row]
    for left, right, share in zip(shares['edges'], shares['edges'][1:], shares['genuine']):
        assert share == pytest.approx(sum(left <= s < right for s in flat) / len(flat), abs=1e-9)
    assert shares['edges'][0] <= min(flat + [s for row in impostor for s in row])
