"""The rules by which rankings become a score.

A number carries its protocol: every rule is a field and is stored with the score. Rules and their origin:
docs/protocols.md and the public evaluators named at `named`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

import numpy as np
import tqdm

from jaxreid import config
from jaxreid.evaluation import feature_file
from jaxreid.evaluation.ordering import ranking, single_shot

JUNK_ID = -1  # boxes without a person
DISTRACTOR_ID = 0  # people nobody asks for
CMC_RANKS = (1, 5, 10, 20)
SAME_CAMERA = ('drop_matches', 'drop', 'keep')
OUTFITS = ('any', 'same', 'other')


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One published way to score the same features."""

    name: str
    ap: str  # step | trapezoid | sklearn_pr, see `ranking.rank`
    gallery: str  # with_queries: every row marked gallery | without_queries: those that are not queries as well
    junk: str = 'drop'  # drop: id -1 is never ranked | negatives: it counts as other people
    distractors: str = 'keep'  # keep: id 0 is ranked as other people | drop
    # drop_matches: a query's own identity in its own camera is not ranked | drop: nothing of its own camera is, as in
    # `search` | keep: everything is, but the query itself and copies of it
    same_camera: str = 'drop_matches'
    # any: outfits do not matter | same: a query's own identity in another outfit is not ranked | other: in the same one
    outfits: str = 'any'
    gap_frames: int | None = None  # only what the same sequence (camera) shows so many frames later is ranked
    query_stride: int = 1  # with it: queries are those at frames that this divides
    unanswerable: str = 'skip'  # skip: queries without a match are left out of the mean | zero: they count as missed
    rank_cut: int | None = None  # matches behind this place of the list, dropped items included, are missed
    cmc: str = 'per_query'  # per_query: the first match of all | single_shot: one item per id, see `single_shot`
    cmc_seed: int = 0  # of single_shot's draws

    def __post_init__(self) -> None:
        for field, value, known in (
            ('ap', self.ap, ranking.AP_RULES),
            ('gallery', self.gallery, ('with_queries', 'without_queries')),
            ('junk', self.junk, ('drop', 'negatives')),
            ('distractors', self.distractors, ('keep', 'drop')),
            ('same_camera', self.same_camera, SAME_CAMERA),
            ('outfits', self.outfits, OUTFITS),
            ('unanswerable', self.unanswerable, ('skip', 'zero')),
            ('cmc', self.cmc, ('per_query', 'single_shot')),
        ):
            if value not in known:
                raise ValueError(f'Protocol {self.name!r} has {field}={value!r}, expected one of {known}.')
        if self.query_stride < 1 or (self.gap_frames is not None and self.gap_frames < 1):
            raise ValueError(
                f'Protocol {self.name!r} has gap_frames={self.gap_frames} and query_stride={self.query_stride}; '
                'expected 1 or more.'
            )
        if self.gap_frames is not None and (self.unanswerable != 'skip' or self.same_camera != 'keep'):
            raise ValueError(
                f'Protocol {self.name!r} looks into the same sequence: expected unanswerable skip and same_camera keep.'
            )
        if self.rank_cut is not None and self.rank_cut < 1:
            raise ValueError(f'Protocol {self.name!r} has rank_cut={self.rank_cut}, expected at least 1, or None.')
        if self.rank_cut is not None and self.cmc == 'single_shot':
            raise ValueError(
                f'Protocol {self.name!r} cuts the list and draws from it; choose one (rank_cut None, or cmc per_query).'
            )


class Description(feature_file.Making):
    """A protocol as JSON has it beside a score: the fields of `Protocol`, and what else the numbers depend on.

    distance: 'cosine' or 'euclidean'. Counts of several files (`evaluation.score`) are lists.
    re_ranking, expansion: of distances, in words; 'none'. feature: 'after neck' or 'before neck'.
    label: the name and what is not as usual, in words.
    """

    name: str
    ap: str
    gallery: str
    junk: str
    distractors: str
    same_camera: str
    outfits: str
    gap_frames: int | None
    query_stride: int
    unanswerable: str
    rank_cut: int | None
    cmc: str
    cmc_seed: int
    distance: str
    answered_queries: int | list
    unanswered_queries: int | list
    gallery_size: int | list
    queries_in_gallery: int | list
    re_ranking: NotRequired[str]
    expansion: NotRequired[str]
    feature: NotRequired[str]
    label: NotRequired[str]


