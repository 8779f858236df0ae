import colorsys

import cv2
import numpy as np
import pytest

from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render
from jaxreid.evaluation.references import colour_baseline


def slow_histograms(frame, stripes=8, bins=(12, 4, 6), margin=0.2):
    """Pixel by pixel; cv2's 8-bit HSV of each pixel alone, cross-checked against colorsys below."""
    height, width = frame.shape[:2]
    side = int(round(margin * width))
    out = np.zeros((stripes, sum(bins)))
    area = height * (width - 2 * side) / stripes
    for y in range(height):
        for x in range(side, width - side):
            h, s, v = (int(c) for c in cv2.cvtColor(frame[y : y + 1, x : x + 1].copy(), cv2.COLOR_RGB2HSV)[0, 0])
            stripe = y * stripes // height
            out[stripe, h * bins[0] // 180] += s / 255 / area
            out[stripe, bins[0] + s * bins[1] // 256] += 1 / area
            out[stripe, bins[0] + bins[1] + v * bins[2] // 256] += 1 / area
    return np.sqrt(out).ravel()


def test_features_equal_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    tracklets = [rng.integers(0, 256, (f, 19, 11, 3), dtype=np.uint8) for f in (1, 3)]
    got = colour_baseline.features(tracklets, np.array([1, 2]), remove_camera_mean=False)
    want = [np.mean([slow_histograms(f) for f in frames], axis=0) for frames in tracklets]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_red_is_red_and_frames_are_rgb():
    red = np.zeros((1, 16, 8, 3), np.uint8)
    red[..., 0] = 200
    hue, saturation, _ = colorsys.rgb_to_hsv(200 / 255, 0, 0)
    row = colour_baseline.features([red], np.array([1]), remove_camera_mean=False)[0]
    hues = row.reshape(8, 22)[:, :12]  # of each stripe
    assert hues[:, int(hue * 12)] == pytest.approx(np.sqrt(saturation))
    assert hues.sum() == pytest.approx(8.0)


def test_every_camera_has_zero_mean():
    rng = np.random.default_rng(1)
    tracklets = [rng.integers(0, 256, (2, 16, 8, 3), dtype=np.uint8) for _ in range(7)]
    cameras = np.array([3, 3, 5, 5, 5, 3, 5])
    got = colour_baseline.features(tracklets, cameras)
    for camera in (3, 5):
        np.testing.assert_allclose(got[cameras == camera].mean(0), 0, atol=1e-6)


def test_wrong_input_is_refused():
    frames = np.zeros((2, 16, 8, 3), np.uint8)
    with pytest.raises(ValueError, match='one camera per tracklet'):
        colour_baseline.features([frames], np.array([1, 2]))
    with pytest.raises(ValueError, match='tracklet 1 is float64'):
        colour_baseline.features([frames, frames.astype(float)], np.array([1, 2]))
    with pytest.raises(ValueError, match='at least one frame'):
        colour_baseline.features([frames[:0]], np.array([1]))


def rank1(features, identities, cameras, queries):
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    hits = []
    for q in queries:
        similarity = features @ features[q]
        similarity[(identities == identities[q]) & (cameras == cameras[q])] = -np.inf
        similarity[identities == -1] = -np.inf
        hits.append(identities[np.argmax(similarity)] == identities[q])
    return 100 * np.mean(hits)


@pytest.mark.slow
def test_colour_helps_but_does_not_suffice_on_a_part_of_demo():
    plan = synthetic_plan.make_plan(render.PRESETS['demo'])
    rows = plan.tracklets['test']
    renderer = render.Renderer(plan)
    frames = [np.stack(list(renderer.frames(t, only=[t.frames // 2]))) for t in rows]
    identities, cameras = (np.array([getattr(t, k) for t in rows]) for k in ('identity', 'camera'))
    score = rank1(colour_baseline.features(frames, cameras), identities, cameras, plan.queries)
    assert 10 < score < 60
    raw = rank1(colour_baseline.features(frames, cameras, remove_camera_mean=False), identities, cameras, plan.queries)
    assert raw < score
