"""Frames come as the store has them, each decoded once while there is space."""

import numpy as np
import pytest

from jaxreid.data.stores import frame_cache


class Store:
    """Frames that say where they are from, and which of them were decoded."""

    frame_shape = (2, 1, 3)
    skipped = 0

    def __init__(self):
        self.decoded = []

    def read(self, tracklet, frames):
        self.decoded += [(tracklet, int(frame)) for frame in frames]
        return np.stack([np.full(self.frame_shape, 10 * tracklet + frame, np.uint8) for frame in frames])

    def read_flow(self, tracklet, frames):
        return np.zeros((len(frames), 2, 1, 2), np.float16)


@pytest.mark.parametrize(('budget', 'decoded'), [(1000, 6), (6 * 3, 9), (0, 14)])
def test_a_frame_is_decoded_once_while_there_is_space(budget, decoded):
    store = Store()
    cache = frame_cache.FrameCache(store, budget=budget)
    for tracklet, frames in [(1, [0, 1, 2]), (1, [2, 0, 2, 2]), (0, [0, 1, 2]), (1, [0, 1, 2]), (0, [2, 1, 0, 1, 1])]:
        found = cache.read(tracklet, np.array(frames))
        assert (found.dtype, found.shape) == (np.uint8, (len(frames), 2, 1, 3))
        np.testing.assert_array_equal(found[:, 1, 0, 2], 10 * tracklet + np.array(frames))
    assert set(store.decoded) == {(t, f) for t in (0, 1) for f in (0, 1, 2)}
    assert len(store.decoded) == decoded
