"""From a gallery and queries to the answers: filters, ranking, what each answer means, and a table of it."""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreid.process import exit_status, json_file
from jaxreid.search import calibration_file, doubtful, nearest, tracklets

_OTHER_CLOCK = '--after and --before are given'
_SAME = 1e-9  # similarities that differ by no more are of equal features
_SURE = 0.05  # a verdict is wrong about that often, or less
SOMEBODY_ELSE = 'somebody else'


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which of the gallery may answer; what is not known fits no `camera`, `after` and `before`, and any other."""

    camera: Sequence[str] = ()  # from these cameras only
    not_camera: Sequence[str] = ()  # from none of these
    same_camera: str = 'keep'  # the query's own camera: keep | drop | only
    after: str = ''  # begins then or later
    before: str = ''  # begins before

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Tells the filters to a command."""
        parser.add_argument('--camera', action='append', help='answers from this camera only; may be repeated')
        parser.add_argument('--not-camera', action='append', help='no answers from this camera; may be repeated')
        own = ('keep', 'drop', 'only')
        parser.add_argument('--same-camera', choices=own, default='keep', help="answers from the query's own (keep)")
        parser.add_argument(
            '--after', default='', help='answers that begin then or later: 2026-11-21T14:05, or seconds'
        )
        parser.add_argument('--before', default='', help='answers that begin before')

    @classmethod
    def of(cls, options: argparse.Namespace) -> 'Filters':
        """Those that `add_arguments` let somebody ask for."""
        cameras = options.camera or (), options.not_camera or ()
        return cls(*cameras, options.same_camera, options.after, options.before)


class Hit(NamedTuple):
    """An answer."""

    row: int  # of the gallery
    similarity: float
    false_accept_rate: float | None  # None without a calibration


@dataclasses.dataclass(frozen=True)
class Answers:
    """All answers of a search."""

    hits: list[list[Hit]]  # one list per query, most similar first
    distance: str
    threshold: float | None
    calibration: calibration_file.Calibration | None
    searched: int  # tracklets that the filters leave for some query
    known: list[int]  # queries whose person is among them, by the names of persons
    first: list[int]  # those of them that have that person first
    notes: Sequence[str] = ()  # what else there is to say
    warnings: Sequence[str] = ()  # what makes them doubtful


def search(
    gallery: tracklets.Tracklets,
    queries: tracklets.Tracklets,
    *,
    top: int,
    distance: str,
    filters: Filters,
    calibration: calibration_file.Calibration | None = None,
    threshold: float | None = None,
) -> Answers:
    """Finds the `top` most similar of the gallery for every query. The query itself is no answer.

    `calibration` gives false-accept rates; answers are at least as similar as `threshold`.

    Raises:
      ValueError: nothing is left by the filters, `top` is below 1, or a time cannot be read.
    """
    if top < 1:
        raise ValueError(f'--top {top}: expected at least 1')
    everywhere, notes = _fitting(gallery, filters)
    if top > len(gallery):
        notes.append(f'--top {top} is more than the {len(gallery)} tracklets of {gallery.where}; all are listed.')
        top = len(gallery)
    codes = {camera: number for number, camera in enumerate(dict.fromkeys([*gallery.camera, *queries.camera]))}
    of_gallery = np.array([codes[camera] if camera else -1 for camera in gallery.camera])
    of_queries = np.array([codes[camera] if camera else -2 for camera in queries.camera])

    def allowed(items: slice | int, row: slice | int = slice(None)) -> np.ndarray:
        match filters.same_camera:
            case 'drop':
                return everywhere[items] & (of_gallery[items] != of_queries[row, None])
            case 'only':
                return everywhere[items] & (of_gallery[items] == of_queries[row, None])
            case _:
                return everywhere[None, items]

    searched = int(everywhere.sum())
    if not searched:
        said = ''.join(f'. {note}' for note in notes if note.startswith(_OTHER_CLOCK))
        raise ValueError(f'the filters leave none of the {len(gallery)} tracklets of {gallery.where}{said}')
    seen = doubtful.Seen(gallery), doubtful.Seen(queries)
    index, similarity = nearest.top(
        seen[1].features.read(0, len(queries)),
        seen[0].features,
        count=min(top + 1, len(gallery)),  # one may be the query itself
        distance=distance,
        allowed=lambda start, stop: allowed(slice(start, stop)),
    )
    hits = []
    for row, (items, values) in enumerate(zip(index.tolist(), similarity.tolist(), strict=True)):
        one: list[Hit] = []
        for item, value in zip(items, values, strict=True):
            if item == nearest.NOBODY or _itself(queries, row, gallery, item, value, distance):
                continue
            rate = None if calibration is None else calibration_file.false_accept_rate(calibration, value)
            if threshold is None or value >= threshold:
                one.append(Hit(item, value, rate))
        hits.append(one[:top])
    known = _known(gallery, queries, allowed)
    first = [
        row for row in known if hits[row] and tracklets.who(gallery, hits[row][0].row) == tracklets.who(queries, row)
    ]
    warnings = [warning for one in seen for warning in one.warnings()]
    return Answers(hits, distance, threshold, calibration, searched, known, first, notes, warnings)


