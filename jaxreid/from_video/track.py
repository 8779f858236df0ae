"""Detections to tracks: boxes are carried on at their speed and matched by overlap.

As SORT (Bewley et al., ICIP 2016), with the fixed gains that its Kalman filter settles at (an alpha-beta filter).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import optimize

_LEAST_OVERLAP = 0.2  # of a box with where it is expected
_CLAIM = 0.15  # overlap from which on a track has to do with a box
_LARGEST_CHANGE = 1.8  # factor on width or height from one detection to the next
_PLACE, _SPEED, _SIZE = 0.6, 0.25, 0.3  # share of what is seen in what is believed


@dataclasses.dataclass
class _Track:
    number: int
    centre: np.ndarray  # [2] pixels
    speed: np.ndarray  # [2] pixels per frame
    size: np.ndarray  # [2] width, height
    seen: int  # frame

    def expected(self, frame: int) -> np.ndarray:
        """[4] left, top, width, height."""
        centre = self.centre + self.speed * (frame - self.seen)
        return np.concatenate([centre - self.size / 2, self.size])

    def see(self, frame: int, box: np.ndarray) -> None:
        gap = frame - self.seen
        expected = self.centre + self.speed * gap
        surprise = box[:2] + box[2:] / 2 - expected
        self.centre = expected + _PLACE * surprise
        self.speed = self.speed + _SPEED * surprise / gap
        self.size = self.size + _SIZE * (box[2:] - self.size)
        self.seen = frame


class Tracker:
    """Follows people from frame to frame."""

    def __init__(self, *, max_gap: int):
        """A track goes on after at most `max_gap` frames without a detection."""
        self._max_gap = max_gap
        self._tracks: list[_Track] = []
        self._count = 0

    def update(self, frame: int, boxes: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Adds the detections of a frame.

        Args:
          frame: its number, higher than that of the update before.
          boxes: [n, 4] left, top, width, height in pixels.

        Returns:
          (track, smoothed box) of each detection, in the order of the tracks.
        """
        self._tracks = [track for track in self._tracks if frame - track.seen <= self._max_gap + 1]
        boxes = boxes[~self._shared(frame, boxes)]
        fresh = set(range(len(boxes)))
        for track, box in self._pairs(frame, boxes):
            self._tracks[track].see(frame, boxes[box])
            fresh.discard(box)
        for box in sorted(fresh):
            left_top, size = boxes[box][:2], boxes[box][2:]
            self._count += 1
            self._tracks.append(_Track(self._count, left_top + size / 2, np.zeros(2), size, frame))
        return [(track.number, track.expected(frame)) for track in self._tracks if track.seen == frame]

    def _shared(self, frame, boxes) -> np.ndarray:
        """[n] bool, detections that two tracks claim and no other detection tells apart: people who meet.

        Such a box is nobody's: better that a track pauses than that it goes on with somebody else.
        """
        if not self._tracks or not len(boxes):
            return np.zeros(len(boxes), bool)
        claims = overlaps(np.array([track.expected(frame) for track in self._tracks]), boxes) >= _CLAIM
        alone = claims & (claims.sum(axis=1) == 1)[:, None]
        return alone.sum(axis=0) >= 2

    def _pairs(self, frame, boxes) -> Sequence[tuple[int, int]]:
        if not self._tracks or not len(boxes):
            return []
        expected = np.array([track.expected(frame) for track in self._tracks])
        change = np.abs(np.log(expected[:, None, 2:] / boxes[None, :, 2:])).max(axis=2)
        overlap = np.where(change <= np.log(_LARGEST_CHANGE), overlaps(expected, boxes), 0)
        rows, columns = optimize.linear_sum_assignment(-overlap)
        return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= _LEAST_OVERLAP]


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, m], intersection over union of boxes [n, 4] and [m, 4] (left, top, width, height)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    common = np.clip(high - low, 0, None).prod(axis=2)
    return common / (a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - common)
