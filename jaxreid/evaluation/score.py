"""`python -m jaxreid.evaluation.score FEATURES.npz`: one feature file, from any framework, under every published rule.

Needs NumPy alone (SciPy for --rerank, JAX for --device). docs/protocols.md says what a feature file holds.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid import config
from jaxreid.evaluation import bootstrap, expansion, feature_file, protocols, ranking, sanity
from jaxreid.process import exit_status, whole

_HELD = 2**30  # bytes of distances that are computed once for all rules


@dataclasses.dataclass(frozen=True)
class Search:
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

    def describe(self) -> dict[str, str]:
        """What results say of it."""
        counts = ('queries', self.expand_queries), ('gallery', self.augment_gallery)
        means = ', '.join(f'{what} with {count}' for what, count in counts if count)
        k_reciprocal = f'k-reciprocal, k1 {self.k1}, k2 {self.k2}, lambda {self.weight:g}'
        return {
            're_ranking': k_reciprocal if self.rerank else 'none',
            'expansion': f'{means} neighbours, power {self.power:g}' if means else 'none',
        }

    def label(self, name: str, neck: str) -> str:
        """The name of a rule, and what else its score depends on that is not as usual."""
        said = self.describe()
        parts = (
            '' if self.distance == 'cosine' or 'distance=' in name else f'{self.distance} distance',
            '' if neck == 'after' else f'features {neck} the neck',
            '' if said['re_ranking'] == 'none' else f're-ranked, {said["re_ranking"]}',
            '' if said['expansion'] == 'none' else f'expanded, {said["expansion"]}',
        )
        return '; '.join(filter(None, (name, *parts)))


@dataclasses.dataclass(frozen=True)
class Rule:
    """A row of the table."""

    protocol: protocols.Protocol
    distance: str
    per_frame_cameras: bool = False  # a published mistake, see `misaligned`


class Distances:
    """Distances of one file's queries to its gallery, kept between rules where they take less than `_HELD` bytes."""

    def __init__(self, found: feature_file.Features, search: Search) -> None:
        self._found, self._search = found, search
        self._kept: tuple[bytes, np.ndarray] = b'', np.zeros(0)

    def blocks(self, protocol: protocols.Protocol) -> protocols.Blocks:
        """What `protocols.rank_blocks` takes. Refined distances are made of the items that the protocol ranks."""
        found, search = self._found, self._search
        refined = search.rerank or search.expand_queries or search.augment_gallery
        if refined:
            ranked = protocols.ranked_gallery(found.pid, found.query, found.gallery, protocol)
        else:
            ranked = found.gallery
        size = 4 * int(found.query.sum()) * int(ranked.sum())
        if not refined and size > _HELD:
            return protocols.of_features(found.embedding, found.query, search.distance)
        if self._kept[0] != ranked.tobytes():
            self._kept = ranked.tobytes(), self._compute(ranked)
        return _spread(self._kept[1], ranked)

    def _compute(self, ranked: np.ndarray) -> np.ndarray:
        """[queries, marks of `ranked`]."""
        search, embedding = self._search, self._found.embedding
        queries, items = embedding[self._found.query], embedding if ranked.all() else embedding[ranked]
        how: dict[str, Any] = {'distance': search.distance}
        if search.augment_gallery:
            items = expansion.expand(items, items, count=search.augment_gallery, power=search.power, **how)
        if search.expand_queries:
            queries = expansion.expand(queries, items, count=search.expand_queries, power=search.power, **how)
        if search.rerank:
            from jaxreid.evaluation import rerank  # SciPy is not imported by those who do not ask for it

            how |= {'k1': search.k1, 'k2': search.k2, 'weight': search.weight, 'device': search.device}
            return rerank.rerank(queries, items, **how)
        result = np.empty((len(queries), len(items)), np.promote_types(items.dtype, np.float32))
        for rows, distances in ranking.distance_blocks(queries, items, **how):
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


def misaligned(found: feature_file.Features) -> feature_file.Features:
    """Cameras as two published test loops pair them with tracklets: listed once per frame, read once per tracklet.

    AishahAADU/VID-Trans-ReID and JinSeong0115/KeyRe-ID, read as code; their numbers are not comparable with others.
    """
    camera = found.camera.copy()
    rest = found.gallery & ~found.query & (found.pid != protocols.JUNK_ID)
    for rows in (found.query, rest):
        owner = np.searchsorted(np.cumsum(found.frames[rows]), np.arange(rows.sum()), side='right')
        camera[rows] = found.camera[rows][owner]
    return dataclasses.replace(found, camera=camera)


