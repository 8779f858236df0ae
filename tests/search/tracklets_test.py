"""What of a feature file a search sees, and what can be compared."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreid.evaluation import feature_file
from jaxreid.search import results, tracklets
from tests.fixtures import feature_files


def file_of(pid, *, query=None, gallery=None, **meta):
    """Features of tracklets t0, t1, ... in cameras 10, 11, ..."""
    n = len(pid)
    marks = [np.zeros(n, bool) if rows is None else np.isin(np.arange(n), rows) for rows in (query, gallery)]
    return feature_file.Features(
        embedding=np.arange(2 * n, dtype=np.float32).reshape(n, 2), embedding_before_neck=None, pid=np.array(pid),
        camera=10 + np.arange(n), query=marks[0], gallery=marks[1], name=np.array([f't{i}' for i in range(n)]),
        frames=np.arange(n) + 1, meta=meta,
    )  # fmt: skip


def test_a_search_sees_the_rows_of_its_role_or_all_where_none_has_it_and_junk_never():
    marked = file_of([5, -1, 0, 7], query=[0], gallery=[1, 2, 3])
    seen = tracklets.chosen(marked, 'here', 'gallery', lambda row: [f'film {row}'])
    assert (seen.name, seen.camera, seen.frames) == (['t2', 't3'], ['12', '13'], [3, 4])
    assert seen.person == ['', '7']  # a distractor is nobody
    np.testing.assert_array_equal(seen.features.read(0, 2), [[4, 5], [6, 7]])
    assert [seen.film(row) for row in range(2)] == [['film 2'], ['film 3']]
    assert tracklets.chosen(marked, 'here', 'query', list).name == ['t0']
    assert tracklets.chosen(file_of([5, -1, 0]), 'here', 'query', list).name == ['t0', 't2']


def test_names_of_people_and_cameras_stand_for_their_numbers():
    named = file_of([1, 2], pid_names={'1': 'ann'}, camera_names={'11': 'door'})
    seen = tracklets.chosen(named, 'here', 'gallery', list)
    assert (seen.person, seen.camera) == (['ann', '2'], ['10', 'door'])


def test_features_made_in_another_way_are_not_compared():
    first, second = (
        tracklets.chosen(file_of([1, 2], network=network, flip=True), where, 'gallery', list)
        for network, where in (('ab', 'here'), ('cd', 'there'))
    )
    tracklets.check_comparable(first, first)
    with pytest.raises(
        ValueError, match=r'there cannot be compared with those of here:\n  .*network: ab there, cd here'
    ):
        tracklets.check_comparable(first, second)


def test_a_film_is_spread_over_the_tracklet():
    assert tracklets.film([f'{i}' for i in range(10)]) == ['1', '3', '5', '7', '9']
    assert tracklets.film(['0', '1']) == ['0', '1']


def test_moments_are_dates_or_seconds():
    assert tracklets.moment('73.5') == ('seconds', 73.5)
    assert tracklets.moment('1970-01-01T00:01') == tracklets.moment('1970-01-01T01:01+01:00') == ('date', 60.0)
    for text in ('noon', 'inf', 'nan'):
        with pytest.raises(ValueError, match=f"'{text}' is no time"):
            tracklets.moment(text)


@pytest.mark.parametrize('meta', feature_files.FOREIGN)
def test_metadata_of_anybody_is_no_error(meta, tmp_path):
    """As with scores and reports; the file is written as others write it."""
    arrays = {'embedding': np.eye(3, dtype=np.float32), 'pid': np.arange(1, 4), 'camera': np.arange(3)}
    marks = {'query': np.ones(3, bool), 'gallery': np.ones(3, bool)}
    np.savez(tmp_path / 'a.npz', **arrays, **marks, meta=np.array(json.dumps(meta)))
    features = feature_file.load(tmp_path / 'a.npz')
    seen = tracklets.chosen(features, 'here', 'gallery', list)
    assert seen.name == ['row 0', 'row 1', 'row 2']
    tracklets.check_comparable(seen, seen)
    assert [tracklets.who(seen, row)[1] for row in range(3)] == ['1', '2', '3']
    assert all(isinstance(value, (str, int)) for value in seen.made.values())


def test_times_that_cannot_be_read_are_named_with_their_tracklet_and_file():
    file = dataclasses.replace(file_of([1, 2, 3]), time=np.array(['2026-11-21T14:05', '14:05', '21.11.2026']))
    seen = tracklets.chosen(file, 'shop.npz', 'gallery', list)
    with pytest.raises(ValueError, match=r"shop\.npz: the times of 2 of 3 .* first of 't1': '14:05' is no time"):
        tracklets.moments(seen)
    with pytest.raises(ValueError, match=r'shop\.npz: the times of 2'):
        results.search(seen, seen, top=1, distance='cosine', filters=results.Filters(after='2026-11-21T14:00'))
    assert tracklets.moments(dataclasses.replace(seen, time=['', '7.5', '']))[1] == ('seconds', 7.5)
