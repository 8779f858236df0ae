import functools

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data.batches import clip_sampling, eval_pipeline
from jaxreid.data.datasets import mars
from jaxreid.data.stores import folder_store
from tests.fixtures import eval_clips, meshes
from tests.fixtures import mars_folder as mars_fixture
from tests.oracles import sampling


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return mars.read(mars_fixture.write(tmp_path_factory.mktemp('data') / 'mars'))


def _take(dataset, *, clips='all_frames', frames=4, batch_clips=3, threads=2, store=None, **kwargs):
    store = store or folder_store.FolderStore(
        dataset.root, dataset.test, folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt='error')
    )
    with eval_clips.batches(
        dataset.test,
        store,
        clips=clips,
        frames=frames,
        batch_clips=batch_clips,
        threads=threads,
        prefetch=2,
        **kwargs,
    ) as batches:
        return list(batches)


def _random(row, num_frames):
    return clip_sampling.test_clips(num_frames, kind='random', frames=4, seed=5, row=row)


ORACLES = {
    'all_frames': lambda row, f: sampling.all_frames(f, 4),
    'interleaved': lambda row, f: sampling.interleaved(f, 4),
    'rrs': lambda row, f: [sampling.rrs_test(f, 4)],
    'begin_crop': lambda row, f: [sampling.begin_crop(f, 4)],
    'even': lambda row, f: [sampling.even(f, 4)],
    'random': _random,
}


def test_every_kind_of_clip_is_tested_here():
    assert {*ORACLES, 'whole'} == set(config.choices('test.clips'))


@pytest.mark.parametrize('batch_clips', [1, 3, 5, 64])
@pytest.mark.parametrize('clips', ORACLES)
def test_every_clip_of_every_tracklet_comes_once_in_order(dataset, clips, batch_clips):
    oracle = ORACLES[clips]
    store = folder_store.FolderStore(
        dataset.root, dataset.test, folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt='error')
    )
    expected = []
    for row, tracklet in enumerate(dataset.test):
        positions = np.asarray(oracle(row, len(tracklet.frames)))
        expected += [(row, store.read(row, frames)) for frames in positions]
    batches = _take(dataset, clips=clips, batch_clips=batch_clips, seed=5)
    assert {batch['clips'].shape for batch in batches} == {(batch_clips, 4, 16, 8, 3)}
    assert len(batches) == eval_pipeline.count(dataset.test, clips=clips, frames=4, batch_clips=batch_clips)
    valid = np.concatenate([batch['valid'] for batch in batches])
    assert valid.tolist() == [True] * len(expected) + [False] * (len(valid) - len(expected))
    assert len(valid) - len(expected) < batch_clips
    tracklet = np.concatenate([batch['tracklet'] for batch in batches])
    assert tracklet.tolist() == [row for row, _ in expected] + [0] * (len(valid) - len(expected))
    assert (tracklet.dtype, valid.dtype) == (np.int32, bool)
    pixels = np.concatenate([batch['clips'] for batch in batches])
    assert pixels.dtype == np.uint8
    for clip, (_, other) in zip(pixels, expected, strict=False):
        np.testing.assert_array_equal(clip, other)
    assert not pixels[len(expected) :].any()


def _assert_shared(take, owners):
    """Every host takes the rows of its devices, in the order of the mesh, as often as the others."""
    shares = {host: take(mesh=meshes.seen_by(host, owners)) for host in set(owners)}
    whole = take(mesh=meshes.seen_by(0, [0] * len(owners)))
    assert {len(batches) for batches in shares.values()} == {len(whole)}
    for number, batch in enumerate(whole):
        for name, value in batch.items():
            parts = {host: list(np.split(some[number][name], owners.count(host))) for host, some in shares.items()}
            np.testing.assert_array_equal(np.concatenate([parts[host].pop(0) for host in owners]), value)


@pytest.mark.parametrize('owners', [[0, 1], [0, 1, 2], [0, 1, 1, 1, 0, 0]])
def test_hosts_get_equally_many_batches_that_make_the_global_ones(dataset, owners):
    _assert_shared(functools.partial(_take, dataset, batch_clips=6), owners)


def test_batch_that_does_not_split_over_devices_is_refused(dataset):
    with pytest.raises(ValueError, match='3 clips do not split over 2 devices'):
        _take(dataset, mesh=meshes.seen_by(0, [0, 1]))


def test_an_exhausted_iterator_stays_exhausted(dataset):
    store = _CountingStore()
    with eval_clips.batches(
        dataset.test[:1], store, clips='rrs', frames=4, batch_clips=2, threads=1, prefetch=1
    ) as batches:
        assert len(list(batches)) == 1
        assert list(batches) == []


def test_no_tracklets_make_no_batches(dataset):
    assert eval_pipeline.count([], clips='all_frames', frames=4, batch_clips=8) == 0


class _CountingStore:
    """A store of one endless tracklet that remembers how many frames were asked for at once."""

    frame_shape = (2, 1, 3)
    skipped = 0

    def __init__(self):
        self.largest = 0

    def read_flow(self, tracklet, frames):
        return np.stack([np.full((2, 1, 2), (tracklet, frame), np.float16) for frame in frames.tolist()])

    def read(self, tracklet, frames):
        self.largest = max(self.largest, len(frames))
        return np.zeros((len(frames), 2, 1, 3), np.uint8)


