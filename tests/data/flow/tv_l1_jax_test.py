"""TV-L1 in JAX: its parts are those of slow loops, its flow that of OpenCV, of known motion, and of the pair alone."""

import cv2
import jax
import numpy as np
import pytest

from jaxreid.data.datasets import mars
from jaxreid.data.flow import file as flow_file
from jaxreid.data.flow import optical_flow, tv_l1_jax
from jaxreid.data.stores import folder_store
from jaxreid.data.tracklets import frame_decode
from tests.fixtures import moving_texture
from tests.oracles import tv_l1

SHIFTS = [(3, 0), (-2, 1), (0, -3), (0, 0), (5, 4)]


def _texture(shifts, *, height=64, width=32):
    """First and second frames, [N, H, W, 3] uint8 each, of textures that move by so many pixels."""
    pairs = [
        moving_texture.frames([(0, 0), shift], height=height, width=width, seed=n) for n, shift in enumerate(shifts)
    ]
    return tuple(np.stack(frames) for frames in zip(*pairs, strict=True))


def _opencv(first, second):
    """[N, H, W, 2]."""
    return np.stack([optical_flow.tv_l1(*pair) for pair in zip(first, second, strict=True)])


def test_every_part_is_that_of_the_loops():
    rng = np.random.default_rng(0)
    h, w = 9, 7
    image, other = rng.uniform(0, 255, (2, h, w)).astype(np.float32)
    u = rng.normal(0, 3, (2, h, w)).astype(np.float32)
    u[:, 2, 3] = (1e9, -1e9)
    u[:, 4, 4] = 0
    p = tuple(rng.normal(0, 1, (2, 2, h, w)).astype(np.float32))
    gradient = rng.normal(0, 20, (2, h, w)).astype(np.float32)
    gradient[:, 0, :3] = 0
    constant = rng.normal(0, 40, (h, w)).astype(np.float32)
    constant[1:4] *= 0.02  # near enough to zero for the step between the thresholds

    @jax.jit
    def parts(image, other, u, p, gradient, constant):
        return {
            'warp': tv_l1_jax._warp(jax.numpy.stack([image, other], -1), u),
            'gradient': tv_l1_jax._centred_gradient(image),
            'threshold': tv_l1_jax._threshold_step(u, gradient, (gradient**2).sum(0), constant),
            'divergence': tv_l1_jax._divergence(p),
            'dual': tv_l1_jax._dual_step(p, u.at[:, 2, 3].set(1.0)),
            'median': tv_l1_jax._median(u),
            'resize': tv_l1_jax._resize(u.at[:, 2, 3].set(1.0), (11, 5), (0.8, 1.5)),
        }

    got = jax.tree.map(np.asarray, parts(image, other, u, p, gradient, constant))
    tame = u.copy()
    tame[:, 2, 3] = 1
    close = {'rtol': 1e-4, 'atol': 2e-4}
    for channel, source in enumerate((image, other)):
        np.testing.assert_allclose(got['warp'][..., channel], tv_l1.warp(source, u), **close)
    np.testing.assert_allclose(got['gradient'], tv_l1.gradient(image), **close)
    np.testing.assert_allclose(got['threshold'], tv_l1.threshold_step(u, gradient, constant), **close)
    for i in range(2):
        np.testing.assert_allclose(got['divergence'][i], tv_l1.divergence(p[0][i], p[1][i]), **close)
        expected = tv_l1.dual_step(p[0][i], p[1][i], tame[i])
        np.testing.assert_allclose([got['dual'][0][i], got['dual'][1][i]], expected, **close)
        np.testing.assert_array_equal(got['median'][i], tv_l1.median(u[i]))
        np.testing.assert_allclose(got['resize'][i], tv_l1.resize(tame[i], 11, 5, 0.8, 1.5), **close)


