"""Reassociation: the same person a fixed number of frames later in the same sequence, against loops over crops."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreid.evaluation import feature_file, protocols, rules, score


def draw(seed=0, *, sequences=3, people=6, frames=130, step=5):
    """Crops of people who come and go in a few videos. An id means another person in another video."""
    rng = np.random.default_rng(seed)
    rows = [
        (sequence, pid, frame)
        for sequence in range(sequences)
        for pid in range(1, people + 1)
        for frame in range(0, frames, step)
        if rng.uniform() < (0.6 if sequence else 0.25)
    ]
    rows += [(9, 1, 0), (9, 1, 30)]  # alone: no other candidate
    rng.shuffle(rows)
    sequence, pid, frame = np.array(rows).T
    looks = rng.normal(size=(sequences + 10, people + 1, 4))
    embedding = looks[sequence, pid] + 1.5 * rng.normal(size=(len(rows), 4))
    return feature_file.Features(
        embedding=embedding.astype(np.float32), embedding_before_neck=None, pid=pid, camera=sequence,
        query=np.ones(len(rows), bool), gallery=np.ones(len(rows), bool),
        name=np.array([f'crop {i}' for i in range(len(rows))]), frames=np.ones(len(rows), int), meta={},
        attributes={'frame': frame},
    )  # fmt: skip


def slow(features, *, gap, stride):
    """({query row: rank of its person}, skipped queries)."""
    unit = features.embedding.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    place = list(zip(features.camera.tolist(), features.attributes['frame'].tolist()))
    ranks, skipped = {}, 0
    for q, (sequence, frame) in enumerate(place):
        if frame % stride:
            continue
        candidates = [j for j, there in enumerate(place) if there == (sequence, frame + gap)]
        own = [j for j in candidates if features.pid[j] == features.pid[q]]
        if len(candidates) < 2 or not own:
            skipped += 1
            continue
        to = {j: -float(unit[q] @ unit[j]) for j in candidates}
        ranks[q] = 1 + sum((to[j], j) < (to[own[0]], own[0]) for j in candidates)
    return ranks, skipped


@pytest.mark.parametrize(('gap', 'stride'), [(30, 60), (5, 1), (25, 10)])
def test_every_query_is_ranked_among_those_of_its_sequence_and_frame(gap, stride):
    features = draw(gap)
    rule = dataclasses.replace(protocols.named('reassociation'), gap_frames=gap, query_stride=stride)
    ranks, skipped = slow(features, gap=gap, stride=stride)
    found = protocols.rank_queries(features, rule)
    assert np.flatnonzero(found.answered).tolist() == sorted(ranks)
    assert found.first_hit[found.answered].tolist() == [ranks[q] for q in sorted(ranks)]
    made = protocols.score(features, rule)
    assert made['mAP'] == pytest.approx(
        100 * np.mean([1 / rank for rank in ranks.values()])
    )  # the mean reciprocal rank
    assert made['cmc']['1'] == pytest.approx(100 * np.mean([rank == 1 for rank in ranks.values()]))
    assert (made['protocol']['answered_queries'], made['protocol']['unanswered_queries']) == (len(ranks), skipped)
    assert (made['protocol']['gap_frames'], made['protocol']['query_stride']) == (gap, stride)
    assert len(ranks) > 5 < skipped + len(ranks) * (stride < 60)


def test_the_example_of_the_page():
    """Ann and Bob in frame 60, and Eve with them in frame 90; docs/protocols.md."""
    features = feature_file.Features(
        embedding=np.array([[0.0], [9.0], [1.0], [9.5], [0.5]], np.float32), embedding_before_neck=None,
        pid=np.array([1, 2, 1, 2, 3]), camera=np.ones(5, int), query=np.ones(5, bool), gallery=np.ones(5, bool),
        name=np.array(['Ann 60', 'Bob 60', 'Ann 90', 'Bob 90', 'Eve 90']), frames=np.ones(5, int), meta={},
        attributes={'frame': np.array([60, 60, 90, 90, 90])},
    )  # fmt: skip
    found = protocols.rank_queries(features, protocols.named('reassociation'), distance='euclidean')
    assert found.answered.tolist() == [True, True, False, False, False]
    assert found.ap.tolist() == [1 / 2, 1, 0, 0, 0]
    made = protocols.score(features, protocols.named('reassociation'), distance='euclidean')
    assert made['protocol']['unanswered_queries'] == 0  # frame 90 asks nothing


def test_a_later_crop_that_is_equal_to_the_query_is_its_match():
    features = draw(1)
    embedding = np.repeat(
        np.eye(7, dtype=np.float32)[features.pid], 1, axis=0
    )  # as a network that sees nothing but ids
    made = protocols.score(dataclasses.replace(features, embedding=embedding), protocols.named('reassociation'))
    assert made['mAP'] == 100


def test_frames_that_are_not_known_or_shown_twice_are_errors():
    features, rule = draw(2), protocols.named('reassociation')
    for column in (None, np.full(len(features.pid), 'later'), features.attributes['frame'] + 0.5):
        attributes = {} if column is None else {'frame': column}
        with pytest.raises(ValueError, match='compares frames of one sequence'):
            protocols.score(dataclasses.replace(features, attributes=attributes), rule)
    features.camera[:2], features.pid[:2], features.attributes['frame'][:2] = 1, 3, 1000
    with pytest.raises(ValueError, match='Sequence 1 shows the id 3 twice in frame 1000'):
        protocols.score(features, rule)


def test_without_a_candidate_the_error_says_what_was_looked_for():
    rule = dataclasses.replace(protocols.named('reassociation'), gap_frames=900)
    with pytest.raises(ValueError, match='the same id, and one other at least, 900 frames later in the same sequence'):
        protocols.score(draw(3), rule)


@pytest.mark.parametrize('changed', [{'gap_frames': 0}, {'query_stride': 0}, {'unanswerable': 'zero'}])
def test_rules_that_cannot_be_are_refused(changed):
    with pytest.raises(ValueError, match='reassociation'):
        dataclasses.replace(protocols.named('reassociation'), **changed)


def test_the_command_scores_a_file_of_crops(tmp_path):
    features = draw(4)
    features.save(tmp_path / 'crops.npz')
    out = tmp_path / 'out.json'
    argv = [str(tmp_path / 'crops.npz'), '--resamples', '20', '--json', str(out), '--protocol', 'reassociation']
    assert score.main([*argv, '--gap-frames', '10', '--query-stride', '20']) == 0
    ((name, row),) = json.loads(out.read_text()).items()
    assert name == 'reassociation with gap_frames=10, query_stride=20'
    ranks, _ = slow(features, gap=10, stride=20)
    assert row['mAP'] == pytest.approx(100 * np.mean([1 / rank for rank in ranks.values()]))
    assert 'reassociation' in {rule.protocol.name for rule in rules.every([features], 'cosine')}
