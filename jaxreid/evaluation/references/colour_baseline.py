"""The strongest colour baseline found for re-identification: what a network must beat to have learnt more than
colours.

Centre crop (less background), horizontal stripes, HSV histograms per stripe, square roots (Hellinger), mean over
frames, minus the mean of the tracklet's camera. Without the last step the camera outweighs the person: nearly all
nearest neighbours are other people in the query's own camera.
"""

from collections.abc import Sequence

import cv2
import numpy as np

STRIPES = 8  # of equal height
BINS = (12, 4, 6)  # of hue, weighted by saturation (the hue of grey means nothing), of saturation, of brightness
MARGIN = 0.2  # share of the width cut off on either side
FRAMES = 16  # of a tracklet that are used, evenly spread


def features(tracklets: Sequence[np.ndarray], cameras: np.ndarray, *, remove_camera_mean: bool = True) -> np.ndarray:
    """Colour features of N tracklets [F, H, W, 3] uint8 RGB of any lengths and sizes, to be compared by cosine: [N,
    STRIPES * sum(BINS)] float32. The mean feature of each of the `cameras` [N] is subtracted, where asked.

    Raises:
      ValueError: no tracklets, cameras of another length, or an array that is not [F, H, W, 3] uint8 with F > 0.
    """
    cameras = np.asarray(cameras)
    if len(tracklets) == 0 or cameras.shape != (len(tracklets),):
        raise ValueError(
            'the colour baseline needs one camera per tracklet; '
            f'got {len(tracklets)} tracklets and cameras of shape {cameras.shape}'
        )
    rows = []
    for i, frames in enumerate(tracklets):
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
            raise ValueError(
                f'tracklet {i} is {frames.dtype} {frames.shape}; expected uint8 [F, H, W, 3] with at least one frame'
            )
        rows.append(np.mean([_histograms(frames[j]) for j in spread(len(frames))], axis=0))
    out = np.stack(rows)
    if remove_camera_mean:
        for camera in np.unique(cameras):
            out[cameras == camera] -= out[cameras == camera].mean(0)
    return out.astype(np.float32)


def spread(length: int) -> np.ndarray:
    """Which frames of a tracklet are used."""
    return np.linspace(0, length - 1, min(FRAMES, length)).round().astype(int)


def _histograms(frame):
    """Square roots of the hue, saturation and value histograms of every stripe, each summing to at most 1."""
    height, width = frame.shape[:2]
    side = int(round(MARGIN * width))
    hsv = cv2.cvtColor(np.ascontiguousarray(frame[:, side : width - side]), cv2.COLOR_RGB2HSV)
    hue, saturation, value = (hsv[..., i].astype(np.int64) for i in range(3))
    stripe = (np.arange(height) * STRIPES // height)[:, None]

    def count(levels, top, size, weights):
        place = stripe * size + np.minimum(levels * size // top, size - 1)
        return np.bincount(place.ravel(), weights.ravel(), minlength=STRIPES * size).reshape(STRIPES, size)

    ones = np.full(hue.shape, STRIPES / hue.size)
    parts = [
        count(hue, 180, BINS[0], ones * saturation / 255.0),
        count(saturation, 256, BINS[1], ones),
        count(value, 256, BINS[2], ones),
    ]
    return np.sqrt(np.concatenate(parts, 1)).ravel()
