"""Scores of parts of the queries, told apart by what is known of their tracklets: `Features.attributes`.

Texts make a stratum each. Numbers make one each where there are few, and bins otherwise: zero by itself where at least
a tenth has it, the others in three bins of about as many queries, whose ends the name of the stratum says. The gallery
is the same for all.
"""

import itertools
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from jaxreid.evaluation import feature_file, protocols, uncertainty

UNKNOWN = 'unknown'
_TEXTS = 12  # strata of a text; rarer ones are put together
_VALUES = 5  # different numbers that are not binned
_BINS = 3
_ZEROS = 0.1  # share of zeros from which on they are a stratum


class Stratum(TypedDict):
    """The score of a part of the queries, percent; of differences, percentage points.

    attribute, stratum: which. few: fewer than `uncertainty.FEW_QUERIES`. interval: ends of the 95 % intervals by
    measure, None where there is none.
    """

    attribute: str
    stratum: str
    queries: int
    few: bool
    mAP: float
    rank1: float
    interval: dict[str, list[float] | None]


def scores(
    files: Sequence[feature_file.Features],
    ranked: Sequence[protocols.Results],
    protocol: protocols.Protocol,
    *,
    minus: Sequence[protocols.Results] | None = None,
    seed: int = 0,
    resamples: int = uncertainty.RESAMPLES,
) -> list[Stratum]:
    """A score for every stratum of every attribute that all files have and that differs between queries.

    `minus`, the same queries ranked by something else, gives differences to it, paired. 0 `resamples`: no intervals.

    In the order of the names; of several files the mean over those that have such queries.
    """
    values = [_values(r, protocol) for r in ranked]
    if minus is not None:
        values = [ours - _values(theirs, protocol) for ours, theirs in zip(values, minus, strict=True)]
    counted = [r.answered | (protocol.unanswerable != 'skip') for r in ranked]
    names = set.intersection(*(set(file.attributes) for file in files))
    made = []
    for name in sorted(names):
        columns = [file.attributes[name][file.query][of] for file, of in zip(files, counted, strict=True)]
        strata = parts(np.concatenate(columns))
        if len(strata) < 2:
            continue
        ends = np.cumsum([len(column) for column in columns])[:-1]
        for stratum, members in strata:
            own = [v[m] for v, m in zip(values, np.split(members, ends), strict=True) if m.any()]
            mean = (100 * np.mean([v.mean(axis=0) for v in own], axis=0)).tolist()
            one = Stratum(
                attribute=name,
                stratum=stratum,
                queries=int(members.sum()),
                few=bool(members.sum() < uncertainty.FEW_QUERIES),
                mAP=mean[0],
                rank1=mean[1],
                interval={},
            )
            if resamples:
                intervals = uncertainty.intervals if minus is None else uncertainty.resampled_intervals
                drawn = uncertainty.percent(intervals(own, seed=seed, resamples=resamples))
                one['interval'] = {'mAP': drawn[0], 'rank1': drawn[1]}
            made.append(one)
    return made


def _values(ranked: protocols.Results, protocol: protocols.Protocol) -> np.ndarray:
    """[counted queries, 2] shares: average precision, and whether a match comes first."""
    return protocols.per_query(ranked, protocol)[:, [0, 2]]


def parts(column: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The strata of an attribute [Q], of texts or numbers, '' or NaN where nothing is known: names and members [Q]
    bool, that together are all of the queries; none of the members is empty.
    """
    texts = column.astype(str)
    known = feature_file.known(column)
    try:
        numbers = np.where(known, texts, 'nan').astype(float)
    except ValueError:
        strata = _of_texts(texts, known)
    else:
        strata = _of_numbers(numbers, known)
    if not known.all():
        strata.append((UNKNOWN, ~known))
    return [(name, members) for name, members in strata if members.any()]


def _of_texts(texts: np.ndarray, known: np.ndarray) -> list[tuple[str, np.ndarray]]:
    values, counts = np.unique(texts[known], return_counts=True)
    if len(values) <= _TEXTS:
        return [(value, texts == value) for value in values.tolist()]
    kept = np.sort(values[np.argsort(-counts, kind='stable')[: _TEXTS - 1]])
    rest = known & ~np.isin(texts, kept)
    return [*((value, texts == value) for value in kept.tolist()), (f'{len(values) - len(kept)} others', rest)]


def _of_numbers(numbers: np.ndarray, known: np.ndarray) -> list[tuple[str, np.ndarray]]:
    values = np.unique(numbers[known])
    if len(values) <= _VALUES:
        return [(f'{value:g}', numbers == value) for value in values.tolist()]
    zero = numbers == 0
    apart = zero.sum() >= _ZEROS * known.sum()
    rest = known & ~zero if apart else known
    cuts = np.quantile(numbers[rest], np.arange(1, _BINS) / _BINS)
    cuts = np.unique([float(f'{cut:.2g}') for cut in cuts])
    ends = [-np.inf, *cuts.tolist(), np.inf]
    binned = [(0.0, 'zero', zero)] if apart else []
    for low, high in itertools.pairwise(ends):
        members = rest & (numbers > low) & (numbers <= high)
        if members.any():
            first, last = numbers[members].min(), numbers[members].max()
            binned.append((first, f'{first:.3g} to {last:.3g}', members))
    return [('0' if name == 'zero' else name, members) for _, name, members in sorted(binned, key=lambda one: one[0])]


def table(strata: Sequence[Stratum], *, signed: bool = False) -> str:
    """Scores of strata as text, one a line; `signed` for differences. '' without any."""
    if not strata:
        return ''
    width = max(max(len(one['attribute']), 2 + len(one['stratum'])) for one in strata) + 2
    lines, sign = [], '+' if signed else ''
    for before, one in zip([None, *strata], strata, strict=False):
        if before is None or before['attribute'] != one['attribute']:
            columns = f'{"queries":>9}{"mAP":>8}{"95 %":>16}{"R-1":>8}{"95 %":>16}' if before is None else ''
            lines.append(f'{one["attribute"]:<{width}}{columns}'.rstrip())
        cells = ''
        for name in ('mAP', 'rank1'):
            ends = one['interval'].get(name)
            shown = f'[{ends[0]:{sign}.1f}, {ends[1]:{sign}.1f}]' if ends else 'none' * bool(one['interval'])
            cells += f'{one[name]:{sign}8.2f}{shown:>16}'
        few = '  few queries' if one['few'] else ''
        lines.append(f'{"  " + one["stratum"]:<{width}}{one["queries"]:>9}{cells}{few}'.rstrip())
    return '\n'.join(lines)
