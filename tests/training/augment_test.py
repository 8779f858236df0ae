import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.training import augment
from tests.oracles import augmentation

NOTHING = config.Augment(flip=0.0, erase=0.0, translate_px=0)


def _clips(b, *, t=3, h=16, w=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (b, t, h, w, 3), dtype=np.uint8)


@functools.cache
def _compiled(values, dtype):
    return jax.jit(functools.partial(augment.augment, cfg=config.Augment(*values), dtype=dtype))


def _augment(clips, cfg, *, seed=0, index=None, dtype=jnp.float32):
    index = np.arange(len(clips), dtype=np.int32) if index is None else index
    return np.asarray(_compiled(dataclasses.astuple(cfg), dtype)(clips, jax.random.key(seed), index))


def _mask(out):
    """[B, T, H, W] bool of blanked pixels; no 8-bit value normalises to 0."""
    blank = out == 0
    assert (blank.all(-1) == blank.any(-1)).all()
    return blank.all(-1)


def _assert_same(some, others):
    """Equal but for the last bit, which depends on how a program of another shape is fused."""
    np.testing.assert_array_equal(_mask(some), _mask(others))
    np.testing.assert_allclose(some, others, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('shape', [(2, 3), (2, 4, 5, 3), (1, 2, 4, 5, 3)])
def test_normalise_is_imagenet_normalisation_at_any_rank(shape):
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    out = augment.normalise(jnp.asarray(clips), jnp.float32)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, augmentation.normalised(clips), atol=1e-6)


def test_normalise_rounds_to_bfloat16_only_at_the_end():
    clips = jnp.arange(256, dtype=jnp.uint8)[:, None] * jnp.ones((1, 3), jnp.uint8)
    out = augment.normalise(clips, jnp.bfloat16)
    assert out.dtype == jnp.bfloat16
    exact = jnp.asarray(augmentation.normalised(np.asarray(clips)), jnp.bfloat16)
    assert (out != exact).mean() < 0.01  # only where the exact value lies at a rounding boundary


def test_normalise_is_exact_in_float64():
    with jax.enable_x64(True):
        clips = _clips(2)
        out = augment.normalise(jnp.asarray(clips), jnp.float64)
        assert out.dtype == jnp.float64
        np.testing.assert_allclose(out, augmentation.normalised(clips), atol=1e-14)


def test_augmentation_switched_off_is_normalisation():
    clips = _clips(4)
    _assert_same(_augment(clips, NOTHING), np.asarray(augment.normalise(jnp.asarray(clips), jnp.float32)))


def test_flip_mirrors_whole_clips_in_about_the_given_share():
    clips = _clips(400, h=4, w=4)
    out = _augment(clips, config.Augment(flip=0.3, erase=0.0))
    plain, mirrored = augmentation.normalised(clips), augmentation.normalised(clips[:, :, :, ::-1])
    flipped = np.isclose(out, mirrored, atol=1e-5).all((1, 2, 3, 4))
    np.testing.assert_allclose(out[~flipped], plain[~flipped], atol=1e-5)
    assert 0.3 - 4 * 0.023 < flipped.mean() < 0.3 + 4 * 0.023


def test_certain_flip_of_a_flipped_clip_is_the_clip():
    clips = _clips(3)
    np.testing.assert_array_equal(
        _augment(clips[:, :, :, ::-1], config.Augment(flip=1.0, erase=0.0)), _augment(clips, NOTHING)
    )


@pytest.mark.parametrize('scope', ['frame', 'clip'])
def test_erasing_blanks_one_rectangle_within_the_bounds_and_leaves_the_rest(scope):
    clips = _clips(120, t=4, h=32, w=16)
    cfg = config.Augment(flip=0.0, erase=0.5, erase_scope=scope, erase_area_min=0.1, erase_area_max=0.3)
    out = _augment(clips, cfg)
    mask = _mask(out)
    np.testing.assert_allclose(out[~mask], augmentation.normalised(clips)[~mask], atol=1e-5)
    rectangles = [augmentation.bounding_rectangle(frame) for frame in mask.reshape(-1, 32, 16)]
    for frame, rectangle in zip(mask.reshape(-1, 32, 16), rectangles, strict=True):
        if rectangle is None:
            continue
        _, _, rows, columns = rectangle
        assert frame.sum() == rows * columns
        # Sides are rounded to whole pixels: by half a pixel each at most.
        assert (rows - 0.5) * (columns - 0.5) <= 0.3 * 512
        assert (rows + 0.5) * (columns + 0.5) >= 0.1 * 512
        assert (rows + 0.5) / (columns - 0.5) >= 0.3
        assert (rows - 0.5) / (columns + 0.5) <= 1 / 0.3
    erased = np.asarray([rectangle is not None for rectangle in rectangles]).reshape(-1, 4)
    draws = erased if scope == 'frame' else erased[:, :1]
    assert abs(draws.mean() - 0.5) < 4 * 0.5 / np.sqrt(draws.size)
    same = (mask == mask[:, :1]).all((1, 2, 3))
    assert same.all() == (scope == 'clip')
    assert same.mean() < 0.3 or scope == 'clip'


