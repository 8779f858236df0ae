"""From features, times and corrections to people: who is who, and how sure that is."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from jaxreid.evaluation.ordering import ranking
from jaxreid.global_ids import cluster, constraints, corrections

NOBODY = 0  # no id yet; people are numbered from 1


@dataclasses.dataclass(frozen=True)
class Asked:
    """N tracklets and what is known of them."""

    embedding: np.ndarray  # [N, D]
    seen: constraints.Seen
    distance: str
    threshold: float  # least mean similarity of two parts of a person
    person: Sequence[int]  # [N] ids that they have already, or NOBODY
    following: int = 1  # the first id that nobody had yet
    corrected: Sequence[corrections.Correction] = ()
    overlap: Collection[frozenset[str]] = ()
    topology: constraints.Topology = dataclasses.field(default_factory=dict)


class People(NamedTuple):
    """person: [N] ids. joins: what every person is held together by, weakest first. apart: pairs of people who nearly
    were one, most alike first.
    """

    person: list[int]
    joins: list[cluster.Join]
    apart: list[cluster.Join]


def similarities(embedding: np.ndarray, distance: str) -> np.ndarray:
    """[N, N] float64 of features [N, D]: cosines, or minus the Euclidean distances; symmetric to the last bit."""
    x = embedding.astype(np.float64)
    if distance == 'cosine':
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), ranking.SHORTEST)
    products = x @ x.T
    products = (products + products.T) / 2
    if distance == 'cosine':
        return products
    squares = np.diag(products)
    return -np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * products, 0))


def find(asked: Asked) -> People:
    """Gives every tracklet a person.

    Ids that are there stay: people who have one are never joined with each other, and none is taken apart, unless
    corrections say so. A person that corrections take apart is clustered anew, and the part with the most of its
    tracklets, of equals the earliest, keeps the id. New ids go on behind those there are, in the order in which people
    were first seen.
    """
    n = len(asked.person)
    similarity = similarities(asked.embedding, asked.distance)
    cannot, comparable = constraints.pairs(asked.seen, overlap=asked.overlap, topology=asked.topology)
    for one in asked.corrected:
        if one.join == 'cannot':
            cannot[one.first, one.second] = cannot[one.second, one.first] = True
    person = np.array(asked.person, int)
    split = {
        int(person[one.first])
        for one in asked.corrected
        if one.join == 'cannot' and person[one.first] == person[one.second] != NOBODY
    }
    kept = (person != NOBODY) & ~np.isin(person, list(split))
    first_of: dict[int, int] = {}
    start = [first_of.setdefault(int(person[row]), row) if kept[row] else row for row in range(n)]
    start = corrections.together(asked.corrected, start)
    known = person != NOBODY
    cannot |= known[:, None] & known[None] & (person[:, None] != person[None])
    found = cluster.cluster(
        similarity, threshold=asked.threshold, cannot=cannot, comparable=comparable, start=np.array(start, int)
    )
    ids = _ids(found.label, person, asked)
    joins = _held_together(similarity, ids, asked.corrected)
    return People(ids, joins, found.apart)


def _ids(label, person, asked):
    """[N] ids of clusters: theirs, or new ones."""
    claims = []  # (id, -tracklets of it, first row, cluster)
    for number in np.unique(label):
        rows = np.flatnonzero(label == number)
        for one in set(person[rows].tolist()) - {NOBODY}:
            claims.append((one, -int((person[rows] == one).sum()), int(rows[0]), int(number)))
    given: dict[int, int] = {}
    taken: set[int] = set()
    for one, _, _, number in sorted(claims):
        if one not in taken and number not in given:
            given[number] = one
            taken.add(one)
    begin = np.where(np.isnan(asked.seen.first), math.inf, asked.seen.first)
    fresh = [number for number in np.unique(label).tolist() if number not in given]
    fresh.sort(key=lambda number: (begin[label == number].min(), int(np.flatnonzero(label == number)[0])))
    given |= {number: asked.following + place for place, number in enumerate(fresh)}
    return [given[number] for number in label.tolist()]


def _held_together(similarity, ids, given):
    """The joins of every person's own tracklets, weakest first; those that corrections make are none."""
    joins = []
    must = corrections.together(given, range(len(ids)))
    for one in sorted(set(ids)):
        rows = np.flatnonzero(np.array(ids) == one)
        nothing = np.zeros((len(rows),) * 2, bool)
        within = cluster.cluster(
            similarity[np.ix_(rows, rows)],
            threshold=-math.inf,
            cannot=nothing,
            comparable=~nothing,
            start=np.array(must)[rows],
        )
        joins += [cluster.Join(int(rows[j.first]), int(rows[j.second]), j.similarity) for j in within.joins]
    return sorted(joins, key=lambda join: (join.similarity, join))
