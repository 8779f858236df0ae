"""From features to the distances that are ranked: as they are, or refined by expansion, augmentation and re-ranking."""

import dataclasses
from typing import TypedDict

import numpy as np

from jaxreid.evaluation import feature_file, protocols
from jaxreid.evaluation.ordering import expansion, ranking

_HELD = 2**30  # bytes of distances that are computed once for all protocols


class Described(TypedDict):
    """What results say of how distances were refined, in words; 'none'."""

    re_ranking: str
    expansion: str


@dataclasses.dataclass(frozen=True)
class Refinement:
    """How features become distances."""

    distance: str  # cosine | euclidean
    rerank: bool = False
    k1: int = 20
    k2: int = 6
    weight: float = 0.3  # of the original distance
    device: bool = False  # re-ranking: let JAX's default device find neighbours
    expand_queries: int = 0  # gallery items that are averaged with a query
    augment_gallery: int = 0  # neighbours that are averaged with a gallery item
    power: float = 0.0  # averages weigh neighbours by their cosine to this power

    def describe(self) -> Described:
        """What results say of it."""
        counts = ('queries', self.expand_queries), ('gallery', self.augment_gallery)
        means = ', '.join(f'{what} with {count}' for what, count in counts if count)
        k_reciprocal = f'k-reciprocal, k1 {self.k1}, k2 {self.k2}, lambda {self.weight:g}'
        return {
            're_ranking': k_reciprocal if self.rerank else 'none',
            'expansion': f'{means} neighbours, power {self.power:g}' if means else 'none',
        }

    def warnings(self, gallery: int) -> list[str]:
        """A sentence for each number of neighbours that a gallery of that size does not have."""
        asked = ('re-ranking (k1)', self.k1 * self.rerank), ('query expansion', self.expand_queries), (
            'gallery augmentation', self.augment_gallery)  # fmt: skip
        return [
            f'{what} looks for {count} neighbours, but the gallery holds {gallery}: far ones count as near'
            for what, count in asked
            if count >= gallery
        ]

    def label(self, name: str, neck: str) -> str:
        """The name of a rule, and what else its score depends on that is not as usual."""
        described = self.describe()
        parts = (
            '' if self.distance == 'cosine' or 'distance=' in name else f'{self.distance} distance',
            '' if neck == 'after' else f'features {neck} the neck',
            '' if described['re_ranking'] == 'none' else f're-ranked, {described["re_ranking"]}',
            '' if described['expansion'] == 'none' else f'expanded, {described["expansion"]}',
        )
        return '; '.join(filter(None, (name, *parts)))


class Distances:
    """Distances of the queries of some features to their gallery, kept while they take less than `_HELD` bytes."""

    def __init__(self, features: feature_file.Features, refinement: Refinement) -> None:
        self._features, self._refinement = features, refinement
        self._kept: tuple[bytes, np.ndarray] = b'', np.zeros(0)

    def blocks(self, protocol: protocols.Protocol) -> protocols.Blocks:
        """What `protocols.rank_blocks` takes. Refined distances are made of the items that the protocol ranks."""
        features, how = self._features, self._refinement
        refined = how.rerank or how.expand_queries or how.augment_gallery
        ranked = protocols.ranked_gallery(features, protocol) if refined else features.gallery
        size = 4 * int(features.query.sum()) * int(ranked.sum())
        if not refined and size > _HELD:
            return protocols.of_features(features.embedding, features.query, how.distance)
        if self._kept[0] != ranked.tobytes():
            self._kept = ranked.tobytes(), self._compute(ranked)
        return _spread(self._kept[1], ranked)

    def _compute(self, ranked: np.ndarray) -> np.ndarray:
        """[queries, marks of `ranked`]."""
        how, embedding = self._refinement, self._features.embedding
        queries, items = embedding[self._features.query], embedding if ranked.all() else embedding[ranked]
        if how.augment_gallery:
            items = expansion.expand(items, items, count=how.augment_gallery, power=how.power, distance=how.distance)
        if how.expand_queries:
            queries = expansion.expand(queries, items, count=how.expand_queries, power=how.power, distance=how.distance)
        if how.rerank:
            from jaxreid.evaluation.ordering import rerank  # SciPy is not imported by those who do not ask for it

            return rerank.rerank(
                queries, items, distance=how.distance, k1=how.k1, k2=how.k2, weight=how.weight, device=how.device
            )
        result = np.empty((len(queries), len(items)), np.promote_types(items.dtype, np.float32))
        for rows, distances in ranking.distance_blocks(queries, items, distance=how.distance):
            result[rows] = distances
        return result


def _spread(distances: np.ndarray, ranked: np.ndarray) -> protocols.Blocks:
    """Blocks of `distances` [Q, marks of `ranked`]; items that were left out (junk) come last."""

    def blocks(columns):
        at = np.where(ranked, ranked.cumsum() - 1, -1)[columns]
        for rows in ranking.blocks(len(distances)):
            block = distances[rows]
            if len(at) != block.shape[1] or (at < 0).any():
                block = np.where(at[None, :] < 0, np.finfo(block.dtype).max, block[:, at])
            yield rows, block

    return blocks