def _itself(queries, row, gallery, item, similarity, distance):
    """The same tracklet, which a gallery may hold: its name, camera and features."""
    same = queries.name[row] == gallery.name[item] and queries.camera[row] == gallery.camera[item]
    return same and similarity >= (1 if distance == 'cosine' else 0) - _SAME


def _fitting(gallery, filters):
    """[N] bool, what may answer any query; and what to say of it."""
    notes: list[str] = []
    camera = np.array(gallery.camera, np.str_)
    kept = np.ones(len(gallery), bool)
    present = sorted(set(gallery.camera) - {''})
    unknown = [name for name in (*filters.camera, *filters.not_camera) if name not in present]
    if unknown:
        seen = ', '.join(present[:10]) + (' ...' if len(present) > 10 else '') if present else 'none that is known'
        raise ValueError(f'{gallery.where} has no camera {unknown[0]!r}; its cameras are: {seen}')
    if filters.camera:
        kept &= np.isin(camera, filters.camera)
    if filters.not_camera:
        kept &= ~np.isin(camera, filters.not_camera)
    if filters.after or filters.before:
        wanted = [tracklets.moment(text) for text in (filters.after, filters.before) if text]
        asked = wanted[0][0]
        if any(kind != asked for kind, _ in wanted):
            raise ValueError(
                f'--after {filters.after} and --before {filters.before} must both be dates, or both seconds'
            )
        low = wanted[0][1] if filters.after else -np.inf
        high = wanted[-1][1] if filters.before else np.inf
        other = 0
        for row, (kind, value) in enumerate(tracklets.moments(gallery)):
            other += kind not in ('', asked)
            kept[row] &= kind == asked and low <= value < high
        if other:
            given, theirs = ('as dates', 'in seconds') if asked == 'date' else ('in seconds', 'as dates')
            notes.append(
                f'{_OTHER_CLOCK} {given}, but {other} of {len(gallery)} tracklets have their times {theirs}. These '
                'tracklets were left out, as if their time were not known.'
            )
    return kept, notes


def _known(gallery, queries, allowed) -> list[int]:
    """Queries whose person the gallery names, in a tracklet that may answer and is not the query's own."""
    places: dict[tuple[str, str] | None, list[int]] = {}
    for item in range(len(gallery)):
        places.setdefault(tracklets.who(gallery, item), []).append(item)

    def has_match(row):
        own = queries.name[row], queries.camera[row]
        items = [i for i in places.get(tracklets.who(queries, row), ()) if (gallery.name[i], gallery.camera[i]) != own]
        return any(allowed(item, row).all() for item in items)

    return [row for row in range(len(queries)) if tracklets.who(queries, row) and has_match(row)]