def test_a_long_tracklet_is_never_read_at_once(dataset):
    store = _CountingStore()
    long = dataset.test[0].__class__(name='long', pid=1, camera=1, frames=('x',) * 5000)
    with eval_clips.batches(
        [long], store, clips='all_frames', frames=4, batch_clips=16, threads=1, prefetch=1
    ) as batches:
        assert sum(int(batch['valid'].sum()) for batch in batches) == len(clip_sampling.all_frames(5000, frames=4))
    assert store.largest == 4


def test_corrupt_frame_stops_the_evaluation_and_names_itself(tmp_path):
    broken = mars.read(mars_fixture.write(tmp_path / 'mars'))
    path = f'{broken.root}/{broken.test[6].frames[10]}'
    with open(path, 'r+b') as file:
        file.truncate(200)
    with pytest.raises(ValueError, match=r'0004C6T0002F011.jpg'):
        _take(broken)


@pytest.mark.parametrize('clips', ['interleaved', 'whole'])
def test_flow_is_that_of_the_frames_of_each_clip(dataset, clips):
    for batch in _take(dataset, clips=clips, batch_clips=3, store=_CountingStore(), flow='zeros'):
        assert (batch['flow'].shape[2:], batch['flow'].dtype) == ((2, 1, 2), np.float16)
        assert not batch['flow'][~batch['valid']].any()
        for flow, row in zip(batch['flow'][batch['valid']], batch['tracklet'][batch['valid']], strict=True):
            asked = [int(frame) for frame in flow[:, 0, 0, 1]]
            f = len(dataset.test[row].frames)
            assert asked in (sampling.interleaved(f, 4) if clips == 'interleaved' else [sampling.whole(f, 4)])
            assert (flow[:, 0, 0, 0] == row).all()


def _long(dataset, lengths):
    first = dataset.test[0]
    return [first.__class__(name=str(f), pid=1, camera=1, frames=('x',) * f) for f in lengths]


class _NumberStore:
    """Frame f of tracklet n is a pixel (n, f // 256, f % 256)."""

    frame_shape = (1, 1, 3)
    skipped = 0

    def read(self, tracklet, frames):
        return np.stack([np.asarray([[[tracklet, frame // 256, frame % 256]]], np.uint8) for frame in frames.tolist()])


LENGTHS = (1, 5, 3, 40, 4, 8, 9, 4, 2, 7, 300, 4, 17, 16, 5)


@pytest.mark.parametrize(('batch_clips', 'multiple_of'), [(1, 1), (8, 1), (8, 2), (12, 4), (64, 8)])
def test_whole_tracklets_come_once_in_batches_of_about_equal_size(dataset, batch_clips, multiple_of):
    tracklets = _long(dataset, LENGTHS)
    options = dict(clips='whole', frames=4, batch_clips=batch_clips)
    mesh = meshes.seen_by(0, [0] * multiple_of)
    with eval_clips.batches(tracklets, _NumberStore(), threads=2, prefetch=2, mesh=mesh, **options) as iterator:
        batches = list(iterator)
    assert len(batches) == eval_pipeline.count(tracklets, multiple_of=multiple_of, **options)
    seen = []
    for batch in batches:
        rows, length = batch['clips'].shape[:2]
        assert rows % multiple_of == 0
        assert rows * length <= batch_clips * 4 or rows == multiple_of
        assert (rows + multiple_of) * length > batch_clips * 4  # one more share of rows would be too much
        assert (batch['lengths'].shape, batch['lengths'].dtype) == ((rows,), np.int32)
        assert batch['valid'].any()
        for row, valid, frames, clip in zip(
            batch['tracklet'], batch['valid'], batch['lengths'], batch['clips'][:, :, 0, 0].astype(int), strict=True
        ):
            if not valid:
                assert (row, frames) == (0, 1)
                continue
            seen.append(row)
            assert frames == LENGTHS[row]
            assert (clip[:, 0] == row).all()
            assert (clip[:, 1] * 256 + clip[:, 2]).tolist() == sampling.whole(LENGTHS[row], 4)
    assert sorted(seen) == list(range(len(LENGTHS)))
    assert len({batch['clips'].shape for batch in batches}) == 6  # 4, 8, 16, 32, 64, 512 frames


@pytest.mark.parametrize('owners', [[0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 1, 0]])
def test_hosts_share_batches_of_whole_tracklets(dataset, owners):
    tracklets = _long(dataset, LENGTHS)

    def take(mesh):
        options = dict(clips='whole', frames=4, batch_clips=6, threads=1, prefetch=1)
        with eval_clips.batches(tracklets, _NumberStore(), **options, mesh=mesh) as batches:
            return list(batches)

    _assert_shared(take, owners)


@pytest.mark.parametrize('clips', config.choices('test.clips'))
@pytest.mark.parametrize('one_frame', [False, True])
def test_frames_seen_counts_each_frame_that_stands_in_a_clip_once(dataset, clips, one_frame):
    oracle = ORACLES.get(clips, lambda row, f: [sampling.whole(f, 4)])
    expected = 0
    for row, f in enumerate(LENGTHS):
        expected += len({frame for clip in oracle(row, f) for frame in np.asarray(clip)[: 1 if one_frame else None]})
    tracklets = _long(dataset, LENGTHS)
    seen = eval_pipeline.frames_seen(tracklets, clips=clips, frames=4, seed=5, one_frame=one_frame)
    assert seen == expected
    if clips in ('all_frames', 'whole') and not one_frame:
        assert seen == sum(LENGTHS)
    if clips == 'interleaved' and not one_frame:
        assert seen == sum(f - f % 4 if f > 4 else f for f in LENGTHS)
