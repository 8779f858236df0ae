"""Single-camera tracks of any kind: tracklets with features and times, and the tables that ids are written into."""

import dataclasses
import datetime
import functools
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.data.datasets import manifest
from jaxreid.evaluation import network as network_lib
from jaxreid.from_video import coco_file, cut
from jaxreid.process import atomic
from jaxreid.search import nearest, sources, tracklets

KINDS = (
    'expected CAMERA=TRACKS, where TRACKS is a file in the format of MOTChallenge, or COCO JSON, with its video '
    '(door=door.txt@door.mp4), a folder that jaxreid.from_video made, a manifest (.csv, .jsonl) or a feature file '
    '(.npz)'
)
_MANIFESTS = ('.csv', '.jsonl', '.ndjson')


class Named(NamedTuple):
    """An input as it is given on the command line."""

    camera: str
    tracks: pathlib.Path
    video: pathlib.Path | None


class Table(NamedTuple):
    """A file whose rows belong to tracks. kind: 'mot', 'coco', 'manifest' or 'features'."""

    kind: str
    path: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Source:
    """N tracklets of one camera. `name` tells it from other inputs of its camera."""

    camera: str
    name: str
    tables: Sequence[Table]
    held: tracklets.Tracklets
    rows: Sequence[int]  # [N] of `held`
    track: Sequence[Sequence[str]]  # [N] of each: the track in every table
    clock: str  # what its times are: 'date', 'seconds' or, where not all are known, ''
    first: Sequence[float]  # [N] seconds
    last: Sequence[float]

    @property
    def keys(self) -> list[str]:
        """[N], each tracklet's name among all others."""
        return [f'{self.camera}/{self.name}:{ids[0]}' for ids in self.track]


def named(text: str) -> Named:
    """Parses CAMERA=TRACKS[@VIDEO].

    Raises:
      ValueError: it is not that.
    """
    camera, equals, rest = text.partition('=')
    if not (equals and camera and rest):
        raise ValueError(f'{text!r}: {KINDS}')
    if set(camera) & set('/\\:,') or camera.startswith('.'):
        raise ValueError(f'{text!r}: the name of a camera is that of a folder; leave out / \\ : , and a leading dot')
    place, at, video = rest.rpartition('@')
    if not at or os.path.exists(os.path.expanduser(rest)):
        return Named(camera, pathlib.Path(rest).expanduser(), None)
    return Named(camera, pathlib.Path(place).expanduser(), pathlib.Path(video).expanduser())


def check_cameras(given: Sequence[Named]) -> None:
    """Refuses a camera that is named twice. Raises ValueError: names it."""
    for place, one in enumerate(given):
        if one.camera in [other.camera for other in given[:place]]:
            raise ValueError(
                f'camera {one.camera} is given twice; give every camera another name, and a second file of one camera '
                'with `global_ids add`'
            )


