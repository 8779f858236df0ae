import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import clip_sampling, eval_pipeline, folder_store, mars
from tests.data import mars_fixture
from tests.oracles import sampling


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return mars.read(mars_fixture.write(tmp_path_factory.mktemp('data') / 'mars'))


def _take(dataset, *, clips='all_frames', frames=4, batch_clips=3, threads=2, store=None, **kwargs):
    store = store or folder_store.FolderStore(
        dataset.root, dataset.test, height=16, width=8, resize='bicubic', on_corrupt='error'
    )
    with eval_pipeline.batches(
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


@pytest.mark.parametrize('batch_clips', [1, 3, 5, 64])
@pytest.mark.parametrize('clips', config.TEST_CLIPS)
def test_every_clip_of_every_tracklet_comes_once_in_order(dataset, clips, batch_clips):
    oracle = {'all_frames': sampling.all_frames, 'rrs': sampling.rrs_test, 'begin_crop': sampling.begin_crop}[clips]
    store = folder_store.FolderStore(
        dataset.root, dataset.test, height=16, width=8, resize='bicubic', on_corrupt='error'
    )
    expected = []
    for row, tracklet in enumerate(dataset.test):
        positions = np.asarray(oracle(len(tracklet.frames), 4)).reshape(-1, 4)
        expected += [(row, store.read(row, frames)) for frames in positions]
    batches = _take(dataset, clips=clips, batch_clips=batch_clips)
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


@pytest.mark.parametrize('process_count', [2, 3])
def test_hosts_get_equally_many_batches_that_make_the_global_ones(dataset, process_count):
    shares = [
        _take(dataset, batch_clips=6, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    whole = _take(dataset, batch_clips=6)
    for batch, *parts in zip(whole, *shares, strict=True):
        for name, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)


def test_batch_that_does_not_split_over_hosts_is_refused(dataset):
    with pytest.raises(ValueError, match='3 clips do not split over 2 processes'):
        _take(dataset, process_count=2)


def test_an_exhausted_iterator_stays_exhausted(dataset):
    store = _CountingStore()
    with eval_pipeline.batches(
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

    def read(self, tracklet, frames):
        self.largest = max(self.largest, len(frames))
        return np.zeros((len(frames), 2, 1, 3), np.uint8)


def test_a_long_tracklet_is_never_read_at_once(dataset):
    store = _CountingStore()
    long = dataset.test[0].__class__(name='long', pid=1, camera=1, frames=('x',) * 5000)
    with eval_pipeline.batches(
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
