import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.tracklets import dense_split, tracklet
from tests.fixtures import mars_folder as mars_fixture


def whole(count, name='a'):
    return tracklet.Tracklet(name=name, pid=3, camera=2, frames=tuple(f'{name}{i}.jpg' for i in range(count)))


def by_hand(count, frames, stride):
    """Positions of each piece by loops."""
    pieces, start = [], 0
    while start + stride <= count:
        pieces.append([i for i in range(count) if start <= i < start + frames])
        start += stride
    if len(pieces) < 2:
        return [list(range(count))]
    first = pieces[-1][0]
    pieces[-1] = list(range(first, count))
    return pieces


@pytest.mark.parametrize(('frames', 'stride'), [(4, 4), (4, 2), (5, 2), (7, 3), (1, 1)])
def test_pieces_are_those_of_the_loops_for_every_length(frames, stride):
    for count in range(1, 30):
        found = dense_split.split([whole(count)], frames=frames, stride=stride)
        expected = by_hand(count, frames, stride)
        assert [piece.frames for piece in found] == [tuple(f'a{i}.jpg' for i in piece) for piece in expected]
        assert {frame for piece in found for frame in piece.frames} == set(whole(count).frames)


@pytest.mark.parametrize(
    ('count', 'lengths'), [(1, [1]), (63, [63]), (64, [64]), (127, [127]), (128, [64, 64]), (200, [64, 64, 72])]
)
def test_duke_is_cut_into_64_frames_and_the_last_keeps_the_remainder(count, lengths):
    found = dense_split.split([whole(count)], frames=64)
    assert [len(piece.frames) for piece in found] == lengths


@pytest.mark.parametrize(
    ('count', 'spans'),
    [(31, [(0, 31)]), (63, [(0, 63)]), (64, [(0, 64), (32, 64)]), (120, [(0, 64), (32, 96), (64, 120)])],
)
def test_ilids_is_cut_into_64_frames_every_32(count, spans):
    found = dense_split.split([whole(count)], frames=64, stride=32)
    assert [piece.frames for piece in found] == [whole(count).frames[first:last] for first, last in spans]


def test_pieces_keep_person_and_camera_have_names_of_their_own_and_know_what_follows():
    found = dense_split.split([whole(10), whole(2, 'b'), whole(9, 'c'), whole(7, 'd')], frames=4)
    assert [piece.name for piece in found] == ['a@0', 'a@4', 'b', 'c@0', 'c@4', 'd']
    assert {(piece.pid, piece.camera) for piece in found} == {(3, 2)}
    assert [piece.next_frame for piece in found] == ['a4.jpg', '', '', 'c4.jpg', '', '']
    assert [p.next_frame for p in dense_split.split([whole(10)], frames=4, stride=2)] == [
        'a4.jpg',
        'a6.jpg',
        'a8.jpg',
        '',
        '',
    ]


def test_strides_that_would_lose_frames_are_refused():
    with pytest.raises(ValueError, match='Pieces of 4 frames every 5 frames would lose frames'):
        dense_split.split([whole(10)], frames=4, stride=5)
    with pytest.raises(config.ConfigError, match=r'data.dense_stride = 8 is above data.dense_frames = 4'):
        config.validate(config.Experiment(data=config.Data(dense_frames=4, dense_stride=8)))


def test_the_config_cuts_the_training_split_only(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    data = config.Data(dataset='mars', root=str(root), dense_frames=16, dense_stride=8, height=16, width=8)
    uncut = source.read(config.Data(dataset='mars', root=str(root)))
    dataset = source.read(data)
    assert dataset.test == uncut.test
    assert [len(t.frames) for t in dataset.train] == [9, 5, 1, 16, 16, 16, 16, 8, 3, 7, 2, 6]
    store = source.store(data, dataset, split='train')
    expected = source.store(data, uncut, split='train').read(3, np.array([9, 23]))
    np.testing.assert_array_equal(store.read(4, np.array([1, 15])), expected)
