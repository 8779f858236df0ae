"""Detections or tracks of a video as COCO JSON: images that are frames, annotations with boxes.

As CocoVID, TAO, BDD100K and the trackers that train on them write it: frames are counted by `frame_id` or
`frame_index`, from 0 or from 1, and tracks are `track_id` or `instance_id`. Without either they are detections.
"""

import math
import os
import pathlib
import warnings
from typing import NotRequired, TypedDict

import numpy as np

from jaxreid.from_video import mot_file
from jaxreid.process import json_file

SUFFIX = '.json'
_EXPECTED = 'expected COCO JSON with images (id, frame_id) and annotations (image_id, bbox, track_id)'
_PEOPLE = ('person', 'people', 'pedestrian', 'human')


class Named(TypedDict):
    """A video or a category."""

    id: int
    name: str


class Image(TypedDict):
    """A frame."""

    id: int
    video_id: NotRequired[int]
    frame_id: NotRequired[int]
    frame_index: NotRequired[int]


class Annotation(TypedDict):
    """A box: left, top, width, height in pixels."""

    image_id: int
    bbox: list[float]
    category_id: NotRequired[int]
    track_id: NotRequired[int]
    instance_id: NotRequired[int]
    score: NotRequired[float]
    iscrowd: NotRequired[int | bool]
    ignore: NotRequired[int | bool]


class File(TypedDict):
    """What a file holds, of what is read here."""

    images: list[Image]
    annotations: list[Annotation]
    videos: NotRequired[list[Named]]
    categories: NotRequired[list[Named]]


def of_video(path: str | os.PathLike, video: str) -> tuple[File, list[tuple[int, Annotation]]]:
    """What a file holds of a video, and (frame from 1, annotation) of everything in it.

    Args:
      path: of the file.
      video: name of the video file, without its suffix; it matters where the file is of several.

    Raises:
      ValueError: it is no such file, or of other videos; says what was found.
      OSError: it cannot be read.
    """
    held = json_file.read(path, File, what='boxes of a video', advice=_EXPECTED)
    videos = held.get('videos', [])
    if len(videos) > 1:
        held['videos'] = [one for one in videos if pathlib.PurePath(one['name']).stem == video]
        if len(held['videos']) != 1:
            raise ValueError(f'{path} is of {", ".join(one["name"] for one in videos[:9])}, not of {video}')
        held['images'] = [one for one in held['images'] if one.get('video_id') == held['videos'][0]['id']]
    number = {one['id']: one.get('frame_id', one.get('frame_index')) for one in held['images']}
    known = [value for value in number.values() if value is not None]
    if not known or len(known) < len(number):
        raise ValueError(f'{path}: {len(number) - len(known)} of {len(number)} images say no frame_id; {_EXPECTED}')
    from_one = 1 if min(known) == 0 else 0
    held['annotations'] = [one for one in held['annotations'] if one['image_id'] in number]
    own = [(number[one['image_id']], one) for one in held['annotations']]
    return held, [(frame + from_one, one) for frame, one in own if frame is not None]


def track(one: Annotation) -> int:
    """Number of a track, -1 of a detection."""
    return one.get('track_id', one.get('instance_id', -1))


def read(
    path: str | os.PathLike,
    video: str,
    *,
    min_confidence: float = -math.inf,
    share_of: tuple[int, int] | None = None,
) -> tuple[dict[int, mot_file.Boxes], bool]:
    """Frame number from 1 -> boxes of the people of a video, and whether they are tracks, as `mot_file.read`. Crowds,
    and what is to be ignored, are left out with a warning.

    Args, Raises: as `of_video` and `mot_file.read`. ValueError too where a box is none.
    """
    held, own = of_video(path, video)
    kinds = held.get('categories', [])
    people = [one['id'] for one in kinds if one['name'].lower() in _PEOPLE]
    if len(kinds) > 1 and not people:
        raise ValueError(f'{path} has boxes of {", ".join(one["name"] for one in kinds[:9])}, and of no person')
    own = [(frame, one) for frame, one in own if one.get('category_id') in people or not people]
    own = [(frame, one) for frame, one in own if one.get('score', math.inf) >= min_confidence]
    counted = [(frame, one) for frame, one in own if not (one.get('iscrowd') or one.get('ignore'))]
    if left := len(own) - len(counted):
        warnings.warn(f'{path}: {left} of {len(own)} boxes are left out, which are crowds or ignored', stacklevel=2)
    rows: dict[int, list[tuple[int, list[float]]]] = {}
    for frame, one in counted:
        number, box = track(one), one['bbox']
        if len(box) != 4 or not all(map(math.isfinite, box)) or min(box[2:]) <= 0 or number < -1:
            raise ValueError(f'{path}: frame {frame} has the track {number} with the box {box}; {_EXPECTED}')
        in_frame = rows.setdefault(frame, [])
        if number >= 0 and number in [other for other, _ in in_frame]:
            raise ValueError(f'{path}: track {number} is in frame {frame} twice')
        in_frame.append((number, box))
    tracked = {number >= 0 for in_frame in rows.values() for number, _ in in_frame}
    if len(tracked) != 1:
        found = 'both boxes with a track_id and boxes without' if tracked else 'no boxes of people'
        raise ValueError(f'{path} has {found} in {video}; {_EXPECTED}')
    factor = mot_file.pixels(path, max(max(box) for in_frame in rows.values() for _, box in in_frame), share_of)
    return {
        frame: mot_file.Boxes([number for number, _ in in_frame], np.array([box for _, box in in_frame]) * factor)
        for frame, in_frame in sorted(rows.items())
    }, tracked.pop()
