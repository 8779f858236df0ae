"""Flow on synthetic motion, whose true value is known."""

import types

import cv2
import numpy as np
import pytest

from jaxreid.data.flow import optical_flow
from tests.fixtures import moving_texture


@pytest.mark.parametrize(('right', 'down'), [(3, 0), (-2, 1), (0, -3)])
def test_shifted_texture_gives_the_shift(right, down):
    first, second = moving_texture.frames([(0, 0), (right, down)])
    flow = optical_flow.tv_l1(first, second)
    assert flow.shape == (64, 32, 2)
    assert flow.dtype == np.float32
    inner = flow[8:-8, 8:-8]
    np.testing.assert_allclose(inner, np.broadcast_to((right, down), inner.shape), atol=0.3)
    np.testing.assert_allclose(inner.mean((0, 1)), (right, down), atol=0.05)


def test_still_frames_have_no_flow():
    (frame,) = moving_texture.frames([(0, 0)])
    np.testing.assert_allclose(optical_flow.tv_l1(frame, frame), 0, atol=1e-3)
    black = np.zeros((20, 12, 3), np.uint8)
    np.testing.assert_array_equal(optical_flow.tv_l1(black, black), 0)


@pytest.mark.parametrize('shape', [(4, 2), (16, 8), (64, 17)])
def test_small_frames_give_finite_flow(shape):
    pair = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    assert np.isfinite(optical_flow.tv_l1(*pair)).all()


def test_second_frame_of_another_size_is_brought_to_that_of_the_first():
    first, second = moving_texture.frames([(0, 0), (2, 1)])
    larger = cv2.resize(second, (64, 128), interpolation=cv2.INTER_CUBIC)
    inner = optical_flow.tv_l1(first, larger)[8:-8, 8:-8]
    np.testing.assert_allclose(inner.mean((0, 1)), (2, 1), atol=0.1)


def test_resized_flow_is_in_pixels_of_the_resized_frame():
    rows, columns = np.meshgrid(np.arange(12.0), np.arange(10.0), indexing='ij')
    flow = np.stack([columns, 3 * rows], -1).astype(np.float32)
    out = optical_flow.resize(flow, height=24, width=5)
    assert (out.shape, out.dtype) == ((24, 5, 2), np.float32)
    # Pixel centres: column x of the result lies at 2 x + 0.5 of the source, row y at y / 2 - 0.25.
    expected_u = (2 * np.arange(5) + 0.5) * 0.5
    expected_v = 3 * (np.arange(24) / 2 - 0.25) * 2
    np.testing.assert_allclose(out[:, 1:-1, 0], np.broadcast_to(expected_u, (24, 5))[:, 1:-1], atol=1e-4)
    np.testing.assert_allclose(out[1:-1, :, 1], np.broadcast_to(expected_v[:, None], (24, 5))[1:-1], atol=1e-4)


def test_flow_that_fits_is_left_as_it_is():
    flow = np.random.default_rng(0).standard_normal((6, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(optical_flow.resize(flow, height=6, width=4), flow)


def test_flow_of_resized_frames_is_the_resized_flow():
    first, second = moving_texture.frames([(0, 0), (4, 2)])
    small = [cv2.resize(frame, (16, 32), interpolation=cv2.INTER_AREA) for frame in (first, second)]
    ours = optical_flow.resize(optical_flow.tv_l1(first, second), height=32, width=16)
    theirs = optical_flow.tv_l1(*small)
    np.testing.assert_allclose(np.median(ours, (0, 1)), (2, 1), atol=0.1)
    np.testing.assert_allclose(np.median(theirs, (0, 1)), (2, 1), atol=0.1)


@pytest.mark.parametrize('left', [None, types.ModuleType('cv2.optflow')], ids=['plain', 'plain over contrib'])
def test_an_opencv_without_the_algorithm_is_named(monkeypatch, left):
    monkeypatch.delattr(cv2, 'optflow')
    if left is not None:
        monkeypatch.setattr(cv2, 'optflow', left, raising=False)
    message = r'jaxreid\[flow\].*--force-reinstall --no-deps opencv-contrib-python-headless.*data\.flow_engine=jax'
    with pytest.raises(ValueError, match=message):
        optical_flow.tv_l1(*np.zeros((2, 4, 4, 3), np.uint8))