class Score(TypedDict):
    """A score in percent with its protocol; `cmc` by rank: '1', '5', '10', '20'.

    mINP is the mean of (matches) / (rank of the last match) (Ye et al., TPAMI 2021). asked_people: whom the counted
    queries ask for; of several files the most. Older files lack it. warnings: sentences on what makes the numbers
    doubtful, where something does.
    """

    protocol: Description
    mAP: float
    mINP: float
    cmc: dict[str, float]
    asked_people: NotRequired[int]
    warnings: NotRequired[list[str]]


def named(name: str) -> Protocol:
    """The protocol of that name.

    mars-paper: AP3D, TCLNet and official STMN. mars-official: liangzheng06/MARS-evaluation. torchreid:
    KaiyangZhou/deep-person-reid. ste-nvan: jackie840129/STE-NVAN, whose list ends after 10,000 items. Named after a
    data set: the rule of papers on it, which is mars-paper's; they differ in the rows that the reader marks.
    DukeMTMC-VideoReID's gallery has copies of the queries, LS-VID's the queries themselves; iLIDS-VID and PRID-2011
    have one gallery tracklet per id, so that CMC says all. general, same-clothes, clothes-changing:
    guxinqian/Simple-CCReID (`evaluate`, and `evaluate_with_clothes` in the modes SC and CC) and Kitware/MEVID, which
    copied them; the gallery is as the data set marks it. reassociation: `ReassociationProtocol` of Roboflow's package
    reid, with its defaults.

    Raises:
      ValueError: if there is none.
    """
    match name:
        case 'mars-official':
            return Protocol(name, ap='trapezoid', gallery='with_queries')
        case 'torchreid':
            return Protocol(name, ap='step', gallery='without_queries')
        case 'ste-nvan':
            return Protocol(name, ap='trapezoid', gallery='with_queries', rank_cut=10_000)
        case 'reassociation':
            return Protocol(name, ap='step', gallery='with_queries', same_camera='keep', gap_frames=30, query_stride=60)
        case 'same-clothes' | 'clothes-changing':
            worn = 'same' if name == 'same-clothes' else 'other'
            return Protocol(name, ap='step', gallery='with_queries', outfits=worn)
        case _ if name in config.PROTOCOLS:
            return Protocol(name, ap='step', gallery='with_queries')
        case _:
            raise ValueError(f'Protocol {name!r} is unknown, expected one of {", ".join(config.PROTOCOLS)}.')


class Results(NamedTuple):
    """`ranking.Ranked`, one entry per query, and what CMC counts."""

    ap: np.ndarray
    inp: np.ndarray
    first_hit: np.ndarray
    answered: np.ndarray
    shots: np.ndarray  # [Q, 1] int64 first hits, or [Q, repetitions] of single_shot; 0: none


# Columns of the gallery as a mask over all rows -> slices of the queries with their distances to these columns.
Blocks = Callable[[np.ndarray], Iterator[tuple[slice, np.ndarray]]]


def score(features: feature_file.Features, protocol: Protocol, *, distance: str = 'cosine') -> Score:
    """mAP and CMC of the features of N tracklets.

    Args:
      features: `embedding` [N, D] float, which the cosine normalises; `pid` [N] int, -1 for junk and 0 for distractors;
        `camera` [N] int; `query` and `gallery` [N] bool, a tracklet may be both. Rules about outfits read the
        attribute `outfit`. Nothing else of them is read.
      protocol: the rules.
      distance: 'cosine' or 'euclidean'.

    Raises:
      ValueError: if lengths differ, a feature is not finite, there is no query or no gallery, no query has a match, or
        the rule asks for outfits and some are not known.
    """
    return summarize(rank_queries(features, protocol, distance=distance), features, protocol, distance=distance)


def rank_queries(features: feature_file.Features, protocol: Protocol, *, distance: str = 'cosine') -> Results:
    """What the rules make of every row marked query, in order; arguments and errors as `score`."""
    _check_embedding(features)
    return rank_blocks(of_features(features.embedding, features.query, distance), features, protocol)


