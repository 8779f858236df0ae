"""Signs that a feature file does not say what its author meant: wrong numbers come from these more often than from bugs
in a metric."""

import re
from collections.abc import Collection, Sequence

import numpy as np

from jaxreid.evaluation import feature_file, protocols

_CAMERA_IN_NAME = re.compile(r'C(\d+)_?[TF]\d')  # MARS: 0001C1T0001; DukeMTMC-VideoReID: 0001C6F0099
_MANY_CAMERAS = 100  # no data set has so many; frame numbers do
NAMED = 3
_FEW_ROWS = 10  # too few to say anything of their cameras


def warnings(features: feature_file.Features, *, distances: Collection[str]) -> list[str]:
    """One sentence or two per sign that was found; none for features that are as the `distances` want them."""
    checks = of_values(features), _lengths(features, distances), _cameras(features), _roles(features)
    return [warning for some in checks for warning in some]


def of_values(features: feature_file.Features) -> list[str]:
    """Those of `warnings` that say that features mean nothing: no numbers, zeros, copies."""
    return [*_values(features), *_copies(features)]


def first_names(names: Sequence[str]) -> str:
    """A few of them."""
    return ', '.join(map(str, names[:NAMED])) + ' ...' * (len(names) > NAMED)


def _values(features):
    finite = np.isfinite(features.embedding).all(axis=1)
    if not finite.all():
        yield f'{(~finite).sum()} rows hold NaN or infinity; no distance to them means anything.'
        return
    zeros = ~features.embedding.any(axis=1)
    if zeros.any():
        yield f'{zeros.sum()} features are all zeros (first: {first_names(features.name[zeros])}).'


def _lengths(features, distances):
    # Of numbers whose squares neither overflow nor vanish.
    norms = np.sqrt(np.einsum('nd,nd->n', features.embedding, features.embedding, dtype=np.longdouble))
    norms = norms[np.isfinite(norms) & (norms > 0)]
    if 'euclidean' in distances and len(norms) and norms.max() > 10 * norms.min():
        yield (
            f'lengths of features vary from {norms.min():.3g} to {norms.max():.3g}: Euclidean distances then mostly '
            'compare lengths, and those between short ones may be lost in rounding. Were they meant for --distance '
            'cosine?'
        )


def _cameras(features):
    camera = features.camera
    seen = np.unique(camera)
    if len(seen) == 1:
        yield (
            f'every camera id is {seen[0]}: all matches are of the own camera, and published rules leave them out. '
            'Write the real cameras; of one camera, give each visit a camera of its own. Or score with --same-camera '
            'keep, where a query may find the same visit, and compare the result with no published one.'
        )
    elif len(np.unique(camera[features.gallery])) == 1 and len(np.unique(camera[features.query])) > 1:
        yield (
            f'every gallery row is of camera {camera[features.gallery][0]}, queries are of several. Cameras listed '
            'once per frame and cut to the number of tracklets look like this; same-camera matches then count as hits.'
        )
    if len(seen) > max(_FEW_ROWS, min(_MANY_CAMERAS, len(camera) // 2)):
        yield (
            f'there are {len(seen)} different camera ids for {len(camera)} rows; are these frame or tracklet numbers?'
        )
    elif any(_in_long_runs(features, rows) for rows in (features.query, features.gallery & ~features.query)):
        yield (
            'the camera stays the same over several people in turn, again and again. Cameras listed once per frame and '
            'cut to the number of tracklets look like this; same-camera matches then count as hits.'
        )
    said = np.array([int(m[1]) if (m := _CAMERA_IN_NAME.search(str(name))) else -1 for name in features.name])
    wrong = (said != camera) & (said >= 0)
    if wrong.mean() > 0.01:
        first = wrong.argmax()
        yield (
            f'{wrong.sum()} of {len(said)} names say another camera than `camera` does ({features.name[first]}: '
            f'{camera[first]}). One camera per frame instead of one per tracklet shifts them like this.'
        )
    asked = np.unique(features.pid[features.query])
    pairs = np.unique(np.stack([features.pid, camera], axis=1), axis=0)
    once = asked[np.isin(asked, pairs[:, 0]) & (np.searchsorted(pairs[:, 0], asked, 'right')
                 - np.searchsorted(pairs[:, 0], asked, 'left') == 1)]  # fmt: skip
    if len(seen) > 1 and 2 * len(once) > len(asked):
        yield f'{len(once)} of the {len(asked)} ids asked for are seen by one camera only; do cameras fit the rows?'


def _in_long_runs(features, rows):
    """Whether most runs of one camera hold three people or more, and cameras come back: people do not queue like that.

    In lists by identity a run ends with the person or before, in lists by camera each camera has one run, and in lists
    without order runs are short.
    """
    pid, camera = features.pid[rows], features.camera[rows]
    if len(camera) < _FEW_ROWS:
        return False
    starts = np.flatnonzero(np.concatenate([[True], camera[1:] != camera[:-1]]))
    if len(starts) < 2 * len(np.unique(camera)):
        return False
    people = [len(np.unique(run)) for run in np.split(pid, starts[1:])]
    return np.mean(np.array(people) >= 3) > 0.5


def _roles(features):
    pid, query, gallery = features.pid, features.query, features.gallery
    if (pid < protocols.JUNK_ID).any():
        yield f'ids below -1 ({pid.min()}) are people like any other; junk is -1 and distractors are 0.'
    if (pid[query] <= 0).any():
        yield f'{(pid[query] <= 0).sum()} queries are junk (-1) or distractors (0).'
    absent = ~np.isin(pid[query], pid[gallery])
    if absent.any():
        yield f'{absent.sum()} of {query.sum()} queries are of an id that the gallery does not hold.'
    # Sets like iLIDS-VID query one camera against another: there a query's own row is rightly absent.
    overlap = np.intersect1d(features.camera[query], features.camera[gallery])
    if not (query & gallery).any() and len(overlap) and not _query_copies(features):
        yield (
            'no query is in the gallery, neither marked nor as a copy: protocols named "with queries" (all but '
            'torchreid) are scored without them. On MARS that takes the match from 140 queries.'
        )


def _query_copies(features):
    """Whether some gallery row has the id, camera and feature of a query."""
    items = {_key(features, i) for i in np.flatnonzero(features.gallery)}
    return any(_key(features, i) in items for i in np.flatnonzero(features.query))


def _key(features, row):
    return int(features.pid[row]), int(features.camera[row]), hash(features.embedding[row].tobytes())


def _copies(features):
    for role in ('query', 'gallery'):
        rows = np.flatnonzero(getattr(features, role) & features.embedding.any(axis=1))
        hashes, first, counts = np.unique(
            [hash(features.embedding[i].tobytes()) for i in rows], return_index=True, return_counts=True
        )
        again = np.delete(rows, first)
        copies = len(rows) - len(hashes)
        if len(rows) > 1 and len(hashes) == 1:
            yield f'all {len(rows)} features marked {role} are equal: the network has collapsed.'
        elif copies:
            name = features.name[rows[first[counts.argmax()]]]
            yield (
                f'{copies} of {len(rows)} rows marked {role} repeat the feature of another one (first: '
                f'{first_names(features.name[again])}; most often {name}, {counts.max()} times).'
            )
