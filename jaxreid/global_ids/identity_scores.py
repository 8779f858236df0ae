"""IDF1, IDP and IDR of ids against the truth, in every camera and over all of them, by `motmetrics`; HOTA, DetA and
AssA by `trackers` (Luiten et al., IJCV 2021), where that is installed.

Over all cameras an id counts as right where the same id belongs to the same person everywhere (Ristani et al., ECCV
Workshops 2016): their frames are one sequence for the evaluator.
"""

import dataclasses
import importlib
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from jaxreid.data.tracklets import frame_decode
from jaxreid.evaluation.references import colour_baseline
from jaxreid.from_video import cut, mot_file
from jaxreid.from_video import track as track_lib
from jaxreid.global_ids import inputs, own_footage, people

Boxes = Mapping[int, mot_file.Boxes]  # by frame
_LEAST_OVERLAP = 0.5  # of a box with the true one, of MOTChallenge


class Scores(TypedDict):
    """Shares; over all cameras, and by camera."""

    idf1: float
    idp: float
    idr: float
    hota: NotRequired[float]
    deta: NotRequired[float]
    assa: NotRequired[float]


_SHARES = ['idf1', 'idp', 'idr']


def evaluator() -> types.ModuleType:
    """The package `motmetrics`. Raises ImportError: it is not installed; says how."""
    try:
        return importlib.import_module('motmetrics')
    except ImportError as e:
        raise ImportError(
            "scores of global ids need the package motmetrics: pip install 'jaxreid[tracking]', or leave out --truth"
        ) from e


def check(opened: Sequence[inputs.Source], truths: Mapping[str, pathlib.Path]) -> None:
    """Refuses truths, by camera, that nothing can be compared with.

    Raises:
      ImportError: the evaluator is not installed.
      ValueError: an input has no boxes.
      OSError: a file is missing.
    """
    evaluator()
    for source in opened:
        if source.camera in truths and source.tables[0].kind not in ('mot', 'coco'):
            raise ValueError(
                f'--truth {source.camera}={truths[source.camera]} needs boxes, which {source.tables[0].path} has not'
            )
        if source.camera in truths and not truths[source.camera].is_file():
            raise FileNotFoundError(f'--truth {source.camera}: there is no file {truths[source.camera]}')


def of_inputs(
    opened: Sequence[inputs.Source],
    truths: Mapping[str, pathlib.Path],
    asked: people.Asked,
    person: Sequence[int],
    films: Sequence[Sequence[str]],
    *,
    own: bool,
) -> dict[str, dict[str, Scores]]:
    """Scores of the ids and of what they are compared with, by what ids are of and by camera; {} without truths.

    Args:
      opened: inputs, whose tracklets are the last of N.
      truths: files of true boxes, by camera.
      asked: what the ids were made of.
      person: [N] ids.
      films: [N] image files of each tracklet.
      own: the threshold is that of `own_footage`, so that colours can have theirs by the same rule, whitened as well
        and as they are.
    """
    if not truths:
        return {}
    truth, tracks = {}, {}
    rows_of: dict[str, dict[int, int]] = {}  # camera -> track -> row
    row = len(person) - sum(len(source.rows) for source in opened)
    owner: list[int | None] = [None] * len(person)
    for source in opened:
        camera, first = source.camera, row
        row += len(source.rows)
        if camera not in truths:
            continue
        truth[camera], _ = cut.given_boxes(truths[camera], truths[camera])
        tracks[camera], _ = cut.given_boxes(source.tables[0].path, source.tables[0].path)
        rows_of[camera] = {int(float(track[0])): first + i for i, track in enumerate(source.track)}
        for track, who in owners(truth[camera], tracks[camera]).items():
            if track in rows_of[camera]:
                owner[rows_of[camera][track]] = who
    by_row = {'global ids': list(person), 'no re-identification': list(range(len(person)))}
    if all(films):
        plain = dataclasses.replace(
            asked, embedding=_colours(films), distance='cosine', person=[people.NOBODY] * len(person), corrected=(),
            following=1,
        )  # fmt: skip
        colours = dataclasses.replace(plain, embedding=_without_cameras(plain.embedding, asked.seen.camera))
        by_row['colours alone'] = _best(colours, owner)
        if own:
            by_row['colours alone, by the same rule'] = people.find(own_footage.calibrated(colours)[0]).person
            by_row['plain colours'] = people.find(own_footage.as_they_are(plain)[0]).person
    found = {}
    for name, ids in by_row.items():
        given = {
            camera: relabelled(tracks[camera], {track: ids[i] for track, i in places.items()})
            for camera, places in rows_of.items()
        }
        found[name] = score(truth, given)
    return found


