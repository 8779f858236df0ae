"""Cuts the crops of people out of a video and lists them in a manifest."""

import datetime
import math
import pathlib
import shutil
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from jaxreid.from_video import coco_file, csv_text, detect, mot_file, onnx_detector, track
from jaxreid.from_video import video as video_lib
from jaxreid.process import whole

MANIFEST = 'tracklets.csv'
TRACKS = 'tracks.txt'
_SAMPLES = 31  # images that the background is taken from
_EMPTY = '{} holds no frame that FFmpeg can read; convert it, for example to .mp4 with H.264'
# Colours that a track and a box have in common, at least: regions that move merge where people meet, detections do not.
_ALIKE_REGIONS, _ALIKE_DETECTIONS = 0.7, 0.6
_MARGIN = 0.05  # around a box, of its height
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


class Cut(NamedTuple):
    """What was made of a video."""

    manifest: pathlib.Path
    tracklets: int
    crops: int
    frames: int  # of the video, up to the end or `until`
    damaged: int  # frames, and pieces of the file, that could not be decoded
    too_short: int  # tracks left out
    outside: int  # boxes of a detections file that lie outside of the image, left out


def cut(
    video: pathlib.Path,
    out: pathlib.Path,
    *,
    camera: str = '',
    start: str = '',
    detections: pathlib.Path | None = None,
    detector: pathlib.Path | None = None,
    min_confidence: float | None = None,
    min_height: int = 48,
    min_frames: int = 8,
    max_gap: int = 10,
    every: int = 1,
    until: str = '',
) -> Cut:
    """Cuts the people of a video into tracklets.

    Args:
      video: of a fixed camera; anything that FFmpeg reads.
      out: folder to make: one folder of JPEG crops per tracklet, the manifest, and their boxes in the format of
        `mot_file`.
      camera: its name in the manifest; '' takes the video's.
      start: date and time (ISO 8601) of the first frame; '' counts seconds from it.
      detections: file of `mot_file` or `coco_file` to use instead of what moves.
      detector: ONNX file of `onnx_detector` to use instead; not both.
      min_confidence: of their boxes; None: all of a file, those of a detector from `onnx_detector.MIN_CONFIDENCE` on.
      min_height: of a detected person, in pixels.
      min_frames: tracklets with fewer crops are left out.
      max_gap: frames that a person may be lost for.
      every: crops are kept of every so many frames.
      until: date and time, or seconds of the video, at which cutting ends; '': with the video.

    Raises:
      ValueError: the video cannot be read, holds nobody, or the detections do not belong to it.
      OSError: `out` exists or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} exists and is not empty; nothing is overwritten, choose another folder')
    begin, end = _moment('--start', start) if start else None, _end(start, until)
    if detections and detector:
        raise ValueError('--detections and --detector both say where people are; give one of them')
    least = -math.inf if min_confidence is None else min_confidence
    boxes, tracked = (None, False) if detections is None else given_boxes(detections, video, min_confidence=least)
    with video_lib.Video(video) as opened:
        if detector is not None:
            least = onnx_detector.MIN_CONFIDENCE if min_confidence is None else min_confidence
            people = onnx_detector.Detector(detector, min_confidence=least, min_height=min_height)
            find = _detected(people, max_gap, _ALIKE_DETECTIONS)
        elif boxes is None:
            find = _detected(detect.Motion(_background(video), min_height=min_height), max_gap, _ALIKE_REGIONS)
        else:
            find = _given(boxes, tracked, max_gap)
        with whole.folder(out) as partial:
            seen, size, outside = _write_crops(video_lib.progress(opened, end), partial, find, every)
            if not seen.frames:
                raise ValueError(_EMPTY.format(video))
            if boxes is not None:
                _check_belongs(detections, boxes, video, seen.frames if end is None else max(boxes), size, outside)
            kept = [number for number, boxes in seen.crops.items() if len(boxes) >= min_frames]
            kept.sort(key=lambda number: (seen.crops[number][0][0], number))
            if not kept:
                raise ValueError(_nobody(video, seen, detections, detector, min_height, min_frames))
            rows = []
            for place, number in enumerate(kept, start=1):
                folder = f'{place:04d}'
                (partial / f'track-{number}').rename(partial / folder)
                first, last = seen.crops[number][0][0], seen.crops[number][-1][0]
                row = {'tracklet': f'{out.name}/{folder}', 'pid': 0}  # nobody knows yet who it is
                row |= {'camera': camera or video.stem, 'role': 'gallery', 'folder': folder}
                row |= dict(
                    zip(('time', 'end'), (_time(begin, seconds) for seconds in seen.times[number]), strict=True)
                )
                rows.append(row | {'first_frame': first, 'last_frame': last, 'track': number})
            for left in partial.glob('track-*'):
                shutil.rmtree(left)
            (partial / MANIFEST).write_text(csv_text.of(rows), encoding='utf-8')
            _write_tracks(partial / TRACKS, [seen.crops[number] for number in kept])
    crops = sum(len(seen.crops[number]) for number in kept)
    return Cut(out / MANIFEST, len(kept), crops, seen.frames, opened.damaged, len(seen.crops) - len(kept), outside)


def given_boxes(
    path: pathlib.Path, video: pathlib.Path, *, min_confidence: float = -math.inf
) -> tuple[dict[int, mot_file.Boxes], bool]:
    """Boxes of a video by frame, and whether they are tracks, of either kind of file; errors as there."""
    if path.suffix.lower() == coco_file.SUFFIX:
        return coco_file.read(path, video.stem, min_confidence=min_confidence)
    return mot_file.read(path, min_confidence=min_confidence)


class _Seen(NamedTuple):
    frames: int  # of the video
    crops: dict[int, list[tuple[int, np.ndarray]]]  # track -> frame from 1 and box of each
    times: dict[int, tuple[float | None, float | None]]  # track -> seconds of its first and its last frame


def _background(video):
    """Images of the whole video: a part of it alone might show somebody who stands."""
    with video_lib.Video(video) as opened:
        images = opened.samples(_SAMPLES)
    if not images:
        raise ValueError(_EMPTY.format(video))
    return images


class _Ticks:
    """Counts time in frames, so that nobody goes on behind a pause of a recording: 1 for a frame that comes as soon
    after the one before as frames have lately come, more after a pause.
    """

    def __init__(self) -> None:
        self._tick, self._last, self._steps = 0, 0.0, deque[float](maxlen=50)

    def __call__(self, seconds: float | None) -> int:
        step = 0.0 if seconds is None else seconds - self._last
        usual = float(np.median(self._steps)) if self._steps else 0
        self._tick += max(round(step / usual), 1) if usual > 0 else 1
        if step > 0:
            self._steps.append(step)
            self._last += step
        return self._tick


def _detected(find: Callable, max_gap: int, alike: float):
    tracker = track.Tracker(max_gap=max_gap, alike=alike)
    return lambda frame, tick: tracker.update(tick, find(frame.image), frame.image)


def _given(boxes: dict[int, mot_file.Boxes], tracked: bool, max_gap: int):
    none = mot_file.Boxes([], np.zeros((0, 4)))
    if tracked:
        return lambda frame, tick: list(zip(*boxes.get(frame.number, none), strict=True))
    tracker = track.Tracker(max_gap=max_gap, alike=_ALIKE_DETECTIONS)
    return lambda frame, tick: tracker.update(tick, boxes.get(frame.number, none).boxes, frame.image)


def _write_crops(frames, folder, find, every) -> tuple[_Seen, tuple[int, int], int]:
    """Crops of all tracks; height and width of the video, and how many boxes are not in the image."""
    seen, ticks = _Seen(0, {}, {}), _Ticks()
    last, outside, size = 0, 0, (0, 0)
    for frame in frames:
        last, size = frame.number, frame.image.shape[:2]
        for number, box in find(frame, ticks(frame.seconds)):
            piece = crop(frame.image, box)
            if piece is None:
                outside += 1
            elif last % every == 0 or number not in seen.crops:
                if number not in seen.crops:
                    (folder / f'track-{number}').mkdir()
                seen.crops.setdefault(number, []).append((last, box))
                seen.times[number] = seen.times.get(number, (frame.seconds,))[0], frame.seconds
                path = folder / f'track-{number}' / f'{last:06d}.jpg'
                done, data = cv2.imencode('.jpg', piece, _QUALITY)
                assert done
                path.write_bytes(data.tobytes())
    return seen._replace(frames=last), size, outside


def crop(image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """The `box` [4] (left, top, width, height) of an image [H, W, 3] with a margin, widened to 1:2 so that the
    network's resizing does not stretch it: [h, w, 3], moved, then cut, to lie in the image; None where the middle of
    the box is outside.
    """
    rows, columns = image.shape[:2]
    left, top, width, height = box
    x, y = left + width / 2, top + height / 2
    if not (0 <= x < columns and 0 <= y < rows):
        return None
    height = max(height * (1 + 2 * _MARGIN), 2 * width)
    w, h = max(round(min(height / 2, columns)), 1), max(round(min(height, rows)), 1)
    first_column = min(max(round(x - w / 2), 0), columns - w)
    first_row = min(max(round(y - h / 2), 0), rows - h)
    return image[first_row : first_row + h, first_column : first_column + w]


def _check_belongs(detections, boxes, video, frames, size, outside):
    last = max(boxes)
    total = sum(len(in_frame.ids) for in_frame in boxes.values())
    if last > frames:
        raise ValueError(f'{detections} does not belong to {video}: it has boxes in frame {last} of {frames}')
    if 2 * outside > total:
        raise ValueError(
            f'{detections} does not belong to {video}: {outside} of its {total} boxes are outside of the image, which '
            f'has {size[1]}x{size[0]} pixels'
        )


def _nobody(video, seen, detections, detector, min_height, min_frames):
    if detections is not None:
        return f'no track of {detections} has {min_frames} crops (the longest of {len(seen.crops)}: {_longest(seen)})'
    if not seen.crops and detector is not None:
        return (
            f'{detector} finds nobody in {video} who is {min_height} pixels high or higher. Try --min-height or '
            '--min-confidence'
        )
    if not seen.crops:
        return (
            f'nothing upright moves in {video} that is {min_height} pixels high or higher. Try --min-height, or boxes '
            'of a detector: --detector FILE.onnx or --detections FILE'
        )
    return (
        f'no person was followed long enough in {video}: {len(seen.crops)} tracks, the longest with {_longest(seen)} '
        f'crops, {min_frames} wanted. Try --min-frames, --max-gap, or boxes of a better tracker: --detections FILE'
    )


def _longest(seen):
    return max(map(len, seen.crops.values()), default=0)


def _moment(what: str, text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'{what} {text!r} is no date and time; expected 2026-11-21T14:05:00') from None


def _end(start: str, until: str) -> float | None:
    """Seconds of the video."""
    try:
        seconds = float(until) if until else None
    except ValueError:
        if not start:
            raise ValueError(f'--until {until}: say when the video begins, --start, or give seconds') from None
        begin, end = _moment('--start', start), _moment('--until', until)
        if (begin.tzinfo is None) != (end.tzinfo is None):
            raise ValueError(f'--start {start} and --until {until}: one has a time zone, the other none') from None
        seconds = (end - begin).total_seconds()
    if seconds is not None and not seconds > 0:
        raise ValueError(f'--until {until} is not behind the first frame')
    return seconds


def _time(begin, seconds):
    """When a frame is, '' where the video does not say."""
    if seconds is None:
        return ''
    if begin is None:
        return f'{seconds:.2f}'
    return (begin + datetime.timedelta(seconds=seconds)).isoformat(timespec='milliseconds')


def _write_tracks(path, tracks):
    with path.open('w', encoding='utf-8') as file:
        for number, boxes in enumerate(tracks, start=1):
            for frame, box in boxes:
                file.write(f'{frame},{number},{",".join(f"{value:.1f}" for value in box)},1,-1,-1,-1\n')
