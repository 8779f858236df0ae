"""Scores of feature files under one rule with their uncertainty, the difference between two networks, and tables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Generic, NotRequired, TypedDict, TypeVar, cast

import numpy as np

from jaxreid.evaluation import feature_file, protocols, refinement, rules, uncertainty
from jaxreid.evaluation import strata as strata_lib

T = TypeVar('T')


class ByMeasure(TypedDict, Generic[T]):
    """Something of every measure; `cmc` by rank: '1', '5', '10', '20'."""

    mAP: T
    mINP: T
    cmc: dict[str, T]


class Difference(TypedDict):
    """The second file minus the first in percentage points, ends of its 95 % interval, and the p-value."""

    difference: ByMeasure[float]
    interval: ByMeasure[list[float]]
    p_value: ByMeasure[float]
    strata: NotRequired[list[strata_lib.Stratum]]


class RuleScore(protocols.Score):
    """What `python -m jaxreid.evaluation.score --json` writes of a rule.

    interval: ends of the 95 % intervals, None where there is none: see `uncertainty.intervals`. Of several files:
    `spread`, standard deviations over them, and their scores as `splits`. strata: of the first rule alone. against: of
    another network.
    """

    interval: NotRequired[ByMeasure[list[float] | None]]
    spread: NotRequired[ByMeasure[float]]
    splits: NotRequired[list[ByMeasure[float]]]
    strata: NotRequired[list[strata_lib.Stratum]]
    against: NotRequired[Difference]


def score(
    files: Sequence[feature_file.Features],
    rule: rules.Rule,
    distances: Sequence[refinement.Distances],
    refined: refinement.Refinement,
    *,
    seed: int = 0,
    resamples: int = uncertainty.RESAMPLES,
) -> tuple[RuleScore, list[protocols.Results]]:
    """The score of one rule, averaged over files (splits), and its queries.

    `distances` are of each file, made by `refined`, which the score describes. 0 `resamples`: no intervals.

    Raises:
      ValueError: as `protocols.score`.
    """
    ranked = [rules.rank(file, rule, of_file) for file, of_file in zip(files, distances, strict=True)]
    scores = [
        protocols.summarize(r, f, rule.protocol, distance=rule.distance) for r, f in zip(ranked, files, strict=True)
    ]
    numbers = np.array([[one['mAP'], one['mINP'], *one['cmc'].values()] for one in scores])  # [files, measures]
    described: protocols.Description = {**scores[0]['protocol'], **refined.describe()}
    people = max(one['asked_people'] for one in scores)
    result = RuleScore(protocol=described, **_by_measure(numbers.mean(axis=0).tolist()), asked_people=people)
    if len(files) > 1:
        described['answered_queries'] = [one['protocol']['answered_queries'] for one in scores]
        described['unanswered_queries'] = [one['protocol']['unanswered_queries'] for one in scores]
        described['gallery_size'] = [one['protocol']['gallery_size'] for one in scores]
        described['queries_in_gallery'] = [one['protocol']['queries_in_gallery'] for one in scores]
        result['spread'] = _by_measure(numbers.std(axis=0, ddof=1).tolist())
        result['splits'] = [_by_measure(n.tolist()) for n in numbers]
    if warnings := refined.warnings(min(cast(int, one['protocol']['gallery_size']) for one in scores)):
        result['warnings'] = warnings
    if resamples:
        values = [protocols.per_query(r, rule.protocol) for r in ranked]
        ends = uncertainty.intervals(values, seed=seed, resamples=resamples)
        result['interval'] = _by_measure(uncertainty.percent(ends))
    return result, ranked


def difference(
    ours: Sequence[protocols.Results],
    theirs: Sequence[protocols.Results],
    protocol: protocols.Protocol,
    *,
    seed: int = 0,
    resamples: int = uncertainty.RESAMPLES,
) -> Difference:
    """The second minus the first by paired bootstrap: both are drawn the same queries, in the order of `aligned`."""
    pairs = [
        100 * (protocols.per_query(b, protocol) - protocols.per_query(a, protocol))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return {
        'difference': _by_measure(np.mean([p.mean(axis=0) for p in pairs], axis=0).tolist()),
        'interval': _by_measure(uncertainty.resampled_intervals(pairs, seed=seed, resamples=resamples).tolist()),
        'p_value': _by_measure(uncertainty.chance_of_no_gain(pairs, seed=seed, resamples=resamples).tolist()),
    }


def aligned(features: feature_file.Features, other: feature_file.Features) -> feature_file.Features:
    """`other` with its rows in the order of `features`.

    Raises:
      ValueError: they are not the same tracklets with the same ids, cameras and roles.
    """
    keys = [
        list(zip(*(getattr(f, k).tolist() for k in ('name', 'pid', 'camera', 'query', 'gallery'))))
        for f in (features, other)
    ]
    at = {key: i for i, key in enumerate(keys[1])}
    if len(at) == len(keys[1]) == len(keys[0]) and set(keys[0]) == at.keys():
        order = np.array([at[key] for key in keys[0]])
        moved = {k.name: getattr(other, k.name) for k in dataclasses.fields(other)}
        moved |= {'attributes': {name: column[order] for name, column in moved.pop('attributes').items()}}
        rows = {k: v[order] for k, v in moved.items() if isinstance(v, np.ndarray)}
        return dataclasses.replace(other, **(moved | rows))
    if [k[1:] for k in keys[0]] != [k[1:] for k in keys[1]]:
        raise ValueError(
            f'The files to be compared hold other tracklets: {len(keys[0])} and {len(keys[1])} rows whose names, ids, '
            'cameras or roles differ. Extract both from the same test split.'
        )
    return other


def _by_measure(values: Sequence[T]) -> ByMeasure[T]:
    return {'mAP': values[0], 'mINP': values[1], 'cmc': {str(k): v for k, v in zip(protocols.CMC_RANKS, values[2:])}}


def table(scores: Mapping[str, RuleScore | str]) -> str:
    """Scores by the names of their rules as text, one a line; a text is why there is none."""
    width = max(len(_label(name, score)) for name, score in scores.items()) + 2
    several = any('spread' in score for score in scores.values() if not isinstance(score, str))
    lines = [
        f'{"":<{width}}{"mAP":>7}{"95 %":>16}{"R-1":>9}{"95 %":>16}{"R-5":>9}{"R-10":>8}{"R-20":>8}{"mINP":>8}'
        f'{"queries":>9}{"gallery":>9}' + ('   spread of mAP, R-1' if several else '')
    ]
    few: dict[str, None] = {}
    for name, score in scores.items():
        label = f'{_label(name, score):<{width}}'
        if isinstance(score, str):
            lines.append(label + score)
            continue
        cmc, interval, p = score['cmc'], score.get('interval'), score['protocol']
        ends = [_ends(of) for of in (interval['mAP'], interval['cmc']['1'])] if interval else [' ' * 16] * 2
        line = f'{label}{score["mAP"]:7.2f}{ends[0]}{cmc["1"]:9.2f}{ends[1]}{cmc["5"]:9.2f}'
        counts = [np.sum(p['answered_queries']), np.mean(p['gallery_size'])]
        if p['unanswerable'] == 'zero':
            counts[0] += np.sum(p['unanswered_queries'])
        line += f'{cmc["10"]:8.2f}{cmc["20"]:8.2f}{score["mINP"]:8.2f}{int(counts[0]):9d}{round(counts[1]):9d}'
        if 'spread' in score:
            line += f'   {score["spread"]["mAP"]:.2f}, {score["spread"]["cmc"]["1"]:.2f}'
        lines.append(line)
        few |= {uncertainty.sentence(score): None}
    return '\n'.join([*lines, *filter(None, few)])


def strata_table(scores: Mapping[str, RuleScore | str]) -> str:
    """Scores of parts of the queries as text, and under each rule's the differences to another network."""
    texts = []
    for name, score in scores.items():
        if isinstance(score, str):
            continue
        for strata, signed in ((score.get('strata'), False), (score.get('against', {}).get('strata'), True)):
            if strata:
                what = ', differences' if signed else ''
                text = strata_lib.table(strata, signed=signed)
                texts.append(f'{_label(name, score)}, by what is known of the queries{what}\n{text}')
    return '\n\n'.join(texts)


def difference_table(scores: Mapping[str, RuleScore | str]) -> str:
    """Differences as text, one rule a line."""
    width = max(len(_label(name, score)) for name, score in scores.items()) + 2
    lines = [f'{"":<{width}}{"mAP":>8}{"95 %":>16}{"p":>8}{"R-1":>9}{"95 %":>16}{"p":>8}']
    for name, score in scores.items():
        if not isinstance(score, str) and 'against' in score:
            d, i, p = score['against']['difference'], score['against']['interval'], score['against']['p_value']
            cells = ((d['mAP'], i['mAP'], p['mAP']), (d['cmc']['1'], i['cmc']['1'], p['cmc']['1']))
            numbers = ' '.join(f'{x:+8.2f}{_ends(e)}{q:8.3f}' for x, e, q in cells)
            lines.append(f'{_label(name, score):<{width}}{numbers}')
    return '\n'.join(lines)


def _label(name: str, score: RuleScore | str) -> str:
    return name if isinstance(score, str) else score['protocol'].get('label', name)


def _ends(ends: Sequence[float] | None) -> str:
    return f'{f"[{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "none":>16}'