def lines(scores: Mapping[str, Mapping[str, Scores]]) -> list[str]:
    """A line each that says how right ids are."""
    words = {'deta': 'DetA', 'assa': 'AssA'}
    return [
        f'{name}, over all cameras: '
        + ', '.join(f'{words.get(key, key.upper())} {value:.3f}' for key, value in one[''].items())
        for name, one in scores.items()
    ]


def score(truth: Mapping[str, Boxes], given: Mapping[str, Boxes], *, every_camera: bool = True) -> dict[str, Scores]:
    """Scores of each camera, and under '' of all of them together; keys of both arguments are cameras.

    Raises:
      ImportError: the evaluator is not installed.
    """
    motmetrics = evaluator()
    host = motmetrics.metrics.create()
    try:
        hota = importlib.import_module('trackers.eval').compute_hota_metrics
    except ImportError:
        hota = None

    def of(cameras: Sequence[str]) -> Scores:
        events = motmetrics.MOTAccumulator(auto_id=True)
        frames = []
        for camera in cameras:
            for frame in sorted(truth[camera].keys() | given[camera].keys()):
                true, ours = (boxes[camera].get(frame, _NONE) for boxes in (truth, given))
                overlap = track_lib.overlaps(true.boxes, ours.boxes)
                events.update(true.ids, ours.ids, np.where(overlap >= _LEAST_OVERLAP, 1 - overlap, np.nan))
                frames.append((np.array(true.ids, int), np.array(ours.ids, int), overlap))
        found = host.compute(events, metrics=_SHARES, return_dataframe=False)
        made = Scores(idf1=float(found['idf1']), idp=float(found['idp']), idr=float(found['idr']))
        if hota is not None:
            found = hota(*map(list, zip(*frames, strict=True)))
            made['hota'], made['deta'], made['assa'] = (float(found[key]) for key in ('HOTA', 'DetA', 'AssA'))
        return made

    return {'': of(list(truth))} | {camera: of([camera]) for camera in truth if every_camera}


_NONE = mot_file.Boxes([], np.zeros((0, 4)))


def relabelled(boxes: Boxes, ids: Mapping[int, int]) -> dict[int, mot_file.Boxes]:
    """Boxes of tracks as boxes of people; those of tracks that `ids` lacks are left out."""
    made = {}
    for frame, (tracks, places) in boxes.items():
        kept = [i for i, number in enumerate(tracks) if number in ids]
        made[frame] = mot_file.Boxes([ids[tracks[i]] for i in kept], places[kept])
    return made


def owners(truth: Boxes, tracks: Boxes) -> dict[int, int]:
    """Whom each track shows in most of its boxes; tracks of nobody are left out."""
    votes: dict[int, list[int]] = {}
    for frame, (numbers, places) in tracks.items():
        true = truth.get(frame, _NONE)
        if not len(true.ids):
            continue
        overlap = track_lib.overlaps(places, true.boxes)
        for number, row in zip(numbers, overlap, strict=True):
            if row.max() >= _LEAST_OVERLAP:
                votes.setdefault(number, []).append(true.ids[int(row.argmax())])
    return {number: max(sorted(set(seen)), key=seen.count) for number, seen in votes.items()}


def _best(asked: people.Asked, owner: Sequence[int | None]) -> list[int]:
    """Ids at whichever of 40 thresholds joins the right pairs best: more than anybody without the truth could have.

    `owner`: [N] whom each tracklet shows, None: nobody knows.
    """
    who = np.array([-1 - i if one is None else one for i, one in enumerate(owner)])
    true = np.triu(who[:, None] == who[None], 1)
    best: tuple[float, list[int]] = (-1.0, [])
    for threshold in np.linspace(-0.2, 0.95, 40):
        made = people.find(dataclasses.replace(asked, threshold=float(threshold)))
        ids = np.array(made.person)
        joined = np.triu(ids[:, None] == ids[None], 1)
        right = 2 * (joined & true).sum() / max(joined.sum() + true.sum(), 1)
        if right > best[0]:
            best = float(right), made.person
    return best[1]


def _colours(films: Sequence[Sequence[str]]) -> np.ndarray:
    """[N, K], of the image files of each tracklet."""
    frames = [[frame_decode.decode_as_stored(pathlib.Path(file).read_bytes()) for file in film] for film in films]
    return np.stack([_histogram(one) for one in frames])


def _without_cameras(features: np.ndarray, camera: Sequence[str]) -> np.ndarray:
    """[N, K] features less the mean of their camera [N], which would outweigh the person."""
    which = np.unique(np.array(camera), return_inverse=True)[1]
    return features - np.stack([features[which == one].mean(0) for one in range(which.max() + 1)])[which]


def _histogram(images):
    """[K], of crops of any sizes."""
    parts = [colour_baseline.features([image[None]], np.zeros(1), remove_camera_mean=False)[0] for image in images]
    return np.mean(parts, axis=0)
