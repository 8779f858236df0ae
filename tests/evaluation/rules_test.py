"""Which rules `--protocol all` lists, and what none of them may do."""

import numpy as np
import pytest

from jaxreid import config
from jaxreid.evaluation import feature_file, refinement, rules


def file_of(gallery):
    """Features of two queries and so many gallery rows."""
    n = gallery + 2
    query = np.arange(n) < 2
    return feature_file.Features(
        embedding=np.ones((n, 3), np.float32), embedding_before_neck=None, pid=np.ones(n, int), camera=np.arange(n),
        query=query, gallery=~query, name=np.array([str(i) for i in range(n)]), frames=np.zeros(n, int), meta={},
    )  # fmt: skip


def test_lists_are_cut_where_the_gallery_is_longer_than_the_cut_only():
    for gallery, expected in ((50, set()), (51, {50}), (1000, {50}), (1001, {50, 1000})):
        named = [rule.protocol for rule in rules.every([file_of(gallery)], 'cosine')]
        assert {rule.rank_cut for rule in named if rule.name.startswith('mars-paper')} - {None} == expected


def alone(people, copies):
    """Everybody is seen once, asked for and in the gallery; of some the gallery has a copy, as DukeMTMC-VideoReID's."""
    once = np.arange(people)
    row = np.concatenate([once, once[:copies], [people]])  # the last is a stranger, so that no gallery is empty
    query = np.arange(len(row)) < people
    return feature_file.Features(
        embedding=np.random.default_rng(0).normal(size=(people + 1, 4))[row], embedding_before_neck=None,
        pid=row + 1, camera=row % 3 + 1, query=query, gallery=np.ones(len(row), bool),
        name=np.array([f't{i}' for i in row]), frames=np.full(len(row), 9), meta={},
        attributes={'outfit': np.array([f'{i % 2}' for i in row]), 'frame': row},
    )  # fmt: skip


RULES = {rule.protocol.name: rule for rule in rules.every([alone(1010, 0)], 'cosine')}


@pytest.mark.parametrize('name', list(RULES))
@pytest.mark.parametrize('refined', [{}, {'rerank': True, 'k1': 4}, {'expand_queries': 2, 'augment_gallery': 2}])
def test_a_query_is_never_its_own_match_under_any_rule(name, refined):
    rule = RULES[name]
    # Cameras that are listed per frame shift those of copies, which then count: that is the mistake it shows. And of
    # crops no frame may have two of one person.
    for copies in (0,) if rule.per_frame_cameras or rule.protocol.gap_frames else (0, 7):
        features = alone(30, copies)
        ranked = rules.rank(
            features, rule, refinement.Distances(features, refinement.Refinement(rule.distance, **refined))
        )
        assert not ranked.answered.any()
        assert not ranked.shots.any()


def test_every_rule_that_differs_in_one_point_is_among_those_tried():
    assert RULES.keys() > set(config.PROTOCOLS)
    assert any(rule.per_frame_cameras for rule in RULES.values())
