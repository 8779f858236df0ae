"""`python -m jaxreid.evaluation.score FEATURES.npz`: one feature file, from any framework, under every published rule.

Needs NumPy alone (SciPy for --rerank, JAX for --device). docs/protocols.md says what a feature file holds.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import cast

import numpy as np

from jaxreid import config
from jaxreid.evaluation import feature_file, protocols, refinement, rule_scores, rules, sanity, strata, uncertainty
from jaxreid.evaluation.ordering import ranking
from jaxreid.process import atomic, commands, exit_status

Scores = dict[str, rule_scores.RuleScore | str]  # by the name of the rule; a text is why there is none


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = commands.parser('score', __doc__)
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
    changes = parser.add_argument_group('rules that are changed on top of a named protocol')
    changes.add_argument('--ap', choices=ranking.AP_RULES)
    changes.add_argument('--gallery', choices=('with_queries', 'without_queries'))
    changes.add_argument('--distractors', choices=('keep', 'drop'))
    changes.add_argument('--junk', choices=('drop', 'negatives'))
    changes.add_argument('--unanswerable', choices=('skip', 'zero'))
    changes.add_argument('--same-camera', choices=protocols.SAME_CAMERA)
    changes.add_argument('--outfits', choices=protocols.OUTFITS)
    changes.add_argument('--gap-frames', type=int, metavar='N', help='of reassociation')
    changes.add_argument('--query-stride', type=int, metavar='N', help='of reassociation')
    changes.add_argument('--cmc', choices=('per_query', 'single_shot'))
    changes.add_argument('--rank-cut', type=_cut, metavar='N|none')
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
    add('--resamples', type=int, default=uncertainty.RESAMPLES, help='of the bootstrap over queries; 0: no intervals')
    add('--seed', type=int, default=0, help='of the bootstrap and of single_shot')
    add('--json', type=pathlib.Path, metavar='OUT', help='write the scores, in percent')
    return parser.parse_args(argv)  # fmt: skip


def _cut(text: str) -> int | str:
    return 'none' if text == 'none' else int(text)


def rules_of(options: argparse.Namespace, files: Sequence[feature_file.Features], distance: str) -> list[rules.Rule]:
    """The rows that were asked for. Raises ValueError: rules that cannot be together, or changes to `all`."""
    said = feature_file.setting(files[0].meta, 'test', 'protocols', config.PROTOCOLS, 'mars-paper')
    changed = {
        k: getattr(options, k)
        for k in (
            'ap',
            'gallery',
            'distractors',
            'junk',
            'unanswerable',
            'same_camera',
            'outfits',
            'cmc',
            'gap_frames',
            'query_stride',
        )
        if getattr(options, k) is not None
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
    asked: dict[str, rules.Rule] = {}
    for name in names:
        for rule in rules.every(files, distance) if name == 'all' else [rules.Rule(protocols.named(name), distance)]:
            protocol = rules.changed(dataclasses.replace(rule.protocol, cmc_seed=options.seed), **changed)
            asked[protocol.name] = dataclasses.replace(rule, protocol=protocol)
    return list(asked.values())


def run(options: argparse.Namespace) -> Scores:
    """Scores by the name of their rule; prints them."""
    if options.against and len(options.against) != len(options.features):
        raise ValueError(
            f'--against names {len(options.against)} files for {len(options.features)} feature files; name one each.'
        )
    for flag in ('resamples', 'expand_queries', 'augment_gallery', 'seed'):
        if getattr(options, flag) < 0:
            raise ValueError(f'--{flag.replace("_", "-")} is {getattr(options, flag)}; it cannot be negative.')
    files = [feature_file.load(path, neck=options.neck) for path in options.features]
    others = [
        rule_scores.aligned(file, feature_file.load(path, neck=options.neck))
        for file, path in zip(files, options.against)
    ]
    distance = options.distance or feature_file.setting(files[0].meta, 'test', 'distance', ranking.DISTANCES, 'cosine')
    asked = rules_of(options, [*files, *others], distance)
    distances = list(dict.fromkeys(rule.distance for rule in asked))
    doubts: list[str] = []
    for path, file in zip([*options.features, *options.against], files + others, strict=True):
        print(exit_status.printable(f'{path}: {facts(file)}'))
        warnings = sanity.warnings(file, distances=distances)
        for warning in warnings:
            print(exit_status.printable(f'  warning: {warning}'))
        doubts += [f'{path}: {warning}' for warning in warnings]

    scores: Scores = {}
    for distance in distances:  # one matrix of distances at a time
        refined = refinement.Refinement(
            distance, options.rerank, options.k1, options.k2, options.weight, options.device,
            options.expand_queries, options.augment_gallery, options.power,
        )  # fmt: skip
        ours, theirs = ([refinement.Distances(file, refined) for file in some] for some in (files, others))
        for rule in (rule for rule in asked if rule.distance == distance):
            name = rule.protocol.name
            try:
                scores[name] = _scored(options, rule, refined, files, ours, others, theirs, parts=not scores)
            except ValueError as e:
                if len(asked) == 1:
                    raise
                scores[name] = str(e)
    made = [score for score in scores.values() if not isinstance(score, str)]
    for warning in dict.fromkeys(warning for score in made for warning in score.get('warnings', [])):
        print(f'warning: {warning}')
    for score in made:
        if doubts:
            score['warnings'] = doubts + score.get('warnings', [])
    print(f'\n{distances_used(scores)}\n{rule_scores.table(scores)}')
    if others:
        print(f'\n{", ".join(options.against)} minus {", ".join(options.features)}')
        print(rule_scores.difference_table(scores))
    if text := rule_scores.strata_table(scores):
        print('\n' + '\n'.join(map(exit_status.printable, text.split('\n'))))
    return scores


def _scored(options, rule, refined, files, ours, others, theirs, *, parts) -> rule_scores.RuleScore:
    """One rule's score with where it is from and, where other files are there, the difference to theirs.

    `parts`: of the queries have a score as well.
    """
    drawn = {'seed': options.seed, 'resamples': options.resamples}
    made, ranked = rule_scores.score(files, rule, ours, refined, **drawn)
    made['protocol'] |= {
        'label': refined.label(rule.protocol.name, options.neck),
        'feature': f'{options.neck} neck',
        **_origin(files[0]),
    }
    if parts and (by_stratum := strata.scores(files, ranked, rule.protocol, **drawn)):
        made['strata'] = by_stratum
    if others:
        compared = [rules.rank(file, rule, distances) for file, distances in zip(others, theirs, strict=True)]
        made['against'] = rule_scores.difference(ranked, compared, rule.protocol, **drawn)
        if 'strata' in made:
            made['against']['strata'] = strata.scores(files, compared, rule.protocol, minus=ranked, **drawn)
    return made


def facts(file: feature_file.Features) -> str:
    """What a file holds, in a line."""
    junk, distractors = (file.pid == i for i in (protocols.JUNK_ID, protocols.DISTRACTOR_ID))
    origin = _origin(file)
    frames = f'{file.frames.sum():,} frames' if file.frames.min() > 0 else 'frames unknown'
    return (
        f'{len(file.pid)} tracklets, {file.embedding.shape[1]}-d; {file.query.sum()} queries, {file.gallery.sum()} '
        f'gallery ({junk.sum()} junk, {distractors.sum()} distractors, {(file.query & file.gallery).sum()} queries), '
        f'{len(np.unique(file.camera))} cameras, {frames}; data set {origin["dataset"]}, clips {origin["clips"]}, '
        f'flip {origin["flip"]}, step {origin["step"]}'
    )


def _origin(file: feature_file.Features) -> feature_file.Making:
    """What the file says of its features; 'unknown' where it does not."""
    known = {k: file.meta.get(k, 'unknown') for k in ('dataset', 'clips', 'flip', 'step', 'frames_seen')}
    return cast(feature_file.Making, known)


def distances_used(scores: Scores) -> str:
    """How features were compared, which the table does not say of each rule."""
    p = next((score['protocol'] for score in scores.values() if not isinstance(score, str)), None)
    if p is None:
        return ''
    return f'{p["distance"]} distance, re-ranking {p["re_ranking"]}, expansion {p["expansion"]}, feature {p["feature"]}'


def main(argv: Sequence[str] | None = None) -> int:
    """Parses, scores, writes; returns the exit status."""
    options = read_arguments(argv)

    def act() -> None:
        scores = run(options)
        if options.json:
            kept = {name: score for name, score in scores.items() if not isinstance(score, str)}
            atomic.write_json(options.json, kept)

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(main())
