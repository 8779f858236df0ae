"""Warnings appear for what they are about, and for nothing else."""

import dataclasses
import re

import numpy as np
import pytest

from jaxreid.evaluation import feature_file, sanity


def mars():
    """24 tracklets as MARS has them: queries in the gallery, junk, distractors."""
    pid = np.concatenate([np.repeat([1, 2, 3], 6), [0, 0, 0, -1, -1, -1]])
    camera = np.tile([1, 1, 2, 2, 3, 3], 4)
    return feature_file.Features(
        embedding=np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32),
        embedding_before_neck=None,
        pid=pid,
        camera=camera,
        query=(np.arange(24) % 6 == 0) & (pid > 0),
        gallery=np.ones(24, bool),
        name=np.array([f'{i:04d}C{c}T{n:04d}' for n, (i, c) in enumerate(zip(pid, camera))]),
        frames=np.full(24, 30),
        meta={},
    )


def other(**changed):
    return dataclasses.replace(mars(), **changed)


def zeros_in(row, value=0.0):
    embedding = mars().embedding.copy()
    embedding[row] = value
    return embedding


def copied(a, b):
    embedding = mars().embedding.copy()
    embedding[a] = embedding[b]
    return embedding


def per_frame():
    """Cameras listed once per frame and cut."""
    return np.repeat(mars().camera, 5)[:24]


def nowhere():
    """Queries that are not marked gallery and have no copy there."""
    return ~mars().query


def test_features_as_they_should_be_raise_no_warning():
    for distance in ('cosine', 'euclidean'):
        assert sanity.warnings(mars(), distances=[distance]) == []
    one_against_one = other(  # iLIDS-VID: camera 1 is asked for in camera 2
        pid=np.arange(24) % 12 + 1, camera=np.repeat([1, 2], 12), query=np.arange(24) < 12, gallery=np.arange(24) >= 12,
        name=np.array(['a'] * 24),
    )  # fmt: skip
    assert sanity.warnings(one_against_one, distances=['cosine']) == []
    copies = np.flatnonzero(mars().query)  # DukeMTMC-VideoReID: queries have copies in the gallery
    both = {
        k: np.concatenate([getattr(mars(), k), getattr(mars(), k)[copies]])
        for k in ('embedding', 'pid', 'camera', 'name', 'frames')
    }
    query = np.arange(27) >= 24
    assert sanity.warnings(other(**both, query=query, gallery=~query), distances=['cosine']) == []


@pytest.mark.parametrize(
    ('found', 'message'),
    [
        (other(camera=np.full(24, 3), name=mars().pid.astype(str)), 'every camera id is 3'),
        (other(camera=per_frame()), 'names say another camera'),
        (other(camera=np.where(mars().query, mars().pid, 1), name=mars().pid.astype(str), gallery=nowhere()),
         'every gallery row is of camera 1, queries are of several'),
        (other(camera=np.arange(24) * 10 + 1000, name=mars().pid.astype(str)), '24 different camera ids for 24 rows'),
        (other(camera=np.arange(24) // 2, name=mars().pid.astype(str), gallery=mars().pid >= 0), None),
        (other(camera=mars().pid + 1, name=mars().pid.astype(str)), 'of the 3 ids asked for are seen by one camera'),
        (other(embedding=zeros_in(4)), r'1 features are all zeros \(first: 0001C3T0004\)'),
        (other(embedding=zeros_in([4, 6, 7, 9])), r'4 features are all zeros \(first: 0001C3T0004, \S+, \S+ \.\.\.\)'),
        (other(embedding=zeros_in(4, np.nan)), '1 rows hold NaN or infinity'),
        (other(embedding=copied([3, 4], 9)), r'2 of 24 .*gallery repeat .*T0004, 0002C2T0009; most often 0001C2T0003'),
        (other(embedding=np.ones((24, 8))), 'all 24 features marked gallery are equal'),
        (other(pid=np.where(mars().pid == -1, -2, mars().pid)), r'ids below -1 \(-2\)'),
        (other(query=mars().pid == 0), '3 queries are junk'),
        (other(gallery=mars().pid != 2), '1 of 3 queries are of an id that the gallery does not hold'),
        (other(gallery=nowhere()), 'no query is in the gallery'),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_said(found, message):
    said = sanity.warnings(found, distances=['cosine'])
    if message is None:
        assert said == []
    else:
        assert any(re.search(message, warning) for warning in said), said


def test_lengths_matter_to_the_euclidean_distance_only():
    found = other(embedding=mars().embedding * np.linspace(1, 30, 24)[:, None])
    assert sanity.warnings(found, distances=['cosine']) == []
    assert 'lengths of features vary from' in sanity.warnings(found, distances=['euclidean'])[0]


def test_features_of_absurd_sizes_have_lengths_too():
    for size in (1e25, 1e-25):
        assert sanity.warnings(other(embedding=mars().embedding * np.float32(size)), distances=['euclidean']) == []


def listed_per_frame(found, frames):
    """The features with the cameras of their frames, cut to the number of tracklets, and names that say nothing."""
    camera = found.camera.copy()
    for rows in (found.query, ~found.query):
        camera[rows] = np.repeat(found.camera[rows], frames)[: rows.sum()]
    return dataclasses.replace(found, camera=camera, name=np.array(['x'] * len(camera)))


def many(order):
    """40 people in 4 cameras, 3 tracklets each, the first in each camera a query."""
    pid, camera, number = (x.ravel() for x in np.mgrid[1:41, 1:5, :3])
    order = order(pid, camera)
    n = len(pid)
    return feature_file.Features(
        embedding=np.random.default_rng(2).normal(size=(n, 4)), embedding_before_neck=None, pid=pid[order],
        camera=camera[order], query=(number == 0)[order], gallery=np.ones(n, bool), name=np.array(['x'] * n),
        frames=np.zeros(n, int), meta={},
    )  # fmt: skip


ORDERS = {
    'by identity': lambda pid, camera: np.lexsort((camera, pid)),
    'by camera': lambda pid, camera: np.lexsort((pid, camera)),
    'none': lambda pid, camera: np.random.default_rng(3).permutation(len(pid)),
}


@pytest.mark.parametrize('order', list(ORDERS))
def test_cameras_per_frame_are_seen_without_names(order):
    found = many(ORDERS[order])
    assert sanity.warnings(found, distances=['cosine']) == []
    if order != 'by camera':  # there the shifted cameras are nearly all the first one, see above
        said = sanity.warnings(listed_per_frame(found, 12), distances=['cosine'])
        assert any('the camera stays the same over several people in turn' in warning for warning in said), said


def test_frame_numbers_are_not_taken_for_cameras():
    many = {k: np.tile(getattr(mars(), k), 6) for k in ('pid', 'query', 'gallery', 'frames')}
    found = other(
        **many,
        embedding=np.random.default_rng(1).normal(size=(144, 8)),
        camera=np.arange(144),
        name=many['pid'].astype(str),
    )
    assert any(
        '144 different camera ids for 144 rows' in warning for warning in sanity.warnings(found, distances=['cosine'])
    )
