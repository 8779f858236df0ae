"""People in the frames of a fixed camera, with what OpenCV has: what moves before the background, or its HOG detector.

Both are far from a modern detector: `motion` takes anything upright that moves and merges people who touch, `hog`
misses many and is slow. They need no download.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from jaxreid.from_video import track

DETECTORS = ('motion', 'hog')
_HOG_HEIGHT = 100  # pixels of a person in the window of OpenCV's detector, 128 pixels high


def make(name: str, samples: Sequence[np.ndarray], *, min_height: int) -> Callable[[np.ndarray], np.ndarray]:
    """A detector: image [H, W, 3] uint8 BGR -> boxes [n, 4] float64, left, top, width, height in pixels.

    Args:
      name: one of DETECTORS.
      samples: images from the whole video, of which `motion` takes the background; at least one.
      min_height: of a person, in pixels.
    """
    match name:
        case 'motion':
            return _Motion(samples, min_height)
        case 'hog':
            return _Hog(min_height)
        case _:
            raise ValueError(f'detector {name!r} is unknown; expected one of {DETECTORS}')


class _Motion:
    """Upright regions that differ from the background (Zivkovic and van der Heijden, 2006: OpenCV's MOG2)."""

    def __init__(self, samples, min_height):
        self._min_height = min_height
        self._model = cv2.createBackgroundSubtractorMOG2(history=1000, varThreshold=25, detectShadows=True)
        self._model.setShadowThreshold(0.6)
        # Who is there in the first frame, and walks away, is no part of the background.
        self._model.apply(np.median(np.stack(samples), axis=0).astype(np.uint8), learningRate=1)
        self._opening = np.ones((3, 3), np.uint8)
        # Gaps in a body, where the clothes have the colour of the wall, are higher than wide.
        self._closing = np.ones((max(3, min_height // 6), max(3, min_height // 16)), np.uint8)

    def __call__(self, image):
        moving = self._model.apply(image, learningRate=0.0005)
        mask = np.where(moving == 255, 255, 0).astype(np.uint8)  # 127 marks shadows
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, self._opening)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, self._closing)
        _, _, regions, _ = cv2.connectedComponentsWithStats(mask)
        boxes = regions[1:, :4].astype(float)  # the first is the background
        width, height, area = boxes[:, 2], boxes[:, 3], regions[1:, cv2.CC_STAT_AREA]
        upright = (height >= self._min_height) & (height >= 1.1 * width) & (height <= 6 * width)
        return boxes[upright & (area >= 0.2 * width * height)]


class _Hog:
    """OpenCV's people detector (Dalal and Triggs, CVPR 2005)."""

    def __init__(self, min_height):
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
        self._scale = min(max(_HOG_HEIGHT / min_height, 0.25), 2.0)
        self._min_height = min_height

    def __call__(self, image):
        scaled = cv2.resize(image, None, fx=self._scale, fy=self._scale)
        if scaled.shape[0] < 128 or scaled.shape[1] < 64:
            return np.zeros((0, 4))
        found, scores = self._hog.detectMultiScale(scaled, winStride=(8, 8), padding=(16, 16), scale=1.05)
        boxes = np.reshape(np.asarray(found, float), (-1, 4)) / self._scale
        # Its windows have a margin around the person: a quarter of the width, an eighth of the height on each side.
        boxes = boxes * (1, 1, 0.6, 0.8) + boxes[:, [2, 3, 2, 3]] * (0.2, 0.1, 0, 0)
        kept: list[int] = []
        for i in np.argsort(-np.ravel(scores), kind='stable'):
            if not kept or track.overlaps(boxes[[i]], boxes[kept]).max() < 0.5:
                kept.append(int(i))
        return boxes[[i for i in kept if boxes[i, 3] >= self._min_height]]
