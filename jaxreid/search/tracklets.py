"""What a search goes through or asks with: tracklets with their features, and how these were made."""

import dataclasses
import datetime
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np

from jaxreid.data.batches import clip_sampling
from jaxreid.evaluation import feature_file
from jaxreid.process import json_file
from jaxreid.search import feature_rows

FILM = 5  # frames of a tracklet's film strip
# What features depend on: setting -> what it is called in messages. They must agree to be compared.
MADE = {
    'network': 'fingerprint of the network',
    'neck': 'features from',
    'clips': 'clip protocol',
    'frames_per_clip': 'frames per clip',
    'one_frame': 'one frame per clip',
    'flip': 'with mirror images',
    'flow': 'optical flow',
    'size': 'pixels of a frame',
    'resize': 'resized by',
    'distance': 'distance',
}


class Made(TypedDict, total=False):
    """How features were made; what is not known is left out. Galleries keep it in their header."""

    network: str
    neck: str
    clips: str
    frames_per_clip: int
    one_frame: bool
    flip: bool
    flow: str
    size: str  # 256x128: height and width
    resize: str
    distance: str


@dataclasses.dataclass(frozen=True)
class Tracklets:
    """N tracklets; strings are '' where nothing is known."""

    where: str  # for messages
    features: feature_rows.Rows
    name: Sequence[str]
    person: Sequence[str]  # a name or number
    camera: Sequence[str]
    time: Sequence[str]  # when it begins: ISO 8601, or seconds
    frames: Sequence[int]  # 0: unknown
    made: Made
    film: Callable[[int], list[str]]  # row -> image files, a few from start to end; none where they are not known
    people: Sequence[str] = ()  # which data set numbers the persons, '' unknown; () unknown of all

    def __len__(self) -> int:
        return len(self.name)


def chosen(of_file: feature_file.Features, where: str, role: str, film: Callable[[int], list[str]]) -> Tracklets:
    """The tracklets of a feature file that have a role, 'gallery' or 'query'; all where none has it, or it is ''.

    Junk is left out. `film` answers rows of the file.
    """
    marked = {'gallery': of_file.gallery, 'query': of_file.query}.get(role, np.zeros(len(of_file.pid), bool))
    kept = np.flatnonzero((marked | (not marked.any())) & (of_file.pid != -1))
    people, cameras = of_file.meta.get('pid_names', {}), of_file.meta.get('camera_names', {})
    pids = of_file.pid[kept].tolist()
    return Tracklets(
        where=where,
        features=feature_rows.Rows.of(of_file.embedding if len(kept) == len(of_file.pid) else of_file.embedding[kept]),
        name=of_file.name[kept].tolist(),
        person=[people.get(str(pid), str(pid)) if pid else '' for pid in pids],
        camera=[cameras.get(str(camera), str(camera)) for camera in of_file.camera[kept].tolist()],
        people=[_people(of_file.meta, where)] * len(kept),
        time=[''] * len(kept) if of_file.time is None else of_file.time[kept].tolist(),
        frames=of_file.frames[kept].tolist(),
        made=made(of_file.meta),
        film=lambda row: film(int(kept[row])),
    )


def _people(meta, where):
    """The data set that person numbers are of: 7 of one is somebody else than 7 of another."""
    data = _section(meta, 'data')
    match data.get('dataset') or meta.get('dataset'):
        case None:
            return os.path.abspath(where)
        case 'manifest':
            return os.path.abspath(str(data.get('root') or data.get('records') or where))
        case name:
            return f'{name} {data.get("preset", "")}' if name == 'synthetic' else str(name)


def who(of: Tracklets, row: int) -> tuple[str, str] | None:
    """Whom a tracklet shows: (data set, number), or ('', name), which is the same person everywhere.

    None where nobody knows. What differs in the first cannot be compared.
    """
    person = of.person[row]
    if person and not person.lstrip('-').isdecimal():
        return '', person
    people = of.people[row] if of.people else ''
    return (people, person) if person and people else None


def _section(meta: feature_file.Meta, name: str) -> dict[str, Any]:
    """Settings that `meta` has, which may be anybody's."""
    section = meta.get('config', {}).get(name)
    return section if isinstance(section, dict) else {}


def made(meta: feature_file.Meta) -> Made:
    """What `meta` of a feature file says about how features were made, by the keys of MADE."""
    data = _section(meta, 'data')
    known = {key: meta.get(key) for key in MADE}
    if 'height' in data:
        known |= {'size': f'{data["height"]}x{data.get("width")}', 'resize': data.get('resize')}
    known |= {'distance': _section(meta, 'test').get('distance'), 'neck': 'after' if meta.get('config') else None}
    return json_file.fitting({key: value for key, value in known.items() if value is not None}, Made)


def check_comparable(first: Tracklets, second: Tracklets) -> None:
    """Refuses features that cannot be compared. Nothing is extracted for that.

    Raises:
      ValueError: other dimension, or made in another way; names all that differs.
    """
    check_made(first.where, first.features.dim if first.features.at_hand else None, first.made, second)


def check_made(where: str, dim: int | None, made: Made, other: Tracklets) -> None:
    """`check_comparable` with what is known of the first."""
    problems = [
        f'{text}: {made.get(key)} there, {other.made.get(key)} here'
        for key, text in MADE.items()
        if key in made and key in other.made and made.get(key) != other.made.get(key)
    ]
    if dim is not None and other.features.at_hand and dim != other.features.dim:
        problems.insert(0, f'dimensions: {dim} there, {other.features.dim} here')
    if problems:
        raise ValueError(
            f'the features of {other.where} cannot be compared with those of {where}:\n  '
            + '\n  '.join(problems)
            + '\nExtract both with one checkpoint and the same test settings.'
        )


def film(frames: Sequence[str]) -> list[str]:
    """A few of the frames, from the first to the last."""
    return [frames[i] for i in np.unique(clip_sampling.even(len(frames), frames=FILM))]


def moments(of: Tracklets) -> list[tuple[str, float]]:
    """`moment` of every time, ('', 0) where none is known.

    Raises:
      ValueError: some are none; names the first tracklet and its file.
    """
    found, wrong = [], []
    for name, text in zip(of.name, of.time, strict=True):
        try:
            found.append(moment(text) if text else ('', 0.0))
        except ValueError as e:
            wrong.append(f'{name!r}: {e}')
    if wrong:
        raise ValueError(
            f'{of.where}: the times of {len(wrong)} of {len(of)} tracklets cannot be read, the first of {wrong[0]}; '
            'write them so, or leave them empty'
        )
    return found


def moment(text: str) -> tuple[str, float]:
    """('date' or 'seconds', seconds): ISO 8601, without a zone read as UTC, or a number.

    Raises:
      ValueError: it is neither.
    """
    try:
        kind, value = 'seconds', float(text)
    except ValueError:
        try:
            date = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f'{text!r} is no time; expected 2026-11-21T14:05:00, or seconds such as 73.5') from None
        kind, value = 'date', date.replace(tzinfo=date.tzinfo or datetime.UTC).timestamp()
    if not math.isfinite(value):
        raise ValueError(f'{text!r} is no time')
    return kind, value