def every_rule(files: Sequence[feature_file.Features], distance: str) -> list[Rule]:
    """The named protocols, then rules that differ from one of them in one point, as far as `files` allow."""
    rows = [Rule(protocols.named(name), distance) for name in config.PROTOCOLS]

    def vary(name: str, **changed: Any) -> Rule:
        return Rule(changed_protocol(protocols.named(name), changed), distance)

    other = 'euclidean' if distance == 'cosine' else 'cosine'
    by_other = dataclasses.replace(protocols.named('mars-paper'), name=f'mars-paper with distance={other}')
    longest = int(files[0].gallery.sum())
    rows += [
        vary('mars-paper', ap='sklearn_pr'),
        vary('torchreid', unanswerable='zero'),
        vary('mars-paper', distractors='drop'),
        vary('torchreid', distractors='drop'),
        vary('mars-paper', junk='negatives'),
        vary('mars-paper', same_camera='keep'),
        vary('torchreid', same_camera='keep'),
        vary('mars-paper', cmc='single_shot'),
        *(vary('mars-paper', rank_cut=cut) for cut in (50, 1000) if cut < longest),
        Rule(by_other, other),
    ]
    if all(found.frames.min() > 0 and not (found.query & ~found.gallery).any() for found in files):
        name = 'torchreid, cameras listed per frame (a published mistake)'
        rows.append(Rule(dataclasses.replace(protocols.named('torchreid'), name=name), distance, True))
    return rows


def changed_protocol(protocol: protocols.Protocol, changed: dict[str, Any]) -> protocols.Protocol:
    """A protocol with some rules changed, which its name then says."""
    said = ', '.join(f'{k}={v}' for k, v in changed.items() if getattr(protocol, k) != v)
    return dataclasses.replace(protocol, **changed, name=protocol.name + (f' with {said}' if said else ''))


def rank(found: feature_file.Features, rule: Rule, distances: Distances) -> protocols.Results:
    """Every query of one file under one rule."""
    if rule.per_frame_cameras:
        found = misaligned(found)
    roles = found.pid, found.camera, found.query, found.gallery, rule.protocol
    protocols.check_rows(*roles)
    return protocols.rank_blocks(distances.blocks(rule.protocol), *roles)


def score(
    files: Sequence[feature_file.Features],
    rule: Rule,
    distances: Sequence[Distances],
    search: Search,
    *,
    seed: int = 0,
    resamples: int = bootstrap.RESAMPLES,
) -> tuple[dict[str, Any], list[protocols.Results]]:
    """The score of one rule, averaged over files (splits), and its queries.

    Args:
      files: splits.
      rule: of the score.
      distances: of each file, made by `search`.
      search: described in the score.
      seed, resamples: of the bootstrap; 0 resamples: no intervals.

    Returns:
      {'mAP', 'mINP', 'cmc', 'protocol', 'interval': ends of the 95 % intervals by measure, and, of several files,
      'spread': standard deviations over them, 'splits': their scores}, percent; counts of several files are lists.

    Raises:
      ValueError: as `protocols.score`.
    """
    ranked = [rank(found, rule, d) for found, d in zip(files, distances, strict=True)]
    rows: list[Any] = [
        protocols.summarize(r, f.pid, f.query, f.gallery, rule.protocol, distance=rule.distance)
        for r, f in zip(ranked, files, strict=True)
    ]
    numbers = np.array([_numbers(row) for row in rows])  # [files, measures]
    counts = ('answered_queries', 'unanswered_queries', 'gallery_size', 'queries_in_gallery')
    result = _by_name(numbers.mean(axis=0).tolist()) | {'protocol': rows[0]['protocol'] | search.describe()}
    if len(files) > 1:
        result['protocol'] |= {k: [row['protocol'][k] for row in rows] for k in counts}
        result |= {
            'spread': _by_name(numbers.std(axis=0, ddof=1).tolist()),
            'splits': [_by_name(n.tolist()) for n in numbers],
        }
    if resamples:
        values = [protocols.per_query(r, rule.protocol) for r in ranked]
        ends = 100 * bootstrap.intervals(values, seed=seed, resamples=resamples)
        result['interval'] = _by_name(ends.tolist())
    return result, ranked


