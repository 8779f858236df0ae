"""Flow on disk: what was computed is read back, and what is damaged or of another size is made again."""

import random

import numpy as np

from jaxreid.data.datasets import mars
from jaxreid.data.flow import file as flow_file
from jaxreid.data.flow import optical_flow
from jaxreid.data.stores import folder_store, record_files
from tests.fixtures import mars_folder as mars_fixture

SIZE = {'height': 16, 'width': 8}
ENGINE = {'engine': 'opencv'}


def test_a_stored_flow_is_read_back_bit_for_bit(tmp_path):
    flow = np.random.default_rng(0).normal(size=(16, 8, 2)).astype(np.float16)
    file = flow_file.path(str(tmp_path), 'a/1.jpg', 'a/2.jpg', **SIZE, **ENGINE)
    assert flow_file.read(file, **SIZE) is None
    flow_file.write(file, flow)
    np.testing.assert_array_equal(flow_file.read(file, **SIZE), flow)


def test_the_following_frame_the_size_and_the_engine_are_part_of_the_name(tmp_path):
    names = {
        flow_file.path(str(tmp_path), 'a/1.jpg', second, height=height, width=8, engine=engine)
        for second in ('a/2.jpg', 'a/3.jpg')
        for height in (16, 32)
        for engine in ('opencv', 'jax')
    }
    assert len(names) == 8


def test_records_of_the_flow_lie_apart_for_each_engine():
    names = {record_files.flow_name(16, 8, engine=engine) for engine in ('opencv', 'jax')}
    assert names == {'flow-tvl1-16x8', 'flow-tvl1_jax-16x8'}


def test_damaged_and_foreign_files_count_as_absent(tmp_path):
    file = tmp_path / 'x.npy'
    np.save(file, np.zeros((16, 8, 2), np.float16))
    whole = file.read_bytes()
    for damaged in (b'', whole[:50], whole[:-7], b'no array'):
        file.write_bytes(damaged)
        assert flow_file.read(file, **SIZE) is None
    np.save(file, np.zeros((16, 8, 2), np.float32))
    assert flow_file.read(file, **SIZE) is None


def test_every_flipped_bit_counts_as_absent_and_a_file_from_before_there_were_digests_is_read(tmp_path):
    file, draw = tmp_path / 'x.npy', random.Random(0)
    flow = np.random.default_rng(0).normal(size=(16, 8, 2)).astype(np.float16)
    flow_file.write(file, flow)
    np.testing.assert_array_equal(np.load(file), flow)  # for whoever reads it with NumPy alone
    data = file.read_bytes()
    for _ in range(200):
        changed = bytearray(data)
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        assert flow_file.read(file, **SIZE) is None
    np.save(file, flow)
    np.testing.assert_array_equal(flow_file.read(file, **SIZE), flow)


def test_a_second_store_reads_what_the_first_computed(tmp_path, monkeypatch):
    tracklets = mars.read(mars_fixture.write(tmp_path / 'data')).train[2:4]

    def store():
        return folder_store.FolderStore(
            tmp_path / 'data',
            tracklets,
            folder_store.Reading(
                **SIZE, resize='bilinear', on_corrupt='error', flow='tvl1', flow_folder=str(tmp_path / 'flow')
            ),
        )

    first = store().read_flow(1, np.arange(4))
    assert np.abs(first).max() > 0
    monkeypatch.setattr(optical_flow, 'tv_l1', None)  # nothing is computed again
    np.testing.assert_array_equal(store().read_flow(1, np.arange(4)), first)
