"""People in the frames of a fixed camera, without a detector: upright regions that move before the background.

Far from a modern detector: it takes anything upright that moves and merges people who touch. It needs no download.
"""

from collections.abc import Sequence

import cv2
import numpy as np


class Motion:
    """Upright regions that differ from the background (Zivkovic and van der Heijden, 2006: OpenCV's MOG2)."""

    def __init__(self, samples: Sequence[np.ndarray], *, min_height: int):
        """Learns the background from `samples`, [H, W, 3] uint8 BGR, at least one from the whole video; people are
        `min_height` pixels high or higher.
        """
        self._min_height = min_height
        self._model = cv2.createBackgroundSubtractorMOG2(history=1000, varThreshold=25, detectShadows=True)
        self._model.setShadowThreshold(0.6)
        # Who is there in the first frame, and walks away, is no part of the background.
        self._model.apply(np.median(np.stack(samples), axis=0).astype(np.uint8), learningRate=1)
        self._opening = np.ones((3, 3), np.uint8)
        # Gaps in a body, where the clothes have the colour of the wall, are higher than wide.
        self._closing = np.ones((max(3, min_height // 6), max(3, min_height // 16)), np.uint8)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """[n, 4] float64, left, top, width, height in pixels of the people in the next image [H, W, 3] uint8 BGR."""
        moving = self._model.apply(image, learningRate=0.0005)
        mask = np.where(moving == 255, 255, 0).astype(np.uint8)  # 127 marks shadows
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, self._opening)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, self._closing)
        _, _, regions, _ = cv2.connectedComponentsWithStats(mask)
        boxes = regions[1:, :4].astype(float)  # the first is the background
        width, height, area = boxes[:, 2], boxes[:, 3], regions[1:, cv2.CC_STAT_AREA]
        upright = (height >= self._min_height) & (height >= 1.1 * width) & (height <= 6 * width)
        return boxes[upright & (area >= 0.2 * width * height)]
