import concurrent.futures
import pickle

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import folder_store, mars
from tests.data import mars_fixture


@pytest.fixture
def dataset(tmp_path):
    return mars.read(mars_fixture.write(tmp_path / 'mars'))


def _store(dataset, *, on_corrupt='error', height=16, width=8):
    return folder_store.FolderStore(
        dataset.root, dataset.train, height=height, width=width, resize='bicubic', on_corrupt=on_corrupt
    )


def _path(dataset, tracklet, frame):
    return f'{dataset.root}/{dataset.train[tracklet].frames[frame]}'


def _expected(dataset, tracklet, frames):
    return np.stack([np.asarray(Image.open(_path(dataset, tracklet, frame)).convert('RGB')) for frame in frames])


def _truncate(path):
    with open(path, 'rb') as file:
        data = file.read()
    with open(path, 'wb') as file:
        file.write(data[: len(data) - 20])


@pytest.mark.parametrize('frames', [[0], [0, 1, 2, 3], [8, 3, 3, 0, 8]])
def test_reads_frames_in_the_order_asked_for(dataset, frames):
    clip = _store(dataset).read(0, np.asarray(frames))
    assert clip.dtype == np.uint8
    np.testing.assert_array_equal(clip, _expected(dataset, 0, frames))


def test_frames_come_in_the_size_asked_for(dataset):
    assert _store(dataset, height=32, width=20).read(3, np.arange(5)).shape == (5, 32, 20, 3)


def test_corrupt_frame_names_itself(dataset):
    _truncate(_path(dataset, 0, 4))
    store = _store(dataset)
    store.read(0, np.arange(4))
    with pytest.raises(ValueError) as error:
        store.read(0, np.arange(5))
    assert _path(dataset, 0, 4) in str(error.value)
    assert 'truncated JPEG' in str(error.value)
    assert store.skipped == 0


def test_frame_that_vanished_names_itself(dataset, tmp_path):
    (tmp_path / 'mars' / dataset.train[0].frames[2]).unlink()
    with pytest.raises(ValueError, match=r'0001C1T0001F003.jpg: .*No such file'):
        _store(dataset).read(0, np.asarray([2]))


def test_nearest_readable_frame_takes_the_place_of_a_corrupt_one_and_is_counted(dataset):
    for frame in (4, 5, 6):
        _truncate(_path(dataset, 0, frame))
    store = _store(dataset, on_corrupt='skip_frame')
    clip = store.read(0, np.arange(9))
    np.testing.assert_array_equal(clip, _expected(dataset, 0, [0, 1, 2, 3, 3, 3, 7, 7, 8]))
    assert store.skipped == 3


def test_tracklet_without_a_readable_frame_is_an_error_under_either_policy(dataset):
    for frame in range(3):
        _truncate(_path(dataset, 4, frame))
    with pytest.raises(ValueError, match=r'No frame of tracklet 0003C3T0002 \(3 frames\) can be read, first .*F002'):
        _store(dataset, on_corrupt='skip_frame').read(4, np.asarray([1]))


def test_threads_count_every_skipped_frame(dataset):
    _truncate(_path(dataset, 0, 0))
    store = _store(dataset, on_corrupt='skip_frame')
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.read(0, np.asarray([0])), range(400)))
    assert store.skipped == 400


def test_a_pickled_copy_reads_the_same_and_counts_its_own(dataset):
    _truncate(_path(dataset, 0, 0))
    store = _store(dataset, on_corrupt='skip_frame')
    clip = store.read(0, np.arange(3))
    copy = pickle.loads(pickle.dumps(store))
    assert (store.skipped, copy.skipped) == (1, 0)
    np.testing.assert_array_equal(copy.read(0, np.arange(3)), clip)
    assert copy.skipped == 1


def test_unknown_policy_is_refused(dataset):
    with pytest.raises(ValueError, match="on_corrupt is 'ignore'"):
        _store(dataset, on_corrupt='ignore')
