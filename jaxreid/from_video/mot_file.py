"""Detections or tracks in the format of MOTChallenge: the way in for a detector and tracker better than ours.

One line per box, commas between: frame (from 1), id, left, top, width, height in pixels, then what may follow:
confidence, class, ... Id -1 says detection, which is to be tracked; ids from 0 on are tracks and taken as they are.
Tracks whose seventh number is 0 or 1 throughout are ground truth, where 0 says that a box does not count; with nine
numbers the eighth is the class there, and 1 a pedestrian (Milan et al., MOT16, 2016).
"""

import math
import os
import warnings
from typing import NamedTuple

import numpy as np


class Boxes(NamedTuple):
    """The boxes of one frame."""

    ids: list[int]
    boxes: np.ndarray  # [n, 4] float64: left, top, width, height in pixels


def read(
    path: str | os.PathLike, *, min_confidence: float = -math.inf, share_of: tuple[int, int] | None = None
) -> tuple[dict[int, Boxes], bool]:
    """Frame number from 1 -> boxes of a det.txt, gt.txt or a tracker's output, and whether they are tracks; boxes of
    less than `min_confidence` (seventh number) are left out. So is what ground truth does not count as a person, with a
    warning. Boxes that are shares of an image become pixels of it: `share_of` is its width and height.

    Raises:
      ValueError: a line is not what the module says; names it. Or boxes are no pixels, or no shares.
      OSError: it cannot be read.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'there is no file {path}; expected boxes in the format of MOTChallenge, a line '
            'frame,id,left,top,width,height,confidence each'
        )
    rows: dict[int, list[tuple[int, list[float], list[float]]]] = {}
    tracked: bool | None = None
    with open(path, encoding='utf-8', errors='replace') as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            frame, number, box, rest = _row(f'{path} line {line}', text)
            if tracked is not None and tracked != (number >= 0):
                raise ValueError(
                    f'{path} line {line} has id {number}; lines before have {"tracks" if tracked else "id -1"}. A file '
                    'holds detections (all ids -1) or tracks (ids from 0 on).'
                )
            tracked = number >= 0
            if rest and rest[0] < min_confidence:
                continue
            in_frame = rows.setdefault(frame, [])
            if tracked and any(number == other for other, *_ in in_frame):
                raise ValueError(f'{path} line {line}: track {number} is in frame {frame} twice')
            in_frame.append((number, box, rest))
    if not rows:
        raise ValueError(
            f'{path} has no boxes' + (f' of confidence {min_confidence:g} or more' if tracked is not None else '')
        )
    factor = pixels(path, max(max(box) for in_frame in rows.values() for _, box, _ in in_frame), share_of)
    if tracked:
        rows = _counted(path, rows)
    return {
        frame: Boxes([number for number, *_ in in_frame], np.array([box for _, box, _ in in_frame]) * factor)
        for frame, in_frame in rows.items()
    }, bool(tracked)


def pixels(path: str | os.PathLike, largest: float, share_of: tuple[int, int] | None) -> np.ndarray:
    """[4], what makes pixels of boxes whose `largest` number that is; `share_of` as for `read`.

    Raises:
      ValueError: they are the other kind; says what to do.
    """
    if share_of is None and largest <= 2:
        raise ValueError(
            f'{path}: no number of its boxes is above {largest:g}, so they look like shares of the image; expected '
            'pixels: `jaxreid.from_video --normalised` scales them by the width and height of the video'
        )
    if share_of is not None and largest > 2:
        raise ValueError(f'{path}: a number of its boxes is {largest:g}; --normalised is for shares of the image')
    return np.ones(4) if share_of is None else np.array(share_of * 2, np.float64)


def _counted(path, rows):
    """Of ground truth the people who count; everything of a tracker's output."""
    rests = [rest for in_frame in rows.values() for _, _, rest in in_frame]
    flags = {rest[0] if rest else math.nan for rest in rests}
    classes = all(len(rest) == 3 and rest[1] in range(1, 14) for rest in rests)
    if not flags <= {0, 1} or flags == {0} or (flags == {1} and not classes):
        return rows
    kept = {
        frame: [one for one in in_frame if one[2][0] and (not classes or one[2][1] == 1)]
        for frame, in_frame in rows.items()
    }
    kept = {frame: in_frame for frame, in_frame in kept.items() if in_frame}
    left = len(rests) - sum(map(len, kept.values()))
    if not kept:
        raise ValueError(f'{path} is ground truth, and none of its {left} boxes counts as a pedestrian')
    if left:
        warnings.warn(f'{path} is ground truth: {left} of {len(rests)} boxes are left out, which do not count (flag 0)'
                      + ' or are no pedestrian (class)' * classes, stacklevel=3)  # fmt: skip
    return kept


def _row(where, text):
    cells = text.strip().rstrip(',').split(',')
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = []
    if len(values) < 6 or not all(map(math.isfinite, values)):
        raise ValueError(f'{where} is {text.strip()[:60]!r}; expected frame,id,left,top,width,height[,confidence,...]')
    frame, number, *box = values[:6]
    if frame != int(frame) or frame < 1 or number != int(number) or number < -1:
        raise ValueError(f'{where}: frame {frame:g}, id {number:g}; frames count from 1, ids are -1 or from 0 on')
    if box[2] <= 0 or box[3] <= 0:
        raise ValueError(f'{where}: a box {box[2]:g} wide and {box[3]:g} high')
    return int(frame), int(number), box, values[6:]
