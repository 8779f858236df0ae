"""Frames of a random texture that moves by known amounts, and MARS folders made of them."""

import cv2
import numpy as np

from tests.data import mars_fixture


def frames(places, *, height=64, width=32, seed=0):
    """[H, W, 3] uint8 each; the content of frame i stands places[i] = (right, down) pixels from where it began."""
    rng = np.random.default_rng(seed)
    margin = 40
    field = cv2.GaussianBlur(rng.standard_normal((height + 2 * margin, width + 2 * margin, 3)), (0, 0), 2)
    field = (field - field.min()) / (field.max() - field.min()) * 255
    return [
        np.ascontiguousarray(
            field[margin - down : margin - down + height, margin - right : margin - right + width]
        ).astype(np.uint8)
        for right, down in places
    ]


def write_mars(root, tracklets, **kwargs):
    """A data set in MARS layout whose training tracklet i, of person i + 1, moves through the places tracklets[i]."""
    train = tuple((number + 1, 1, len(places)) for number, places in enumerate(tracklets))
    mars_fixture.write(root, train=train, **kwargs)
    for (pid, camera, _), places in zip(train, tracklets, strict=True):
        for number, frame in enumerate(frames(places, seed=pid)):
            path = root / 'bbox_train' / f'{pid:04d}' / f'{pid:04d}C{camera}T0001F{number + 1:03d}.jpg'
            _, data = cv2.imencode('.png', frame[..., ::-1])  # lossless; readers go by content, not by name
            path.write_bytes(data.tobytes())
    return root