def difference(
    ours: Sequence[protocols.Results],
    theirs: Sequence[protocols.Results],
    protocol: protocols.Protocol,
    *,
    seed: int = 0,
    resamples: int = bootstrap.RESAMPLES,
) -> dict[str, Any]:
    """{'difference', 'interval', 'p_value'} by measure: the second minus the first, in percentage points, by paired
    bootstrap: both are drawn the same queries. Queries must be in the same order, see `aligned`."""
    pairs = [
        100 * (protocols.per_query(b, protocol) - protocols.per_query(a, protocol))
        for a, b in zip(ours, theirs, strict=True)
    ]
    drawn: dict[str, Any] = {'seed': seed, 'resamples': resamples}
    return {
        'difference': _by_name(np.mean([p.mean(axis=0) for p in pairs], axis=0).tolist()),
        'interval': _by_name(bootstrap.intervals(pairs, **drawn).tolist()),
        'p_value': _by_name(bootstrap.chance_of_no_gain(pairs, **drawn).tolist()),
    }


def aligned(found: feature_file.Features, other: feature_file.Features) -> feature_file.Features:
    """`other` with its rows in the order of `found`.

    Raises:
      ValueError: they are not the same tracklets with the same ids, cameras and roles.
    """
    keys = [
        list(zip(*(getattr(f, k).tolist() for k in ('name', 'pid', 'camera', 'query', 'gallery'))))
        for f in (found, other)
    ]
    at = {key: i for i, key in enumerate(keys[1])}
    if len(at) == len(keys[1]) == len(keys[0]) and set(keys[0]) == at.keys():
        order = np.array([at[key] for key in keys[0]])
        moved = {k.name: getattr(other, k.name) for k in dataclasses.fields(other) if k.name != 'meta'}
        return dataclasses.replace(other, **{k: v[order] for k, v in moved.items() if v is not None})
    if [k[1:] for k in keys[0]] != [k[1:] for k in keys[1]]:
        raise ValueError(
            f'The files to be compared hold other tracklets: {len(keys[0])} and {len(keys[1])} rows whose names, ids, '
            'cameras or roles differ. Extract both from the same test split.'
        )
    return other


def _numbers(row: dict[str, Any]) -> list[float]:
    return [row['mAP'], row['mINP'], *row['cmc'].values()]