def _assert_as_opencv(first, second, *, median, mean, most):
    """Differences in pixels; `most` bounds 99 of 100."""
    pytest.importorskip('cv2.optflow')
    if int(cv2.__version__.split('.')[0]) < 5:
        median, mean, most = 20 * median, 5 * mean, 5 * most  # frames were looked up at multiples of 1/32 pixel
    ours = tv_l1_jax.of_frames(first, second)
    assert (ours.shape, ours.dtype) == ((*first.shape[:3], 2), np.float32)
    difference = np.abs(ours - _opencv(first, second))
    assert np.median(difference) < median
    assert difference.mean() < mean
    assert np.quantile(difference, 0.99) < most


def test_flow_of_moving_textures_is_that_of_opencv_within_the_stated_tolerance():
    _assert_as_opencv(*_texture(SHIFTS), median=0.0005, mean=0.01, most=0.15)


def test_flow_of_real_footage_is_that_of_opencv_within_the_stated_tolerance(shared):
    files = sorted((shared / 'real_tracklets' / 'mars' / 'bbox_train' / '0002').glob('*.jpg'))[4:12]
    assert len(files) == 8
    frames = [frame_decode.decode(file.read_bytes(), height=64, width=32, resize='bicubic') for file in files]
    _assert_as_opencv(np.stack(frames[:-1]), np.stack(frames[1:]), median=0.004, mean=0.03, most=0.4)


def test_shifted_textures_give_the_shift():
    flow = tv_l1_jax.of_frames(*_texture(SHIFTS))[:, 8:-8, 8:-8]
    for one, shift in zip(flow, SHIFTS, strict=True):
        np.testing.assert_allclose(np.median(one, (0, 1)), shift, atol=0.05)
        np.testing.assert_allclose(one, np.broadcast_to(shift, one.shape), atol=0.6)


def test_mirrored_frames_give_the_mirrored_flow_with_u_negated():
    first, second = _texture(SHIFTS)
    flow = tv_l1_jax.of_frames(first, second)
    mirrored = tv_l1_jax.of_frames(first[:, :, ::-1], second[:, :, ::-1])[:, :, ::-1] * (-1, 1)
    # Not to the bit: differences are taken to the right, and the border's weigh more than the centre's.
    assert np.abs(mirrored - flow).mean() < 0.03
    assert np.abs(mirrored - flow)[:, 8:-8, 8:-8].mean() < 0.01


def test_a_pair_has_the_same_flow_beside_whichever_others(monkeypatch):
    shape = {'height': 20, 'width': 17}
    first, second = _texture([(2, 0), (0, 0), (-3, 1), (0, 1), (1, -1), (4, 4), (-1, 0)], **shape)
    second[5] = np.random.default_rng(0).integers(0, 256, second[5].shape)  # iterates to the end
    monkeypatch.setattr(tv_l1_jax, 'pairs_at_once', lambda height, width: 3)
    flow = tv_l1_jax.of_frames(first, second)
    assert len(np.unique(np.abs(flow).sum((1, 2, 3)))) == 7
    for order in ([6, 5, 4, 3, 2, 1, 0], [5], [1, 5], [2, 5, 2, 0]):
        np.testing.assert_array_equal(tv_l1_jax.of_frames(first[order], second[order]), flow[order])
    monkeypatch.setattr(tv_l1_jax, 'pairs_at_once', lambda height, width: 1)
    alone = tv_l1_jax.of_frames(first, second)
    np.testing.assert_allclose(np.delete(alone, 5, 0), np.delete(flow, 5, 0), atol=0.05)  # another program
    np.testing.assert_array_equal(tv_l1_jax.of_frames(first[3:], second[3:]), alone[3:])