def summarize(ranked: Results, features: feature_file.Features, protocol: Protocol, *, distance: str) -> Score:
    """The score that `rank_queries` leads to; arguments, result and errors as `score`."""
    answered = int(ranked.answered.sum())
    values = per_query(ranked, protocol)
    if not len(values):
        raise ValueError(
            f'None of the {len(ranked.answered)} queries has a match in the gallery that protocol {protocol.name!r} '
            f'leaves: the same id, {_wanted(protocol)}. Check that ids and cameras belong '
            'to the same rows.'
        )
    in_gallery = ranked_gallery(features, protocol)
    counts = {
        'distance': distance,
        'answered_queries': answered,
        'unanswered_queries': int((_asked(features, protocol)[features.query] & ~ranked.answered).sum()),
        'gallery_size': int(in_gallery.sum()),
        'queries_in_gallery': int((in_gallery & features.query).sum()),
    }
    means = (100 * (values.sum(axis=0) / len(values))).tolist()
    return {
        'protocol': cast(Description, dataclasses.asdict(protocol) | counts),
        'mAP': means[0],
        'mINP': means[1],
        'cmc': {str(k): mean for k, mean in zip(CMC_RANKS, means[2:])},
        'asked_people': len(np.unique(features.pid[features.query][_counted(ranked, protocol)])),
    }


def _wanted(protocol: Protocol) -> str:
    """Where a match is looked for, in words."""
    if protocol.gap_frames is not None:
        return f'and one other at least, {protocol.gap_frames} frames later in the same sequence'
    worn = {'any': '', 'same': ' in the same outfit', 'other': ' in another outfit'}
    return f'seen by another camera{worn[protocol.outfits]}'


def per_query(ranked: Results, protocol: Protocol) -> np.ndarray:
    """[counted queries, 2 + len(CMC_RANKS)] float64: AP, INP and CMC at each rank, whose means are the score."""
    shares = [((ranked.shots > 0) & (ranked.shots <= k)).mean(axis=1) for k in CMC_RANKS]
    values = np.stack([ranked.ap, ranked.inp, *shares], axis=1)
    return values[_counted(ranked, protocol)]


def _counted(ranked: Results, protocol: Protocol) -> np.ndarray:
    return ranked.answered | (protocol.unanswerable != 'skip')


def ranked_gallery(features: feature_file.Features, protocol: Protocol) -> np.ndarray:
    """[N] bool, the tracklets that the protocol ranks; which of them each query leaves out is not yet decided."""
    columns = _in_gallery(features, protocol)
    return columns & (features.pid != JUNK_ID) if protocol.junk == 'drop' else columns


class LookAlikes(NamedTuple):
    """Rank-1 inside groups of people who look alike."""

    rank1: float  # percent; NaN without queries
    queries: int
    chance: float  # percent, what a random order gives on average; NaN without queries


def look_alike_rank1(
    features: feature_file.Features,
    protocol: Protocol,
    groups: Sequence[Sequence[int]],
    *,
    distance: str = 'cosine',
) -> LookAlikes:
    """How often the nearest gallery item of a query's look-alike group, itself included, is the query's identity.

    The gallery is what the protocol leaves of it for this query. Queries count that have a match there and at least one
    rival of their group. Chance is the mean of 1/g with g the group members that have an item there: what a model has
    that sees the group and nothing finer.

    Args:
      features, protocol, distance: as `score`.
      groups: ids of each group; an id is in at most one.

    Raises:
      ValueError: as `score`, and if an id is in two groups.
    """
    _check_rows(features, protocol)
    _check_embedding(features)
    pid, camera = features.pid, _own_cameras(features, protocol)
    group_of = {int(member): number for number, members in enumerate(groups) for member in members}
    if len(group_of) != sum(len(members) for members in groups):
        raise ValueError('An id is in more than one look-alike group or twice in one; list every id once.')
    group = np.array([group_of.get(int(i), -1) for i in pid])  # [N], -1 without a group
    inside = features.query & (group >= 0)
    if not inside.any():
        return LookAlikes(float('nan'), 0, float('nan'))

    columns = ranked_gallery(features, protocol)
    ids, cameras, column_groups = pid[columns], camera[columns], group[columns]
    right, chances = [], []
    for rows, distances in of_features(features.embedding, inside, distance)(columns):
        asked = np.flatnonzero(inside)[rows]
        out = left_out(features, protocol, asked, columns)
        for at, (row, q) in enumerate(zip(distances, asked, strict=True)):
            i = pid[q]
            eligible = (column_groups == group[q]) & ((ids != i) | (cameras != camera[q]))
            if out is not None:
                eligible &= ~out[at]
            members = np.unique(ids[eligible])
            if i not in members or len(members) < 2:
                continue
            candidates = np.flatnonzero(eligible)
            right.append(ids[candidates[row[candidates].argmin()]] == i)  # argmin takes the first of equals
            chances.append(1 / len(members))
    if not right:
        return LookAlikes(float('nan'), 0, float('nan'))
    return LookAlikes(100 * float(np.mean(right)), len(right), 100 * float(np.mean(chances)))


