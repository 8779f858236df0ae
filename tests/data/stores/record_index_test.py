"""The list of a record set's tracklets, as it is written and read."""

import dataclasses

import numpy as np

from jaxreid.data.stores import record_index
from jaxreid.data.tracklets import tracklet


def an_index():
    """Four tracklets in two parts; junk, names, times and attributes among them."""
    frames = [
        tuple(f'{name}/{i}.jpg' for i in range(count)) for name, count in (('a', 3), ('b', 1), ('junk', 2), ('c', 4))
    ]
    tracklets = (
        tracklet.Tracklet('a', 1, 2, frames[0]),
        tracklet.Tracklet('b', 2, 1, frames[1], time='2026-11-21T14:05'),
        tracklet.Tracklet('junk', tracklet.JUNK_ID, 3, frames[2]),
        tracklet.Tracklet('c', tracklet.DISTRACTOR_ID, 0, frames[3], attributes={'outfit': 'coat'}),
    )
    return record_index.Index(
        dataset='manifest', version='1.0.0', frames_per_shard=2, parts={'train': 1, 'test': 3}, tracklets=tracklets,
        sizes=np.arange(100, 110, dtype=np.int32),
        splits=(record_index.Split({'split': '0'}, train=[0], test=[1, 2, 3], query=[0], gallery=[1, 2]),),
        pid_names={1: 'ann', 2: 'bob'}, camera_names={1: 'door'},
    )  # fmt: skip


def test_what_was_written_is_read_with_junk_names_times_and_attributes():
    index = an_index()
    data = record_index.to_bytes(index)
    assert data == record_index.to_bytes(an_index())
    again = record_index.from_bytes(data, folder='x')
    for field in dataclasses.fields(index):
        if field.name == 'sizes':
            np.testing.assert_array_equal(again.sizes, index.sizes)
        else:
            assert getattr(again, field.name) == getattr(index, field.name), field.name


def test_a_shard_ends_with_its_frames_or_with_its_part():
    spans = [(shard.name[:-9], shard.part, shard.start, shard.stop) for shard in an_index().shards('own')]
    assert spans == [
        ('own-train.array_record-00000', 'train', 0, 2),
        ('own-train.array_record-00001', 'train', 2, 3),
        ('own-test.array_record-00000', 'test', 3, 5),
        ('own-test.array_record-00001', 'test', 5, 7),
        ('own-test.array_record-00002', 'test', 7, 9),
        ('own-test.array_record-00003', 'test', 9, 10),
    ]
