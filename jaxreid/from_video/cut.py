"""Cuts the crops of people out of a video and lists them in a manifest."""

import contextlib
import dataclasses
import datetime
import itertools
import math
import pathlib
import shutil
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TextIO

import cv2
import numpy as np

from jaxreid.from_video import coco_file, csv_text, detect, footage, mot_file, onnx_detector
from jaxreid.from_video import track as track_lib
from jaxreid.from_video import video as video_lib
from jaxreid.process import atomic

MANIFEST = 'tracklets.csv'
TRACKS = 'tracks.txt'
_LINES = 'boxes.txt'  # of a track that is not finished
_SAMPLES = 31  # images that the background is taken from
_EMPTY = '{} holds no frame that FFmpeg can read; convert it, for example to .mp4 with H.264'
_NONE = mot_file.Boxes([], np.zeros((0, 4)))
_MARGIN = 0.05  # around a box, of its height
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


class Tracklet(NamedTuple):
    """Somebody who has left. folder: of the crops. row: of the manifest."""

    folder: pathlib.Path
    row: dict[str, object]


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
    video: video_lib.Place,
    out: pathlib.Path,
    *,
    camera: str = '',
    start: str = '',
    detections: pathlib.Path | None = None,
    detector: pathlib.Path | None = None,
    normalised: bool = False,
    min_confidence: float | None = None,
    min_height: int = 48,
    min_frames: int = 8,
    max_gap: int = 10,
    every: int = 1,
    until: str = '',
    fps: float | None = None,
    came: Callable[[Tracklet], None] | None = None,
) -> Cut:
    """Cuts the people of a video into tracklets.

    What is live (a stream, a camera), or where `came` wants to know, is cut as people leave: their tracklets are in
    `out` from then on, numbered in that order, and an interrupt ends the cutting, not what was seen. All else appears
    whole, in the order in which people come.

    Args:
      video: of a fixed camera; anything that FFmpeg reads, or a folder of images.
      out: folder to make: one folder of JPEG crops per tracklet, the manifest, and their boxes in the format of
        `mot_file`.
      camera: its name in the manifest; '' takes the video's.
      start: date and time (ISO 8601) of the first frame; '' counts seconds from it, and takes now for what is live.
      detections: file of `mot_file` or `coco_file` to use instead of what moves.
      detector: ONNX file of `onnx_detector` to use instead; not both.
      normalised: the boxes of `detections` are shares of the image.
      min_confidence: of their boxes; None: all of a file, those of a detector from `onnx_detector.MIN_CONFIDENCE` on.
      min_height: of a detected person, in pixels.
      min_frames: tracklets with fewer crops are left out.
      max_gap: frames that a person may be lost for.
      every: crops are kept of every so many frames.
      until: date and time, or seconds of the video, at which cutting ends; '': with the video.
      fps: images per second of a folder of images; None: their times are not known.
      came: is told of everybody who has left.

    Raises:
      ValueError: the video cannot be read, holds nobody, or the detections do not belong to it.
      OSError: `out` exists or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} exists and is not empty; nothing is overwritten, choose another folder')
    if normalised and not detections:
        raise ValueError('--normalised says what the boxes of --detections FILE are, and none are given')
    if detections and detector:
        raise ValueError('--detections and --detector both say where people are; give one of them')
    live = video_lib.is_live(video)
    leaving = live or came is not None
    if leaving and detections:
        raise ValueError('--detections is for a video that is over; name a detector, --detector FILE.onnx')
    start = start or (datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds') if live else '')
    begin, end = _moment('--start', start) if start else None, _end(start, until)
    least = -math.inf if min_confidence is None else min_confidence
    boxes, tracked = None, False
    if detections:
        share_of = _size(video, fps) if normalised else None
        boxes, tracked = given_boxes(detections, video, min_confidence=least, share_of=share_of)
    with footage.open_any(video, rate=fps) as opened:
        frames = footage.progress(opened, end)
        if detector is not None:
            least = onnx_detector.MIN_CONFIDENCE if min_confidence is None else min_confidence
            people = onnx_detector.Detector(detector, min_confidence=least, min_height=min_height)
            find: Callable = _Tracked(lambda frame: people(frame.image), max_gap=max_gap)
        elif boxes is not None:
            given = boxes
            tracker = _Tracked(lambda frame: given.get(frame.number, _NONE).boxes, max_gap=max_gap)
            find = (lambda frame: zip(*given.get(frame.number, _NONE), strict=True)) if tracked else tracker
        else:
            if live:  # what it shows first is the background, as far as anybody knows
                first = list(itertools.islice(frames, _SAMPLES))
                images, frames = [frame.image for frame in first], itertools.chain(first, frames)
            else:
                images = _background(video, fps)
            if not images:
                raise ValueError(_EMPTY.format(video_lib.name(video)))
            moves = detect.Motion(images, min_height=min_height)
            find = _Tracked(lambda frame: moves(frame.image), max_gap=max_gap, merging=True)
        label = _Label(out.name, camera or video_lib.stem(video), begin)
        with _growing(out) if leaving else atomic.folder(out) as partial:
            seen = _Seen(partial)
            if leaving:
                made, crops = _as_they_leave(frames, seen, find, every, min_frames, label, came or (lambda left: None))
            else:
                for frame in frames:
                    _see(seen, frame, find, every)
                if boxes is not None and seen.frames:
                    _check_belongs(detections, boxes, video, seen.frames if end is None else max(boxes), seen)
                made, crops = _all_at_once(seen, min_frames, label)
            if not seen.frames:
                raise ValueError(_EMPTY.format(video_lib.name(video)))
            if not made:
                raise ValueError(_nobody(video, seen, detections, detector, min_height, min_frames))
    return Cut(out / MANIFEST, made, crops, seen.frames, opened.damaged, seen.count - made, seen.outside)


@contextlib.contextmanager
def _growing(out):
    """A folder that others read while it is written; what is not finished lies in one of its own, which goes."""
    out.mkdir(parents=True, exist_ok=True)
    with atomic.alone(out, doing='cutting a stream into'):
        try:
            yield out
        finally:
            for left in out.glob('track-*'):
                shutil.rmtree(left)
            if not (out / MANIFEST).exists():
                shutil.rmtree(out)


def given_boxes(
    path: pathlib.Path,
    video: video_lib.Place,
    *,
    min_confidence: float = -math.inf,
    share_of: tuple[int, int] | None = None,
) -> tuple[dict[int, mot_file.Boxes], bool]:
    """Boxes of a video by frame, and whether they are tracks, of either kind of file; arguments and errors as there."""
    if path.suffix.lower() == coco_file.SUFFIX:
        return coco_file.read(path, video_lib.stem(video), min_confidence=min_confidence, share_of=share_of)
    return mot_file.read(path, min_confidence=min_confidence, share_of=share_of)


def _size(video, fps):
    """Width and height of the images."""
    with footage.open_any(video, rate=fps) as opened:
        images = opened.samples(1)
    if not images:
        raise ValueError(_EMPTY.format(video_lib.name(video)))
    return images[0].shape[1::-1]


@dataclasses.dataclass
class _Track:
    """first, last: frames from 1; begin, end: their seconds, None where nobody knows."""

    number: int
    first: int
    begin: float | None
    last: int = 0
    end: float | None = None
    crops: int = 0


@dataclasses.dataclass
class _Seen:
    """What is known so far; crops and boxes of a track lie in its folder."""

    folder: pathlib.Path
    frames: int = 0
    size: tuple[int, int] = (0, 0)  # height, width
    count: int = 0  # tracks
    boxes: int = 0
    outside: int = 0  # of the boxes
    longest: int = 0  # crops of a track
    tracks: dict[int, _Track] = dataclasses.field(default_factory=dict)  # by number, of those that may go on

    def place(self, number: int) -> pathlib.Path:
        return self.folder / f'track-{number}'


class _Label(NamedTuple):
    """What rows of the manifest have in common."""

    name: str
    camera: str
    begin: datetime.datetime | None

    def row(self, folder: str, track: _Track) -> dict[str, object]:
        row: dict[str, object] = {'tracklet': f'{self.name}/{folder}', 'pid': 0}  # nobody knows yet who it is
        row |= {'camera': self.camera, 'role': 'gallery', 'folder': folder}
        row |= {'time': _time(self.begin, track.begin), 'end': _time(self.begin, track.end)}
        return row | {'first_frame': track.first, 'last_frame': track.last, 'track': track.number}


def _background(video, fps):
    """Images of the whole video: a part of it alone might show somebody who stands."""
    with footage.open_any(video, rate=fps) as opened:
        return opened.samples(_SAMPLES)


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


class _Tracked:
    """Finds people in frames and follows them. `expected`: numbers of tracks that may go on."""

    def __init__(self, people: Callable[[video_lib.Frame], np.ndarray], *, max_gap: int, merging: bool = False):
        self._people, self._ticks = people, _Ticks()
        self._tracker = track_lib.Tracker(max_gap=max_gap, merging=merging)

    @property
    def expected(self) -> set[int]:
        return self._tracker.expected

    def __call__(self, frame: video_lib.Frame) -> list[tuple[int, np.ndarray]]:
        return self._tracker.update(self._ticks(frame.seconds), self._people(frame))


def _see(seen: _Seen, frame: video_lib.Frame, find: Callable, every: int) -> None:
    """Writes the crops of a frame, and a line of each with its box."""
    seen.frames, seen.size = frame.number, frame.image.shape[:2]
    for number, box in find(frame):
        piece = crop(frame.image, box)
        seen.boxes += 1
        seen.outside += piece is None
        if piece is None or (frame.number % every and number in seen.tracks):
            continue
        place = seen.place(number)
        if number not in seen.tracks:
            seen.count += 1
            seen.tracks[number] = _Track(number, frame.number, frame.seconds)
            place.mkdir()
        track = seen.tracks[number]
        track.last, track.end, track.crops = frame.number, frame.seconds, track.crops + 1
        seen.longest = max(seen.longest, track.crops)
        done, data = cv2.imencode('.jpg', piece, _QUALITY)
        assert done
        (place / f'{frame.number:06d}.jpg').write_bytes(data.tobytes())
        with (place / _LINES).open('a') as file:
            file.write(f'{frame.number},{",".join(f"{value:.1f}" for value in box)}\n')


def _keep(seen: _Seen, track: _Track, folder: str, boxes: TextIO) -> None:
    """Gives a track its folder, and writes its boxes."""
    place = seen.place(track.number)
    with (place / _LINES).open() as lines:
        for line in lines:
            frame, _, box = line.rstrip().partition(',')
            boxes.write(f'{frame},{int(folder)},{box},1,-1,-1,-1\n')
    (place / _LINES).unlink()
    place.rename(seen.folder / folder)


def _all_at_once(seen: _Seen, min_frames: int, label: _Label) -> tuple[int, int]:
    """Keeps the tracks that are long enough, in the order of their first frames; how many, and how many crops."""
    kept = sorted((one for one in seen.tracks.values() if one.crops >= min_frames), key=lambda t: (t.first, t.number))
    rows = []
    with (seen.folder / TRACKS).open('w', encoding='utf-8') as boxes:
        for place, track in enumerate(kept, start=1):
            _keep(seen, track, f'{place:04d}', boxes)
            rows.append(label.row(f'{place:04d}', track))
    for left in seen.folder.glob('track-*'):
        shutil.rmtree(left)
    if rows:
        (seen.folder / MANIFEST).write_text(csv_text.of(rows), encoding='utf-8')
    return len(kept), sum(track.crops for track in kept)


def _as_they_leave(frames, seen: _Seen, find, every, min_frames, label: _Label, came) -> tuple[int, int]:
    """As `_all_at_once`, of everybody when nobody expects them any more; an interrupt is the end of the frames."""
    made = crops = 0

    def leave(track: _Track) -> None:
        nonlocal made, crops
        del seen.tracks[track.number]
        if track.crops < min_frames:
            shutil.rmtree(seen.place(track.number))
            return
        made, crops = made + 1, crops + track.crops
        folder = f'{made:04d}'
        with (seen.folder / TRACKS).open('a', encoding='utf-8') as boxes:
            _keep(seen, track, folder, boxes)
        row = label.row(folder, track)
        text = csv_text.of([row])
        with (seen.folder / MANIFEST).open('a', encoding='utf-8') as file:  # a line in one piece, after the folder
            file.write(text if made == 1 else text.partition('\n')[2])
        came(Tracklet(seen.folder / folder, row))

    with contextlib.suppress(KeyboardInterrupt):
        for frame in frames:
            _see(seen, frame, find, every)
            for track in [one for number, one in seen.tracks.items() if number not in find.expected]:
                leave(track)
    for track in list(seen.tracks.values()):
        leave(track)
    return made, crops


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


def _check_belongs(detections, boxes, video, frames, seen):
    last = max(boxes)
    total = sum(len(in_frame.ids) for in_frame in boxes.values())
    if last > frames:
        raise ValueError(f'{detections} does not belong to {video}: it has boxes in frame {last} of {frames}')
    if 2 * seen.outside > total:
        raise ValueError(
            f'{detections} does not belong to {video}: {seen.outside} of its {total} boxes are outside of the image, '
            f'which has {seen.size[1]}x{seen.size[0]} pixels'
        )


def _nobody(video, seen, detections, detector, min_height, min_frames):
    video, longest = video_lib.name(video), seen.longest
    if detections is not None:
        return f'no track of {detections} has {min_frames} crops (the longest of {seen.count}: {longest})'
    if not seen.count and detector is not None:
        return (
            f'{detector} finds nobody in {video} who is {min_height} pixels high or higher. Try --min-height or '
            '--min-confidence'
        )
    if not seen.count:
        return (
            f'nothing upright moves in {video} that is {min_height} pixels high or higher. Try --min-height, or boxes '
            'of a detector: --detector FILE.onnx or --detections FILE'
        )
    return (
        f'no person was followed long enough in {video}: {seen.count} tracks, the longest with {longest} crops, '
        f'{min_frames} wanted. Try --min-frames, --max-gap, or boxes of a better tracker: --detections FILE'
    )


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