def test_erased_rectangles_are_distributed_as_those_of_the_recipe():
    h, w = 48, 24
    cfg = config.Augment(flip=0.0, erase=1.0)
    out = _augment(_clips(600, t=4, h=h, w=w), cfg)
    ours = np.asarray([augmentation.bounding_rectangle(frame) for frame in _mask(out).reshape(-1, h, w)])
    rng = np.random.default_rng(0)
    theirs = np.asarray(
        [augmentation.erasing_rectangle(rng, h, w, area=(0.02, 0.4), aspect_min=0.3) for _ in range(10000)]
    )
    for side in (0, 1):
        sides = ours[:, 2 + side]
        np.testing.assert_allclose(sides.mean(), theirs[:, side].mean(), rtol=0.03)
        np.testing.assert_allclose(sides.std(), theirs[:, side].std(), rtol=0.06)
    # The place is uniform over those that fit: on average in the middle, and both borders are reached.
    np.testing.assert_allclose((ours[:, 0] + ours[:, 2] / 2).mean(), h / 2, atol=0.7)
    np.testing.assert_allclose((ours[:, 1] + ours[:, 3] / 2).mean(), w / 2, atol=0.4)
    assert ours[:, 0].min() == 0
    assert (ours[:, 0] + ours[:, 2]).max() == h
    assert ours[:, 1].min() == 0
    assert (ours[:, 1] + ours[:, 3]).max() == w


def test_nothing_is_erased_where_no_rectangle_fits():
    cfg = config.Augment(flip=0.0, erase=1.0, erase_area_min=0.99, erase_area_max=1.0, erase_aspect_min=0.9)
    assert not _mask(_augment(_clips(20, h=32, w=8), cfg)).any()


def test_translation_moves_whole_clips_and_fills_with_zeros():
    clips = _clips(240, t=2, h=6, w=5)
    out = _augment(clips, config.Augment(flip=0.0, erase=0.0, translate_px=2))
    seen = set()
    for clip, moved in zip(augmentation.normalised(clips), out, strict=True):
        fits = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if all(
                np.allclose(augmentation.shifted(frame, down, right), other, atol=1e-5)
                for frame, other in zip(clip, moved, strict=True)
            )
        ]
        assert len(fits) == 1
        seen |= set(fits)
    assert len(seen) == 25


def test_a_clip_is_augmented_by_its_global_position_whatever_else_is_in_the_batch():
    cfg = config.Augment(translate_px=2)
    clips = _clips(16)
    whole = _augment(clips, cfg)
    _assert_same(_augment(clips[14:], cfg, index=np.asarray([14, 15], np.int32)), whole[14:])
    order = np.random.default_rng(0).permutation(16).astype(np.int32)
    _assert_same(_augment(clips[order], cfg, index=order), whole[order])


def test_clips_and_steps_differ():
    cfg = config.Augment(flip=0.0, erase=1.0)
    clips = np.repeat(_clips(1), 4, axis=0)
    masks = _mask(_augment(clips, cfg))
    assert len({mask.tobytes() for mask in masks.reshape(12, -1)}) > 8
    assert (masks != _mask(_augment(clips, cfg, seed=1))).any()


def test_switching_a_change_on_leaves_the_draws_of_the_others():
    clips = _clips(32, h=8, w=8)
    both = _augment(clips, config.Augment(flip=0.5, erase=0.5))
    erased = _mask(_augment(clips, config.Augment(flip=0.0, erase=0.5)))
    np.testing.assert_array_equal(_mask(both), erased)
    flipped = _augment(clips, config.Augment(flip=0.5, erase=0.0))
    np.testing.assert_allclose(both[~erased], flipped[~erased], atol=1e-5)


def test_draws_do_not_change_with_dtype_or_64_bit_mode():
    cfg = config.Augment(translate_px=2)
    clips = _clips(16)
    expected = _augment(clips, cfg)
    np.testing.assert_array_equal(_mask(_augment(clips, cfg, dtype=jnp.bfloat16)), _mask(expected))
    with jax.enable_x64(True):
        double = _augment(clips, cfg, dtype=jnp.float64)
    assert double.dtype == np.float64
    np.testing.assert_array_equal(_mask(double), _mask(expected))
    np.testing.assert_allclose(double, expected, atol=1e-5)


@pytest.mark.parametrize('scope', ['frame', 'clip'])
def test_eight_devices_augment_as_one(scope):
    cfg = config.Augment(translate_px=2, erase_scope=scope)
    clips = _clips(16)
    mesh = jax.make_mesh((8,), ('batch',), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec('batch')
    sharded = jax.jit(
        jax.shard_map(
            lambda x, key, index: augment.augment(x, key, index, cfg, jnp.float32),
            mesh=mesh,
            in_specs=(spec, jax.sharding.PartitionSpec(), spec),
            out_specs=spec,
        )
    )(clips, jax.random.key(0), np.arange(16, dtype=np.int32))
    _assert_same(np.asarray(sharded), _augment(clips, cfg))


def test_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="erase_scope = 'batch'"):
        _augment(_clips(1), config.Augment(erase_scope='batch'))


