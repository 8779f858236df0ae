import collections
import concurrent.futures
import pickle
import random

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data.batches import identity_sampling
from tests.fixtures import public_tables
from tests.oracles import sampling

# Identities with 1, 2, 3, 4, 9, 5 and 6 tracklets; ids are neither sorted nor contiguous.
SIZES = {40: 1, 3: 2, 17: 3, 8: 4, 25: 9, 11: 5, 9: 6}
PIDS = [pid for pid, size in SIZES.items() for _ in range(size)]
random.Random(0).shuffle(PIDS)
CAMERAS = [1 + random.Random(i).randrange(4) for i in range(len(PIDS))]
DISTINCT = ('tracklet_epoch_distinct', 'camera_epoch_distinct')
IDENTITY = ('identity_epoch', 'identity_epoch_cameras', 'identity_epoch_unique')


def _sampler(kind, *, pids=PIDS, cameras=None, num_ids=3, k=2, seed=7):
    if cameras is None:
        cameras = CAMERAS[: len(pids)] if len(pids) <= len(CAMERAS) else [1] * len(pids)
    return identity_sampling.IdentitySampler(pids, cameras, kind=kind, num_ids=num_ids, tracklets_per_id=k, seed=seed)


def _epoch(sampler, epoch):
    n = sampler.steps_per_epoch
    return [sampler.tracklets(step).tolist() for step in range(epoch * n, (epoch + 1) * n)]


@pytest.fixture(scope='module')
def mars():
    table = public_tables.mars('train')
    return table[:, 2], table[:, 3]


@pytest.mark.parametrize(
    ('kind', 'num_ids', 'k', 'steps'),
    [('tracklet_epoch', 8, 4, 235), ('identity_epoch', 8, 4, 78), ('identity_epoch', 16, 4, 39)],
)
def test_epochs_of_mars_have_the_published_number_of_steps(mars, kind, num_ids, k, steps):
    sampler = _sampler(kind, pids=mars[0], cameras=mars[1], num_ids=num_ids, k=k)
    assert sampler.steps_per_epoch == steps
    assert sampler.tracklets(steps).shape == (num_ids * k,)


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
@pytest.mark.parametrize('k', [1, 2, 4])
def test_batches_hold_p_blocks_of_k_tracklets_of_one_identity(kind, k):
    sampler = _sampler(kind, k=k)
    for step in range(3 * sampler.steps_per_epoch):
        batch = sampler.tracklets(step)
        assert batch.dtype == np.int32
        ids = sampling.check_batch(batch.tolist(), PIDS, p=3, k=k)
        if kind != 'tracklet_epoch':
            assert len(set(ids)) == 3


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
def test_batch_of_a_step_does_not_depend_on_what_was_asked_before(kind):
    forward = _sampler(kind)
    steps = list(range(4 * forward.steps_per_epoch + 1))
    expected = {step: forward.tracklets(step).tolist() for step in steps}
    shuffled = _sampler(kind)
    for step in random.Random(1).sample(steps, len(steps)):
        assert shuffled.tracklets(step).tolist() == expected[step]
    resumed = pickle.loads(pickle.dumps(forward))
    assert resumed.tracklets(steps[-1]).tolist() == expected[steps[-1]]


def test_threads_that_share_a_sampler_get_the_same_batches():
    sampler = _sampler('tracklet_epoch')
    steps = list(range(5 * sampler.steps_per_epoch)) * 3
    random.Random(2).shuffle(steps)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda step: sampler.tracklets(step).tolist(), steps))
    alone = _sampler('tracklet_epoch')
    assert drawn == [alone.tracklets(step).tolist() for step in steps]


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
def test_seeds_and_epochs_differ(kind):
    sampler = _sampler(kind)
    assert _epoch(sampler, 0) != _epoch(sampler, 1)
    other = _sampler(kind, seed=8)
    assert sampler.tracklets(0).tolist() != other.tracklets(0).tolist()


@pytest.mark.parametrize('epoch', range(4))
def test_tracklet_epoch_visits_each_tracklet_at_most_once_and_leaves_out_less_than_a_batch(epoch):
    k = 2
    sampler = _sampler('tracklet_epoch', k=k)
    groups = sampling.groups_per_id(PIDS, k)
    assert sampler.steps_per_epoch == sum(groups.values()) // 3
    rows = [row for batch in _epoch(sampler, epoch) for row in batch]
    visits = collections.Counter(rows)
    assert all(count == 1 for row, count in visits.items() if PIDS[row] != 40)  # 40 has one tracklet, for k = 2
    seen = collections.Counter(PIDS[row] for row in rows)
    assert all(seen[pid] <= k * groups[pid] for pid in seen)


def test_tracklet_epoch_may_hold_an_identity_twice_in_a_batch():
    sampler = _sampler('tracklet_epoch', pids=[1] * 20 + [2, 3], cameras=[1] * 22, num_ids=2, k=2)
    ids = [sampling.check_batch(batch, [1] * 20 + [2, 3], p=2, k=2) for batch in _epoch(sampler, 0)]
    assert [1, 1] in ids


@pytest.mark.parametrize('kind', DISTINCT)
def test_distinct_epochs_follow_the_greedy_rule(kind):
    simulated = {sampling.greedy_steps(PIDS, p=3, k=2, rng=random.Random(i)) for i in range(200)}
    drawn = {_sampler(kind, seed=seed).steps_per_epoch for seed in range(60)}
    assert drawn <= simulated
    assert len(drawn) > 1


