import concurrent.futures
import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from jaxreid.data.datasets import mars
from jaxreid.data.flow import cache as flow_cache
from jaxreid.data.flow import optical_flow
from jaxreid.data.stores import folder_store
from tests.fixtures import mars_folder as mars_fixture
from tests.fixtures import moving_texture


@pytest.fixture
def dataset(tmp_path):
    return mars.read(mars_fixture.write(tmp_path / 'mars'))


def _store(dataset, *, on_corrupt='error', height=16, width=8):
    return folder_store.FolderStore(
        dataset.root,
        dataset.train,
        folder_store.Reading(height=height, width=width, resize='bicubic', on_corrupt=on_corrupt),
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
    with pytest.raises(ValueError, match=r"on_corrupt_train = 'ignore' is not known\. Valid: skip_frame, error"):
        _store(dataset, on_corrupt='ignore')


CACHE = flow_cache.FlowCache(10**8)  # of `moving` at 64x32: its flow is computed once for all tests
PLACES = [(0, 0), (1, 0), (3, 0), (3, 2), (1, 2), (1, -1)]  # of the content of six frames
STEPS = [(1, 0), (2, 0), (0, 2), (-2, 0), (0, -3), (0, -3)]  # to the next frame; the last repeats


@pytest.fixture(scope='module')
def moving(tmp_path_factory):
    """Tracklet 0 goes through PLACES, 1 stands in one frame, 2 has two."""
    root = moving_texture.write_mars(tmp_path_factory.mktemp('moving') / 'mars', [PLACES, [(0, 0)], [(0, 0), (-2, 1)]])
    return mars.read(root)


def _flow_store(dataset, *, height=64, width=32, flow='tvl1', on_corrupt='error', train=None, **kwargs):
    return folder_store.FolderStore(
        dataset.root,
        dataset.train if train is None else train,
        folder_store.Reading(height=height, width=width, resize='bicubic', on_corrupt=on_corrupt, flow=flow, **kwargs),
    )


def _middle(flow):
    """[T, 2], where the content of each frame goes to."""
    t, h, w, _ = flow.shape
    return np.median(flow[:, h // 8 : -h // 8, w // 4 : -w // 4].reshape(t, -1, 2).astype(float), axis=1)


@pytest.mark.parametrize('frames', [[0, 1, 2, 3, 4, 5], [0, 3], [5, 2, 2]])
def test_flow_leads_to_the_next_frame_of_the_tracklet_whatever_the_clip_holds(moving, frames):
    flow = _flow_store(moving, cache=CACHE).read_flow(0, np.asarray(frames))
    assert (flow.shape, flow.dtype) == ((len(frames), 64, 32, 2), np.float16)
    np.testing.assert_allclose(_middle(flow), [STEPS[frame] for frame in frames], atol=0.15)


def test_flow_of_the_last_frame_repeats_the_one_before(moving):
    flow = _flow_store(moving, cache=CACHE).read_flow(0, np.asarray([4, 5]))
    np.testing.assert_array_equal(flow[0], flow[1])


def test_a_lone_frame_has_no_flow(moving):
    flow = _flow_store(moving).read_flow(1, np.asarray([0, 0]))
    assert (flow.shape, flow.dtype) == ((2, 64, 32, 2), np.float16)
    assert not flow.any()


def test_flow_is_rescaled_with_the_frames(moving):
    flow = _flow_store(moving, height=16, width=64).read_flow(2, np.asarray([0, 1]))
    assert flow.shape == (2, 16, 64, 2)
    np.testing.assert_allclose(_middle(flow), [(-4, 0.25)] * 2, atol=0.2)


def test_a_piece_of_a_tracklet_looks_at_what_follows_the_piece(moving):
    whole = moving.train[0]
    piece = dataclasses.replace(whole, name='piece', frames=whole.frames[1:3], next_frame=whole.frames[3])
    lone = dataclasses.replace(whole, name='lone', frames=whole.frames[3:4], next_frame=whole.frames[4])
    store = _flow_store(moving, train=(piece, lone))
    np.testing.assert_allclose(_middle(store.read_flow(0, np.arange(2))), STEPS[1:3], atol=0.15)
    np.testing.assert_allclose(_middle(store.read_flow(1, np.arange(1))), STEPS[3:4], atol=0.15)


def test_flow_of_zeros_reads_no_file(moving, monkeypatch):
    monkeypatch.setattr('builtins.open', None)
    flow = _flow_store(moving, flow='zeros').read_flow(0, np.asarray([0, 5, 2]))
    assert (flow.shape, flow.dtype) == ((3, 64, 32, 2), np.float16)
    assert not flow.any()


def test_a_store_without_flow_says_which_setting_gives_it(moving):
    with pytest.raises(ValueError, match=r'data.flow to tvl1 or zeros'):
        _store(moving).read_flow(0, np.asarray([0]))
    with pytest.raises(ValueError, match=r"data\.flow = 'farneback' is not known\. Valid: off, tvl1, zeros"):
        _flow_store(moving, flow='farneback')


def test_each_flow_is_computed_once_by_stores_that_share_a_cache(moving, monkeypatch):
    calls = []

    def tv_l1(first, second):
        calls.append(0)
        return np.zeros((*first.shape[:2], 2), np.float32)

    monkeypatch.setattr(optical_flow, 'tv_l1', tv_l1)
    cache = flow_cache.FlowCache(10**8)
    for _ in range(2):
        store = _flow_store(moving, cache=cache)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _, store=store: store.read_flow(0, np.asarray([0, 3, 4, 5, 5])), range(20)))
    assert len(calls) == 3  # 5 repeats 4
    _flow_store(moving, cache=cache, height=32).read_flow(0, np.asarray([0]))
    _flow_store(moving, cache=cache).read_flow(2, np.asarray([0]))
    assert len(calls) == 5


def test_flow_beside_a_corrupt_frame_is_that_of_the_frames_that_are_read(tmp_path):
    places = [(0, 0), (1, 0), (3, 0), (3, 2)]
    dataset = mars.read(moving_texture.write_mars(tmp_path / 'mars', [places, [(0, 0)]]))
    with open(_path(dataset, 0, 2), 'wb') as file:
        file.write(b'no image')
    store = _flow_store(dataset, on_corrupt='skip_frame')
    # Frame 1 stands in for frame 2: no motion to it, and from it to frame 3 both steps at once.
    np.testing.assert_allclose(_middle(store.read_flow(0, np.arange(4))), [(1, 0), (0, 0), (2, 2), (2, 2)], atol=0.15)
    assert store.skipped == 0  # counted where the frames are read
    for frame in (1, 2, 3):
        with pytest.raises(ValueError, match=r'Unreadable frame .*F003.jpg'):
            _flow_store(dataset).read_flow(0, np.asarray([frame]))
    _flow_store(dataset).read_flow(0, np.asarray([0]))


def test_a_pickled_copy_gives_the_same_flow(moving):
    store = _flow_store(moving, cache=CACHE)
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.read_flow(2, np.arange(2)), store.read_flow(2, np.arange(2)))
