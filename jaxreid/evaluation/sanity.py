"""Signs that a feature file does not say what its author meant: wrong numbers come from these more often than from bugs
in a metric."""

import re

import numpy as np

from jaxreid.evaluation import feature_file, protocols

_CAMERA_IN_NAME = re.compile(r'C(\d+)_?[TF]\d')  # MARS: 0001C1T0001; DukeMTMC-VideoReID: 0001C6F0099
_MANY_CAMERAS = 100  # no data set has so many; frame numbers do


def warnings(found: feature_file.Features, *, distance: str) -> list[str]:
    """One sentence or two per sign that was found; none for features as they should be."""
    checks = _values(found, distance), _cameras(found), _roles(found), _copies(found)
    return [warning for some in checks for warning in some]


def _values(found, distance):
    finite = np.isfinite(found.embedding).all(axis=1)
    if not finite.all():
        yield f'{(~finite).sum()} rows hold NaN or infinity; no distance to them means anything.'
        return
    norms = np.sqrt(np.einsum('nd,nd->n', found.embedding, found.embedding))
    if not norms.all():
        yield f'{(norms == 0).sum()} features are all zeros (first: {found.name[norms.argmin()]}).'
    norms = norms[norms > 0]
    if distance == 'euclidean' and len(norms) and norms.max() > 10 * norms.min():
        yield (
            f'lengths of features vary from {norms.min():.3g} to {norms.max():.3g}: Euclidean distances then mostly '
            'compare lengths. Were they meant for --distance cosine?'
        )


def _cameras(found):
    camera = found.camera
    seen = np.unique(camera)
    if len(seen) == 1:
        yield (
            f'every camera id is {seen[0]}: all matches count as own camera and are left out. Write the real cameras, '
            'or score with --same-camera keep, and compare the result with no published one.'
        )
    elif len(np.unique(camera[found.gallery])) == 1 and len(np.unique(camera[found.query])) > 1:
        yield (
            f'every gallery row is of camera {camera[found.gallery][0]}, queries are of several. Cameras listed once '
            'per frame and cut to the number of tracklets look like this; same-camera matches then count as hits.'
        )
    if len(seen) > _MANY_CAMERAS:
        yield f'there are {len(seen)} different camera ids; are these frame or tracklet numbers?'
    said = np.array([int(m[1]) if (m := _CAMERA_IN_NAME.search(str(name))) else -1 for name in found.name])
    wrong = (said != camera) & (said >= 0)
    if wrong.mean() > 0.01:
        first = wrong.argmax()
        yield (
            f'{wrong.sum()} of {len(said)} names say another camera than `camera` does ({found.name[first]}: '
            f'{camera[first]}). One camera per frame instead of one per tracklet shifts them like this.'
        )
    asked = np.unique(found.pid[found.query])
    pairs = np.unique(np.stack([found.pid, camera], axis=1), axis=0)
    once = asked[np.isin(asked, pairs[:, 0]) & (np.searchsorted(pairs[:, 0], asked, 'right')
                 - np.searchsorted(pairs[:, 0], asked, 'left') == 1)]  # fmt: skip
    if len(seen) > 1 and 2 * len(once) > len(asked):
        yield f'{len(once)} of the {len(asked)} ids asked for are seen by one camera only; do cameras fit the rows?'


def _roles(found):
    pid, query, gallery = found.pid, found.query, found.gallery
    if (pid < protocols.JUNK_ID).any():
        yield f'ids below -1 ({pid.min()}) are people like any other; junk is -1 and distractors are 0.'
    if (pid[query] <= 0).any():
        yield f'{(pid[query] <= 0).sum()} queries are junk (-1) or distractors (0).'
    absent = ~np.isin(pid[query], pid[gallery])
    if absent.any():
        yield f'{absent.sum()} of {query.sum()} queries are of an id that the gallery does not hold.'
    # Sets like iLIDS-VID query one camera against another: there a query's own row is rightly absent.
    overlap = np.intersect1d(found.camera[query], found.camera[gallery])
    if not (query & gallery).any() and len(overlap) and not _query_copies(found):
        yield (
            'no query is in the gallery, neither marked nor as a copy: protocols named "with queries" (all but '
            'torchreid) are scored without them. On MARS that takes the match from 140 queries.'
        )


def _query_copies(found):
    """Whether some gallery row has the id, camera and feature of a query."""
    items = {_key(found, i) for i in np.flatnonzero(found.gallery)}
    return any(_key(found, i) in items for i in np.flatnonzero(found.query))


def _key(found, row):
    return int(found.pid[row]), int(found.camera[row]), hash(found.embedding[row].tobytes())


def _copies(found):
    for role in ('query', 'gallery'):
        rows = np.flatnonzero(getattr(found, role))
        hashes, first, counts = np.unique(
            [hash(found.embedding[i].tobytes()) for i in rows], return_index=True, return_counts=True
        )
        copies = len(rows) - len(hashes)
        if len(rows) > 1 and len(hashes) == 1:
            yield f'all {len(rows)} features marked {role} are equal: the network has collapsed.'
        elif copies:
            name = found.name[rows[first[counts.argmax()]]]
            yield (
                f'{copies} of {len(rows)} rows marked {role} repeat the feature of another one (most often {name}, '
                f'{counts.max()} times).'
            )