def of_features(embedding: np.ndarray, query: np.ndarray, distance: str) -> Blocks:
    """Distances of the rows marked query to the columns asked for."""

    def blocks(columns):
        items = embedding if columns.all() else embedding[columns]  # a large gallery is not copied
        return ranking.distance_blocks(embedding[query], items, distance=distance)

    return blocks


def rank_blocks(distance_blocks: Blocks, features: feature_file.Features, protocol: Protocol) -> Results:
    """`rank_queries` from distances that come in blocks of queries, whatever made them."""
    _check_rows(features, protocol)
    pid, camera, query = features.pid, _own_cameras(features, protocol), features.query
    columns = _in_gallery(features, protocol)
    ignored = pid[columns] == JUNK_ID if protocol.junk == 'drop' else None
    parts, shots = [], []
    blocks = tqdm.tqdm(distance_blocks(columns), desc=f'rank {protocol.name}', unit='block', leave=False, delay=2)
    for rows, distances in blocks:
        items = distances, pid[query][rows], camera[query][rows], pid[columns], camera[columns]
        out = left_out(features, protocol, np.flatnonzero(query)[rows], columns)
        common: dict[str, Any] = {'left_out': out, 'ignored': ignored}
        parts.append(ranking.rank(*items, ap=protocol.ap, cut=protocol.rank_cut, **common))
        if protocol.cmc == 'per_query':
            shots.append(parts[-1].first_hit[:, None])
        else:
            shots.append(single_shot.first_hits(*items, **common, seed=protocol.cmc_seed, first_query=rows.start))
    return Results(*ranking.join(parts), np.concatenate(shots))