def meaning(answers: Answers, *, calibrate: str = ' (--calibration FILE does)') -> list[str]:
    """What the numbers say, a sentence each; `calibrate`: how to have them calibrated."""
    name = 'cosine' if answers.distance == 'cosine' else 'minus the Euclidean distance'
    said = [f'Similarity is the {name} of the features.']
    if answers.calibration is None:
        said.append(f'It is uncalibrated: it orders the answers, but does not say how sure they are{calibrate}.')
    else:
        said += [
            f'The verdicts are counted from {answers.calibration.impostor_pairs:,} pairs of different people in '
            f'{answers.calibration.where}, for the {answers.searched:,} tracklets searched.',
            f'"Same person": at most {_SURE} tracklets of other people are expected to be as similar.',
            f'"Nobody here": one or more is expected, and {1 - _SURE:.0%} of the pairs of the same person are more '
            'similar.',
            'They hold for this network and for footage like the one measured.',
        ]
    if answers.threshold is not None:
        said.append(f'Answers below {answers.threshold:.3f} are left out.')
    if answers.known:
        said.append(
            f'The tracklets searched name the person of {len(answers.known)} queries. For {len(answers.first)} of them '
            'that person comes first.'
        )
    return [*said, *answers.notes]


def verdict(answers: Answers, hit: Hit | None) -> str:
    """What an answer means, in words; '' without a calibration. None: no answer is left.

    It is the same person where at most `_SURE` tracklets of other people are expected to be as similar among those
    searched; somebody else where one or more are, and all but `_SURE` of the pairs of the same person are more similar.
    """
    if answers.calibration is None:
        return ''
    if hit is None:
        return SOMEBODY_ELSE
    if _strangers(answers, hit) <= _SURE:
        return 'same person'
    alike = calibration_file.true_accept_rate(answers.calibration, hit.similarity)
    return SOMEBODY_ELSE if alike >= 1 - _SURE and _strangers(answers, hit) >= 1 else 'unsure'


def of_pair(others: float, alike: float) -> str:
    """The verdict on two tracklets, by the shares of pairs of different people and of one person that are at least as
    similar.
    """
    same, different = others <= _SURE, alike >= 1 - _SURE
    return 'unsure' if same == different else 'same person' if same else 'different people'


def conclusion(answers: Answers, hits: Sequence[Hit]) -> str:
    """The verdict of a query, which is that of its first answer; '' without a calibration."""
    said = verdict(answers, hits[0] if hits else None)
    return 'nobody here' if said == SOMEBODY_ELSE else said


def error_rates(answers: Answers, hit: Hit) -> str:
    """How often other people are as similar, in numbers; '' without a calibration."""
    if answers.calibration is None or hit.false_accept_rate is None:
        return ''
    share = calibration_file.words(answers.calibration, hit.false_accept_rate)
    least = '' if hit.false_accept_rate else '< '
    return f'{share} of other people, {least}{_strangers(answers, hit):.2g} expected here'


def _strangers(answers, hit):
    """Tracklets of other people that are expected to be as similar, or more than that where none was counted."""
    return (hit.false_accept_rate or 1 / answers.calibration.impostor_pairs) * answers.searched


def describe(of: tracklets.Tracklets, row: int) -> list[str]:
    """What is known of a tracklet, '' for what is not: person, camera, time, frames."""
    person = f'person {of.person[row]}' if of.person[row] else ''
    camera = f'camera {of.camera[row]}' if of.camera[row] else ''
    frames = f'{of.frames[row]} frames' if of.frames[row] else ''
    return [person, camera, of.time[row], frames]


