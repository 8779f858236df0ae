"""The page of global ids: doubtful joins, then every person's timeline and film strips. No script, no other file."""

from collections.abc import Sequence
from typing import NamedTuple

import tqdm

from jaxreid.evaluation.report import page as report_page
from jaxreid.global_ids import cluster, inputs
from jaxreid.search import calibration_file, page, tracklets

_DOUBTFUL = 12  # joins that are shown, and as many of what was left apart


class Moments(NamedTuple):
    """When N tracklets were seen: clock '' where nobody knows."""

    clock: Sequence[str]
    first: Sequence[float]
    last: Sequence[float]


def render(
    of: tracklets.Tracklets,
    moments: Moments,
    joins: Sequence[cluster.Join],
    apart: Sequence[cluster.Join],
    *,
    calibration: calibration_file.Calibration | None,
    threshold: float,
    scores: Sequence[str],
    budget_mb: float,
) -> str:
    """The page of tracklets whose `person` is known; pictures while `budget_mb` MiB last, doubtful joins first."""
    album = page.Album(int(budget_mb * 2**20))

    def at(row, seconds):
        text = inputs.moment_text(moments.clock[row], seconds).replace('T', ' ')
        return f'{text} s' if moments.clock[row] == 'seconds' else text

    def side(row):
        return {'name': of.name[row], 'person': of.person[row], 'film': album.film(of, row, tracklets.FILM),
                'facts': [of.camera[row], at(row, moments.first[row])]}  # fmt: skip

    def pair(join):
        return {'similarity': f'{join.similarity:.3f}', 'rate': rate(calibration, join.similarity),
                'sides': [side(join.first), side(join.second)]}  # fmt: skip

    doubtful = [pair(join) for join in joins[:_DOUBTFUL]]
    nearly = [pair(join) for join in apart[:_DOUBTFUL]]
    weakest: dict[str, cluster.Join] = {}
    for join in joins:
        weakest.setdefault(of.person[join.first], join)
    known = [row for row in range(len(of)) if moments.clock[row]]
    begin = min((moments.first[row] for row in known), default=0.0)
    span = max((moments.last[row] for row in known), default=0.0) - begin or 1.0
    entries, without = [], 0
    people = sorted(set(of.person), key=int)
    for person in tqdm.tqdm(people, desc='pictures', unit='person', leave=False):
        rows = sorted((i for i in range(len(of)) if of.person[i] == person), key=lambda i: (moments.first[i], i))
        without += album.left <= 0
        cameras = list(dict.fromkeys(of.camera[row] for row in rows))
        facts = [f'{len(rows)} {"tracklet" if len(rows) == 1 else "tracklets"}']
        if person in weakest:
            said = rate(calibration, weakest[person].similarity)
            facts.append(f'weakest join {weakest[person].similarity:.3f}' + f', {said}' * bool(said))
        bars = [
            (camera, [
                (100 * (moments.first[row] - begin) / span, 100 * (moments.last[row] - moments.first[row]) / span)
                for row in rows if of.camera[row] == camera and moments.clock[row]
            ])
            for camera in cameras
        ]  # fmt: skip
        entries.append({'person': person, 'facts': facts, 'bars': bars, 'tracklets': [side(row) for row in rows]})
    notes = [f'Pictures of the first {len(people) - without} people are kept; the others are listed without.'] * bool(
        without
    ) + [f'{album.unreadable} pictures could not be read; their files have moved or are damaged.'] * bool(
        album.unreadable
    )
    ends = [at(known[0], seconds) for seconds in (begin, begin + span)] if known else []
    template, asset = report_page.template('global_ids.html', 'jaxreid.global_ids', 'jaxreid.evaluation.report')
    return template.render(
        entries=entries,
        doubtful=doubtful,
        nearly=nearly,
        tracklets=len(of),
        cameras=len(set(of.camera)),
        threshold=f'{threshold:.3f}',
        threshold_rate=rate(calibration, threshold),
        ends=ends,
        scores=scores,
        notes=notes,
        style=asset('page.css') + asset('global_ids.css'),
    )


def rate(calibration: calibration_file.Calibration | None, similarity: float) -> str:
    """How many other people look as alike, for people; '' without a calibration."""
    if calibration is None:
        return ''
    share = calibration_file.false_accept_rate(calibration, similarity)
    return f'{calibration_file.words(calibration, share)} of other people look as alike'