def left_out(
    features: feature_file.Features, protocol: Protocol, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray | None:
    """What else the rankings of some queries leave out than their own identity in their own camera.

    Args:
      features, protocol: as `score`.
      rows: [Q] int, of the queries.
      columns: [N] bool, marks of the gallery, G of them.

    Returns:
      [Q, G] bool; None where nothing else is left out.

    Raises:
      ValueError: the rule asks for outfits, and one of a person who is asked for is not known; or for frames.
    """
    if protocol.same_camera != 'drop' and protocol.outfits == 'any' and protocol.gap_frames is None:
        return None
    out = np.zeros((len(rows), np.count_nonzero(columns)), bool)
    if protocol.same_camera == 'drop':
        out |= features.camera[rows, None] == features.camera[columns]
    if protocol.outfits != 'any':
        outfit = _outfits(features, protocol)
        alike = outfit[rows, None] == outfit[columns]
        own = features.pid[rows, None] == features.pid[columns]
        out |= own & (alike if protocol.outfits == 'other' else ~alike)
    if protocol.gap_frames is not None:
        frame = _frames(features, protocol)
        later = frame[columns] == frame[rows, None] + protocol.gap_frames
        later &= features.camera[rows, None] == features.camera[columns]
        if protocol.junk == 'drop':
            later &= features.pid[columns] != JUNK_ID
        out |= ~(later & (later.sum(axis=1) > 1)[:, None] & _asked(features, protocol)[rows, None])
    return out


def _asked(features: feature_file.Features, protocol: Protocol) -> np.ndarray:
    """[N] bool, the queries that the rule asks: all, or those at every `query_stride`-th frame."""
    if protocol.gap_frames is None:
        return features.query
    return features.query & (_frames(features, protocol) % protocol.query_stride == 0)


def _frames(features: feature_file.Features, protocol: Protocol) -> np.ndarray:
    """[N] int, the frame of each row in its sequence."""
    column = features.attributes.get(feature_file.FRAME)
    try:
        frame = None if column is None else column.astype(np.float64)
    except ValueError:
        frame = None
    if frame is None or not (np.isfinite(frame) & (frame == np.floor(frame))).all():
        raise ValueError(
            f'Protocol {protocol.name!r} compares frames of one sequence, and the attribute {feature_file.FRAME!r} '
            'does not number all of them: give the array attr:frame of a feature file, or the column of a manifest, '
            'whole numbers. A row is a crop there, and its camera the sequence.'
        )
    places = np.stack([features.camera, features.pid, frame.astype(np.int64)], axis=1)
    twice = np.unique(places[features.pid > JUNK_ID], axis=0, return_counts=True)
    if (twice[1] > 1).any():
        sequence, pid, number = twice[0][twice[1].argmax()].tolist()
        raise ValueError(f'Sequence {sequence} shows the id {pid} twice in frame {number}; keep one crop of each.')
    return places[:, 2]


def _outfits(features: feature_file.Features, protocol: Protocol) -> np.ndarray:
    """[N] int, equal for one outfit of one person."""
    name, n = feature_file.OUTFIT, len(features.pid)
    column = features.attributes.get(name, np.full(n, ''))
    needed = np.isin(features.pid, features.pid[features.query]) & (features.query | features.gallery)
    missing = np.flatnonzero(needed & ~feature_file.known(column))
    if len(missing):
        raise ValueError(
            f'Protocol {protocol.name!r} compares outfits, and {len(missing)} of {needed.sum()} tracklets of the '
            f'people who are asked for have none, first {features.name[missing[0]]}. Name them in the attribute '
            f'{name!r}: the column attr:{name} of a manifest, the column {name} of attributes.csv, or the array '
            f'attr:{name} of a feature file.'
        )
    return np.unique(column.astype(str), return_inverse=True)[1]


def _own_cameras(features: feature_file.Features, protocol: Protocol) -> np.ndarray:
    """[N] int, equal for a query and what of its identity is left out: cameras, or with 'keep' the same sighting: one
    row, or rows that are equal in identity, camera and feature, as DukeMTMC-VideoReID's gallery has of its queries.
    """
    if protocol.same_camera != 'keep':
        return features.camera
    if protocol.gap_frames is not None:  # no row is a copy of another one: they are of different frames
        return np.arange(len(features.pid))
    first: dict[tuple[int, int, bytes], int] = {}
    rows = zip(features.pid.tolist(), features.camera.tolist(), features.embedding, strict=True)
    return np.array([first.setdefault((i, c, x.tobytes()), row) for row, (i, c, x) in enumerate(rows)])


def _in_gallery(features: feature_file.Features, protocol: Protocol) -> np.ndarray:
    """[N] bool. Junk stays in: it is dropped from each ranking, where `rank_cut` counts its place."""
    columns = features.gallery.copy()
    if protocol.gallery == 'without_queries':
        columns &= ~features.query
    if protocol.distractors == 'drop':
        columns &= features.pid != DISTRACTOR_ID
    return columns


def _check_rows(features: feature_file.Features, protocol: Protocol) -> None:
    pid, query, gallery = features.pid, features.query, features.gallery
    lengths = {'pid': len(pid), 'camera': len(features.camera), 'query': len(query), 'gallery': len(gallery)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'Lengths differ: {lengths}. Every tracklet needs one entry in each.')
    for what, mask in (('query', query), ('gallery', gallery)):
        if mask.dtype != bool:
            raise ValueError(f'{what} is {mask.dtype}, expected bool: one mark per tracklet, not row numbers.')
    if not query.any():
        raise ValueError(f'None of the {len(pid)} tracklets is marked query.')
    if not _in_gallery(features, protocol).any():
        raise ValueError(
            f'The gallery is empty: of {len(pid)} tracklets {np.count_nonzero(gallery)} are marked gallery, and the '
            f'protocol {protocol.name!r} leaves none of them.'
        )


def _check_embedding(features: feature_file.Features) -> None:
    embedding, pid = features.embedding, features.pid
    if embedding.ndim != 2 or len(embedding) != len(pid):
        raise ValueError(f'Embeddings are {embedding.shape}, expected ({len(pid)}, D): one row per id.')
    bad = np.flatnonzero(~np.isfinite(embedding).all(axis=1))
    if len(bad):
        raise ValueError(
            f'{len(bad)} of {len(embedding)} embeddings hold NaN or infinity, the first in row {bad[0]}. '
            'Extract them again; a model whose training diverged gives these.'
        )