def _by_name(values: Sequence[Any]) -> dict[str, Any]:
    return {
        'mAP': values[0], 'mINP': values[1], 'cmc': {str(k): v for k, v in zip(protocols.CMC_RANKS, values[2:])},
    }  # fmt: skip


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Scores as text, one rule a line."""
    rows = {row.get('protocol', {}).get('label', name): row for name, row in rows.items()}
    width = max(len(name) for name in rows) + 2
    several = any('spread' in row for row in rows.values())
    lines = [
        f'{"":<{width}}{"mAP":>7}{"95 %":>16}{"R-1":>9}{"95 %":>16}{"R-5":>9}{"R-10":>8}{"R-20":>8}{"mINP":>8}'
        f'{"queries":>9}{"gallery":>9}' + ('   spread of mAP, R-1' if several else '')
    ]
    for name, row in rows.items():
        if 'refused' in row:
            lines.append(f'{name:<{width}}{row["refused"]}')
            continue
        cmc, interval, p = row['cmc'], row.get('interval'), row['protocol']
        ends = (interval['mAP'], interval['cmc']['1']) if interval else (None, None)
        line = f'{name:<{width}}{row["mAP"]:7.2f}{_ends(ends[0])}{cmc["1"]:9.2f}{_ends(ends[1])}{cmc["5"]:9.2f}'
        counts = [np.sum(p['answered_queries']), np.mean(p['gallery_size'])]
        if p['unanswerable'] == 'zero':
            counts[0] += np.sum(p['unanswered_queries'])
        line += f'{cmc["10"]:8.2f}{cmc["20"]:8.2f}{row["mINP"]:8.2f}{int(counts[0]):9d}{round(counts[1]):9d}'
        if 'spread' in row:
            line += f'   {row["spread"]["mAP"]:.2f}, {row["spread"]["cmc"]["1"]:.2f}'
        lines.append(line)
    return '\n'.join(lines)


def _ends(ends: Sequence[float] | None) -> str:
    return f'{f"[{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "":>16}'


def difference_table(rows: dict[str, dict[str, Any]]) -> str:
    """Differences as text, one rule a line."""
    rows = {row.get('protocol', {}).get('label', name): row for name, row in rows.items()}
    width = max(len(name) for name in rows) + 2
    lines = [f'{"":<{width}}{"mAP":>8}{"95 %":>16}{"p":>8}{"R-1":>9}{"95 %":>16}{"p":>8}']
    for name, row in rows.items():
        if 'against' in row:
            d, i, p = (row['against'][k] for k in ('difference', 'interval', 'p_value'))
            cells = ((d['mAP'], i['mAP'], p['mAP']), (d['cmc']['1'], i['cmc']['1'], p['cmc']['1']))
            lines.append(f'{name:<{width}}' + ' '.join(f'{x:+8.2f}{_ends(e)}{q:8.3f}' for x, e, q in cells))
    return '\n'.join(lines)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m jaxreid.evaluation.score',
        description='Scores features of a re-identification network under published rules; docs/protocols.md explains.',
    )
    add = parser.add_argument
    add('features', nargs='+', help='.npz files; several (splits) are averaged')
    add(
        '--protocol',
        action='append',
        choices=(*config.PROTOCOLS, 'all'),
        metavar='NAME|all',
        help=f'one of {", ".join(config.PROTOCOLS)}, or all; may be repeated; default: as the file says, or mars-paper',
    )
    add('--neck', choices=feature_file.NECKS, default='after', help='features after or before the neck')
    add('--distance', choices=ranking.DISTANCES, help='default: what the file says, else cosine')
    rules = parser.add_argument_group('rules that are changed on top of a named protocol')
    rules.add_argument('--ap', choices=ranking.AP_RULES)
    rules.add_argument('--gallery', choices=('with_queries', 'without_queries'))
    rules.add_argument('--distractors', choices=('keep', 'drop'))
    rules.add_argument('--junk', choices=('drop', 'negatives'))
    rules.add_argument('--unanswerable', choices=('skip', 'zero'))
    rules.add_argument('--same-camera', choices=('drop', 'keep'))
    rules.add_argument('--cmc', choices=('per_query', 'single_shot'))
    rules.add_argument('--rank-cut', type=_cut, metavar='N|none')
    refine = parser.add_argument_group('refined distances')
    refine.add_argument('--rerank', action='store_true', help='k-reciprocal re-ranking')
    refine.add_argument('--k1', type=int, default=20)
    refine.add_argument('--k2', type=int, default=6)
    refine.add_argument('--lambda', type=float, default=0.3, dest='weight', help='weight of the original distance')
    refine.add_argument('--device', action='store_true', help="re-rank on JAX's default device")
    refine.add_argument('--expand-queries', type=int, default=0, metavar='K', help='average query expansion')
    refine.add_argument('--augment-gallery', type=int, default=0, metavar='K', help='database-side augmentation')
    refine.add_argument('--power', type=float, default=0.0, help='neighbours in averages weigh cosine^POWER')
    add('--against', nargs='+', default=[], metavar='OTHER.npz', help='paired bootstrap: OTHER minus FEATURES')
    add('--resamples', type=int, default=bootstrap.RESAMPLES, help='of the bootstrap over queries; 0: no intervals')
    add('--seed', type=int, default=0, help='of the bootstrap and of single_shot')
    add('--json', type=pathlib.Path, metavar='OUT', help='write the scores, in percent')
    return parser.parse_args(argv)  # fmt: skip


def _cut(text: str) -> int | str:
    return 'none' if text == 'none' else int(text)


def rules_of(options: argparse.Namespace, files: Sequence[feature_file.Features], distance: str) -> list[Rule]:
    """The rows that were asked for.

    Raises:
      ValueError: rules that cannot be together, or changes to `all`.
    """
    said = feature_file.setting(files[0].meta, 'test', 'protocols', config.PROTOCOLS, 'mars-paper')
    changed = {
        k: getattr(options, k)
        for k in ('ap', 'gallery', 'distractors', 'junk', 'unanswerable', 'same_camera', 'cmc')
        if getattr(options, k)
    }
    if options.rank_cut is not None:
        changed['rank_cut'] = None if options.rank_cut == 'none' else options.rank_cut
    names = options.protocol or [said]
    if 'all' in names and changed:
        flags = ', '.join(f'--{k.replace("_", "-")}' for k in changed)
        raise ValueError(
            f'--protocol all lists the rules as they are published and changes one of them at a time; {flags} would '
            f'change every row. Name the protocols to be changed: --protocol mars-paper --protocol torchreid '
            f'{flags} ...'
        )
    rows: dict[str, Rule] = {}
    for name in names:
        for rule in every_rule(files, distance) if name == 'all' else [Rule(protocols.named(name), distance)]:
            protocol = changed_protocol(dataclasses.replace(rule.protocol, cmc_seed=options.seed), changed)
            rows[protocol.name] = dataclasses.replace(rule, protocol=protocol)
    return list(rows.values())


def run(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Scores by the name of their rule; prints them."""
    if options.against and len(options.against) != len(options.features):
        raise ValueError(
            f'--against names {len(options.against)} files for {len(options.features)} feature files; name one each.'
        )
    for flag in ('resamples', 'expand_queries', 'augment_gallery', 'seed'):
        if getattr(options, flag) < 0:
            raise ValueError(f'--{flag.replace("_", "-")} is {getattr(options, flag)}; it cannot be negative.')
    files = [feature_file.load(path, neck=options.neck) for path in options.features]
    others = [aligned(f, feature_file.load(p, neck=options.neck)) for f, p in zip(files, options.against)]
    distance = options.distance or feature_file.setting(files[0].meta, 'test', 'distance', ranking.DISTANCES, 'cosine')
    rules = rules_of(options, [*files, *others], distance)
    distances = list(dict.fromkeys(rule.distance for rule in rules))
    for path, found in zip([*options.features, *options.against], files + others, strict=True):
        print(_plain(f'{path}: {facts(found)}'))
        for warning in sanity.warnings(found, distances=distances):
            print(_plain(f'  warning: {warning}'))

    results: dict[str, dict[str, Any]] = {}
    for distance in distances:  # one matrix of distances at a time
        search = Search(distance, options.rerank, options.k1, options.k2, options.weight, options.device,
                        options.expand_queries, options.augment_gallery, options.power)  # fmt: skip
        made = [[Distances(f, search) for f in some] for some in (files, others)]
        drawn = {'seed': options.seed, 'resamples': options.resamples}
        for rule in (rule for rule in rules if rule.distance == distance):
            name = rule.protocol.name
            try:
                row, ranked = score(files, rule, made[0], search, **drawn)
                theirs = [rank(f, rule, d) for f, d in zip(others, made[1], strict=True)]
            except ValueError as e:
                if len(rules) == 1:
                    raise
                row = {'refused': str(e)}
            else:
                label = search.label(name, options.neck)
                row['protocol'] |= {'label': label, 'feature': f'{options.neck} neck'} | _origin(files[0])
                if others:
                    row['against'] = difference(ranked, theirs, rule.protocol, **drawn)
            results[name] = row
    print(f'\n{distances_used(results)}\n{table(results)}')
    if others:
        print(f'\n{", ".join(options.against)} minus {", ".join(options.features)}\n{difference_table(results)}')
    return results


