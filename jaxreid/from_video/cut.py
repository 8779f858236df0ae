"""Cuts the crops of people out of a video and lists them in a manifest."""

import csv
import datetime
import io
import math
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import tqdm

from jaxreid.data.tracklets import image_damage
from jaxreid.from_video import detect, mot_file, track
from jaxreid.process import silence, whole

MANIFEST = 'tracklets.csv'
TRACKS = 'tracks.txt'
_SAMPLES = 31  # images that the background is taken from
# Colours that a track and a box have in common, at least: regions that move merge where people meet, detections do not.
_ALIKE_REGIONS, _ALIKE_DETECTIONS = 0.7, 0.6
_MARGIN = 0.05  # around a box, of its height
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


class Cut(NamedTuple):
    """What was made of a video."""

    manifest: pathlib.Path
    tracklets: int
    crops: int
    frames: int  # of the video
    too_short: int  # tracks left out
    outside: int  # boxes of a detections file that lie outside of the image, left out


def cut(
    video: pathlib.Path,
    out: pathlib.Path,
    *,
    camera: str = '',
    start: str = '',
    detections: pathlib.Path | None = None,
    min_confidence: float = -math.inf,
    min_height: int = 48,
    min_frames: int = 8,
    max_gap: int = 10,
    every: int = 1,
) -> Cut:
    """Cuts the people of a video into tracklets.

    Args:
      video: of a fixed camera; anything that OpenCV reads.
      out: folder to make: one folder of JPEG crops per tracklet, the manifest, and their boxes in the format of
        `mot_file`.
      camera: its name in the manifest; '' takes the video's.
      start: date and time (ISO 8601) of the first frame; '' counts seconds from it.
      detections: file of `mot_file` to use instead of what moves.
      min_confidence: of its boxes.
      min_height: of a detected person, in pixels.
      min_frames: tracklets with fewer crops are left out.
      max_gap: frames that a person may be lost for.
      every: crops are kept of every so many frames.

    Raises:
      ValueError: the video cannot be read, holds nobody, or the detections do not belong to it.
      OSError: `out` exists or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} exists and is not empty; nothing is overwritten, choose another folder')
    begin = _beginning(start)
    boxes, tracked = (None, False) if detections is None else mot_file.read(detections, min_confidence=min_confidence)
    opened = _open(video)
    try:
        rate = opened.get(cv2.CAP_PROP_FPS)
        if boxes is None:
            find = _detected(detect.Motion(_samples(video), min_height=min_height), max_gap)
        else:
            find = _given(boxes, tracked, max_gap)
        with whole.folder(out) as partial:
            seen, size, outside = _write_crops(opened, video, partial, find, every)
            if not seen.frames:
                raise ValueError(f'{video} holds no frame that OpenCV can read; convert it, for example to .mp4')
            if boxes is not None:
                _check_belongs(detections, boxes, video, seen.frames, size, outside)
            kept = [number for number, boxes in seen.crops.items() if len(boxes) >= min_frames]
            kept.sort(key=lambda number: (seen.crops[number][0][0], number))
            if not kept:
                raise ValueError(_nobody(video, seen, detections, min_height, min_frames))
            rows = []
            for place, number in enumerate(kept, start=1):
                folder = f'{place:04d}'
                (partial / f'track-{number}').rename(partial / folder)
                first, last = seen.crops[number][0][0], seen.crops[number][-1][0]
                row = {'tracklet': f'{out.name}/{folder}', 'pid': 0}  # nobody knows yet who it is
                row |= {'camera': camera or video.stem, 'role': 'gallery', 'folder': folder}
                row |= {'time': _time(begin, first, rate), 'end': _time(begin, last, rate)}
                rows.append(row | {'first_frame': first, 'last_frame': last, 'track': number})
            for left in partial.glob('track-*'):
                shutil.rmtree(left)
            _write_manifest(partial / MANIFEST, rows)
            _write_tracks(partial / TRACKS, [seen.crops[number] for number in kept])
    finally:
        opened.release()
    crops = sum(len(seen.crops[number]) for number in kept)
    return Cut(out / MANIFEST, len(kept), crops, seen.frames, len(seen.crops) - len(kept), outside)


class _Seen(NamedTuple):
    frames: int  # of the video
    crops: dict[int, list[tuple[int, np.ndarray]]]  # track -> frame from 1 and box of each


def _open(video):
    if video.is_dir():
        raise ValueError(f'{video} is a folder; name a video file, one at a time')
    if not video.is_file():
        raise FileNotFoundError(f'there is no video {video}')
    with silence.stderr():
        opened = cv2.VideoCapture(str(video))
    if not opened.isOpened():
        raise ValueError(f'{video} is no video that OpenCV can read; convert it, for example to .mp4 with H.264')
    width, height = (opened.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if not 0 <= width * height <= image_damage.MAX_PIXELS:
        opened.release()
        raise ValueError(
            f'{video} claims frames of {height:.0f}x{width:.0f} pixels; {image_damage.MAX_PIXELS:,} are read'
        )
    return opened


def _read(opened):
    with silence.stderr():  # of decoders, about what is damaged: what cannot be read is counted
        return opened.read()


def _samples(video):
    """Images evenly spread over the video."""
    opened = _open(video)
    count = max(int(opened.get(cv2.CAP_PROP_FRAME_COUNT)), 1)
    images: list[np.ndarray] = []
    for frame in np.unique(np.linspace(0, count - 1, _SAMPLES).round().astype(int)):
        with silence.stderr():
            opened.set(cv2.CAP_PROP_POS_FRAMES, int(frame))
        done, image = _read(opened)
        if done and (not images or image.shape == images[0].shape):
            images.append(image)
    opened.release()
    if not images:
        raise ValueError(f'{video} holds no frame that OpenCV can read; convert it, for example to .mp4 with H.264')
    return images


def _detected(find: Callable, max_gap: int) -> Callable[[int, np.ndarray], list[tuple[int, np.ndarray]]]:
    tracker = track.Tracker(max_gap=max_gap, alike=_ALIKE_REGIONS)
    return lambda frame, image: tracker.update(frame, find(image), image)


def _given(boxes: dict[int, mot_file.Boxes], tracked: bool, max_gap: int):
    none = mot_file.Boxes([], np.zeros((0, 4)))
    if tracked:
        return lambda frame, image: list(zip(*boxes.get(frame, none), strict=True))
    tracker = track.Tracker(max_gap=max_gap, alike=_ALIKE_DETECTIONS)
    return lambda frame, image: tracker.update(frame, boxes.get(frame, none).boxes, image)


def _write_crops(opened, video, folder, find, every) -> tuple[_Seen, tuple[int, int], int]:
    """Crops of all tracks; height and width of the video, and how many boxes are not in the image."""
    crops: dict[int, list[tuple[int, np.ndarray]]] = {}
    frame, outside, size = 0, 0, (0, 0)
    for frame, image in _frames(opened, video):
        size = image.shape[:2]
        for number, box in find(frame, image):
            piece = crop(image, box)
            if piece is None:
                outside += 1
            elif frame % every == 0 or number not in crops:
                if number not in crops:
                    (folder / f'track-{number}').mkdir()
                crops.setdefault(number, []).append((frame, box))
                path = folder / f'track-{number}' / f'{frame:06d}.jpg'
                done, data = cv2.imencode('.jpg', piece, _QUALITY)
                assert done
                path.write_bytes(data.tobytes())
    return _Seen(frame, crops), size, outside


def _frames(opened, video) -> Iterator[tuple[int, np.ndarray]]:
    said = int(opened.get(cv2.CAP_PROP_FRAME_COUNT))
    with tqdm.tqdm(total=said if said > 0 else None, desc=video.name, unit='frame', leave=False) as bar:
        frame = 0
        while True:
            done, image = _read(opened)
            if not done:
                break
            frame += 1
            bar.update()
            yield frame, image
    if frame < 0.9 * said:
        tqdm.tqdm.write(f'{video} says that it has {said} frames, but only {frame} can be read')


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


def _nobody(video, seen, detections, min_height, min_frames):
    if detections is not None:
        return f'no track of {detections} has {min_frames} crops (the longest of {len(seen.crops)}: {_longest(seen)})'
    if not seen.crops:
        return (
            f'nothing upright moves in {video} that is {min_height} pixels high or higher. Try --min-height, or boxes '
            'of a detector: --detections FILE'
        )
    return (
        f'no person was followed long enough in {video}: {len(seen.crops)} tracks, the longest with {_longest(seen)} '
        f'crops, {min_frames} wanted. Try --min-frames, --max-gap, or boxes of a better tracker: --detections FILE'
    )


def _longest(seen):
    return max(map(len, seen.crops.values()), default=0)


def _beginning(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text) if text else None
    except ValueError:
        raise ValueError(f'--start {text!r} is no date and time; expected 2026-11-21T14:05:00') from None


def _time(begin, frame, rate):
    """When a frame is, '' where the video does not say how fast it is."""
    if not (math.isfinite(rate) and 0 < rate <= 1000):
        return ''
    seconds = (frame - 1) / rate
    if begin is None:
        return f'{seconds:.2f}'
    return (begin + datetime.timedelta(seconds=seconds)).isoformat(timespec='milliseconds')


def _write_manifest(path: pathlib.Path, rows: list[dict[str, object]]) -> None:
    text = io.StringIO(newline='')
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator='\n')
    table.writeheader()
    table.writerows(rows)
    path.write_text(text.getvalue(), encoding='utf-8')


def _write_tracks(path, tracks):
    with path.open('w', encoding='utf-8') as file:
        for number, boxes in enumerate(tracks, start=1):
            for frame, box in boxes:
                file.write(f'{frame},{number},{",".join(f"{value:.1f}" for value in box)},1,-1,-1,-1\n')
