"""Which rules `--protocol all` lists."""

import numpy as np

from jaxreid.evaluation import feature_file, rules


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