def facts(found: feature_file.Features) -> str:
    """What a file holds, in a line."""
    junk, distractors = (found.pid == i for i in (protocols.JUNK_ID, protocols.DISTRACTOR_ID))
    origin = _origin(found)
    frames = f'{found.frames.sum():,} frames' if found.frames.min() > 0 else 'frames unknown'
    return (
        f'{len(found.pid)} tracklets, {found.embedding.shape[1]}-d; {found.query.sum()} queries, {found.gallery.sum()} '
        f'gallery ({junk.sum()} junk, {distractors.sum()} distractors, {(found.query & found.gallery).sum()} queries), '
        f'{len(np.unique(found.camera))} cameras, {frames}; data set {origin["dataset"]}, clips {origin["clips"]}, '
        f'flip {origin["flip"]}, step {origin["step"]}'
    )


def _plain(text: str) -> str:
    """Text without what steers a terminal: names are anybody's."""
    return ''.join(c if c.isprintable() else '\N{REPLACEMENT CHARACTER}' for c in text)


def _origin(found: feature_file.Features) -> dict[str, Any]:
    return {k: found.meta.get(k, 'unknown') for k in ('dataset', 'clips', 'flip', 'step', 'frames_seen')}


def distances_used(rows: dict[str, dict[str, Any]]) -> str:
    """How features were compared, which the table does not say of each row."""
    p = next((row['protocol'] for row in rows.values() if 'protocol' in row), None)
    if p is None:
        return ''
    return f'{p["distance"]} distance, re-ranking {p["re_ranking"]}, expansion {p["expansion"]}, feature {p["feature"]}'


def main(argv: Sequence[str] | None = None) -> int:
    """Parses, scores, writes; returns the exit status."""
    options = read_arguments(argv)

    def act() -> None:
        results = run(options)
        if options.json:
            kept = {name: row for name, row in results.items() if 'refused' not in row}
            with whole.file(options.json) as file:
                file.write(json.dumps(kept, indent=1).encode() + b'\n')

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(main())