def test_frames_without_content_or_motion_have_no_flow():
    frames = np.stack([np.full((20, 17, 3), value, np.uint8) for value in (0, 90, 255)])
    np.testing.assert_array_equal(tv_l1_jax.of_frames(frames, frames), 0)
    brighter = np.roll(frames, 1, 0)
    assert np.isfinite(tv_l1_jax.of_frames(frames, brighter)).all()
    (first, _) = _texture([(0, 0)], height=20, width=17)
    np.testing.assert_allclose(tv_l1_jax.of_frames(first, first), 0, atol=1e-3)


@pytest.mark.parametrize('shape', [(1, 1), (4, 2)])
def test_small_frames_give_finite_flow(shape):
    pair = np.random.default_rng(0).integers(0, 256, (2, 1, *shape, 3), dtype=np.uint8)
    flow = tv_l1_jax.of_frames(*pair)
    assert flow.shape == (1, *shape, 2)
    assert np.isfinite(flow).all()


def test_frames_of_other_shapes_are_refused():
    grey = np.zeros((2, 5, 4), np.uint8)
    for first, second in ((grey[0], grey[0]), (grey, grey[:1])):
        with pytest.raises(ValueError, match=r'expected \[N, H, W\] twice'):
            tv_l1_jax.flow(first, second)


def _store(root, *, engine, folder='', **kwargs):
    tracklets = mars.read(root).train
    given = {'height': 24, 'width': 16, 'resize': 'bicubic', 'on_corrupt': 'error', 'flow': 'tvl1'} | kwargs
    return folder_store.FolderStore(
        root, tracklets, folder_store.Reading(flow_engine=engine, flow_folder=str(folder), **given)
    )


def test_a_folder_gives_flow_where_opencv_has_none_and_each_engine_keeps_its_own(tmp_path, monkeypatch):
    root = moving_texture.write_mars(tmp_path / 'data', [[(0, 0), (2, 3), (2, 0)], [(0, 0)]])
    kept = tmp_path / 'flow'
    by_opencv = _store(root, engine='opencv', folder=kept).read_flow(0, np.arange(3))
    monkeypatch.delattr(cv2, 'optflow')
    with pytest.raises(ValueError, match=r'data\.flow_engine=jax'):
        _store(root, engine='opencv').read_flow(0, np.arange(1))
    calls = []

    def of_frames(first, second, real=tv_l1_jax.of_frames):
        calls.append(len(first))
        return real(first, second)

    monkeypatch.setattr(tv_l1_jax, 'of_frames', of_frames)
    store = _store(root, engine='jax', folder=kept)
    flow = store.read_flow(0, np.asarray([1, 0, 2]))
    assert calls == [2]  # the pairs of the clip in one call; the last frame repeats the flow before
    np.testing.assert_array_equal(flow[0], flow[2])
    centre = flow[:, 8:-8, 5:-5].astype(float)
    # Of 64 x 32 pixels as stored, each is 3/8 high and 1/2 wide here.
    np.testing.assert_allclose(np.median(centre, (1, 2)), [(0, -1.125), (1, 1.125), (0, -1.125)], atol=0.1)
    assert not store.read_flow(1, np.zeros(2, int)).any()

    again = _store(root, engine='jax', folder=kept).read_flow(0, np.asarray([1, 0, 2]))
    on_the_fly = _store(root, engine='jax').read_flow(0, np.asarray([0]))
    np.testing.assert_array_equal(again, flow)
    np.testing.assert_array_equal(on_the_fly[0], flow[1])
    assert calls == [2, 1]
    np.testing.assert_array_equal(_store(root, engine='opencv', folder=kept).read_flow(0, np.arange(3)), by_opencv)
    assert not np.array_equal(by_opencv[[1, 0, 2]], flow)
    assert {file.name for file in kept.iterdir()} == {'tvl1-24x16', 'tvl1_jax-24x16'}
    assert flow_file.kind('jax') == 'tvl1_jax'


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.data.flow_engine = 'tensor' is not known. Valid: opencv, jax"):
        _store(moving_texture.write_mars(tmp_path, [[(0, 0)]]), engine='tensor')
