"""Detections to tracks: boxes are carried on at their speed and matched by overlap.

As SORT (Bewley et al., ICIP 2016), with the fixed gains that its Kalman filter settles at (an alpha-beta filter).
"""

import dataclasses

import numpy as np
from scipy import optimize

_LEAST_OVERLAP = 0.2  # of a box with where it is expected
_CLAIM = 0.15  # overlap from which on a track has to do with a box
_LARGEST_CHANGE = 1.8  # factor on the height of a region from one frame to the next
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

    def __init__(self, *, max_gap: int, merging: bool = False):
        """A track goes on after at most `max_gap` frames.

        `merging`: boxes are those of regions that move. They flicker, so that they are smoothed, and one of another
        height is of another track. Where people meet there is one of both; it is nobody's, so that a track rather
        pauses or ends than shows somebody else.
        """
        self._max_gap, self._merging = max_gap, merging
        self._tracks: list[_Track] = []
        self._count = 0

    def update(self, frame: int, boxes: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Adds the detections `boxes` [n, 4] (left, top, width, height in pixels) of a frame, whose number is higher
        than that of the update before; gives (track, box) of each, in the order of the tracks.
        """
        self._tracks = [track for track in self._tracks if frame - track.seen <= self._max_gap + 1]
        expected = np.array([track.expected(frame) for track in self._tracks]).reshape(-1, 4)
        overlap = overlaps(expected, boxes)
        if self._merging:
            claims = overlap >= _CLAIM
            alone = claims & (claims.sum(axis=1) == 1)[:, None]  # of tracks that no other box is left for
            kept = alone.sum(axis=0) < 2
            boxes, overlap = boxes[kept], overlap[:, kept]
            change = np.abs(np.log(expected[:, None, 3] / boxes[None, :, 3]))
            overlap = np.where(change <= np.log(_LARGEST_CHANGE), overlap, 0)
        found: dict[int, np.ndarray] = {}
        fresh = np.ones(len(boxes), bool)
        for row, column in zip(*optimize.linear_sum_assignment(-overlap), strict=True):
            if overlap[row, column] >= _LEAST_OVERLAP:
                track = self._tracks[row]
                track.see(frame, boxes[column])
                found[track.number] = track.expected(frame) if self._merging else boxes[column]
                fresh[column] = False
        for box in boxes[fresh]:
            self._count += 1
            self._tracks.append(_Track(self._count, box[:2] + box[2:] / 2, np.zeros(2), box[2:], frame))
            found[self._count] = box
        return sorted(found.items())

    @property
    def expected(self) -> set[int]:
        """Numbers of the tracks that may go on."""
        return {track.number for track in self._tracks}


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, m], intersection over union of boxes [n, 4] and [m, 4] (left, top, width, height)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    common = np.clip(high - low, 0, None).prod(axis=2)
    return common / (a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None] - common)