def table(
    gallery: tracklets.Tracklets,
    queries: tracklets.Tracklets,
    answers: Answers,
    *,
    shown: int,
    rates: bool = False,
    all_in: str = '--json and --html have',
    **hints: str,
) -> str:
    """The answers to the first `shown` queries for a terminal, with their error rates where `rates`.

    `all_in` says what has the other queries; `hints` go to `meaning`.
    """
    lines = [exit_status.printable(f'warning: {warning}') for warning in answers.warnings]
    lines += [
        line
        for row in range(len(answers.hits[:shown]))
        for line in of_query(gallery, queries, answers, row, rates=rates)
    ]
    if len(answers.hits) > shown:
        lines.append(f'... and {len(answers.hits) - shown} more queries ({all_in} all)\n')
    return '\n'.join([*lines, *meaning(answers, **hints)])


def of_query(
    gallery: tracklets.Tracklets, queries: tracklets.Tracklets, answers: Answers, row: int, *, rates: bool = False
) -> list[str]:
    """The answers to one query as lines of a `table`, the last one empty."""
    hits = answers.hits[row]
    known = ' · '.join(text for text in describe(queries, row) if text)
    said = conclusion(answers, hits)
    lines = [f'{queries.name[row]}  {known}' + (f': {said}' if said else '')]
    cells = [
        [
            f'#{place}',
            f'{hit.similarity:.3f}',
            gallery.name[hit.row],
            *describe(gallery, hit.row),
            verdict(answers, hit),
            error_rates(answers, hit) if rates else '',
        ]
        for place, hit in enumerate(hits, start=1)
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        lines.append('  ' + '  '.join(c.ljust(w) for c, w in zip(line, widths, strict=True) if w).rstrip())
    return [exit_status.printable(line) for line in [*lines, *['  nobody here'] * (not hits), '']]


def check_output(path: str, ours: Callable[[pathlib.Path], bool], read: Sequence[str]) -> None:
    """Refuses to write over anything but an older answer, which `ours` knows, and among what is read."""
    if not path:
        return
    place = pathlib.Path(path).resolve()
    for one in filter(None, read):
        if place.is_relative_to(pathlib.Path(one).expanduser().resolve()):
            raise ValueError(f'{path} is, or lies in, {one}, which the search reads; choose another place to write to')
    if place.is_dir():
        raise ValueError(f'{path} is a folder; name a file in it to write')
    if place.exists() and not (place.is_file() and (place.stat().st_size == 0 or ours(place))):
        raise ValueError(f'{path} exists and holds no answers of a search; nothing is overwritten')


def is_json(path: pathlib.Path) -> bool:
    """Whether a file is what `to_json` gave."""
    try:
        written = json_file.read(path, dict[str, Any])
    except ValueError:
        return False
    return {'gallery', 'queries', 'searched', 'results'} <= written.keys()


def to_json(gallery: tracklets.Tracklets, queries: tracklets.Tracklets, answers: Answers) -> dict[str, object]:
    """Everything as JSON."""

    def one(of, row):
        return {key: getattr(of, key)[row] for key in ('name', 'person', 'camera', 'time', 'frames')}

    return {
        'gallery': gallery.where,
        'queries': queries.where,
        'distance': answers.distance,
        'threshold': answers.threshold,
        'calibration': None if answers.calibration is None else answers.calibration.where,
        'searched': answers.searched,
        'notes': list(answers.notes),
        'warnings': list(answers.warnings),
        'queries_with_their_person_in_the_gallery': len(answers.known),
        'of_those_with_that_person_first': len(answers.first),
        'results': [
            one(queries, row)
            | {
                'verdict': conclusion(answers, hits) or None,
                'hits': [
                    one(gallery, hit.row)
                    | {'similarity': hit.similarity, 'false_accept_rate': hit.false_accept_rate, 'row': hit.row}
                    | {'verdict': verdict(answers, hit) or None, 'error_rates': error_rates(answers, hit) or None}
                    for hit in hits
                ],
            }
            for row, hits in enumerate(answers.hits)
        ],
    }
