"""All that a report says about features under one protocol, in arrays."""

import dataclasses

import numpy as np
import tqdm

from jaxreid.evaluation import calibration, feature_file, protocols, strata, uncertainty
from jaxreid.evaluation.ordering import ranking
from jaxreid.evaluation.report import outfits, ranked_lists

CAMERAS = 24  # of the table of pairs, those with most tracklets
PAIRS_AT_ONCE = 1 << 22  # query-gallery pairs whose distances are held at once


@dataclasses.dataclass(frozen=True)
class Analysis:
    """All that a report says about features under one protocol; positions of queries and columns of the gallery."""

    score: protocols.Score
    intervals: np.ndarray  # [2 + ranks of CMC, 2] ends of the 95 % intervals of mAP, mINP and CMC, percent; NaN: none
    by_matches: list[strata.Stratum]  # by what the matches of a query wear
    strata: list[strata.Stratum]
    outfits: list[protocols.Score]  # under the rules about outfits; none where they are not known
    queries: np.ndarray  # [Q] rows of the features
    gallery: np.ndarray  # [G] rows of the features, junk included where it is taken out of the rankings
    ranked: protocols.Results
    lists: ranked_lists.Lists
    cameras: np.ndarray  # [C], of the table of pairs
    pairs: ranked_lists.CameraPairs
    similarities: calibration.Similarities
    calibration: calibration.Calibration
    confusions: list[ranked_lists.Confusion]


def analyse(features: feature_file.Features, protocol: protocols.Protocol, *, distance: str, top: int = 10) -> Analysis:
    """Ranks the gallery for every query, a block at a time.

    Raises:
      ValueError: as `protocols.score`.
    """
    ranked = protocols.rank_queries(features, protocol, distance=distance)
    score = protocols.summarize(ranked, features, protocol, distance=distance)
    queries = np.flatnonzero(features.query)
    with_junk = dataclasses.replace(protocol, junk='negatives')
    gallery = np.flatnonzero(protocols.ranked_gallery(features, with_junk))
    junk = (features.pid[gallery] == protocols.JUNK_ID) & (protocol.junk == 'drop')
    numbers, tracklets = np.unique(features.camera[np.concatenate([queries, gallery])], return_counts=True)
    cameras = np.sort(numbers[np.argsort(-tracklets, kind='stable')[:CAMERAS]])
    low, high = calibration.bounds(features.embedding[np.concatenate([queries, gallery])], distance)
    marked = np.isin(np.arange(len(features.pid)), gallery)
    lists, pairs, similarities = [], [], []
    embeddings = features.embedding[queries], features.embedding[gallery]
    block = max(1, min(ranking.BLOCK, PAIRS_AT_ONCE // len(gallery)))
    for rows, distances in tqdm.tqdm(
        ranking.distance_blocks(*embeddings, distance=distance, block=block),
        total=-(-len(queries) // block),
        desc='rankings',
        unit='block',
        leave=False,
    ):
        of = (
            distances,
            features.pid[queries[rows]],
            features.camera[queries[rows]],
            features.pid[gallery],
            features.camera[gallery],
        )
        out = {'ignored': junk, 'left_out': protocols.left_out(features, protocol, queries[rows], marked)}
        lists.append(ranked_lists.nearest(*of, top=top, distractor=protocols.DISTRACTOR_ID, **out))
        pairs.append(ranked_lists.camera_pairs(*of, cameras=cameras, ap=protocol.ap, **out))
        similarities.append(calibration.collect(*of, low=low, high=high, **out))
    joined = ranked_lists.join(lists)
    collected = calibration.join(similarities)
    first = np.argmax(joined.rank == 1, axis=1)[:, None]
    first_item = np.take_along_axis(joined.item, first, 1)[:, 0]
    return Analysis(
        score=score,
        intervals=100 * uncertainty.intervals([protocols.per_query(ranked, protocol)], seed=0),
        strata=strata.scores([features], [ranked], protocol),
        outfits=outfits.scores(features, distance=distance),
        by_matches=strata.scores([outfits.of_matches(features)], [ranked], protocol),
        queries=queries,
        gallery=gallery,
        ranked=ranked,
        lists=joined,
        cameras=cameras,
        pairs=ranked_lists.add_pairs(pairs),
        similarities=collected,
        calibration=calibration.calibrate(collected),
        confusions=ranked_lists.confusions(
            features.pid[queries], features.pid[gallery[first_item]], np.take_along_axis(joined.mark, first, 1)[:, 0]
        ),
    )
