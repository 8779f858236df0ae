"""What footage says of strangers, against loops and the definition of whitening."""

import dataclasses

import numpy as np
import pytest

from jaxreid.global_ids import constraints, own_footage, people


def test_whitened_rows_are_projections_by_a_ridged_covariance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 7)) @ rng.normal(size=(7, 7)) + 9
    camera = ['a'] * 25 + ['b'] * 14 + ['c']
    unit = np.stack([row / np.sqrt((row * row).sum()) for row in x])
    centred = unit - unit.mean(0)
    centred[:25] -= centred[:25].sum(0) / 26
    centred[25:39] -= centred[25:39].sum(0) / 15
    centred[39] /= 2  # a camera of one tracklet keeps half of it
    centred -= centred.mean(0)
    covariance = np.array([[(a * b).mean() for b in centred.T] for a in centred.T])
    ridged = covariance + 0.5 * np.trace(covariance) / 7 * np.eye(7)
    wanted = centred @ np.linalg.inv(ridged) @ centred.T
    made = own_footage.whitened(x.astype(np.float32), 'cosine', camera)
    np.testing.assert_allclose(made @ made.T, wanted, atol=2e-4 * np.abs(wanted).max())
    assert np.isfinite(
        own_footage.whitened(np.ones((5, 3)), 'cosine', ['a'] * 5)
    ).all()  # all the same: nothing to tell apart


def test_the_threshold_is_what_so_many_strangers_reach():
    rng = np.random.default_rng(1)
    first = rng.uniform(0, 100, 60)
    seen = constraints.Seen(['a', 'b'] * 30, first, first + 9)
    asked = people.Asked(rng.normal(size=(60, 16)), seen, 'cosine', np.nan, [0] * 60)
    made, measured = own_footage.calibrated(asked)
    x = made.embedding
    strangers = [
        x[i] @ x[j] / np.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))
        for i in range(60) for j in range(i) if not (first[i] > first[j] + 9 or first[j] > first[i] + 9)
    ]  # fmt: skip
    assert measured.impostor_pairs == len(strangers) > 200
    reach = sum(value >= made.threshold - 1e-12 for value in strangers) / len(strangers)
    assert 0.04 - 1 / len(strangers) < reach <= 0.04
    assert made.distance == 'cosine'
    plain, _ = own_footage.as_they_are(dataclasses.replace(asked, distance='euclidean'))
    assert plain.embedding is asked.embedding
    assert plain.distance == 'euclidean'
    strangers = [
        people.similarities(asked.embedding[[i, j]], 'euclidean')[0, 1]
        for i in range(60) for j in range(i) if not (first[i] > first[j] + 9 or first[j] > first[i] + 9)
    ]  # fmt: skip
    assert 0.04 - 1 / len(strangers) < np.mean(np.array(strangers) >= plain.threshold - 1e-9) <= 0.04


def test_footage_that_tells_nobody_apart_is_refused():
    seen = constraints.Seen(['a'] * 20, np.full(20, np.nan), np.full(20, np.nan))
    with pytest.raises(ValueError, match=r'tell 0 pairs of strangers apart, .* Give --calibration FILE'):
        own_footage.calibrated(people.Asked(np.ones((20, 2)), seen, 'cosine', np.nan, [0] * 20))