@pytest.mark.parametrize('kind', DISTINCT)
def test_distinct_epochs_keep_the_length_of_epoch_0_and_do_not_repeat_tracklets_within_a_pass(kind):
    sampler = _sampler(kind, seed=3)
    for epoch in range(6):
        visits = collections.Counter(row for batch in _epoch(sampler, epoch)[:3] for row in batch)
        assert all(count == 1 for row, count in visits.items() if PIDS[row] != 40)
    lengths = {_sampler(kind, seed=seed).steps_per_epoch for seed in range(30)}
    shortest = min(range(30), key=lambda seed: _sampler(kind, seed=seed).steps_per_epoch)
    longest = max(range(30), key=lambda seed: _sampler(kind, seed=seed).steps_per_epoch)
    for seed in (shortest, longest):  # later epochs have to be cut, or filled up
        sampler = _sampler(kind, seed=seed)
        assert all(len(_epoch(sampler, epoch)) == sampler.steps_per_epoch for epoch in range(10))
    assert len(lengths) > 1


def _cameras_of_blocks(sampler, cameras, k, epochs=6):
    for epoch in range(epochs):
        for batch in _epoch(sampler, epoch):
            for start in range(0, len(batch), k):
                block = batch[start : start + k]
                yield block, [cameras[row] for row in block]


def test_camera_aware_groups_start_with_as_many_cameras_as_the_identity_has():
    pids = [1] * 6 + [2] * 6 + [3] * 2
    cameras = [1, 1, 2, 2, 3, 3, 1, 1, 1, 1, 1, 2, 4, 4]
    sampler = _sampler('camera_epoch_distinct', pids=pids, cameras=cameras, num_ids=2, k=3)
    full = 0
    for block, seen in _cameras_of_blocks(sampler, cameras, 3):
        if pids[block[0]] == 1:  # two tracklets in each of three cameras: two groups of three cameras
            assert sorted(seen) == [1, 2, 3]
            full += 1
        if pids[block[0]] == 3:
            assert set(seen) == {4}
    assert full
    plain = _sampler('tracklet_epoch_distinct', pids=pids, cameras=cameras, num_ids=2, k=3)
    assert any(len(set(seen)) < 3 for block, seen in _cameras_of_blocks(plain, cameras, 3) if pids[block[0]] == 1)


def test_identity_epoch_over_cameras_takes_the_cameras_in_turn():
    sampler = _sampler('identity_epoch_cameras', k=4)
    for block, seen in _cameras_of_blocks(sampler, CAMERAS, 4):
        own = {camera for camera, pid in zip(CAMERAS, PIDS, strict=True) if pid == PIDS[block[0]]}
        n = min(len(own), 4)
        assert len(set(seen[:n])) == n
        assert seen[n:] == (seen[:n] * 4)[n:4]


@pytest.mark.parametrize('kind', IDENTITY)
def test_identity_epoch_visits_each_identity_at_most_once(kind):
    sampler = _sampler(kind, k=4)
    assert sampler.steps_per_epoch == len(SIZES) // 3
    left_out = set()
    for epoch in range(12):
        ids = [pid for batch in _epoch(sampler, epoch) for pid in sampling.check_batch(batch, PIDS, p=3, k=4)]
        assert len(set(ids)) == len(ids) == 6
        left_out |= set(SIZES) - set(ids)
    assert len(left_out) > 1  # not always the same identity


def test_identity_epoch_draws_with_replacement_and_its_unique_form_without():
    for kind, repeats in (('identity_epoch', True), ('identity_epoch_unique', False)):
        sampler = _sampler(kind, k=4)
        large = [
            batch[start : start + 4]
            for epoch in range(20)
            for batch in _epoch(sampler, epoch)
            for start in range(0, 12, 4)
            if SIZES[PIDS[batch[start]]] >= 4
        ]
        assert any(len(set(block)) < 4 for block in large) == repeats


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
def test_identity_with_one_tracklet_is_drawn_with_replacement(kind):
    sampler = _sampler(kind, pids=[5, 6, 6, 6, 6], cameras=[1, 1, 2, 1, 2], num_ids=2, k=4)
    rows = [row for epoch in range(3) for batch in _epoch(sampler, epoch) for row in batch]
    assert rows.count(0) == 4 * 3


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
def test_every_tracklet_is_seen_sooner_or_later(kind):
    sampler = _sampler(kind)
    assert {row for epoch in range(80) for batch in _epoch(sampler, epoch) for row in batch} == set(range(len(PIDS)))


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
def test_fewer_identities_than_a_batch_needs_are_refused(kind):
    with pytest.raises(ValueError, match=r'has 2 identities \(3 tracklets\), but a batch needs 3'):
        _sampler(kind, pids=[1, 1, 2], cameras=[1, 2, 1])


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
def test_an_empty_training_split_is_refused(kind):
    with pytest.raises(ValueError, match='training split is empty'):
        _sampler(kind, pids=[], cameras=[])


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"sampler.kind = 'epoch'"):
        _sampler('epoch')


def test_epoch_stream_is_not_the_stream_of_the_first_clip():
    sampler = _sampler('identity_epoch')
    clip = np.random.default_rng((7, 0, 0, 0)).integers(1 << 40)
    assert sampler._rng(0).integers(1 << 40) != clip


def test_steps_read_ahead_in_two_epochs_by_turns_draw_each_epoch_once(monkeypatch):
    sampler, drawn = _sampler('identity_epoch'), []
    draw = sampler._draw_epoch
    monkeypatch.setattr(sampler, '_draw_epoch', lambda epoch: drawn.append(epoch) or draw(epoch))
    for epoch in (4, 5, 4, 5, 4, 5):
        _epoch(sampler, epoch)
    assert drawn == [4, 5]