def _flow(b, *, t=3, h=16, w=8, seed=1):
    return np.random.default_rng(seed).uniform(-30, 30, (b, t, h, w, 2)).astype(np.float16)


def _augment_both(clips, flow, cfg, *, dtype=jnp.float32):
    run = jax.jit(functools.partial(augment.augment, cfg=cfg, dtype=dtype))
    out = run(clips, jax.random.key(0), np.arange(len(clips), dtype=np.int32), flow=flow)
    return tuple(np.asarray(x) for x in out)


def test_flow_is_clipped_at_20_pixels_and_scaled_to_1():
    flow = np.asarray([[0, -0.0], [10, -5], [20, -20], [21, -400]], np.float16)
    expected = [[0, 0], [0.5, -0.25], [1, -1], [1, -1]]
    out = augment.normalise_flow(jnp.asarray(flow), jnp.float32)
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, expected)
    assert augment.normalise_flow(jnp.asarray(flow), jnp.bfloat16).dtype == jnp.bfloat16


def test_mirrored_twice_clips_and_flow_are_themselves():
    clips, flow = _clips(2), _flow(2)
    np.testing.assert_array_equal(augment.mirror(augment.mirror(jnp.asarray(clips))), clips)
    once = np.asarray(augment.mirror_flow(jnp.asarray(flow)))
    np.testing.assert_array_equal(augment.mirror_flow(jnp.asarray(once)), flow)
    assert (once != flow).any()


def test_mirrored_flow_is_the_flow_of_the_mirrored_frames():
    # A bright dot moves from (row 3, column 2) by u = 4, v = 1. In the mirror it starts at column 7 - 2, u = -4.
    flow = np.zeros((8, 8, 2), np.float32)
    flow[3, 2] = (4, 1)
    expected = np.zeros((8, 8, 2), np.float32)
    expected[3, 5] = (-4, 1)
    np.testing.assert_array_equal(augment.mirror_flow(jnp.asarray(flow)), expected)


def test_flow_is_flipped_by_the_draw_of_its_frames():
    clips, flow = _clips(64), _flow(64)
    x, motion = _augment_both(clips, flow, config.Augment(flip=0.5, erase=0.0))
    plain = np.clip(flow.astype(np.float64), -20, 20) / 20
    mirrored = plain[:, :, :, ::-1] * np.asarray([-1, 1])
    flipped = np.isclose(x, augmentation.normalised(clips[:, :, :, ::-1]), atol=1e-5).all((1, 2, 3, 4))
    assert 10 < flipped.sum() < 54
    for ours, kept, turned, was_flipped in zip(motion, plain, mirrored, flipped, strict=True):
        np.testing.assert_allclose(ours, turned if was_flipped else kept, atol=1e-6)


def test_flow_is_translated_with_its_frames_and_zero_comes_in():
    clips, flow = _clips(24), _flow(24)
    x, motion = _augment_both(clips, flow, config.Augment(flip=0.0, erase=0.0, translate_px=2))
    plain, scaled = augmentation.normalised(clips), np.clip(flow.astype(np.float64), -20, 20) / 20
    moves = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    found = set()
    for ours, theirs, before, flow_before in zip(x, motion, plain, scaled, strict=True):
        (move,) = [m for m in moves if np.allclose(ours[0], augmentation.shifted(before[0], *m), atol=1e-5)]
        for after, frame in zip(theirs, flow_before, strict=True):
            np.testing.assert_allclose(after, augmentation.shifted(frame, *move), atol=1e-6)
        found.add(move)
    assert len(found) > 8


def test_frames_are_augmented_alike_with_and_without_flow_and_flow_is_not_erased():
    cfg = config.Augment(flip=0.5, erase=1.0)
    clips, flow = _clips(16), np.full((16, 3, 16, 8, 2), 10, np.float16)
    x, motion = _augment_both(clips, flow, cfg)
    _assert_same(x, _augment(clips, cfg))
    np.testing.assert_array_equal(np.abs(motion), 0.5)


def test_eight_devices_augment_flow_as_one():
    cfg = config.Augment(translate_px=2)
    clips, flow = _clips(16), _flow(16)
    mesh = jax.make_mesh((8,), ('batch',), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec('batch')
    sharded = jax.jit(
        jax.shard_map(
            lambda x, key, index, flow: augment.augment(x, key, index, cfg, jnp.float32, flow=flow),
            mesh=mesh,
            in_specs=(spec, jax.sharding.PartitionSpec(), spec, spec),
            out_specs=spec,
        )
    )(clips, jax.random.key(0), np.arange(16, dtype=np.int32), flow)
    for ours, theirs in zip(sharded, _augment_both(clips, flow, cfg), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_rectangle_as_large_as_the_frame_is_not_erased():
    for area, erased in ((1.0, 0), (0.64, 16)):
        cfg = config.Augment(flip=0.0, erase=1.0, erase_area_min=area, erase_area_max=area, erase_aspect_min=1.0)
        masks = _mask(_augment(_clips(2, h=5, w=5), cfg))
        assert (masks.sum((2, 3)) == erased).all()
