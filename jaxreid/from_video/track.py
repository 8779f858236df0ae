"""Detections to tracks: boxes are carried on at their speed and matched by overlap, where the colours allow it.

As SORT (Bewley et al., ICIP 2016), with the fixed gains that its Kalman filter settles at (an alpha-beta filter). Where
people meet, a track rather ends than goes on with somebody else.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from scipy import optimize

_LEAST_OVERLAP = 0.2  # of a box with where it is expected
_CLAIM = 0.15  # overlap from which on a track has to do with a box
_HIDDEN = 0.2  # overlap of two boxes from which on neither begins a track
_LARGEST_CHANGE = 1.8  # factor on width or height from one detection to the next
_PLACE, _SPEED, _SIZE, _LOOKS = 0.6, 0.25, 0.3, 0.1  # share of what is seen in what is believed
_HUES, _GREYS = 12, 4


@dataclasses.dataclass
class _Track:
    number: int
    centre: np.ndarray  # [2] pixels
    speed: np.ndarray  # [2] pixels per frame
    size: np.ndarray  # [2] width, height
    looks: np.ndarray  # [K] from `looks`
    seen: int  # frame

    def expected(self, frame: int) -> np.ndarray:
        """[4] left, top, width, height."""
        centre = self.centre + self.speed * (frame - self.seen)
        return np.concatenate([centre - self.size / 2, self.size])

    def see(self, frame: int, box: np.ndarray, looks: np.ndarray) -> None:
        gap = frame - self.seen
        expected = self.centre + self.speed * gap
        surprise = box[:2] + box[2:] / 2 - expected
        self.centre = expected + _PLACE * surprise
        self.speed = self.speed + _SPEED * surprise / gap
        self.size = self.size + _SIZE * (box[2:] - self.size)
        self.looks = self.looks + _LOOKS * (looks - self.looks)
        self.seen = frame


class Tracker:
    """Follows people from frame to frame."""

    def __init__(self, *, max_gap: int, alike: float):
        """A track goes on after at most `max_gap` frames, with a box that is `alike` (share of the colours)."""
        self._max_gap = max_gap
        self._alike = alike
        self._tracks: list[_Track] = []
        self._count = 0

    def update(self, frame: int, boxes: np.ndarray, image: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Adds the detections `boxes` [n, 4] (left, top, width, height in pixels) of a frame, whose number is higher
        than that of the update before and whose image is [H, W, 3] uint8 BGR; gives (track, smoothed box) of each, in
        the order of the tracks.
        """
        self._tracks = [track for track in self._tracks if frame - track.seen <= self._max_gap + 1]
        boxes = boxes[~self._shared(frame, boxes)]
        seen = np.array([looks(image, box) for box in boxes]).reshape(len(boxes), 2 * (_HUES + _GREYS))
        # Of boxes that overlap, one shows somebody behind somebody else, who looks new and is not.
        fresh = (overlaps(boxes, boxes) < _HIDDEN).sum(axis=0) == len(boxes) - 1
        for track, box in self._pairs(frame, boxes, seen):
            self._tracks[track].see(frame, boxes[box], seen[box])
            fresh[box] = False
        for box in np.flatnonzero(fresh).tolist():
            left_top, size = boxes[box][:2], boxes[box][2:]
            self._count += 1
            self._tracks.append(_Track(self._count, left_top + size / 2, np.zeros(2), size, seen[box], frame))
        return [(track.number, track.expected(frame)) for track in self._tracks if track.seen == frame]

    @property
    def expected(self) -> set[int]:
        """Numbers of the tracks that may go on."""
        return {track.number for track in self._tracks}

    def _shared(self, frame, boxes) -> np.ndarray:
        """[n] bool, detections that two tracks claim and no other detection tells apart: people who meet.

        Such a box is nobody's: better that a track pauses than that it goes on with somebody else.
        """
        claims = self._claims(frame, boxes) >= _CLAIM
        alone = claims & (claims.sum(axis=1) == 1)[:, None]
        return alone.sum(axis=0) >= 2

    def _claims(self, frame, boxes) -> np.ndarray:
        """[tracks, n], overlap of the boxes with where the tracks are expected."""
        expected = np.array([track.expected(frame) for track in self._tracks]).reshape(-1, 4)
        return overlaps(expected, boxes)

    def _pairs(self, frame, boxes, seen) -> Sequence[tuple[int, int]]:
        if not self._tracks or not len(boxes):
            return []
        expected = np.array([track.expected(frame) for track in self._tracks])
        change = np.abs(np.log(expected[:, None, 2:] / boxes[None, :, 2:])).max(axis=2)
        common = np.minimum(np.array([track.looks for track in self._tracks])[:, None], seen[None]).sum(axis=2)
        fits = (change <= np.log(_LARGEST_CHANGE)) & (common >= self._alike)
        overlap = np.where(fits, self._claims(frame, boxes), 0)
        rows, columns = optimize.linear_sum_assignment(-overlap * common**2)
        return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= _LEAST_OVERLAP]


def looks(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """[K] float64, shares of hues and, where there is no hue, of greys in the upper and the lower half of a person: of
    the `box` [4] (left, top, width, height in pixels) of an image [H, W, 3] uint8 BGR.
    """
    left, top, width, height = box
    halves = []
    for low, high in ((0.15, 0.5), (0.5, 0.85)):
        rows = slice(max(int(top + low * height), 0), max(int(top + high * height), 0) + 1)
        columns = slice(max(int(left + 0.25 * width), 0), max(int(left + 0.75 * width), 0) + 1)
        piece = image[rows, columns]
        if not piece.size:
            halves.append(np.full(_HUES + _GREYS, 1 / (_HUES + _GREYS)))
            continue
        hue, saturation, value = cv2.cvtColor(piece, cv2.COLOR_BGR2HSV).reshape(-1, 3).T.astype(int)
        kind = np.where((saturation > 50) & (value > 40), hue * _HUES // 180, _HUES + value * _GREYS // 256)
        halves.append(np.bincount(kind, minlength=_HUES + _GREYS) / len(kind))
    return np.concatenate(halves) / 2


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, m], intersection over union of boxes [n, 4] and [m, 4] (left, top, width, height)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    common = np.clip(high - low, 0, None).prod(axis=2)
    return common / (a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - common)