def open_source(
    given: Named,
    network: Callable[[], network_lib.Network] | None,
    *,
    crops: pathlib.Path,
    start: datetime.datetime | None,
    rate: float,
) -> Source:
    """Lists the tracklets of an input; their features are extracted when they are first read.

    Args:
      given: the input.
      network: loads the network; None where no checkpoint was named.
      crops: folder for the crops of a video, made anew.
      start: when its second 0 is; None leaves seconds.
      rate: frames per second of tracklets that say when they begin, not when they end.

    Raises:
      ValueError, OSError: it is none of KINDS, or what it names is missing or does not fit; says which.
    """
    if not given.tracks.exists():
        raise FileNotFoundError(f'{given.camera}: {given.tracks} does not exist; {KINDS}')
    place, name, tables = given.tracks, given.tracks.resolve().stem, []
    if place.is_file() and place.suffix.lower() not in (*_MANIFESTS, '.npz'):
        if given.video is None:
            raise ValueError(
                f'{given.camera}: {place} has boxes and no pixels; add the video, {given.camera}={place}@VIDEO'
            )
        if not given.video.is_file():
            raise FileNotFoundError(f'{given.camera}: there is no video {given.video}, which {place} is of')
        kind = 'coco' if place.suffix.lower() == coco_file.SUFFIX else 'mot'
        if kind == 'coco':  # which may be of other videos too
            held_boxes, _ = coco_file.of_video(place, given.video.stem)
            place = crops.with_name(f'{crops.name}{coco_file.SUFFIX}')
            atomic.write(place, json.dumps(held_boxes))
        _, tracked = cut.given_boxes(place, given.video)
        shutil.rmtree(crops, ignore_errors=True)
        cut.cut(given.video, crops, camera=given.camera, detections=place, min_frames=1)
        tables = [Table(kind, place)] * tracked
        place = crops
    elif given.video is not None:
        raise ValueError(f'{given.camera}: only a file of boxes needs a video, {given.tracks} does not')
    cut_here = (place / cut.MANIFEST).is_file()
    if place.is_dir() and not cut_here:
        raise ValueError(f'{given.camera}: {place} is a folder without {cut.MANIFEST}; {KINDS}')
    listed = place / cut.MANIFEST if cut_here else place
    if not tables:
        tables = [Table('mot', place / cut.TRACKS)] * cut_here
        tables.append(Table('features' if listed.suffix == '.npz' else 'manifest', listed))
    held = sources.open_any(str(listed), '', network)
    rows = _of_camera(held, given.camera)
    cells = (
        {} if listed.suffix == '.npz' else {str(one.get('tracklet')): one for _, one in manifest.cells_of(str(listed))}
    )
    track = [[_track(table, held.name[row], cells.get(held.name[row], {})) for table in tables] for row in rows]
    names = [ids[0] for ids in track]
    if twice := next((name for name in names if names.count(name) > 1), ''):
        raise ValueError(
            f'{given.camera}: {given.tracks} has the track {twice} twice; every track needs an id of its own'
        )
    moments = tracklets.moments(held)
    clocks = {moments[row][0] for row in rows}
    clock = clocks.pop() if len(clocks) == 1 else ''
    first = [moments[row][1] for row in rows]
    ends = [str(cells.get(held.name[row], {}).get('end') or '') for row in rows]
    last = [
        tracklets.moment(end)[1] if end else begin + max(held.frames[row] - 1, 0) / rate
        for begin, end, row in zip(first, ends, rows, strict=True)
    ]
    if start is not None and clock == 'seconds':
        clock, zero = 'date', tracklets.moment(start.isoformat())[1]
        first, last = [zero + value for value in first], [zero + value for value in last]
    if any(b < a for a, b in zip(first, last, strict=True)):
        raise ValueError(f'{given.camera}: a tracklet of {given.tracks} ends before it begins')
    return Source(given.camera, name, tables, held, rows, track, clock, first, last)


def agreed(
    opened: Sequence[Source], made: tracklets.Made, distance: str, features: np.ndarray | None
) -> tuple[tracklets.Made, str]:
    """How all features were made, and the distance that they are compared by; nothing is extracted for that.

    Args:
      opened: what comes.
      made, distance: of what is there; {} and '' where nothing is.
      features: [N, D] of what is there, or None.

    Raises:
      ValueError: they do not fit together; says why.
    """
    dim = None if features is None else features.shape[1]
    for source in opened:
        tracklets.check_made('the ids that are there', dim, made, source.held)
        made = source.held.made | made
    distance = distance or made.get('distance', 'cosine')
    if distance not in nearest.DISTANCES:
        raise ValueError(f'distance {distance!r} is unknown; expected one of {", ".join(nearest.DISTANCES)}')
    return made, distance


def check_clocks(there: Mapping[str, str], opened: Sequence[Source]) -> None:
    """Refuses times that cannot be compared, and says which camera has none.

    Args:
      there: clock by camera, of what is there.
      opened: what comes.

    Raises:
      ValueError: one camera has dates, another one seconds.
    """
    clocks = {source.camera: source.clock for source in opened} | dict(there)
    if len(set(clocks.values()) - {''}) > 1:
        one, other = (next(camera for camera, clock in clocks.items() if clock == kind) for kind in ('date', 'seconds'))
        raise ValueError(
            f'camera {one} has dates and camera {other} seconds; say when the others begin: '
            f'--start {other}=2026-11-21T14:00:00'
        )
    for source in opened:
        if not source.clock:
            print(
                f'{source.camera}: no times, or of several kinds, so nothing keeps its tracklets apart', file=sys.stderr
            )


def _of_camera(held, camera):
    """Rows of a camera where a file has several."""
    cameras = sorted(set(held.camera))
    if len(cameras) < 2:
        return list(range(len(held)))
    rows = [row for row, name in enumerate(held.camera) if name == camera]
    if not rows:
        raise ValueError(f'{held.where} has no camera {camera}; it has {", ".join(cameras[:9])}: use those names')
    return rows


def _track(table, name, cells):
    """How a table calls the track of a tracklet."""
    match table.kind:
        case 'mot' if table.path.name == cut.TRACKS:
            return str(int(str(cells['folder'])))
        case 'mot' | 'coco':
            return str(int(float(str(cells['track']))))
        case _:
            return name


@functools.cache
def moment_text(clock: str, seconds: float) -> str:
    """A time for people and tables; '' where it is unknown."""
    match clock:
        case 'date':
            return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime('%Y-%m-%dT%H:%M:%S.%f')[:-4]
        case 'seconds':
            return f'{seconds:.2f}'
        case _:
            return ''
